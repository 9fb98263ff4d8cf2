"""What Dice a mask may be expected to have: agreement, as validation cases show what it is worth.

For each class the Dice of the validation cases is regressed on their agreement (`kseg.inference.uncertainty`): a
straight line by least squares, whose prediction interval says how far a single scan may lie from it. Where more
agreement did not mean more Dice, the line is level: the mean, whatever the agreement. The interval is Student's, for as
many cases as there are; few cases make it wide. Below the least agreement of the validation cases nobody knows how the
line goes on: the interval then reaches down to 0.

A class that the mask lacks has no agreement. Where a validation case lacked one that it should have had, that is an
agreement of 0 and a Dice of 0. Where all validation cases have a class, a scan without it is taken for one that was
missed; where some do not have it, nothing is expected of a scan without it.

Validation cases have chosen the best model, so that they are a little better than new scans of the same kind. Scans of
another kind may have any Dice at any agreement: networks can be wrong and sure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy.special import stdtrit

from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.console.validation_errors import first_invalid
from kseg.inference.postprocessing_choice import Operations, PostProcessing, used_operations
from kseg.runs.owned_files import EXPECTED_DICE_FILE
from kseg.runs.trained_run import TrainedRun
from kseg.storage.files import whole_file

LEAST_CASES = 5
"""Fewer cases with a class say nothing of other scans."""
CONFIDENCE = 0.9
"""Of the interval: nine of ten scans of the same kind lie in it."""

ALIKE = 1e-9
"""Values of agreement that differ by less are the same: rounding alone tells them apart."""
MOST_KEPT = 20
"""Ways to segment of which a run's folder keeps what was learned, the newest."""

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class LearnedCase:
    """A class in a validation case: agreement and Dice of its mask, and whether its truth has it."""

    agreement: float | None
    dice: float | None
    in_truth: bool


@dataclass(frozen=True)
class Expectation:
    """The Dice that a class's mask may be expected to have, and the interval in which nine of ten lie."""

    dice: float
    low: float
    high: float
    doubtful: bool
    """Whether that is less than all but few of the validation cases had."""

    def __str__(self) -> str:
        """Say it as it stands in a line."""
        return f"{self.dice:.2f} ({self.low:.2f} to {self.high:.2f})"


class ClassPoints(BaseModel):
    """What the validation cases have of a class: agreement and true Dice of each in which truth or mask have it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agreement: tuple[Share, ...]
    dice: tuple[Share, ...]
    in_all: bool
    """Whether the truth of every validation case has it."""

    @model_validator(mode="after")
    def _are_pairs(self) -> "ClassPoints":
        if len(self.agreement) != len(self.dice):
            raise ValueError(f"{len(self.agreement)} values of agreement for {len(self.dice)} of Dice")
        return self

    def expectation(self, agreement: float | None) -> Expectation | None:
        """Return what is to be expected of a mask; None where too few cases have the class, or it may well be absent.

        Args:
            agreement: None where the mask does not have the class.
        """
        if len(self.dice) < LEAST_CASES or (agreement is None and not self.in_all):
            return None
        if agreement is None:
            return Expectation(0.0, 0.0, self._line(0.0)[2], doubtful=True)
        dice, low, high = self._line(agreement)
        lowest = min(self.agreement)
        if agreement < lowest:
            low, high = 0.0, max(self._line(lowest)[2], dice)
        return Expectation(dice, low, high, doubtful=agreement < lowest or dice < self.least)

    def _line(self, agreement: float) -> tuple[float, float, float]:
        """Return the expected Dice, and the ends of its interval."""
        count, x, y = len(self.dice), np.array(self.agreement), np.array(self.dice)
        spread = float(((x - x.mean()) ** 2).sum())
        varies = float(np.ptp(x)) > ALIKE
        slope = max(float(((x - x.mean()) * (y - y.mean())).sum()) / spread, 0.0) if varies else 0.0
        free = count - (2 if slope else 1)
        residual = sqrt(float(((y - y.mean() - slope * (x - x.mean())) ** 2).sum()) / free)
        away = (agreement - x.mean()) ** 2 / spread if slope else 0.0
        half = _student(free) * residual * sqrt(1 + 1 / count + away)
        dice = float(y.mean()) + slope * (agreement - float(x.mean()))
        low, middle, high = (min(max(value, 0.0), 1.0) for value in (dice - half, dice, dice + half))
        return middle, low, high

    @property
    def least(self) -> float:
        """The Dice below which one of twenty cases lies, as far as these tell: what is expected to be less is doubtful.

        The lower end of Student's prediction interval, without a word from agreement.
        """
        count, values = len(self.dice), np.array(self.dice)
        half = _student(count - 1) * float(values.std(ddof=1)) * sqrt(1 + 1 / count)
        return float(values.mean()) - half


class ExpectedDice(BaseModel):
    """What the validation cases say of one way to segment: some models, some flips and a post-processing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[str, ...]
    """SHA-256 of the models that were validated."""
    flip_axes: tuple[str, ...]
    """Over which the masks were averaged: other opinions agree otherwise."""
    operations: dict[str, Operations] | None = None
    """The post-processing of the masks, by class; None where an earlier version does not say."""
    classes: dict[str, ClassPoints]

    def is_of(self, run: TrainedRun, postprocessing: PostProcessing | None) -> bool:
        """Whether this is what a run does now, as far as it is known."""
        learned: dict[str, Operations] | None = self.operations
        if learned is None and run.recipe.evaluation.ensemble:
            learned = {}  # earlier versions learned it of an ensemble without any
        now = (_models(run), _flip_axes(run))
        return (self.models, self.flip_axes) == now and learned in (None, used_operations(postprocessing))

    def expectations(self, agreement: Sequence[float | None]) -> dict[str, Expectation]:
        """Return what is to be expected of each class, by its name; without those of which nothing can be said."""
        found = {
            name: points.expectation(value)
            for (name, points), value in zip(self.classes.items(), agreement, strict=True)
        }
        return {name: expectation for name, expectation in found.items() if expectation}

    def __str__(self) -> str:
        """Say in a line for which classes something is to be expected, or why for none."""
        counts = {name: len(points.dice) for name, points in self.classes.items()}
        known = [name for name, count in counts.items() if count >= LEAST_CASES]
        if not known:
            most = counted(max(counts.values(), default=0), "validation case")
            return f"expected Dice: none (it needs {LEAST_CASES} validation cases with a class, and has {most})"
        correlated = ", ".join(f"{name} {_correlation(self.classes[name])}" for name in known)
        return f"expected Dice: rank correlation of agreement and Dice on the validation cases: {correlated}"


class AllExpectedDice(BaseModel):
    """All of `expected_dice.json`: the run by itself, in ensembles, with other flips; the newest last."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learned: tuple[ExpectedDice, ...]


def learn_expected_dice(
    scores: Mapping[str, Sequence[LearnedCase]], run: TrainedRun, postprocessing: PostProcessing | None
) -> ExpectedDice:
    """Return what validation cases say of agreement.

    Args:
        scores: of each case, for each foreground class or region.
        run: whose models segmented them.
        postprocessing: after which they have that Dice.
    """
    classes = {}
    for number, name in enumerate(run.description.label_map.structure_names):
        cases = [of_case[number] for of_case in scores.values()]
        # In neither mask there is no Dice; where the mask alone lacks the class, its opinions agree on nothing.
        scored = [(case.agreement or 0.0, case.dice) for case in cases if case.dice is not None]
        classes[name] = ClassPoints(
            agreement=tuple(min(agreement, 1.0) for agreement, _ in scored),
            dice=tuple(min(dice, 1.0) for _, dice in scored),
            in_all=all(case.in_truth for case in cases),
        )
    return ExpectedDice(
        models=_models(run), flip_axes=_flip_axes(run), operations=used_operations(postprocessing), classes=classes
    )


def save_expected_dice(expected: ExpectedDice, run_folder: Path) -> None:
    """Add to `expected_dice.json` in a run's folder, in place of what it has of this way to segment."""
    path = run_folder / EXPECTED_DICE_FILE
    others = [
        one
        for one in _read(path)
        if (one.models, one.flip_axes) != (expected.models, expected.flip_axes)
        or one.operations not in (None, expected.operations)
    ]
    with whole_file(path) as partial:
        kept = AllExpectedDice(learned=(*others, expected)[-MOST_KEPT:])
        partial.write_text(kept.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_expected_dice(run: TrainedRun, postprocessing: PostProcessing | None) -> ExpectedDice | None:
    """Read what a run's validation cases say; None where they have not been segmented in this way.

    Args:
        run: its models and flips count.
        postprocessing: of the masks of which a Dice is to be expected.

    Raises:
        InputError: the file is damaged, or is for other classes.
    """
    path = run.folder.path / EXPECTED_DICE_FILE
    for expected in _read(path):
        if tuple(expected.classes) != run.description.label_map.structure_names:
            raise InputError(f"'{path}' is for the classes {', '.join(expected.classes)}, not the run's: delete it")
        if expected.is_of(run, postprocessing):
            return expected
    return None


def _read(path: Path) -> tuple[ExpectedDice, ...]:
    try:
        return AllExpectedDice.model_validate_json(path.read_bytes()).learned
    except FileNotFoundError:
        return ()
    except ValidationError as error:
        said = first_invalid(error)
        raise InputError(f"'{path}' is damaged ({said}): delete it, and evaluate --split val anew") from None


def _models(run: TrainedRun) -> tuple[str, ...]:
    return tuple(sorted(run.model_hashes()))


def _flip_axes(run: TrainedRun) -> tuple[str, ...]:
    return tuple(sorted(run.recipe.evaluation.flip_axes))


def _student(free: int) -> float:
    """The quantile of Student's distribution that makes an interval of `CONFIDENCE`."""
    return float(stdtrit(free, (1 + CONFIDENCE) / 2))


def _correlation(points: ClassPoints) -> str:
    from scipy.stats import spearmanr  # which takes half a second to import, and is for evaluating alone

    if min(map(np.ptp, (points.agreement, points.dice))) <= ALIKE:
        return "-"
    return f"{spearmanr(points.agreement, points.dice).statistic:.2f} (n = {len(points.dice)})"
