"""The scene of a run: the cases of a split that has been scored, with prediction, truth and scores."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from statistics import fmean

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.text import some_of
from kseg.evaluation.case_measures import PREDICTION, TRUTH
from kseg.evaluation.score_tables import MEASURES, case_cell
from kseg.evaluation.scores import ClassScore, mean_dice
from kseg.evaluation.written_scores import scores_by_case, written_scores
from kseg.records.manifest import CaseEntry, Manifest
from kseg.records.prepared_case import PreparedCase, read_case
from kseg.runs.trained_run import TrainedRun
from kseg.storage.locations import Location
from kseg.viewer.scene import OpenCase, Scene, SceneCase, Structure, stamp, stamps_of, structures_to_show
from kseg.volumes.formats.open import open_stored
from kseg.volumes.geometry import grid_difference
from kseg.volumes.interpolation import linear
from kseg.volumes.labels import LabelMap, index_dtype
from kseg.volumes.resample import on_grid
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import VolumeStream, stream_of_file, stream_of_volume

MASKS = PREDICTION, TRUTH
UNLABELLED = "not labelled"
SHOWN = ("dice", "hd95_mm", "volume_error_percent")
"""Scores that stand beside a case."""
MAX_NAMED = 3


def scene_of_run(trained: TrainedRun, records: Location, manifest: Manifest, split: str) -> Scene:
    """Return the scene of a split's cases, as `kseg.evaluate` scored them, on each scan's own grid.

    Args:
        trained: the run.
        records: the prepared dataset that has the cases.
        manifest: its.
        split: that was scored.

    Raises:
        InputError: the split has not been scored, or by a version that kept no masks, or the dataset lacks a case.
    """
    path, _, _ = trained.folder.split_scores(split)
    with written_scores(trained.folder, split) as document:
        scores, models = scores_by_case(document), document.get("models", [])
    remedy = f"{command_line('evaluate')} {trained.folder.path} --split {split} makes them anew"
    entries = {entry.case: entry for entry in manifest.cases}
    if lost := [case for case in scores if case not in entries]:
        raise InputError(f"'{records}' no longer has {some_of(lost, MAX_NAMED)} of the scored cases: {remedy}")
    if lost := [case for case in scores if not trained.folder.mask(split, case).is_file()]:
        raise InputError(f"the masks of {some_of(lost, MAX_NAMED)} were not kept when they were scored: {remedy}")
    label_map = trained.description.label_map
    notes = []
    if models and models != trained.model_hashes():
        notes.append(f"scores and masks are those of an earlier model of the run: {remedy}")
    # A case is asked for its image and its two masks, one after the other.
    read = lru_cache(1)(lambda case: read_case(records / entries[case].file, entries[case], label_map.num_classes))
    cases = [
        scored_case(
            case,
            trained.description.channels,
            MASKS,
            partial(_open_case, trained, split, entries[case], read),
            of_case,
        )
        for case, of_case in scores.items()
    ]
    structures = structures_of_run(label_map, any(entries[case].partly_labelled for case in scores))
    stamps = stamps_of([trained.folder.mask(split, case) for case in scores]) | {path: stamp(path)}
    return Scene(f"{trained.recipe.name}: {split} cases", cases, structures, notes, stamps)


def structures_of_run(label_map: LabelMap, partly_labelled: bool) -> list[Structure]:
    """Return the structures of a run as a page shows them, by class index; with what nobody labelled, if there is such.

    Of regions, what lies in several has their names joined.
    """
    named = dict(zip(label_map.structure_names, label_map.structures.members, strict=True))
    if not partly_labelled:
        return structures_to_show(named)
    name = UNLABELLED if UNLABELLED not in named else f"{UNLABELLED} by anybody"
    *shown, last = structures_to_show({**named, name: [label_map.num_classes]})
    return [*shown, replace(last, unlabelled=True)]


def scored_case(
    name: str,
    channels: Sequence[str],
    masks: Sequence[str],
    opener: Callable[[], OpenCase],
    scores: Sequence[ClassScore],
) -> SceneCase:
    """Return a case of a scene with its scores beside it."""
    expected = [score.expected_dice for score in scores if score.expected_dice is not None]
    return SceneCase(
        name,
        tuple(channels),
        tuple(masks),
        opener,
        dice=mean_dice(scores),
        expected_dice=fmean(expected) if expected else None,
        scores=_score_rows(scores),
    )


def open_scored(image: Volume, truth: Volume, prediction: VolumeStream) -> OpenCase:
    """Return the volumes of a case on its scan's own grid, to which a resampled image is brought back."""
    own = on_grid(stream_of_volume(image), truth.shape, truth.spacing_mm, linear)
    return OpenCase(own, {PREDICTION: prediction, TRUTH: stream_of_volume(truth)})


def _open_case(trained: TrainedRun, split: str, entry: CaseEntry, read: Callable[[str], PreparedCase]) -> OpenCase:
    case = read(entry.case)
    return open_scored(case.image, case.truth, _open_prediction(trained, split, case))


def _open_prediction(trained: TrainedRun, split: str, case: PreparedCase) -> VolumeStream:
    """Return the class indices of a mask that `kseg.evaluate` wrote."""
    path, label_map = trained.folder.mask(split, case.case), trained.description.label_map
    mask = stream_of_file(open_stored(path), case.truth.affine)
    if difference := grid_difference(mask, case.truth, "its case"):
        raise InputError(f"mask '{path}' {difference}.")
    to_indices = partial(label_map.to_indices, where=f"mask '{path}'")
    return mask.mapped(to_indices, index_dtype(label_map.num_classes))


def _score_rows(scores: Sequence[ClassScore]) -> tuple[tuple[str, ...], ...]:
    headings = ("", *(MEASURES[measure][0] for measure in SHOWN))
    rows = [(score.class_name, *(case_cell(score, measure) for measure in SHOWN)) for score in scores]
    return (headings, *rows)
