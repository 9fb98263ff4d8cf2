"""`python -m kseg.bench`: what this machine will do, measured side by side in one run."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from kseg.console.command import CommandParser, add_json_option, choose_command, run
from kseg.console.command_names import COMMANDS
from kseg.console.errors import InputError
from kseg.console.machine import cores, describe_machine
from kseg.console.messages import print_json
from kseg.recipe.keys import keys_help
from kseg.recipe.load import load_recipe, split_arguments

BENCHES = {
    "step": "a training step and a forward pass, plain beside fast layers",
    "input": "the patches of a recipe: their rate, waiting for them, each transform",
    "prepare": "the scans of a recipe: preparing them, beside reading and writing",
    "predict": "segmenting with a run: Keras, SavedModel, ONNX and engines",
    "train": "a short training by the clock: where its minutes go",
}
"""What can be measured: the line of each in `kseg.bench --help`, with which its own help begins."""

OF_RECIPE = ("input", "prepare", "train")
"""Those whose help lists the keys of a recipe."""
ONCE = ("train",)
"""Those that measure one thing, once."""

Measured = tuple[dict[str, Any], Any]
"""A report for programs, and the table of it for people."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for, print a table, and with `--json` the numbers."""
    bench, rest = choose_command("bench", COMMANDS["bench"], BENCHES, argv)
    parser = CommandParser(f"bench {bench}", f"Measure {BENCHES[bench]}.", keys_help() if bench in OF_RECIPE else None)
    if bench not in ONCE:
        parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    add_json_option(parser)
    arguments, (report, table) = MEASURE[bench](parser, rest)

    from kseg.console.terminal import stdout

    stdout.print(table)
    if arguments.json:
        print_json(report | {"machine": describe_machine()})


def _step(parser: CommandParser, argv: Sequence[str]) -> tuple[argparse.Namespace, Measured]:
    parser.add_argument("--patch", type=int, nargs=3, default=(96, 96, 96), metavar=("X", "Y", "Z"), help="voxels")
    parser.add_argument("--batch", type=int, default=1, help="patches of a step")
    arguments = parser.parse(argv)
    if min(*arguments.patch, arguments.batch, arguments.repeats) < 1:
        raise InputError("--patch, --batch and --repeats must be 1 or more")

    from kseg.benchmark.step import bench_step

    return arguments, bench_step(tuple(arguments.patch), arguments.batch, arguments.repeats)


def _input(parser: CommandParser, argv: Sequence[str]) -> tuple[argparse.Namespace, Measured]:
    _add_recipe(parser)
    arguments = parser.parse(argv)
    if arguments.repeats < 1:
        raise InputError("--repeats must be 1 or more")
    recipe = load_recipe(*split_arguments(arguments.words))

    from kseg.benchmark.input import bench_input

    return arguments, bench_input(recipe, arguments.repeats)


def _prepare(parser: CommandParser, argv: Sequence[str]) -> tuple[argparse.Namespace, Measured]:
    _add_recipe(parser)
    parser.add_argument("--cases", type=int, default=1, help="how many of the scans, the first ones")
    arguments = parser.parse(argv)
    if min(arguments.repeats, arguments.cases) < 1:
        raise InputError("--repeats and --cases must be 1 or more")
    recipe = load_recipe(*split_arguments(arguments.words))

    from kseg.benchmark.prepare import bench_prepare

    return arguments, bench_prepare(recipe, arguments.cases, arguments.repeats)


def _predict(parser: CommandParser, argv: Sequence[str]) -> tuple[argparse.Namespace, Measured]:
    parser.add_argument("run", metavar="RUN", help="name or folder of the run, or of one of its folds")
    parser.add_argument(
        "--shape", type=int, nargs=3, metavar=("X", "Y", "Z"), help="voxels of the volume; 1.5 patches along each axis"
    )
    parser.add_argument("--threads", type=int, default=cores(), help="threads of each; as many as there are cores")
    arguments = parser.parse(argv)
    if min(*(arguments.shape or (1,)), arguments.threads, arguments.repeats) < 1:
        raise InputError("--shape, --threads and --repeats must be 1 or more")

    from kseg.benchmark.predict import bench_predict

    return arguments, bench_predict(arguments.run, arguments.shape, arguments.threads, arguments.repeats)


def _train(parser: CommandParser, argv: Sequence[str]) -> tuple[argparse.Namespace, Measured]:
    _add_recipe(parser)
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[cores()],
        metavar="N",
        help="cores that the training may use; several numbers train once on each; all cores there are",
    )
    arguments = parser.parse(argv)
    if min(arguments.threads) < 1 or max(arguments.threads) > cores():
        raise InputError(f"--threads must be from 1 to {cores()}, the cores that kseg may use here")

    from kseg.benchmark.train import bench_train

    return arguments, bench_train(arguments.words, arguments.threads)


def _add_recipe(parser: CommandParser) -> None:
    parser.add_argument("words", nargs="*", metavar="RECIPE|KEY=VALUE", help="a recipe (.toml) and changes to it")


MEASURE: dict[str, Callable[[CommandParser, Sequence[str]], tuple[argparse.Namespace, Measured]]] = {
    "step": _step,
    "input": _input,
    "prepare": _prepare,
    "predict": _predict,
    "train": _train,
}


if __name__ == "__main__":
    run(main)
