"""`python -m kseg.train`: prepared shards become a trained network, its checkpoints and its TensorBoard logs."""

import argparse
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kseg.console.command import add_json_option, command_parser, run
from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.messages import print_json, say
from kseg.console.tensorflow_start import start_tensorflow
from kseg.console.termination import Termination
from kseg.console.text import counted
from kseg.recipe.keys import keys_help
from kseg.recipe.load import load_recipe, split_arguments
from kseg.recipe.sections import Recipe
from kseg.storage.disk import check_writable
from kseg.storage.ownership import check_replaceable, check_spared, claim, is_empty, is_kind, remove

if TYPE_CHECKING:
    from kseg.records.manifest import Manifest
    from kseg.runs.run import Run
    from kseg.runs.run_folder import RunFolder
    from kseg.runs.start_from import Start
    from kseg.storage.locations import Location
    from kseg.training.workers import Workers


def main(argv: Sequence[str] | None = None) -> None:
    """Train the recipe's network on the prepared dataset, once or once for each fold."""
    arguments = _parse(argv)
    recipe = load_recipe(*split_arguments(arguments.words))
    termination = Termination(arguments.json)
    try:
        with termination.heard("before the run began: start it again as it was"):
            _main(arguments, recipe, termination)
    except KeyboardInterrupt:
        if termination.parting_words is None:  # the run has begun
            say("stopped: go on from the last checkpoint with --resume")
        raise


def _main(arguments: argparse.Namespace, recipe: Recipe, termination: Termination) -> None:
    from kseg.records.staging import staged

    manifest = _dataset(recipe, arguments.folds)
    _check_target(recipe, arguments)
    records, manifest = staged(recipe, manifest)

    start_tensorflow()
    import keras

    from kseg.patches.file_systems import open_file_system
    from kseg.runs.planned_recipe import least_steps, planned_recipe
    from kseg.runs.run import summarise_folds
    from kseg.training.budget import TooFewSteps
    from kseg.training.stop_on_signal import Stopped
    from kseg.training.workers import start_workers

    workers = start_workers()
    termination.listen_again()  # TensorFlow listens too where there are several workers
    open_file_system(records)
    recipe, start = _as_before(recipe, manifest, arguments.resume, arguments.folds is not None)
    complete = planned_recipe(recipe, manifest)
    workers.check_shared(complete)
    least = 0 if arguments.resume else least_steps(recipe, complete)
    reports, stopped = [], None
    try:
        try:
            reports = _train_runs(arguments, complete, start, records, manifest, workers, termination, least)
        except TooFewSteps as found:
            keras.utils.clear_session()
            held = round(recipe.train.max_minutes * 60 / found.step_seconds)
            say(f"a step takes {found.step_seconds:.1f} s here: the time would hold {held}; the run begins anew")
            voxels = math.prod(complete.patches.size) * complete.patches.batch_size
            complete = planned_recipe(recipe, manifest, found.step_seconds / voxels)
            reports = _train_runs(arguments, complete, start, records, manifest, workers, termination)
    except Stopped as end:
        stopped = end
    with workers.missed():
        workers.sums([0.0])  # none ends before the chief has written what it has
    if stopped is not None:
        termination.tell(f"{stopped}: go on with --resume")
        return
    if not workers.is_chief:
        return
    if arguments.folds is None:
        report = reports[0]
    else:
        report = summarise_folds(recipe, reports)
        say(f"mean of the folds' best validation Dice {report['best_val_dice']:.3f}")
    _advise(reports, arguments.words, recipe, arguments.folds)
    split = "" if manifest.of_split("test") else " --split val"
    say(f"next: {command_line('evaluate')} {recipe.name}{split}")
    if arguments.json:
        print_json(report)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("train", epilog=keys_help())
    parser.add_argument("words", nargs="*", metavar="RECIPE|KEY=VALUE", help="a recipe (.toml) and changes to it")
    parser.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="train K networks, each validated on other subjects; train.max_minutes holds for each",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    parser.add_argument("--force", action="store_true", help="replace a run of the same name")
    add_json_option(parser)
    return parser.parse(argv)


def _dataset(recipe: Recipe, folds: int | None) -> "Manifest":
    """Return the manifest of the prepared dataset; it must be what the recipe says, and have who is needed."""
    from kseg.records.folds import validation_folds
    from kseg.records.manifest import check_splits, load_manifest
    from kseg.records.preparation_keys import check_preparation_keys

    manifest = load_manifest(recipe.records_folder)
    check_preparation_keys(recipe, manifest)
    if folds is None:
        check_splits(manifest, recipe.records_folder)
    else:
        validation_folds(manifest, folds, recipe.seed)  # an impossible number is refused at once
        if recipe.evaluation.ensemble:
            raise InputError("evaluation.ensemble is for single runs: folds are an ensemble already, leave it out")
    return manifest


def _check_target(recipe: Recipe, arguments: argparse.Namespace) -> None:
    """What is there already stays, unless the user says otherwise and kseg made it; and the disk takes more."""
    from kseg.runs.owned_files import FOLDS, NAME_ANOTHER, RUN
    from kseg.runs.run_folder import RunFolder
    from kseg.runs.start_from import files_of_start

    folder = recipe.run_folder
    check_writable(folder if folder.is_dir() else folder.parent)
    if arguments.resume:
        if is_empty(folder):
            raise InputError(f"there is no run '{folder}' to resume: start it without --resume")
        if arguments.folds and RunFolder(folder).recipe.is_file():
            raise InputError(f"run '{folder}' has no folds: resume it without --folds, or {NAME_ANOTHER}")
        if arguments.folds:
            claim(folder, FOLDS)
        for number in range(1, (arguments.folds or 0) + 1):
            fold = RunFolder(folder).fold(number)
            if not fold.saved_checkpoints:
                check_replaceable(fold.path, RUN)
        return
    if not is_empty(folder) and not arguments.force and (is_kind(folder, RUN) or is_kind(folder, FOLDS)):
        raise InputError(
            f"run '{folder}' exists already: pass --resume to go on with it, --force to replace it, or {NAME_ANOTHER}"
        )
    check_replaceable(folder, RUN, FOLDS)
    paths = (split_arguments(arguments.words)[0], recipe.records_folder, *files_of_start(recipe))
    read = [path for path in paths if isinstance(path, Path)]
    check_spared(read, folder)


def _as_before(recipe: Recipe, manifest: "Manifest", resume: bool, in_folds: bool) -> "tuple[Recipe, Start | None]":
    """Return the recipe as the run began, where it is resumed, or as the run has it that it starts from; and that."""
    from kseg.runs.planned_recipe import as_begun
    from kseg.runs.run_folder import RunFolder
    from kseg.runs.start_from import following, open_start, start_notes, start_of_begun

    if resume and (begun := _begun(RunFolder(recipe.run_folder))):
        return as_begun(recipe, begun.load_recipe()), start_of_begun(begun)
    start = open_start(recipe)
    if start is None:
        return recipe, None
    for note in start_notes(start, manifest, in_folds):
        say(f"note: {note}")
    return following(recipe, start, manifest.channels), start


def _begun(folder: "RunFolder") -> "RunFolder | None":
    """Return the folder of a run that began, or of the first of its folds."""
    runs = [folder, *map(folder.fold, folder.fold_numbers)]
    return next((one for one in runs if one.recipe.is_file()), None)


def _train_runs(
    arguments: argparse.Namespace,
    recipe: Recipe,
    start: "Start | None",
    records: "Location",
    manifest: "Manifest",
    workers: "Workers",
    termination: Termination,
    least_steps: int = 0,
) -> list[dict[str, Any]]:
    """Train the run, or its folds one after the other, and return their reports; `least_steps` holds for the first."""
    import keras

    from kseg.runs.owned_files import FOLDS, RUN
    from kseg.runs.run import check_resumable, make_runs
    from kseg.runs.start_from import check_same_start

    runs = make_runs(recipe, records, manifest, arguments.folds or 0, start)
    resumed = [one for one in runs if arguments.resume and (one.is_begun or arguments.folds is None)]
    for one in resumed:
        check_resumable(one)
    if arguments.resume and start and len(resumed) < len(runs):
        check_same_start(recipe, start)  # before hours are spent on the folds that have begun
    if arguments.folds and not arguments.resume and workers.is_chief:
        folder = recipe.run_folder.resolve()
        remove(folder, RUN, FOLDS)  # folds of before would join the ensemble of these
        claim(folder, FOLDS)
    reports: list[dict[str, Any]] = []
    for number, one in enumerate(runs, start=1):
        if arguments.folds and workers.is_chief:
            say(f"fold {number} of {arguments.folds}")
        reports.append(_train(one, one in resumed, workers, termination, 0 if reports else least_steps))
        keras.utils.clear_session()
    return reports


def _advise(reports: list[dict[str, Any]], words: Sequence[str], recipe: Recipe, folds: int | None) -> None:
    """Say what the curves, of each fold where there are some, say of the time that was given; and what to do."""
    from kseg.runs.history import read_history
    from kseg.runs.planned_recipe import ENOUGH_STEPS
    from kseg.runs.run_folder import RunFolder
    from kseg.training.advice import advice

    longer = 1.0
    for number, report in enumerate(reports, start=1):
        history = read_history(RunFolder(Path(report["run"])).history)
        found = advice(history, report.get("steps", ENOUGH_STEPS))
        if found:
            longer = max(longer, found.longer)
            say(f"fold {number}: {found.line}" if folds else found.line)
    key = reports[0].get("ended_by", "")  # an earlier version's report does not say
    before = {"max_minutes": recipe.train.max_minutes, "epochs": reports[0]["epochs"]}.get(key, 0)
    if longer == 1.0 or not before:  # by its patience: a run that goes on keeps that
        return
    again = [word for word in words if not word.startswith(f"train.{key}=")]
    again += [f"train.{key}={math.ceil(before * longer)}", *(["--folds", str(folds)] if folds else []), "--resume"]
    say(f"to train it longer: {command_line('train')} {shlex.join(again)}")


def _train(one: "Run", resume: bool, workers: "Workers", termination: Termination, least_steps: int) -> dict[str, Any]:
    """Train a run, or go on with it, and report; one that is finished is left as it is."""
    from kseg.runs.run import finished_report, write_report
    from kseg.training.fit import fit

    report = finished_report(one) if resume else None
    if report is not None and workers.is_chief:
        say(f"run '{one.folder.path}' has ended within these bounds: nothing is left to train")
    if report is None:
        report = fit(one, resume, workers, termination, least_steps=least_steps)
        if workers.is_chief:
            write_report(one, report)
    if workers.is_chief:
        best, epochs, minutes = report["best_val_dice"], report["epochs"], report["minutes"]
        patches = counted(one.recipe.train.validation_patches, "patch", "patches")
        say(f"best validation Dice {best:.3f}, in {patches}, after {counted(epochs, 'epoch')}, {minutes:.1f} minutes")
        say(f"model {one.folder.model}; curves: tensorboard --logdir {one.folder.logs}")
    return report


if __name__ == "__main__":
    run(main)
