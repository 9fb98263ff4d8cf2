"""The folder of a run, `saved_models/<run>/`: what is in it, and how it is opened again."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe, read_toml
from kseg.recipe.sections import Recipe
from kseg.recipe.types import Spacing
from kseg.records.intensity import Scale
from kseg.storage.files import whole_folder
from kseg.storage.listing import LISTING, changed_files
from kseg.storage.locations import Location
from kseg.storage.ownership import Kind, is_kind, mark
from kseg.volumes.labels import LabelMap

if TYPE_CHECKING:
    from kseg.nn.segmenter import Segmenter
    from kseg.records.manifest import Manifest


class Contract(BaseModel):
    """`data.json`: what a volume must have to be segmented by this run's model, and what comes out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, int]
    scales: tuple[Scale, ...] = ()
    """How each channel is normalised; empty for `"zscore"` throughout."""
    spacing_mm: Spacing = ()
    """To which a volume is resampled first; empty where it keeps its own."""
    val_subjects: tuple[str, ...] = ()
    """Subjects on whom a fold validated, instead of the dataset's own; empty where the run is no fold."""

    @property
    def label_map(self) -> LabelMap:
        """Names and original values of the classes, background first."""
        return LabelMap(tuple(self.labels), tuple(self.labels.values()))

    def difference(self, manifest: "Manifest") -> str:
        """Say in what a prepared dataset's channels, labels or spacing are not the run's; empty where they are."""
        theirs, ours = (
            {
                "channels": ", ".join(one.channels),
                "labels": ", ".join(f"{value} {name}" for name, value in one.label_map.to_json().items()),
                "data.spacing_mm": str(list(one.spacing_mm)),
            }
            for one in (manifest, self)
        )
        differing = (f"{key} '{theirs[key]}' instead of '{ours[key]}'" for key in ours if theirs[key] != ours[key])
        return next(differing, "")


CARD, MODELS, BATCHING = "MODEL_CARD.md", "models.config", "batching.config"
"""What an export writes beside the SavedModels: what they are, and TF Serving's configurations."""
CHECKPOINT_FILES = ("model.keras", "state.json", "sha256.json")
SAVED_MODEL_FILES = ("*.pb", "*.pb.tmp*", "assets/*", "assets.extra/*", "variables/*", "variables/*/*")
MADE_OF_ONE_OR_MORE = (
    *("postprocessing.json", "timing.cache", CARD, MODELS, BATCHING, LISTING),
    *(
        f"evaluation/{split}{rest}"
        for split in ("train", "val", "test")
        for rest in (".json", ".csv", ".html", "-*.png")
    ),
    *(f"#/{file}" for file in SAVED_MODEL_FILES),
)
"""What is made of a run, or of the folds of one together."""
FILES = (
    *("recipe.toml", "data.json", "model.keras", "history.csv", "precision_recall.csv", "report.json", "cell.json"),
    *("model.onnx", "model.engine", "engine.onnx", "engine.json"),
    *(f"checkpoints/epoch-#{within}/{file}" for within in ("", "-step-#") for file in CHECKPOINT_FILES),
    *("logs/events.out.tfevents.*", "logs/train/events.out.tfevents.*", "logs/validation/events.out.tfevents.*"),
    *MADE_OF_ONE_OR_MORE,
)
NAME_ANOTHER = "choose another name=..."


def _was_a_run(folder: Location) -> bool:
    """Whether a folder without a marker is a run of an earlier version, whose recipe may not be read any more."""
    try:
        recipe = read_toml(Path(str(folder)) / "recipe.toml")
        contract = json.loads((folder / "data.json").read_bytes())
    except (InputError, OSError, ValueError):
        return False
    return {"name", "data", "train"} <= recipe.keys() and isinstance(contract, dict) and "labels" in contract


def _were_folds(folder: Location) -> bool:
    folds = [path for path in folder.glob("fold-*") if path.is_dir()]
    return bool(folds) and not (folder / "recipe.toml").exists() and all(is_kind(fold, RUN) for fold in folds)


RUN = Kind("run", FILES, NAME_ANOTHER, _was_a_run, changed=changed_files)
FOLDS = Kind(
    "cross-validation",
    (*MADE_OF_ONE_OR_MORE, *(f"fold-#/{file}" for file in FILES)),
    NAME_ANOTHER,
    _were_folds,
    changed=changed_files,
)
# These two lie within a run, under names of kseg's own, and had no marker in earlier versions.
CHECKPOINT = Kind("checkpoint", CHECKPOINT_FILES, "remove it", lambda _: True)
SAVED_MODEL = Kind("SavedModel", SAVED_MODEL_FILES, "remove it", lambda _: True)
EPOCH = re.compile(r"epoch-\d{6,}(-step-\d{6,})?")


@dataclass(frozen=True)
class RunFolder:
    """Names of everything in a run's folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def contract(self) -> Path:
        """Channels and labels."""
        return self.path / "data.json"

    @property
    def model(self) -> Path:
        """The best model by validation Dice, in Keras' format."""
        return self.path / "model.keras"

    @property
    def onnx(self) -> Path:
        """The model in ONNX's format."""
        return self.path / "model.onnx"

    @property
    def engine(self) -> Path:
        """The model as TensorRT built it for one kind of GPU."""
        return self.path / "model.engine"

    @property
    def engine_source(self) -> Path:
        """What the engine was built from, in ONNX's format."""
        return self.path / "engine.onnx"

    @property
    def engine_description(self) -> Path:
        """Where the engine may run, and the hashes of what belongs to it."""
        return self.path / "engine.json"

    @property
    def saved_models(self) -> list[Path]:
        """The SavedModels that are there, TF Serving's versions 1, 2, ...; the newest last."""
        return sorted((path for path in self.path.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def saved_checkpoints(self) -> list[Path]:
        """The checkpoints that are there, the newest last."""
        return sorted(path for path in self.checkpoints.glob("epoch-*") if EPOCH.fullmatch(path.name))

    @property
    def logs(self) -> Path:
        """TensorBoard's folder."""
        return self.path / "logs"

    @property
    def history(self) -> Path:
        """Loss and scores, a row an epoch."""
        return self.path / "history.csv"

    @property
    def precision_recall(self) -> Path:
        """Precision and recall of each class by threshold, on the validation patches, when last looked at."""
        return self.path / "precision_recall.csv"

    @property
    def report(self) -> Path:
        """What training reports at its end, and within which bounds; there is none before."""
        return self.path / "report.json"

    @property
    def evaluation(self) -> Path:
        """Scores and pictures of whole volumes."""
        return self.path / "evaluation"

    def load_recipe(self) -> Recipe:
        """Read the resolved recipe."""
        return load_recipe(self.recipe)

    def load_contract(self) -> Contract:
        """Read channels and labels.

        Raises:
            InputError: the file is missing, or not one that training wrote.
        """
        try:
            contract = Contract.model_validate_json(self.contract.read_bytes())
            contract.label_map  # noqa: B018 - checks the labels
        except FileNotFoundError:
            raise InputError(f"'{self.contract}' is missing: train the run anew with --force") from None
        except ValidationError as error:
            problem = error.errors()[0]
            raise InputError(f"'{self.contract}' is damaged ({problem['msg']}): train again") from None
        return contract

    def load_model(self) -> "Segmenter":
        """Load the best model in Keras' safe mode, in float32, and check it against the contract.

        Raises:
            InputError: the file is damaged, or is not a model of kseg's for these channels and labels.
        """
        return load_segmenter(self.model, self.load_contract()).in_float32()

    def create(self, recipe_text: str, contract: Contract) -> None:
        """Make the folder, new or empty, with the files that say what the run is."""
        self.path.mkdir(parents=True, exist_ok=True)
        mark(self.path, RUN)
        self.recipe.write_text(recipe_text, encoding="utf-8")
        self.contract.write_text(json.dumps(contract.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")

    def take_model(self, trained: "RunFolder", recipe_text: str) -> None:
        """Make the folder, anew, a run with another's model and a recipe that differs in how it is evaluated.

        Raises:
            InputError: something else than a run is there.
        """
        with whole_folder(self.path, RUN) as path:
            RunFolder(path).create(recipe_text, trained.load_contract())
            shutil.copyfile(trained.model, RunFolder(path).model)


def open_run(run: str) -> RunFolder:
    """Return the folder of a trained run, given its name or its path.

    Raises:
        InputError: there is no such run, or it is not whole.
    """
    candidates = (Path(run), Path("saved_models") / run)
    folder = next((RunFolder(path) for path in candidates if RunFolder(path).recipe.is_file()), None)
    if folder is None:
        if run.endswith(".toml"):
            raise InputError(f"'{run}' is a recipe, not a run: give the name that stands in it")
        raise InputError(
            f"there is no run '{run}' (looked for recipe.toml in it and in saved_models/{run}): train it first"
        )
    for path in (folder.contract, folder.model):
        if not path.is_file():
            raise InputError(f"run '{run}' is not trained yet ('{path}' is missing): go on with kseg.train --resume")
    return folder


def load_segmenter(path: Path, contract: Contract, compiled: bool = False) -> "Segmenter":
    """Load a model file in Keras' safe mode and check that it fits channels and labels.

    Raises:
        InputError: the file is damaged, or is not a model of kseg's for these channels and labels.
    """
    import zipfile

    import keras

    from kseg.nn.segmenter import Segmenter

    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # what Keras raises for damage depends on where it is
                raise zipfile.BadZipFile(f"its part '{damaged}' is damaged")
        model = keras.saving.load_model(path, compile=compiled, safe_mode=True)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OSError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise InputError(f"model '{path}' cannot be loaded ({reason}): train again or restore the file") from None
    if not isinstance(model, Segmenter):
        raise InputError(f"model '{path}' is a {type(model).__name__}, not one that kseg.train wrote")
    channels, classes = model.network.input_shape[-1], model.network.output_shape[-1]
    if (channels, classes) != (len(contract.channels), contract.label_map.num_classes):
        raise InputError(
            f"model '{path}' has {channels} channels and {classes} classes, the run's data.json "
            f"{len(contract.channels)} and {len(contract.labels)}: they do not belong together"
        )
    return model
