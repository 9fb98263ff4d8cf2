"""What a value of a recipe may be, and the table that holds values."""

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
)

Axis = Literal["x", "y", "z"]
AXES: tuple[Axis, ...] = get_args(Axis)
"""Of a volume in RAS+ order: to the right, to the front, to the head."""
NoAxis = Literal["none"]
Part = Literal["stem", "encoder", "decoder"]
"""Of a network."""
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
EVALUATED: tuple[Split, ...] = ("val", "test")
"""Those whose cases no network learns from."""

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256, in hexadecimal digits."""
ZeroToOne = Annotated[float, Field(ge=0, le=1)]
"""A probability, or a share of something; all of it, too."""
ZeroToBelowOne = Annotated[float, Field(ge=0, lt=1)]
"""A share that leaves something: windows that overlap by all would never move on."""
Sizes = tuple[PositiveInt, PositiveInt, PositiveInt]
Millimetres = Annotated[float, Field(gt=0, le=1000)]
Degrees = Annotated[float, Field(ge=0, le=180)]
Factor = Annotated[float, Field(ge=1, le=10)]
Normalisation = Literal["zscore", "ct", "log"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
WORD = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"
Word = Annotated[str, Field(pattern=WORD)]
Name = Annotated[str, Field(pattern=NAME)]


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the lower bound must come first")
    return bounds


def _all_or_none(spacing: tuple[float, ...]) -> tuple[float, ...]:
    if len(spacing) not in (0, 3):
        raise ValueError("it must have three numbers, one for each axis")
    return spacing


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("it must be a whole number")  # pydantic would take `true` for 1
    return value


def _names_first(labels: Any) -> Any:
    if isinstance(labels, dict) and any(isinstance(value, str) for value in labels.values()):
        raise ValueError("it must have the names first, each with its value, as in {background = 0, soleus = 100}")
    return labels


def _for_dicom(code: tuple[str, str, str]) -> tuple[str, str, str]:
    for text, longest in zip(code, LONGEST_IN_CODE, strict=True):
        if not text.strip() or len(text) > longest or "\\" in text or not text.isprintable():
            value, scheme, meaning = LONGEST_IN_CODE
            raise ValueError(
                "it must have a code's value, its scheme and its meaning, as in ['10200004', 'SCT', 'Liver'], "
                f"none empty, of at most {value}, {scheme} and {meaning} characters, without backslashes"
            )
    return code


def _form_of_rates(value: Any) -> str:
    return "per level" if isinstance(value, list | tuple) and any(isinstance(v, list | tuple) for v in value) else "all"


Rates = Annotated[
    Annotated[tuple[PositiveInt, ...], Tag("all")] | Annotated[tuple[tuple[PositiveInt, ...], ...], Tag("per level")],
    Discriminator(_form_of_rates),
]
Spacing = Annotated[tuple[Millimetres, ...], AfterValidator(_all_or_none), Field(examples=[[0.5, 0.5, 1.0]])]
"""Along three axes, or empty."""
LabelValue = Annotated[int, BeforeValidator(_no_truth_value)]
Labels = Annotated[
    dict[str, LabelValue], BeforeValidator(_names_first), Field(examples=[{"background": 0, "soleus": 100}])
]
Regions = Annotated[
    dict[str, tuple[str, ...]],
    Field(examples=[{"calf": ["soleus", "gastrocnemius"], "soleus": ["soleus"]}]),
]
LONGEST_IN_CODE = (16, 16, 64)
"""Characters that DICOM takes for a code's value, scheme and meaning."""
Code = Annotated[tuple[str, str, str], AfterValidator(_for_dicom), Field(examples=[["10200004", "SCT", "Liver"]])]
"""What DICOM calls something: the code's value, the scheme that it is from, and its meaning in words."""
Codes = Annotated[dict[str, Code], Field(examples=[{"liver": ["10200004", "SCT", "Liver"]}])]
ZeroToOneRange = Annotated[tuple[ZeroToOne, ZeroToOne], AfterValidator(_in_order)]
Amounts = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], AfterValidator(_in_order)]
Positives = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_in_order)]
Factors = Annotated[tuple[Factor, Factor], AfterValidator(_in_order)]

MIN_MUSCLE_SCALE, MAX_MUSCLE_SCALE = 0.1, 1.2
"""Of the phantom's muscles along each axis; 1 is natural."""

PLANNED: dict[str, Any] = {"planned": True}
"""Marks a key whose value, where the recipe gives none, is planned from the dataset (`kseg.runs.planned_recipe`)."""


class Section(BaseModel):
    """A table of the recipe: unknown keys are refused, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
