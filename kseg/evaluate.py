"""`python -m kseg.evaluate`: a run on the whole volumes of a split, scored on each scan's own grid."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kseg.console.command import add_json_option, add_run_arguments, command_parser, run
from kseg.console.command_names import command_line, command_name
from kseg.console.errors import InputError
from kseg.console.messages import print_json, say
from kseg.console.tensorflow_start import start_tensorflow
from kseg.console.text import counted
from kseg.recipe.types import SPLITS
from kseg.storage.disk import check_writable
from kseg.storage.locations import Location, location_of

if TYPE_CHECKING:
    import numpy as np

    from kseg.evaluation.measure_agreement import MeasureAgreement
    from kseg.evaluation.scores import ClassScore, Summary
    from kseg.inference.expected_dice import ExpectedDice
    from kseg.inference.postprocessing_choice import PostProcessing, Trial
    from kseg.recipe.types import Spacing
    from kseg.records.manifest import Manifest
    from kseg.records.prepared_case import PreparedCase
    from kseg.runs.trained_run import TrainedRun
    from kseg.viewer.single_file import WorstCases


def main(argv: Sequence[str] | None = None) -> None:
    """Segment and score every case of a split; write CSV, JSON and pictures into the run's folder.

    Validation cases are scored as the network segments them, and choose the post-processing; other cases are scored
    after it.
    """
    arguments = _parse(argv)

    from kseg.records.manifest import load_manifest
    from kseg.runs.package import as_run
    from kseg.runs.trained_run import open_trained

    trained = open_trained(as_run(arguments.run), arguments.changes)
    folder, recipe = trained.folder, trained.recipe
    records = location_of(arguments.records) if arguments.records else recipe.records_folder
    manifest = load_manifest(records)
    validating = arguments.split == "val"
    own_validation = validating and arguments.records is None
    # That of an ensemble of runs is its first run's, which it would replace.
    choosing = own_validation and recipe.evaluation.postprocessing == "validated" and not recipe.evaluation.ensemble
    _check(manifest, trained, records, arguments.split, choosing)
    cases = sum(len(listed.of_split(arguments.split)) for _, listed in trained.share_out(manifest, arguments.split))
    if not cases:
        raise InputError(f"'{records}' has no {arguments.split} cases: choose another --split")

    start_tensorflow()
    from kseg.console.terminal import progress
    from kseg.evaluation.expected_scores import expected_and_true
    from kseg.evaluation.measure_agreement import measure_agreement
    from kseg.evaluation.scored_masks import scored_masks
    from kseg.evaluation.scores import summarise
    from kseg.inference.expected_dice import load_expected_dice
    from kseg.inference.postprocessing_choice import chosen_postprocessing
    from kseg.inference.segment_volumes import describe_segmentation, segment_cases
    from kseg.viewer.single_file import worst_cases_of

    known = None if choosing or (validating and not own_validation) else chosen_postprocessing(trained)
    applied, expected_dice = None, None
    if not validating:
        say(describe_segmentation(trained, known))
        applied, expected_dice = known, load_expected_dice(trained, known)
    segmented = segment_cases(trained, records, manifest, arguments.split, applied)
    shown = progress(segmented, f"evaluating {arguments.split}", cases)
    worst = worst_cases_of(trained, manifest) if arguments.view else None
    trying = choosing or bool(own_validation and known and not known.is_empty)
    found = _score_and_draw(shown, trained, arguments.split, expected_dice, trying, worst)
    summary, agreement = summarise(found.scores), measure_agreement(found.measures)
    scored = scored_masks(recipe.evaluation, applied, manifest.of_split(arguments.split))
    _write(trained, arguments.split, found, summary, agreement, scored)
    _tell(trained, arguments.split, found, summary)
    if worst is not None:
        _write_view(worst, trained, arguments.split)
    if choosing:
        known = applied = _choose_postprocessing(trained, found.trials)
    if own_validation and (choosing or trained.has_split_of(manifest)):
        _learn_expected_dice(trained, found, known)
    if compared := expected_and_true(found.scores):
        say(str(compared))
    if arguments.json:
        print_json(
            {
                "run": str(folder.path),
                "split": arguments.split,
                "summary": asdict(summary),
                "measure_agreement": asdict(agreement),
                "postprocessing": applied.operations if applied else {},
                "expected_dice": asdict(compared) if compared else None,
            }
        )


@dataclass
class _Found:
    """What the cases of a split have, by case; `trials` of post-processing of those that validate.

    `measures` are rows of those that are labelled as a whole: of others nobody knows how large a structure is.
    """

    scores: "dict[str, list[ClassScore]]" = field(default_factory=dict)
    spacings_mm: "dict[str, Spacing]" = field(default_factory=dict)
    measures: list[dict[str, Any]] = field(default_factory=list)
    trials: "list[list[Trial]]" = field(default_factory=list)
    pictures: int = 0


def _score_and_draw(
    segmented: "Iterable[tuple[PreparedCase, np.ndarray, list[float | None]]]",
    trained: "TrainedRun",
    split: str,
    expected_dice: "ExpectedDice | None",
    trying: bool,
    worst: "WorstCases | None",
) -> _Found:
    """Score and measure every case of a split, as `segment_cases` yields them, on its scan's own grid; draw some.

    Their masks are kept; `worst` is shown them, too. Where `trying`, operations of post-processing are tried on them.
    """
    from kseg.evaluation.case_measures import case_measures
    from kseg.evaluation.case_pictures import CasePictures
    from kseg.evaluation.expected_scores import with_expected
    from kseg.evaluation.kept_masks import keep_mask
    from kseg.evaluation.scores import score_case
    from kseg.evaluation.surface_tolerance import tolerance_of
    from kseg.inference.postprocessing_choice import try_operations
    from kseg.inference.segment_volumes import brought_back
    from kseg.inference.uncertainty import agreement_of_mask
    from kseg.viewer.scene_of_run import open_scored
    from kseg.volumes.volume_stream import stream_of_volume

    found, label_map = _Found(), trained.description.label_map
    structures = label_map.structures
    asked_mm = trained.recipe.evaluation.surface_tolerance_mm
    names = label_map.structure_names
    pictures = CasePictures(trained.folder, split, names, trained.recipe.name, structures.members)
    for case, prediction, agreement in segmented:
        own, truth = brought_back(prediction, case.image, case.truth), case.truth
        tolerance_mm = tolerance_of(asked_mm, truth.spacing_mm)
        scored = score_case(truth.array, own, truth.affine, names, tolerance_mm, structures.regions)
        scored = with_expected(scored, agreement_of_mask(own, structures.members, agreement), expected_dice)
        found.scores[case.case], found.spacings_mm[case.case] = scored, truth.spacing_mm
        if not any(score.partly_labelled for score in scored):
            found.measures += case_measures(case, own, label_map, trained.folder.mask(split, case.case).name)
        if trying:
            found.trials.append(try_operations(case.labels, prediction, structures))
        pictures.see(case.case, case.image, case.labels, prediction, scored)
        keep_mask(trained.folder, split, case.case, own, truth, label_map)
        if worst is not None:
            worst.see(case.case, open_scored(case.image, truth, stream_of_volume(replace(truth, array=own))), scored)
    found.pictures = len(pictures.drawn)
    return found


def _check(manifest: "Manifest", trained: "TrainedRun", records: Location, split: str, choosing: bool) -> None:
    """The dataset must be like the run's, its split must hold what the run has not seen, the disk take the scores."""
    from kseg.evaluation.kept_masks import check_masks

    check_writable(trained.folder.evaluation)
    check_masks(trained.folder, split, [case.case for case in manifest.cases])
    if difference := trained.description.difference(manifest):
        raise InputError(
            f"'{records}' has {difference}, as run '{trained.folder.path}' was trained on: choose other --records"
        )
    trained.check_split(manifest, records, split, choosing)
    if split != "train" and not trained.description.learned_from.train:
        say(
            f"note: run '{trained.folder.path}' is of an earlier kseg and does not say whose scans it was trained on: "
            f"make sure that the {split} cases of '{records}' are of other people"
        )


def _write(
    trained: "TrainedRun",
    split: str,
    found: _Found,
    summary: "Summary",
    agreement: "MeasureAgreement",
    scored: dict[str, Any],
) -> None:
    """Write the scores of a split, and the measures, as CSV, JSON, HTML report and for TensorBoard."""
    from kseg.evaluation.case_measures import write_case_measures
    from kseg.evaluation.score_tables import write_scalars, write_scores
    from kseg.report.run_report import write_run_report

    folder = trained.folder
    write_scores(found.scores, summary, folder.evaluation, split, trained.model_hashes(), agreement, scored)
    write_case_measures(folder.measures(split), found.measures)
    write_run_report(folder, trained.recipe, split)
    if folder.logs.is_dir():  # folds have logs of their own, the ensemble has none
        write_scalars(summary, folder.logs, split)


def _write_view(worst: "WorstCases", trained: "TrainedRun", split: str) -> None:
    """Write the page of the worst cases, and say where it is."""
    say(worst.write(trained.folder.view(split), f"{trained.recipe.name}: worst {split} cases"))


def _tell(trained: "TrainedRun", split: str, found: _Found, summary: "Summary") -> None:
    """Print the scores of a split, and where all that was written is."""
    from kseg.console.terminal import stdout
    from kseg.evaluation.score_tables import score_table
    from kseg.evaluation.surface_tolerance import warning_below_voxel

    stdout.print(score_table(summary, stdout))
    if warning := warning_below_voxel(trained.recipe.evaluation.surface_tolerance_mm, found.spacings_mm):
        say(warning)
    _, _, page = trained.folder.split_scores(split)
    written = [counted(len(found.scores), "mask"), counted(found.pictures, "picture")]
    say(f"report: {page}; beside it .csv, _measures.csv, .json, {' and '.join(written)}")
    say(f"look at them: {command_line('view')} {trained.folder.path} --split {split}")


def _choose_postprocessing(trained: "TrainedRun", trials: "Sequence[Sequence[Trial]]") -> "PostProcessing":
    """Choose a run's post-processing by its validation cases, keep it, and say what it is."""
    from kseg.inference.postprocessing_choice import choose_operations, save_postprocessing
    from kseg.inference.segment_volumes import describe_segmentation

    choice = choose_operations(trials, trained.description.label_map.structure_names, trained.model_hashes())
    save_postprocessing(choice, trained.folder.path)
    used = f"; used by {command_name('predict')} and for other splits from now on"
    say(f"{describe_segmentation(trained, choice)}{'' if choice.is_empty else used}")
    return choice


def _learn_expected_dice(trained: "TrainedRun", found: _Found, postprocessing: "PostProcessing | None") -> None:
    """Learn from a run's validation cases what their agreement says of their Dice, keep it, and say what that is.

    The Dice is that after the post-processing that masks will have; of a region that after its own alone.
    """
    from kseg.inference.expected_dice import LearnedCase, learn_expected_dice, save_expected_dice

    chosen = postprocessing.operations if postprocessing else {}
    cases = {
        case: [LearnedCase(score.agreement, score.dice, score.recall is not None) for score in of_case]
        for case, of_case in found.scores.items()
    }
    for of_case, trials in zip(cases.values(), found.trials, strict=False):  # none where nothing is applied
        for number, (operations, trial) in enumerate(zip(chosen.values(), trials, strict=True)):
            if operations:
                of_case[number] = replace(of_case[number], dice=trial[operations])
    learned = learn_expected_dice(cases, trained, postprocessing)
    save_expected_dice(learned, trained.folder.path)
    say(str(learned))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("evaluate")
    add_run_arguments(parser, "a change to how volumes are segmented and scored")
    parser.add_argument("--split", choices=SPLITS, default="test", help="cases to score (test)")
    parser.add_argument(
        "--view", action="store_true", help="write a page to look at the worst cases in, one file that can be mailed"
    )
    parser.add_argument("--records", metavar="DIR", help="another prepared dataset than the run's own")
    add_json_option(parser)
    return parser.parse(argv)


if __name__ == "__main__":
    run(main)
