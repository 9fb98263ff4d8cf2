"""`python -m kseg.export`: a run's model in another form: a SavedModel, an ONNX model, or a TensorRT engine."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from kseg.console.command import add_json_option, command_parser, print_json, run, say, start_tensorflow
from kseg.console.errors import InputError

OPTIONS = {"size": "onnx", "precision": "tensorrt", "batch": "tensorrt"}
"""Options, and the format to which each belongs."""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the format that is asked for, load it anew and compare it with the Keras model."""
    arguments = _parse(argv)
    for option, its_format in OPTIONS.items():
        if getattr(arguments, option) is not None and arguments.format != its_format:
            raise InputError(f"--{option} is an option of --format {its_format}. See python -m kseg.export --help")
    report = FORMATS[arguments.format](arguments)
    if arguments.json:
        print_json(report)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser(
        "export", "Export a trained run as a SavedModel for TF Serving, in ONNX's format, or as a TensorRT engine."
    )
    parser.add_argument("run", metavar="RUN", help="name or folder of the run")
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="savedmodel",
        help="savedmodel (the default), a folder 1/, 2/, ...; onnx, model.onnx; tensorrt, model.engine for this GPU",
    )
    parser.add_argument(
        "--size",
        choices=("dynamic", "fixed"),
        help="onnx: patches of any size (the default), or of the training's alone",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "tf32", "fp16"),
        help="tensorrt: exact (the default), products with 10 bits of mantissa, or half precision",
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="tensorrt: most patches at once (the default: evaluation.batch_size)"
    )
    add_json_option(parser)
    return parser.parse_args(argv)


def _saved_model(arguments: argparse.Namespace) -> dict[str, Any]:
    from kseg.training.run_folder import open_run

    folder = open_run(arguments.run)
    recipe = folder.load_recipe()

    start_tensorflow()
    import numpy as np

    from kseg.inference.saved_model import SIGNATURE, next_version, write_saved_model

    model = folder.load_model()
    path = next_version(folder.path)
    noise = np.random.default_rng(recipe.seed).normal(100, 30, (*recipe.patches.size, model.network.input_shape[-1]))
    difference = write_saved_model(model, path, noise, folder.load_contract().scales)
    say(f"SavedModel {path}, signature {SIGNATURE}: differs from the Keras model by {difference:.1e} at most")
    return {"path": str(path), "signature": SIGNATURE, "largest_difference": difference}


def _onnx(arguments: argparse.Namespace) -> dict[str, Any]:
    """Each member of an ensemble gets a model of its own: whoever runs them takes the mean."""
    from kseg.inference.onnx_file import require_onnx, write_onnx
    from kseg.inference.trained import open_trained

    require_onnx()
    trained = open_trained(arguments.run)

    start_tensorflow()
    from kseg.inference.probe import draw_probe
    from kseg.training.devices import leave_gpus

    leave_gpus()
    probe = draw_probe(trained.recipe, trained.contract)
    say(f"compared on {probe.origin}")
    size = trained.recipe.patches.size if arguments.size == "fixed" else None
    written = []
    for member in trained.members:
        difference = write_onnx(member, probe, size)
        say(f"{member.onnx}: differs from the Keras model by {difference:.1e} at most")
        written.append({"path": str(member.onnx), "largest_difference": difference})
    return {"written": written, "size": size, "compared_on": probe.origin}


def _tensorrt(arguments: argparse.Namespace) -> dict[str, Any]:
    from kseg.inference.engine import this_machine, write_engine
    from kseg.inference.onnx_file import require_onnx
    from kseg.inference.trained import open_trained

    if arguments.batch is not None and arguments.batch < 1:
        raise InputError("--batch must be 1 or more")
    trained = open_trained(arguments.run)
    require_onnx()
    machine = this_machine()

    start_tensorflow()
    from kseg.inference.probe import draw_probe
    from kseg.training.devices import leave_gpus

    leave_gpus()
    probe = draw_probe(trained.recipe, trained.contract)
    say(f"for {machine.gpu}, TensorRT {machine.tensorrt}; compared on {probe.origin}")
    batch = arguments.batch or trained.recipe.evaluation.batch_size
    written = []
    for member in trained.members:
        engine = write_engine(
            member, probe, arguments.precision or "fp32", batch, machine, trained.folder.path / "timing.cache"
        )
        say(f"{member.engine}: differs from the Keras model by {engine.largest_difference:.1e} at most")
        written.append({"path": str(member.engine), **engine.model_dump(mode="json")})
    return {"written": written}


FORMATS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "savedmodel": _saved_model,
    "onnx": _onnx,
    "tensorrt": _tensorrt,
}


if __name__ == "__main__":
    run(main)
