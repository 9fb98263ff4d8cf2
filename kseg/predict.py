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

    from kseg.training.run_folder import Contract
    from kseg.volumes.volume import Volume


def main(argv: Sequence[str] | None = None) -> None:
    """Segment every input; a bad one does not stop the others, but is the exit status's business at the end."""
    arguments = _parse(argv)

    from kseg.training.run_folder import open_run
    from kseg.volumes.inputs import find_inputs

    folder = open_run(arguments.run)
    recipe, contract = folder.load_recipe(), folder.load_contract()
    inputs = find_inputs(arguments.inputs, len(contract.channels))

    start_tensorflow()
    from kseg.console.progress import progress
    from kseg.inference.volumes import volume_segmenter
    from kseg.volumes.read import read_image
    from kseg.volumes.write import output_name, write_label_map

    segment = volume_segmenter(folder.load_model(), recipe)
    written, failed = [], []
    for scan in inputs:
        try:
            image = read_image(scan.channels, scan.path.name)
            _check_channels(scan.path, image, contract)
            target = arguments.out / output_name(scan.path, image.stored)
            if target.exists() and not arguments.force:
                raise InputError(f"'{target}' exists already: pass --force to overwrite it, or choose another --out")
            bar = partial(progress, description=scan.path.name)
            indices = segment(image.array, bar)
            write_label_map(target, contract.label_map.to_values(indices), image.stored)
        except InputError as error:
            say(f"kseg.predict: {error}")
            failed.append(str(scan.path))
        else:
            written.append(str(target))
            say(f"{target}: {_volumes(indices, image.spacing_mm, contract)}")
    if arguments.json:
        print_json({"run": str(folder.path), "written": written, "failed": failed})
    if failed:
        raise InputError(f"{len(failed)} of {len(inputs)} inputs failed: {', '.join(failed)}; mend them, see above")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("predict", "Segment new scans with a trained run.")
    parser.add_argument("run", metavar="RUN", help="name or folder of the run")
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="volume, DICOM folder, or folder of volumes"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the label maps")
    parser.add_argument("--force", action="store_true", help="overwrite label maps that are there already")
    add_json_option(parser)
    return parser.parse_args(argv)


def _check_channels(path: Path, image: "Volume", contract: "Contract") -> None:
    channels = image.array.shape[-1]
    if channels != len(contract.channels):
        raise InputError(
            f"'{path}' has {channels} channels, the model takes {len(contract.channels)} "
            f"({', '.join(contract.channels)}): give scans like those it was trained on"
        )


def _volumes(indices: "np.ndarray", spacing_mm: Sequence[float], contract: "Contract") -> str:
    """Say how large each structure is, in ml: the number a sonographer knows by heart."""
    voxel_ml = math.prod(spacing_mm) / 1000
    names = enumerate(contract.label_map.names[1:], start=1)
    return ", ".join(f"{name} {(indices == index).sum() * voxel_ml:.1f} ml" for index, name in names)


if __name__ == "__main__":
    run(main)
