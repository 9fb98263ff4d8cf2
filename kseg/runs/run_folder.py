"""The folder of a run, `saved_models/<run>/`: what is in it, and how it is opened again."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.console.validation_errors import first_invalid
from kseg.recipe.load import load_recipe
from kseg.recipe.sections import SAVED_MODELS, Recipe
from kseg.runs.data_description import DataDescription
from kseg.runs.model_file import load_segmenter
from kseg.runs.owned_files import (
    CHECKPOINTS,
    DATA_FILE,
    ENGINE_FILES,
    EPOCH,
    EVALUATION,
    FOLD,
    HISTORY_FILE,
    LOGS,
    MODEL_FILE,
    ONNX_FILE,
    PRECISION_RECALL_FILE,
    RECIPE_FILE,
    REPORT_FILE,
    RTX_FILES,
    RUN,
    STEP,
    TIMINGS_FILE,
    mask_file,
    measures_file,
    picture_file,
    split_files,
    unusable,
    view_file,
)
from kseg.runs.package import is_package, unpacked
from kseg.storage.files import whole_folder
from kseg.storage.locations import local
from kseg.storage.ownership import mark

if TYPE_CHECKING:
    from kseg.nn.segmenter import Segmenter

CHECKPOINT_NAME = re.compile(rf"{EPOCH}\d{{6,}}({STEP}\d{{6,}})?")
FOLD_NAME = re.compile(rf"{FOLD}([1-9]\d*)")


class EngineFiles(NamedTuple):
    """An engine; what it was built from, in ONNX's format; where it may run, and the hashes of what belongs to it."""

    plan: Path
    onnx: Path
    description: Path


@dataclass(frozen=True)
class RunFolder:
    """Names of everything in a run's folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / RECIPE_FILE

    @property
    def data_description(self) -> Path:
        """What a scan must have, and what its labels are (`DataDescription`)."""
        return self.path / DATA_FILE

    @property
    def model(self) -> Path:
        """The model that training has kept (`kseg.training.checkpoints`), in Keras' format."""
        return self.path / MODEL_FILE

    @property
    def onnx(self) -> Path:
        """The model in ONNX's format."""
        return self.path / ONNX_FILE

    @property
    def engine(self) -> EngineFiles:
        """The model as TensorRT built it for one kind of GPU."""
        return EngineFiles(*(self.path / name for name in ENGINE_FILES))

    @property
    def rtx(self) -> EngineFiles:
        """The model as TensorRT for RTX built it for several kinds of GPU."""
        return EngineFiles(*(self.path / name for name in RTX_FILES))

    @property
    def timings(self) -> Path:
        """What TensorRT measured when it built an engine; it makes the next build faster."""
        return self.path / TIMINGS_FILE

    @property
    def saved_models(self) -> list[Path]:
        """The SavedModels that are there, TF Serving's versions 1, 2, ...; the newest last."""
        return sorted((path for path in self.path.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def saved_checkpoints(self) -> list[Path]:
        """The checkpoints that are there, the newest last."""
        return sorted(path for path in self.checkpoints.glob(f"{EPOCH}*") if CHECKPOINT_NAME.fullmatch(path.name))

    def checkpoint(self, epochs: int, steps: int = 0) -> Path:
        """The checkpoint after so many epochs, and so many steps of the next."""
        return self.checkpoints / (f"{EPOCH}{epochs:06d}" + (f"{STEP}{steps:06d}" if steps else ""))

    @property
    def logs(self) -> Path:
        """TensorBoard's folder."""
        return self.path / LOGS

    @property
    def history(self) -> Path:
        """Loss and scores, a row an epoch."""
        return self.path / HISTORY_FILE

    @property
    def precision_recall(self) -> Path:
        """Precision and recall of each class by threshold, on the validation patches, when last looked at."""
        return self.path / PRECISION_RECALL_FILE

    @property
    def report(self) -> Path:
        """What training reports at its end, and within which bounds; there is none before."""
        return self.path / REPORT_FILE

    @property
    def is_under_way(self) -> bool:
        """Whether a training goes on here: it has not come to its end, or has been taken up again since."""
        if not (saved := self.saved_checkpoints):
            return False
        try:
            ended = json.loads(self.report.read_bytes())["report"]["epochs"]
            return saved[-1].name > self.checkpoint(int(ended)).name
        except (OSError, ValueError, LookupError, TypeError):
            return True

    @property
    def evaluation(self) -> Path:
        """Scores and pictures of whole volumes."""
        return self.path / EVALUATION

    def split_scores(self, split: str) -> tuple[Path, Path, Path]:
        """A split's scores as JSON, as a table (CSV) and as a page (HTML)."""
        scores, table, page = (self.evaluation / name for name in split_files(split))
        return scores, table, page

    def measures(self, split: str) -> Path:
        """The measures of a split's cases, in truth and prediction, as a table (CSV)."""
        return self.evaluation / measures_file(split)

    def picture(self, split: str, case: str) -> Path:
        """Where a case is drawn, if it is."""
        return self.evaluation / picture_file(split, case)

    def mask(self, split: str, case: str) -> Path:
        """Where the mask of a case is that was scored."""
        return self.evaluation / mask_file(split, case)

    def view(self, split: str) -> Path:
        """Where the page is to look at the worst cases of a split in."""
        return self.evaluation / view_file(split)

    def fold(self, number: int) -> "RunFolder":
        """A fold of a cross-validation, counted from 1."""
        return RunFolder(self.path / f"{FOLD}{number}")

    @property
    def fold_numbers(self) -> list[int]:
        """The folds that are there, in order."""
        return sorted(int(found[1]) for entry in self.path.iterdir() if (found := FOLD_NAME.fullmatch(entry.name)))

    def load_recipe(self) -> Recipe:
        """Read the resolved recipe. Where an earlier version wrote it, it says what that did."""
        recipe = load_recipe(self.recipe)
        if "volume_calibration" in recipe.train.model_fields_set:
            return recipe
        train = recipe.train.model_copy(update={"volume_calibration": "never"})
        return recipe.model_copy(update={"train": train})

    def load_data_description(self) -> DataDescription:
        """Read channels and labels.

        Raises:
            InputError: the file is missing, or not one that training wrote.
        """
        try:
            return DataDescription.model_validate_json(self.data_description.read_bytes())
        except FileNotFoundError:
            raise unusable(self.data_description) from None
        except ValidationError as error:
            raise unusable(self.data_description, first_invalid(error)) from None

    def load_model(self) -> "Segmenter":
        """Load the kept model in Keras' safe mode, in float32, and check it against the description.

        Raises:
            InputError: the file is damaged, or is not a model of kseg's for these channels and labels.
        """
        return load_segmenter(self.model, self.load_data_description()).in_float32()

    def create(self, recipe_text: str, description: DataDescription) -> None:
        """Make the folder, new or empty, with the files that say what the run is."""
        self.path.mkdir(parents=True, exist_ok=True)
        mark(self.path, RUN)
        self.recipe.write_text(recipe_text, encoding="utf-8")
        self.data_description.write_text(
            json.dumps(description.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8"
        )

    def take_model(self, trained: "RunFolder", recipe_text: str) -> None:
        """Make the folder, anew, a run with another's model and a recipe that differs in how it is evaluated.

        Raises:
            InputError: something else than a run is there.
        """
        with whole_folder(self.path, RUN) as path:
            RunFolder(path).create(recipe_text, trained.load_data_description())
            shutil.copyfile(trained.model, RunFolder(path).model)


def open_run(run: str) -> RunFolder:
    """Return the folder of a trained run, given its name or its path, or that of its package.

    Raises:
        InputError: there is no such run, or it is not whole.
    """
    if is_package(run):
        folder = RunFolder(unpacked(local(run)))
        if not folder.recipe.is_file():
            raise InputError(f"package '{run}' holds the {len(folder.fold_numbers)} folds of a run: give one model")
        return folder
    candidates = (local(run), SAVED_MODELS / run)
    found = next((RunFolder(path) for path in candidates if RunFolder(path).recipe.is_file()), None)
    if found is None:
        if run.endswith(".toml"):
            raise InputError(f"'{run}' is a recipe, not a run: give the name that stands in it")
        if in_folds := next((path for path in candidates if path.is_dir() and RunFolder(path).fold_numbers), None):
            folds = RunFolder(in_folds).fold_numbers
            raise InputError(
                f"run '{run}' has {counted(len(folds), 'fold')}: name one of them, as {run}/{FOLD}{folds[0]}"
            )
        raise InputError(
            f"there is no run '{run}' (looked for {RECIPE_FILE} in it and in {SAVED_MODELS / run}): train it first"
        )
    for path in (found.data_description, found.model):
        if not path.is_file():
            raise InputError(
                f"run '{run}' is not trained yet ('{path}' is missing): go on with {command_line('train')} --resume"
            )
    return found
