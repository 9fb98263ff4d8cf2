"""`python -m kseg.sweep`: a sweep of several runs, from scans to a table; interrupted, it goes on."""

import argparse
from collections.abc import Sequence

from kseg.console.command import add_json_option, command_parser, run
from kseg.console.errors import InputError
from kseg.console.messages import print_json, say
from kseg.console.tensorflow_start import start_tensorflow
from kseg.console.termination import exit_on_sigterm
from kseg.console.text import counted
from kseg.recipe.load import split_arguments
from kseg.recipe.sweep import load_sweep


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare a recipe's dataset, train and evaluate every run of its grid that is missing, and compare them."""
    arguments = _parse(argv)
    with exit_on_sigterm():  # not to leave the runs to themselves
        _sweep(arguments)


def _sweep(arguments: argparse.Namespace) -> None:
    path, overrides = split_arguments(arguments.words)
    if path is None:
        raise InputError("give a recipe with a table [grid], such as pipelines/hippocampus.toml")
    sweep = load_sweep(path, overrides)
    runs, folder = sweep.runs, sweep.recipe.run_folder

    from kseg.console.terminal import progress, stdout
    from kseg.report.sweep_report import write_sweep_report, write_tables
    from kseg.sweeps.run_sweep import claim_folders, prepare, run_sweep
    from kseg.sweeps.table import terminal_table
    from kseg.sweeps.tensorboard_hparams import write_hparams_config

    claim_folders(sweep.recipe, runs)
    manifest = prepare(path, overrides, sweep.recipe)
    found = {}
    failed = []
    results = run_sweep(path, overrides, runs, manifest, arguments.jobs)
    for one, result in progress(results, f"runs of {sweep.recipe.name}", len(runs)):
        if isinstance(result, InputError):
            failed.append(one.recipe.name)
            say(f"{one.recipe.name} failed: {result}")
            continue
        found[one.recipe.name] = (one, result)
        say(f"{one.recipe.name}: " + ", ".join(f"{split} Dice {dice:.3f}" for split, dice in result.dice.items()))
        rows = [found[one.recipe.name] for one in runs if one.recipe.name in found]
        write_tables(sweep, rows, folder)
    if failed:
        raise InputError(
            f"{len(failed)} of {counted(len(runs), 'run')} failed, {failed[0]} among them: the lines above say why"
        )
    write_sweep_report(sweep, rows, folder)
    start_tensorflow()
    write_hparams_config(runs, folder)
    stdout.print(terminal_table(sweep.recipe.name, rows, sweep.reference))
    say(f"report: {folder / 'report.html'}; every run: {folder / 'grid.csv'}; curves: tensorboard --logdir {folder}")
    if arguments.json:
        scored = {name: scores.model_dump() for name, (_, scores) in found.items()}
        print_json({"name": sweep.recipe.name, "runs": scored})


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("sweep")
    parser.add_argument("words", nargs="*", metavar="RECIPE|KEY=VALUE", help="a recipe with [grid], and changes to it")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs side by side, sharing the cores (1)")
    add_json_option(parser)
    arguments = parser.parse(argv)
    if arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1: received {arguments.jobs}")
    return arguments


if __name__ == "__main__":
    run(main)
