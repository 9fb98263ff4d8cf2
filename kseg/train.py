"""`python -m kseg.train`: prepared shards become a trained network, its checkpoints and its TensorBoard logs."""

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kseg.console.command import add_json_option, command_parser, print_json, run, say, start_tensorflow
from kseg.console.errors import InputError
from kseg.recipe import Recipe, keys_help, load_recipe, split_arguments

if TYPE_CHECKING:
    from kseg.training.run_folder import Contract, RunFolder


def main(argv: Sequence[str] | None = None) -> None:
    """Train the recipe's network on the prepared dataset."""
    began = time.monotonic()
    arguments = _parse(argv)
    recipe = load_recipe(*split_arguments(arguments.words))

    from kseg.records.manifest import load_manifest
    from kseg.training.run_folder import Contract, RunFolder

    manifest = load_manifest(recipe.records_folder)
    for split in ("train", "val"):
        if not manifest.of_split(split):
            raise InputError(
                f"'{recipe.records_folder}' has no {split} cases: prepare it with data.{split}_fraction above 0"
            )
    folder = RunFolder(recipe.run_folder)
    contract = Contract(channels=manifest.channels, labels=manifest.labels)
    if arguments.resume:
        _check_resumable(recipe, folder, contract)
    elif folder.path.exists() and not arguments.force:
        raise InputError(
            f"run '{folder.path}' exists already: pass --resume to go on with it, --force to replace it, "
            "or choose another name=..."
        )
    start_tensorflow()
    from kseg.training.fit import fit

    report = fit(recipe, manifest, folder, contract, resume=arguments.resume, began=began)
    best, epochs, minutes = report["best_val_dice"], report["epochs"], report["minutes"]
    say(f"best validation Dice {best:.3f} after {epochs} epochs, {minutes:.1f} minutes")
    say(
        f"model {folder.model}; curves: tensorboard --logdir {folder.logs}; next: python -m kseg.evaluate {recipe.name}"
    )
    if arguments.json:
        print_json(report)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("train", "Train a network on a prepared dataset.", epilog=keys_help())
    parser.add_argument("words", nargs="*", metavar="RECIPE|KEY=VALUE", help="a recipe (.toml) and changes to it")
    parser.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    parser.add_argument("--force", action="store_true", help="replace a run of the same name")
    add_json_option(parser)
    return parser.parse_args(argv)


def _check_resumable(recipe: Recipe, folder: "RunFolder", contract: "Contract") -> None:
    """A run goes on only as what it was; how long it trains may change."""
    if not folder.recipe.is_file():
        raise InputError(f"there is no run '{folder.path}' to resume: start it without --resume")
    if folder.load_contract() != contract:
        raise InputError(
            f"run '{folder.path}' was trained on other channels or labels than '{recipe.data.records}' holds"
        )
    before, now = folder.load_recipe().model_dump(), recipe.model_dump()
    for bound in ("epochs", "max_minutes"):
        before["train"].pop(bound), now["train"].pop(bound)
    for section, value in now.items():
        if before[section] != value:
            raise InputError(
                f"'{section}' of the recipe differs from that of run '{folder.path}', {folder.recipe}: resume with the "
                "same recipe (train.epochs and train.max_minutes may change), or choose another name=..."
            )


if __name__ == "__main__":
    run(main)
