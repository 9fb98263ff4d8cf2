"""`python -m kseg.sweep`: an experiment of several runs, from scans to a table; interrupted, it goes on."""

import argparse
from collections.abc import Sequence

from kseg.console.command import add_json_option, command_parser, print_json, run, say, start_tensorflow
from kseg.console.errors import InputError
from kseg.console.termination import exit_on_sigterm
from kseg.recipe.grid import load_grid
from kseg.recipe.load import split_arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare a recipe's dataset, train and evaluate every run of its grid that is missing, and compare them."""
    arguments = _parse(argv)
    with exit_on_sigterm():  # not to leave the runs to themselves
        _sweep(arguments)


def _sweep(arguments: argparse.Namespace) -> None:
    path, overrides = split_arguments(arguments.words)
    if path is None:
        raise InputError("give a recipe with a table [grid], such as pipelines/hippocampus.toml")
    experiment = load_grid(path, overrides)
    cells, folder = experiment.cells, experiment.recipe.run_folder

    from kseg.console.progress import progress, stdout
    from kseg.experiments.sweep import claim_folders, prepare, run_cells
    from kseg.experiments.table import terminal_table
    from kseg.experiments.tensorboard_hparams import write_hparams_config
    from kseg.report.sweep_report import write_grid_report, write_tables

    claim_folders(experiment.recipe, cells)
    manifest = prepare(path, overrides, experiment.recipe)
    found = {}
    failed = []
    results = run_cells(path, overrides, cells, manifest, arguments.jobs)
    for cell, result in progress(results, f"runs of {experiment.recipe.name}", len(cells)):
        if isinstance(result, InputError):
            failed.append(cell.recipe.name)
            say(f"{cell.recipe.name} failed: {result}")
            continue
        found[cell.recipe.name] = (cell, result)
        say(f"{cell.recipe.name}: " + ", ".join(f"{split} Dice {dice:.3f}" for split, dice in result.dice.items()))
        rows = [found[cell.recipe.name] for cell in cells if cell.recipe.name in found]
        write_tables(experiment, rows, folder)
    if failed:
        raise InputError(f"{len(failed)} of {len(cells)} runs failed, {failed[0]} among them: the lines above say why")
    write_grid_report(experiment, rows, folder)
    start_tensorflow()
    write_hparams_config(cells, folder)
    stdout.print(terminal_table(experiment.recipe.name, rows, experiment.reference))
    say(f"report: {folder / 'report.html'}; every run: {folder / 'grid.csv'}; curves: tensorboard --logdir {folder}")
    if arguments.json:
        runs = {name: scores.model_dump() for name, (_, scores) in found.items()}
        print_json({"name": experiment.recipe.name, "runs": runs})


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
