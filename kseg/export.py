"""`python -m kseg.export`: a run in another form: a SavedModel for TF Serving, ONNX, a TensorRT engine, or one file."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from kseg.console.command import add_json_option, add_run_arguments, command_parser, run
from kseg.console.command_names import command_line, command_name
from kseg.console.errors import InputError
from kseg.console.messages import print_json, say
from kseg.console.tensorflow_start import start_tensorflow
from kseg.deployment.tolerances import Precision
from kseg.storage.disk import check_writable
from kseg.storage.listing import check_unchanged

if TYPE_CHECKING:
    from kseg.deployment.check_patches import CheckPatches
    from kseg.runs.trained_run import TrainedRun

OPTIONS = {
    "licence": ("savedmodel",),
    "size": ("onnx", "tensorrt-rtx"),
    "precision": ("tensorrt", "tensorrt-rtx"),
    "batch": ("tensorrt", "tensorrt-rtx"),
}
"""Options, and the formats to which each belongs."""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the format that is asked for, load it anew and compare it with the Keras model."""
    arguments = _parse(argv)
    for option, formats in OPTIONS.items():
        if getattr(arguments, option) is not None and arguments.format not in formats:
            its_formats = " and ".join(formats)
            raise InputError(f"--{option} is an option of --format {its_formats}. See {command_line('export')} --help")
    if arguments.precision == "tf32" and arguments.format == "tensorrt-rtx":
        raise InputError("--precision tf32 is TensorRT's alone: --format tensorrt-rtx has fp32 and fp16")
    if arguments.batch is not None and arguments.batch < 1:
        raise InputError("--batch must be 1 or more")
    from kseg.runs.package import as_run

    arguments.run = as_run(arguments.run)
    report = FORMATS[arguments.format](arguments)
    if arguments.json:
        print_json(report)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("export")
    add_run_arguments(parser, "a change to how volumes are segmented")
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="savedmodel",
        help="savedmodel (the default), a folder 1/, 2/, ...; onnx, model.onnx; tensorrt, model.engine for this GPU; "
        "tensorrt-rtx, model.rtx for GeForce RTX and the like, built without one; "
        "package, the run in one file to be passed on",
    )
    parser.add_argument("--licence", metavar="TEXT", help="savedmodel: under which it is passed on, for its model card")
    parser.add_argument(
        "--size",
        choices=("dynamic", "fixed"),
        help="onnx: patches of any size (the default), or of the training's alone; tensorrt-rtx: the same, none larger",
    )
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        help="tensorrt: exact (the default), products with 10 bits of mantissa, or half precision; tensorrt-rtx: not "
        "tf32",
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="tensorrt, tensorrt-rtx: most patches at once (the default: evaluation.batch_size)",
    )
    add_json_option(parser)
    return parser.parse(argv)


def _saved_model(arguments: argparse.Namespace) -> dict[str, Any]:
    """A run, or the folds of one together, from raw voxels to label maps; then what a server needs beside it."""
    from kseg.runs.owned_files import BATCHING, CARD, MODELS
    from kseg.runs.trained_run import open_trained

    trained = open_trained(arguments.run, arguments.changes)
    folder = trained.folder.path
    check_writable(folder)
    check_unchanged(folder, (CARD, MODELS, BATCHING))
    name = folder.resolve().name

    start_tensorflow()
    from kseg.deployment.saved_model import next_version, write_saved_model
    from kseg.deployment.serving.pipeline import Pipeline
    from kseg.deployment.serving.server_files import write_server_files
    from kseg.inference.postprocessing_choice import chosen_postprocessing
    from kseg.inference.segment_volumes import describe_segmentation
    from kseg.report.model_card import write_model_card

    chosen = chosen_postprocessing(trained)
    pipeline = Pipeline.of(trained, chosen)
    say(describe_segmentation(trained, chosen))
    path = next_version(trained.folder)
    difference = write_saved_model(trained, pipeline, path, name)
    write_server_files(folder, name)
    card = write_model_card(trained, pipeline, path, name, difference, arguments.licence)
    shape = " x ".join(map(str, difference.shape))
    say(
        f"SavedModel {path}: on a made-up volume of {shape} voxels {difference.differing_labels:.4%} of the labels "
        f"differ from {command_name('predict')}'s, "
        f"probabilities of a patch by {difference.largest_difference:.1e} at most"
    )
    say(f"{card} says what it is and how to call it; models.config and batching.config are for TF Serving")
    return {
        "path": str(path),
        "name": name,
        "differing_labels": difference.differing_labels,
        "largest_difference": difference.largest_difference,
    }


def _onnx(arguments: argparse.Namespace) -> dict[str, Any]:
    """Each member of an ensemble gets a model of its own: whoever runs them takes the mean."""
    from kseg.deployment.onnx_file import require_onnx, write_onnx
    from kseg.runs.owned_files import ONNX_FILE
    from kseg.runs.trained_run import open_trained

    require_onnx()
    trained = open_trained(arguments.run, arguments.changes)
    _check_single(trained, "onnx")
    _check_takes(trained, (ONNX_FILE,))
    check = _draw_check_patches(trained)
    say(f"compared on {check.origin}")
    size = trained.recipe.patches.size if arguments.size == "fixed" else None
    written = []
    for member in trained.members:
        difference = write_onnx(member, check, size)
        say(f"{member.onnx}: differs from the Keras model by {difference:.1e} at most")
        written.append({"path": str(member.onnx), "largest_difference": difference})
    return {"written": written, "size": size, "compared_on": check.origin}


def _tensorrt(arguments: argparse.Namespace) -> dict[str, Any]:
    from kseg.deployment.engine_description import platform_of
    from kseg.deployment.engine_file import write_engine
    from kseg.deployment.onnx_file import require_onnx
    from kseg.deployment.tensorrt_engine import TENSORRT
    from kseg.runs.owned_files import ENGINE_FILES
    from kseg.runs.trained_run import open_trained

    trained = open_trained(arguments.run, arguments.changes)
    _check_single(trained, "tensorrt")
    require_onnx()
    platform = platform_of(TENSORRT)
    _check_takes(trained, ENGINE_FILES)
    check = _draw_check_patches(trained)
    say(f"for {platform.gpu}, TensorRT {platform.version}; compared on {check.origin}")
    batch = arguments.batch or trained.recipe.evaluation.batch_size
    written = []
    for member in trained.members:
        engine = write_engine(member, check, arguments.precision or "fp32", batch, platform, trained.folder.timings)
        say(f"{member.engine.plan}: differs from the Keras model by {engine.largest_difference:.1e} at most")
        written.append({"path": str(member.engine.plan), **engine.model_dump(mode="json")})
    return {"written": written}


def _tensorrt_rtx(arguments: argparse.Namespace) -> dict[str, Any]:
    """An engine that needs no GPU to be built."""
    from kseg.deployment.engine_file import write_rtx_engine
    from kseg.deployment.onnx_file import require_onnx
    from kseg.deployment.tensorrt_engine import RTX
    from kseg.runs.owned_files import RTX_FILES
    from kseg.runs.trained_run import open_trained

    trained = open_trained(arguments.run, arguments.changes)
    _check_single(trained, "tensorrt-rtx")
    require_onnx()
    version = RTX.load().__version__
    _check_takes(trained, RTX_FILES)
    check = _draw_check_patches(trained)
    say(f"for compute capability {', '.join(RTX.targets)}, {RTX.name} {version}; compared on {check.origin}")
    batch, any_size = arguments.batch or trained.recipe.evaluation.batch_size, arguments.size != "fixed"
    written = []
    for member in trained.members:
        engine, why_not = write_rtx_engine(member, check, arguments.precision or "fp32", batch, any_size)
        say(f"{member.rtx.plan}: its graph differs from the Keras model by {engine.graph_difference:.1e} at most")
        if engine.largest_difference is None:
            say(f"note: the engine itself was not compared: {why_not}")
        else:
            say(f"{member.rtx.plan}: differs from the Keras model by {engine.largest_difference:.1e} at most")
        written.append({"path": str(member.rtx.plan), **engine.model_dump(mode="json")})
    return {"written": written}


def _package(arguments: argparse.Namespace) -> dict[str, Any]:
    """The run, or all its folds, in one file."""
    from kseg.inference.expected_dice import load_expected_dice
    from kseg.inference.postprocessing_choice import chosen_postprocessing
    from kseg.inference.segment_volumes import describe_segmentation
    from kseg.runs.owned_files import PACKAGE
    from kseg.runs.package import write_package
    from kseg.runs.trained_run import open_trained

    if arguments.changes:
        raise InputError(f"'{arguments.changes[0]}': a package holds the run as it is; give changes where it is used")
    trained = open_trained(arguments.run)
    if others := trained.recipe.evaluation.ensemble:
        raise InputError(
            f"'{arguments.run}' is joined with {', '.join(others)} by its recipe, and a package holds one run: take "
            f"evaluation.ensemble out of '{trained.folder.recipe}', and give it where the package is used"
        )
    folder = trained.folder.path
    path = folder / f"{folder.resolve().name}{PACKAGE}"
    check_writable(folder)
    check_unchanged(folder, (path.name,))
    postprocessing = chosen_postprocessing(trained)
    load_expected_dice(trained, postprocessing)  # what is damaged is not passed on
    say(describe_segmentation(trained, postprocessing))
    write_package(folder, folder.resolve().name, path)
    size = path.stat().st_size
    say(f"{path}: {size / 1e6:.1f} MB; {command_line('predict')} {path} SCAN --out DIR segments with it")
    return {"path": str(path), "bytes": size}


def _check_single(trained: "TrainedRun", its_format: str) -> None:
    """Refuse an ensemble of runs where each member gets a file in its own folder: those are other runs'."""
    if trained.recipe.evaluation.ensemble:
        raise InputError(
            f"--format {its_format} writes each network by itself: export each run alone, with "
            "'evaluation.ensemble=[]', or the ensemble as a SavedModel"
        )


def _draw_check_patches(trained: "TrainedRun") -> "CheckPatches":
    """Start TensorFlow, which leaves the GPUs to others, and draw what the exported model is compared on."""
    start_tensorflow()
    from kseg.deployment.check_patches import draw_check_patches
    from kseg.deployment.cuda import leave_gpus

    leave_gpus()
    return draw_check_patches(trained.recipe, trained.description)


def _check_takes(trained: "TrainedRun", files: Sequence[str]) -> None:
    """See to it that each member's folder takes what an export writes there: what a user changed is not replaced."""
    for member in trained.members:
        check_writable(member.path)
        check_unchanged(member.path, files)


FORMATS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "savedmodel": _saved_model,
    "onnx": _onnx,
    "tensorrt": _tensorrt,
    "tensorrt-rtx": _tensorrt_rtx,
    "package": _package,
}


if __name__ == "__main__":
    run(main)
