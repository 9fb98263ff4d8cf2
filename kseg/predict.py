"""`python -m kseg.predict`: label maps for new scans, in each scan's own geometry, file type and label values."""

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kseg.console.command import add_json_option, command_parser, run
from kseg.console.command_names import command_line, command_name
from kseg.console.disk_errors import refusals_told
from kseg.console.errors import InputError
from kseg.console.messages import print_json, say
from kseg.recipe.load import is_override, load_recipe
from kseg.storage.disk import check_writable
from kseg.storage.locations import local

if TYPE_CHECKING:
    import numpy as np

    from kseg.inference.predictor import Predictor
    from kseg.recipe.types import Spacing
    from kseg.volumes.prediction_outputs import Output

PROTOCOLS = ("grpc", "rest")
ASSUMED = "data.assume_spacing_mm"


def main(argv: Sequence[str] | None = None) -> None:
    """Segment every input; a bad one does not stop the others, but is the exit status's business at the end."""
    arguments = _parse(argv)
    out = local(arguments.out)

    from kseg.volumes.prediction_inputs import find_inputs
    from kseg.volumes.prediction_outputs import plan_outputs

    overrides = [word for word in arguments.words if is_override(word)]
    changes = [word for word in overrides if word.startswith("evaluation.")]
    assuming = [word for word in overrides if word.startswith(f"{ASSUMED}=")]
    if others := [word for word in overrides if word not in (*changes, *assuming)]:
        raise InputError(
            f"'{others[0]}' is no scan that is there, nor a change that can be made: those are evaluation.KEY=VALUE "
            f"and {ASSUMED}=[i, j, k]"
        )
    paths = [Path(word) for word in arguments.words if word not in overrides]
    assumed = load_recipe(None, assuming).data.assume_spacing_mm
    predictor = _open_predictor(arguments, changes)
    inputs = find_inputs(paths, predictor.channels or 1, predictor.channel_names)
    if not inputs:
        remedy = f"give volumes, DICOM folders, or folders of volumes. See {command_line('predict')} --help"
        raise InputError(f"no scan is named: {remedy}")
    check_writable(out)
    outputs, refused = plan_outputs(inputs, out, arguments.force)
    written, failed, reasons = [], [], []

    def fail(path: Path, reason: str) -> None:
        failed.append(str(path))
        reasons.append(reason)
        if len(inputs) > 1:
            say(f"{command_name('predict')}: {reason}")

    for scan, reason in refused:
        fail(scan.path, reason)
    if outputs:
        say(predictor.start())
    for output in outputs:
        try:
            check_writable(output.out)  # a disk that is full by now need not be told so after minutes
            _segment_file(output, predictor, assumed or predictor.assume_spacing_mm)
        except InputError as error:
            fail(output.scan.path, str(error))
        else:
            written.append(str(output.path))
    if arguments.json:
        print_json({**predictor.identity, "written": written, "failed": failed})
    if failed:
        several = f"{len(failed)} of {len(inputs)} inputs failed: {', '.join(failed)}; see above"
        raise InputError(several if len(inputs) > 1 else reasons[0])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("predict")
    parser.add_argument("run", metavar="RUN|MODEL", help="name or folder of the run; or the served model's name")
    parser.add_argument(
        "words",
        nargs="+",
        metavar="INPUT|KEY=VALUE",
        help="volume, DICOM folder or folder of volumes; or a change to how they are segmented (evaluation.KEY), or "
        f"{ASSUMED}=[i, j, k] for those that do not state it",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the label maps")
    parser.add_argument("--force", action="store_true", help="replace label maps that kseg wrote there before")
    parser.add_argument(
        "--engine",
        action="store_true",
        help=f"run the TensorRT engine that {command_name('export')} --format tensorrt built here",
    )
    parser.add_argument("--server", metavar="HOST[:PORT]", help="let the TF Serving there segment them")
    served = parser.add_argument_group("with --server")
    served.add_argument("--protocol", choices=PROTOCOLS, help="grpc (the default, port 8500) or rest (port 8501)")
    served.add_argument("--model-version", type=int, metavar="N", help="version of the model; the newest by default")
    served.add_argument(
        "--deadline",
        type=float,
        metavar="SECONDS",
        help="time for a scan, second tries included; 10 minutes and 10 s for each million voxels by default",
    )
    add_json_option(parser)
    return parser.parse(argv)


def _open_predictor(arguments: argparse.Namespace, changes: Sequence[str]) -> "Predictor":
    if arguments.server is None:
        for name in ("protocol", "model_version", "deadline"):
            if getattr(arguments, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} is for a model on a server: name it with --server")
        from kseg.inference.local_predictor import LocalPredictor

        if not arguments.engine:
            return LocalPredictor(arguments.run, changes)
        from kseg.deployment.engine_file import open_engine

        return LocalPredictor(arguments.run, changes, open_engine)
    if arguments.engine:
        raise InputError("--engine is for a run on this machine: leave it out with --server")
    if changes:
        raise InputError(f"'{changes[0]}' cannot be changed for a served model: export the run anew with it")
    if arguments.deadline is not None and not 0 < arguments.deadline < math.inf:
        raise InputError(f"--deadline must be a number of seconds above 0: received {arguments.deadline:g}")
    from kseg.client.server_predictor import ServerPredictor

    return ServerPredictor(
        arguments.server,
        arguments.run,
        protocol=arguments.protocol or PROTOCOLS[0],
        version=arguments.model_version,
        deadline_seconds=arguments.deadline,
    )


def _segment_file(output: "Output", predictor: "Predictor", assume_spacing_mm: "Spacing") -> None:
    """Segment one scan and write its label map; nothing of it stays in memory."""
    from kseg.console.terminal import progress
    from kseg.volumes.read import open_image
    from kseg.volumes.write import write_label_map

    scan = output.scan
    with refusals_told():
        image = open_image(scan.channels, scan.path.name, assume_spacing_mm)
        values = predictor.segment(image, scan.path.name, partial(progress, description=scan.path.name))
        write_label_map(output.path, values, image.stored)
    for note in image.notes:
        say(f"note: {scan.path.name}: {note}")
    say(f"{output.path}: {_volumes(values, image.spacing_mm, predictor.structures)}")


def _volumes(values: "np.ndarray", spacing_mm: Sequence[float], structures: Mapping[int, str]) -> str:
    """Say how large each structure is, in ml: the number a sonographer knows by heart."""
    import numpy as np

    voxel_ml = math.prod(spacing_mm) / 1000
    voxels: Counter[int] = Counter()
    for plane in values:  # plane by plane, because sorting takes memory
        present, counts = np.unique(plane, return_counts=True)
        voxels.update(dict(zip(present.tolist(), counts.tolist(), strict=True)))
    names = structures or {value: f"label {value}" for value in sorted(voxels) if value != 0}
    return ", ".join(f"{name} {voxels[value] * voxel_ml:.1f} ml" for value, name in names.items()) or "no structure"


if __name__ == "__main__":
    run(main)
