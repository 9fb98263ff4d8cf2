"""Which files kseg writes into the folder of a run, and so may delete there."""

import json
import os
from pathlib import Path

from kseg.console.errors import InputError
from kseg.recipe.load import read_toml
from kseg.recipe.types import SPLITS
from kseg.storage.listing import LISTING, changed_files, listed_files
from kseg.storage.locations import Location
from kseg.storage.ownership import PARTIAL, Kind, is_kind

RECIPE_FILE, DATA_FILE, MODEL_FILE = "recipe.toml", "data.json", "model.keras"
"""What makes a folder a run: its choices, what its model takes and gives, the model."""
HISTORY_FILE, PRECISION_RECALL_FILE, REPORT_FILE = "history.csv", "precision_recall.csv", "report.json"
"""What training writes beside the model."""
SWEEP_SCORES_FILE = "cell.json"
"""The scores that a sweep leaves in a run of its own; the name is of earlier versions."""
POSTPROCESSING_FILE, EXPECTED_DICE_FILE, TIMINGS_FILE = "postprocessing.json", "expected_dice.json", "timing.cache"
CARD, MODELS, BATCHING = "MODEL_CARD.md", "models.config", "batching.config"
"""What an export writes beside the SavedModels: what they are, and TF Serving's configurations."""
PACKAGE = ".kseg"
"""How the name of the run in one file ends (`kseg.runs.package`): owned if it is listed, since others' end alike."""
ONNX_FILE = "model.onnx"
ENGINE_FILES, RTX_FILES = ("model.engine", "engine.onnx", "engine.json"), ("model.rtx", "rtx.onnx", "rtx.json")
"""What an export writes beside the model: the model itself in ONNX's format; what belongs to engines of two kinds."""
CHECKPOINT_FILES = (MODEL_FILE, "state.json", "sha256.json")
SAVED_MODEL_FILES = ("*.pb", "*.pb.tmp*", "assets/*", "assets.extra/*", "variables/*", "variables/*/*")
CHECKPOINTS, LOGS, EVALUATION = "checkpoints", "logs", "evaluation"
"""Folders within a run's."""
CURVES = ("train", "validation", "alpha", "beta")
"""Folders within the logs: TensorBoard draws a line for each."""
FOLD, EPOCH, STEP = "fold-", "epoch-", "-step-"
"""What stands before numbers: in the name of a fold's folder, and in those of checkpoints."""


def split_files(split: str) -> tuple[str, str, str]:
    """Names of the scores of a split, as JSON, as a table and as a page."""
    return f"{split}.json", f"{split}.csv", f"{split}.html"


def measures_file(split: str) -> str:
    """Name of the measures of a split's cases."""
    return f"{split}_measures.csv"


def picture_file(split: str, case: str) -> str:
    """Name of the picture of a case."""
    return f"{split}-{case}.png"


def mask_file(split: str, case: str) -> str:
    """Name of the mask of a case, on the scan's own grid."""
    return f"{split}-{case}.nii.gz"


def view_file(split: str) -> str:
    """Name of the page to look at the worst cases in."""
    return f"{split}_view.html"


MADE_OF_ONE_OR_MORE = (
    *(POSTPROCESSING_FILE, EXPECTED_DICE_FILE, TIMINGS_FILE, CARD, MODELS, BATCHING, LISTING),
    *(
        f"{EVALUATION}/{name}"
        for split in SPLITS
        for name in (*split_files(split), measures_file(split), view_file(split))
    ),
    *(f"{EVALUATION}/{name(split, '*')}" for split in SPLITS for name in (picture_file, mask_file)),
    *(f"#/{file}" for file in SAVED_MODEL_FILES),
)
"""What is made of a run, or of the folds of one together."""
FILES = (
    *(RECIPE_FILE, DATA_FILE, MODEL_FILE, HISTORY_FILE, PRECISION_RECALL_FILE, REPORT_FILE, SWEEP_SCORES_FILE),
    *(ONNX_FILE, *ENGINE_FILES, *RTX_FILES),
    *(f"{CHECKPOINTS}/{EPOCH}#{within}/{file}" for within in ("", f"{STEP}#") for file in CHECKPOINT_FILES),
    *(f"{LOGS}/{of}events.out.tfevents.*" for of in ("", *(f"{curves}/" for curves in CURVES))),
    *MADE_OF_ONE_OR_MORE,
)
NAME_ANOTHER = "choose another name=..."


def unusable(path: Path, damage: object = None) -> InputError:
    """Return the error about a file of a run that is missing, or in which there is some damage."""
    what = "is missing" if damage is None else f"is damaged ({damage})"
    return InputError(f"'{path}' {what}: train the run anew with --force")


def _was_a_run(folder: Location) -> bool:
    """Whether a folder without a marker is a run of an earlier version, whose recipe may not be read any more."""
    try:
        recipe = read_toml(Path(str(folder)) / RECIPE_FILE)
        description = json.loads((folder / DATA_FILE).read_bytes())
    except (InputError, OSError, ValueError):
        return False
    return {"name", "data", "train"} <= recipe.keys() and isinstance(description, dict) and "labels" in description


def _were_folds(folder: Location) -> bool:
    folds = [path for path in folder.glob(f"{FOLD}*") if path.is_dir()]
    return bool(folds) and not (folder / RECIPE_FILE).exists() and all(is_kind(fold, RUN) for fold in folds)


def _packages(folder: Location) -> set[str]:
    """Packages that kseg wrote into a run or a fold of it, and those that it was about to write when it was killed."""
    root = Path(str(folder))
    whole = {name for name in listed_files(folder) if name.endswith(PACKAGE)}
    begun = (path.with_name(path.name.removeprefix(PARTIAL)) for path in root.rglob(f"{PARTIAL}*{PACKAGE}"))
    return whole | {path.relative_to(root).as_posix() for path in begun if not os.path.lexists(path)}


def _changed(folder: Location) -> set[str]:
    """What somebody changed: of files that are listed, and of masks, which bear their hash."""
    from kseg.volumes.mask_hash import is_as_written

    root = Path(str(folder))
    masks = [mask for split in SPLITS for mask in root.glob(f"**/{EVALUATION}/{mask_file(split, '*')}")]
    return changed_files(folder) | {path.relative_to(root).as_posix() for path in masks if not is_as_written(path)}


RUN = Kind("run", FILES, NAME_ANOTHER, _was_a_run, listed=_packages, changed=_changed)
FOLDS = Kind(
    "cross-validation",
    (*MADE_OF_ONE_OR_MORE, *(f"{FOLD}#/{file}" for file in FILES)),
    NAME_ANOTHER,
    _were_folds,
    listed=_packages,
    changed=_changed,
)
# These two lie within a run, under names of kseg's own, and had no marker in earlier versions.
CHECKPOINT = Kind("checkpoint", CHECKPOINT_FILES, "remove it", lambda _: True)
SAVED_MODEL = Kind("SavedModel", SAVED_MODEL_FILES, "remove it", lambda _: True)
