"""`python -m kseg.predict`: label maps for new scans, in each scan's own geometry, file type and label values."""

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kseg.console.command import add_json_option, command_parser, print_json, run, say, start_tensorflow
from kseg.console.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from kseg.inference.volumes import Segment
    from kseg.training.run_folder import Contract
    from kseg.volumes.inputs import Input
    from kseg.volumes.slabs import VolumeStream


def main(argv: Sequence[str] | None = None) -> None:
    """Segment every input; a bad one does not stop the others, but is the exit status's business at the end."""
    arguments = _parse(argv)

    from kseg.inference.trained import open_trained
    from kseg.volumes.inputs import find_inputs

    changes = [word for word in arguments.words if word.startswith("evaluation.") and "=" in word]
    paths = [Path(word) for word in arguments.words if word not in changes]
    trained = open_trained(arguments.run, changes)
    inputs = find_inputs(paths, len(trained.contract.channels))
    if not inputs:
        raise InputError("no scan is named: give volumes, DICOM folders, or folders of volumes. See --help")

    if not arguments.engine:
        start_tensorflow()
    from kseg.inference.volumes import chosen_postprocessing, describe, load_keras, volume_segmenter

    load = load_keras
    if arguments.engine:  # without TensorFlow, which would take the GPU's memory
        from kseg.inference.engine import open_engine

        load = open_engine
    chosen = chosen_postprocessing(trained)
    segment = volume_segmenter(trained, postprocessing=chosen, load=load)
    say(describe(trained, chosen))
    written, failed = [], []
    for scan in inputs:
        try:
            target = _segment_file(scan, segment, trained.contract, arguments.out, arguments.force)
        except InputError as error:
            say(f"kseg.predict: {error}")
            failed.append(str(scan.path))
        else:
            written.append(str(target))
    if arguments.json:
        print_json({"run": str(trained.folder.path), "written": written, "failed": failed})
    if failed:
        raise InputError(f"{len(failed)} of {len(inputs)} inputs failed: {', '.join(failed)}; mend them, see above")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("predict", "Segment new scans with a trained run, or with the folds of one together.")
    parser.add_argument("run", metavar="RUN", help="name or folder of the run")
    parser.add_argument(
        "words",
        nargs="+",
        metavar="INPUT|evaluation.KEY=VALUE",
        help="volume, DICOM folder or folder of volumes; or a change to how they are segmented",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the label maps")
    parser.add_argument(
        "--engine", action="store_true", help="run the TensorRT engine that kseg.export --format tensorrt built here"
    )
    parser.add_argument("--force", action="store_true", help="overwrite label maps that are there already")
    add_json_option(parser)
    return parser.parse_intermixed_args(argv)


def _segment_file(scan: "Input", segment: "Segment", contract: "Contract", out: Path, force: bool) -> Path:
    """Segment one scan and return where its label map is; nothing of it stays in memory."""
    from kseg.console.progress import progress
    from kseg.inference.volumes import segment_scan
    from kseg.volumes.read import open_image
    from kseg.volumes.write import output_name, write_label_map

    image = open_image(scan.channels, scan.path.name)
    _check_channels(scan.path, image, contract)
    target = out / output_name(scan.path, image.stored)
    if target.exists() and not force:
        raise InputError(f"'{target}' exists already: pass --force to overwrite it, or choose another --out")
    showing = partial(progress, description=scan.path.name)
    indices = segment_scan(image, scan.path.name, segment, contract.spacing_mm, showing)
    write_label_map(target, contract.label_map.to_values(indices), image.stored)
    say(f"{target}: {_volumes(indices, image.spacing_mm, contract)}")
    return target


def _check_channels(path: Path, image: "VolumeStream", contract: "Contract") -> None:
    if image.channels != len(contract.channels):
        raise InputError(
            f"'{path}' has {image.channels} channels, the model takes {len(contract.channels)} "
            f"({', '.join(contract.channels)}): give scans like those it was trained on"
        )


def _volumes(indices: "np.ndarray", spacing_mm: Sequence[float], contract: "Contract") -> str:
    """Say how large each structure is, in ml: the number a sonographer knows by heart."""
    import numpy as np

    voxel_ml = math.prod(spacing_mm) / 1000
    # Plane by plane, because bincount widens what it counts to 8 bytes.
    planes = [np.bincount(plane.reshape(-1), minlength=contract.label_map.num_classes) for plane in indices]
    voxels = np.sum(planes, axis=0)
    foreground = zip(contract.label_map.names[1:], voxels[1:], strict=True)
    return ", ".join(f"{name} {count * voxel_ml:.1f} ml" for name, count in foreground)


if __name__ == "__main__":
    run(main)
