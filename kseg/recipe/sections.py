"""The sections of a recipe and their keys, each with its default and a line of description.

Nothing here imports TensorFlow.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from kseg.recipe.augmentation import Augmentation
from kseg.recipe.source_name import fit_name, source_name
from kseg.recipe.types import (
    MAX_MUSCLE_SCALE,
    MIN_MUSCLE_SCALE,
    PLANNED,
    Axis,
    Codes,
    Labels,
    LabelValue,
    Name,
    NoAxis,
    Normalisation,
    Part,
    Rates,
    Regions,
    Section,
    Seed,
    Sizes,
    Spacing,
    ZeroToBelowOne,
    ZeroToOne,
)
from kseg.storage.locations import Location, location_of

TERMS = ("parametric_tversky", "tversky", "focal_tversky", "dice", "cross_entropy")
"""Of the loss: the keys of its section that are weights."""
SAVED_MODELS = Path("saved_models")
"""Folder of all runs, in the current folder."""


class Data(Section):
    """Where the scans are, and how they are split."""

    source: str = Field(
        "phantom", description="'phantom', or the path of an nnU-Net or Decathlon folder, or a CSV manifest"
    )
    records: str = Field(
        "tfrecords/phantom",
        description="folder of the prepared shards and their manifest.json, or of an object store, s3://bucket/folder; "
        "by default tfrecords/ and the source's name",
    )
    labels: Labels = Field(
        {},
        description="label name -> value in the files, which a CSV manifest needs; 'ignore' is what counts nowhere",
    )
    classes: tuple[str, ...] = Field(
        (),
        description="foreground classes to learn, by name; the others become background; empty for all",
        examples=[["soleus"]],
    )
    regions: Regions = Field(
        {},
        description="structures to learn instead of the classes: region name -> names of its labels; they may overlap, "
        "but tell the labels apart",
    )
    codes: Codes = Field(
        {},
        description="class or region -> its code in DICOM SEG: value, scheme and meaning; others are coded as tissue",
    )
    annotated_slices: Axis | NoAxis = Field(
        "none",
        description="axis across which some slices alone are annotated: those without foreground are ignored; 'none' "
        "where all are",
    )
    empty_slices: LabelValue | None = Field(
        None,
        description="value in the files that marks an annotated slice without foreground, whose voxels are background",
    )
    spacing_mm: Spacing = Field(
        (), description="voxels' size along x, y, z to which scans are resampled; empty for each scan's own"
    )
    assume_spacing_mm: Spacing = Field(
        (), description="voxels' size along a file's own axes i, j, k, where the file does not state it; empty: refused"
    )
    val_fraction: ZeroToBelowOne = Field(0.15, description="share of the subjects without a split that validate")
    test_fraction: ZeroToBelowOne = Field(0.15, description="share of the subjects without a split that test")
    memory_gb: Annotated[float, Field(ge=1)] = Field(4.0, description="memory for which patch and batch are planned")
    normalisation: tuple[Normalisation, ...] | None = Field(
        None,
        description="for each channel 'zscore', by the volume's own range, 'ct', by that of all foregrounds, or "
        "'log', decibels, for ultrasound that no device has compressed",
        json_schema_extra=PLANNED,
    )

    @model_validator(mode="after")
    def _empty_among_annotated(self) -> "Data":
        if self.empty_slices is not None and self.annotated_slices == "none":
            raise ValueError("empty_slices needs annotated_slices, the axis across which slices are annotated")
        return self

    @model_validator(mode="after")
    def _some_train(self) -> "Data":
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must leave subjects to train on (sum below 1)")
        return self


class Phantom(Section):
    """The synthetic leg that `data.source = "phantom"` prepares."""

    subjects: Annotated[int, Field(ge=3)] = Field(12, description="number of synthetic subjects")
    shape: Sizes = Field((64, 64, 96), description="voxels along x, y, z")
    # Below the 0.5 of `kseg.phantom`: a recipe that says nothing is as easy as that of the demo.
    difficulty: ZeroToOne = Field(0.3, description="0 clear, 1 as hard as freehand ultrasound gets")
    muscle_scale: Annotated[float, Field(ge=MIN_MUSCLE_SCALE, le=MAX_MUSCLE_SCALE)] = Field(
        1.0, description="size of the muscles along each axis; 1 is natural, their share of the volume is its cube"
    )


class Patches(Section):
    """What the network sees in one step."""

    size: Sizes = Field((96, 96, 96), description="voxels of a patch along x, y, z", json_schema_extra=PLANNED)
    batch_size: PositiveInt = Field(
        1, description="patches of a step, over all replicas together", json_schema_extra=PLANNED
    )
    foreground_oversampling: ZeroToOne = Field(
        0.5, description="share of the patches centred on a foreground voxel", json_schema_extra=PLANNED
    )
    flip_axes: tuple[Axis, ...] = Field(
        (),
        description="axes flipped at random; none whose two sides differ; planned: x, unless labels name sides",
        json_schema_extra=PLANNED,
    )


class Network(Section):
    """The network; what a preset sets may be changed key by key."""

    preset: Literal["midl2021", "kseg"] = Field(
        "kseg", description="'kseg', the best masks in a given time, or 'midl2021', the paper's network"
    )
    filters: tuple[PositiveInt, ...] | None = Field(None, description="filters per level; its length is the depth")
    dilation_rates: Rates | None = Field(
        None, description="rates at which a kernel is applied, or a list of them per level"
    )
    share_kernel: bool | None = Field(None, description="one kernel for all rates, or one each")
    pooling: tuple[Sizes, ...] | None = Field(
        None,
        description="pooling per level and axis, e.g. [[2, 2, 1], [2, 2, 2]]; with own filters the preset's",
        json_schema_extra=PLANNED,
    )
    skip: Literal["none", "add"] | None = Field(None, description="'add' adds encoder maps to the decoder's")
    norm: Literal["batch", "instance", "group"] | None = Field(
        None, description="statistics over the batch, or each sample's by map, or by branch"
    )
    norm_momentum: ZeroToBelowOne | None = Field(
        None, description="share of the norm's moving statistics that a step keeps"
    )
    negative_slope: ZeroToOne | None = Field(None, description="0 for ReLU, above for leaky ReLU")
    residual: bool | None = Field(None, description="a second layer on each level, added to the first")
    finest_residual: bool | None = Field(None, description="on the finest level too, where it costs most")
    stem_stride: Sizes | PositiveInt | None = Field(
        None, description="work at a resolution so many times lower, per axis or for all"
    )
    dropout: ZeroToBelowOne | None = Field(None, description="share of the decoder's maps that a step leaves out")
    implementation: Literal["auto", "direct", "reuse"] | None = Field(
        None, description="how the dilated convolutions run"
    )

    def overrides(self) -> dict[str, Any]:
        """Return the keys that differ from the preset, as `kseg.build_network` takes them."""
        return self.model_dump(exclude={"preset"}, exclude_none=True)


class Loss(Section):
    """The loss is the sum of the terms below, each times its weight; a weight of 0 leaves a term out.

    The first five are the terms. Where a recipe gives a weight above 0 to any, those that it does not name are left
    out: the defaults are those of a recipe that says nothing.
    """

    parametric_tversky: NonNegativeFloat = Field(
        0.0, description="weight of the Tversky loss with learned alpha and beta"
    )
    tversky: NonNegativeFloat = Field(0.0, description="weight of the Tversky loss with fixed alpha and beta")
    focal_tversky: NonNegativeFloat = Field(0.0, description="weight of the focal Tversky loss, alpha and beta fixed")
    dice: NonNegativeFloat = Field(1.0, description="weight of the Dice loss; 0 where another term is given")
    cross_entropy: NonNegativeFloat = Field(
        1.0, description="weight of the cross-entropy; 0 where another term is given"
    )
    alpha: ZeroToOne = Field(
        0.5, description="penalty of false positives in `tversky` and `focal_tversky`; beta is 1 - alpha"
    )
    gamma: Annotated[float, Field(ge=1, le=10)] = Field(
        4 / 3, description="of `focal_tversky`: 1 - index is raised to 1 / gamma"
    )
    mode: Literal["joint", "adversarial"] = Field(
        "joint", description="alpha and beta are learned by descent with the network, or by ascent against it"
    )
    learning_rate_multiplier: PositiveFloat = Field(
        1.0, description="how many times faster than the network alpha and beta are learned"
    )
    min_weight: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="bound below which neither alpha nor beta is learned"
    )
    prior: NonNegativeFloat = Field(
        0.0, description="pull of the learned alpha and beta to 0.5: times -log(4 alpha beta)"
    )

    @model_validator(mode="before")
    @classmethod
    def _only_given_terms(cls, given: Any) -> Any:
        if isinstance(given, dict) and any(given.get(term) for term in TERMS):
            return dict.fromkeys(TERMS, 0.0) | given
        return given

    @model_validator(mode="after")
    def _some_term(self) -> "Loss":
        if not any(getattr(self, term) for term in TERMS):
            raise ValueError("at least one term must have a weight above 0")
        return self


class Train(Section):
    """How long and how fast to learn."""

    epochs: PositiveInt = Field(
        100,
        description="epochs at most; planned: 100, or as many as fit into max_minutes",
        json_schema_extra=PLANNED,
    )
    steps_per_epoch: PositiveInt = Field(
        50, description="steps of an epoch; validation and checkpoint follow each, or some if max_minutes counts"
    )
    max_minutes: NonNegativeFloat = Field(
        0.0, description="wall-clock bound of the training, from the end of its first step, which compiles; 0 for none"
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adamw", description="Keras optimiser (sgd: Nesterov 0.9)")
    learning_rate: PositiveFloat = Field(1e-3, description="learning rate at its peak")
    schedule: Literal["constant", "cosine", "polynomial"] = Field(
        "cosine", description="decay over the run, by steps or time"
    )
    weight_decay: NonNegativeFloat = Field(0.004, description="decay of the weights, times the learning rate (adamw)")
    clip_norm: NonNegativeFloat = Field(0.0, description="norm to which a step's gradients are clipped; 0 for never")
    ema: ZeroToBelowOne = Field(
        0.995, description="share of the averaged weights that a step keeps; they validate and are saved; 0 for none"
    )
    patience: NonNegativeInt = Field(0, description="validations without a better one that end the run; 0 for none")
    volume_calibration: Literal["auto", "always", "never"] = Field(
        "auto",
        description="set the last biases, at the end, so that masks of training cases are as large as their labels; "
        "'auto': where no Tversky loss says what is worse",
    )
    deep_supervision: bool = Field(False, description="ask the decoder's lower levels for the labels too")
    warmup: ZeroToBelowOne = Field(0.02, description="share of the run in which the learning rate rises")
    validation_patches: PositiveInt = Field(
        16, description="patches, always the same, by which the kept model is chosen"
    )
    start_from: str = Field(
        "",
        description="trained run whose weights a new one begins with, where they fit; network, spacing and "
        "normalisation are its, too, where the recipe says nothing",
    )
    frozen: tuple[Part, ...] = Field((), description="parts of the network that keep the weights of start_from")
    cache_dir: str = Field("", description="folder of a local disk to copy shards to before training; empty for none")
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = Field(
        "auto", description="Keras dtype policy; 'auto': mixed_bfloat16 on CPUs that are faster with it (AMX)"
    )
    deterministic: bool = Field(
        False, description="ask TensorFlow for the same bits each time on GPUs too, slower; on one CPU device they are"
    )

    @model_validator(mode="after")
    def _something_to_freeze(self) -> "Train":
        if self.frozen and not self.start_from:
            raise ValueError("frozen needs start_from: new weights that never learn are noise")
        return self


class Evaluation(Section):
    """How whole volumes are segmented and scored."""

    overlap: ZeroToBelowOne = Field(0.5, description="share by which neighbouring windows overlap")
    batch_size: PositiveInt = Field(1, description="windows segmented at once")
    buffer_mb: PositiveInt = Field(
        210, description="memory for overlapping windows; what needs more is cut, and windows at a cut run twice"
    )
    flip_axes: tuple[Axis, ...] = Field(
        (),
        description="axes along which windows are flipped too: the mean over 2, 4 or 8 flips; planned: the first of "
        "`patches.flip_axes`",
        json_schema_extra=PLANNED,
    )
    postprocessing: Literal["validated", "none"] = Field(
        "validated", description="apply to each class what kseg.evaluate --split val found to help it, or nothing"
    )
    ensemble: tuple[str, ...] = Field(
        (),
        description="other runs, by name or path, trained on the same dataset: masks are those of the mean of all",
        examples=[["leg-seed-2", "leg-seed-3"]],
    )
    surface_tolerance_mm: NonNegativeFloat = Field(
        0.0, description="tolerance of the normalised surface Dice; 0 for the largest edge of each scan's voxels"
    )

    @property
    def buffer_bytes(self) -> int:
        """`buffer_mb` in bytes."""
        return self.buffer_mb * 10**6


class Recipe(Section):
    """All choices of a run.

    A recipe without a `name` or `data.records` has those of its `data.source`: what is made of one never lands where
    that of another lies.
    """

    name: Name = Field(
        "phantom", description="the run: everything of it goes to saved_models/<name>; by default the source's name"
    )
    seed: Seed = Field(1, description="splits, patches and weights follow from it")
    data: Data = Data()
    phantom: Phantom = Phantom()
    patches: Patches = Patches()
    augmentation: Augmentation = Augmentation()
    network: Network = Network()
    loss: Loss = Loss()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="before")
    @classmethod
    def _named_after_its_source(cls, given: Any) -> Any:
        data = given.get("data") if isinstance(given, dict) else None
        source = data.get("source") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(source, str) or not source or "\0" in source:
            return given
        name = fit_name(source_name(source))
        return {"name": name} | given | {"data": {"records": f"tfrecords/{name}"} | data}

    @property
    def calibrates_volumes(self) -> bool:
        """Whether a training ends with `kseg.training.volume_calibration`.

        By default with Dice and cross-entropy alone: the penalties of a Tversky loss are there to say whether too much
        or too little is worse.
        """
        penalties = self.loss.parametric_tversky or self.loss.tversky or self.loss.focal_tversky
        wanted = self.train.volume_calibration
        return wanted == "always" or (wanted == "auto" and not penalties)

    @property
    def records_folder(self) -> Location:
        """Folder of the prepared shards, on a disk or in an object store."""
        return location_of(self.data.records)

    @property
    def run_folder(self) -> Path:
        """Folder of everything that training writes."""
        return SAVED_MODELS / self.name
