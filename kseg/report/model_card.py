"""The model card beside a SavedModel: what it is for, what it was made from, how good it is, how to call it."""

from pathlib import Path

from kseg.console.errors import InputError
from kseg.deployment.saved_model import Difference
from kseg.deployment.serving.model_info import versions
from kseg.deployment.serving.pipeline import Pipeline
from kseg.evaluation.scored_masks import scored_masks
from kseg.records.manifest import Manifest, load_manifest
from kseg.report.page import write_page
from kseg.report.run_report import read_scores
from kseg.runs.owned_files import CARD
from kseg.runs.trained_run import TrainedRun

NO_LICENCE = "not stated; ask whoever trained it before you pass it on"


def write_model_card(
    run: TrainedRun, pipeline: Pipeline, saved_model: Path, name: str, difference: Difference, licence: str | None
) -> Path:
    """Write `MODEL_CARD.md` into the run's folder, about one version of its SavedModel, and return where it is."""
    manifest, missing = _manifest(run)
    models = run.model_hashes()
    tested = manifest.of_split("test") if manifest else None
    scored = scored_masks(run.recipe.evaluation, pipeline.postprocessing, tested)
    try:
        scores = read_scores(run.folder, "test", models, scored)
    except InputError:
        scores = None
    chosen = pipeline.postprocessing
    facts = pipeline.facts() | {
        "regions": pipeline.label_map.regions,
        "scales": pipeline.scales_in_words(),
        "spacing_mm": [f"{mm:g}" for mm in pipeline.spacing_mm],
        "overlap": f"{pipeline.overlap:g}",
        "postprocessing": str(chosen) if chosen else "none",
    }
    path = run.folder.path / CARD
    write_page(
        "model_card.md",
        path,
        listed=True,
        name=name,
        model_version=saved_model.name,
        folder=mounted(run.folder.path),
        classes=pipeline.label_map.structure_names,
        **facts,
        folds=run.is_cross_validation,
        splits=_splits(manifest, run.is_cross_validation) if manifest else {},
        source=Path(manifest.source).name if manifest else "",
        missing=missing,
        scores=scores,
        licence=licence or NO_LICENCE,
        versions=versions(),
        hashes=models,
        difference=difference,
    )
    return path


def mounted(folder: Path) -> str:
    """Return a folder as docker's `-v` takes it within double quotes in a shell: its full path."""
    path = folder.as_posix()
    for letter in ("\\", "$", "`", '"'):
        path = path.replace(letter, f"\\{letter}")
    return path if folder.is_absolute() else f"$PWD/{path}"


def _manifest(run: TrainedRun) -> tuple[Manifest | None, str]:
    """The manifest of the dataset that the run was trained on, or None and why not."""
    try:
        manifest = load_manifest(run.recipe.records_folder)
    except InputError as error:
        return None, str(error)
    if run.description.difference(manifest):
        return None, f"'{run.recipe.data.records}' holds another one"
    if not run.has_split_of(manifest):
        return None, f"'{run.recipe.data.records}' has another split now"
    return manifest, ""


def _splits(manifest: Manifest, folds: bool) -> dict[str, tuple[int, int]]:
    """Subjects and cases of each split; folds share what is not to test."""
    learnt = [("train", "val")] if folds else [("train",), ("val",)]
    groups = {" and ".join(splits): splits for splits in (*learnt, ("test",))}
    cases = {name: [case for split in splits for case in manifest.of_split(split)] for name, splits in groups.items()}
    return {name: (len({case.subject for case in found}), len(found)) for name, found in cases.items()}
