"""What Dice a mask may be expected to have: agreement, as validation cases show what it is worth.

For each class the Dice of the validation cases is regressed on their agreement (`kseg.inference.uncertainty`): a
straight line by least squares, whose prediction interval says how far a single scan may lie from it. Where more
agreement did not mean more Dice, the line is level: the mean, whatever the agreement. The interval is Student's, for as
many cases as there are; few cases make it wide.

Validation cases have chosen the best model, so that they are a little better than new scans of the same kind. Scans of
another kind may have any Dice at any agreement: networks can be wrong and sure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import stats

from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.console.validation_errors import first_invalid
from kseg.runs.owned_files import EXPECTED_DICE_FILE
from kseg.runs.trained_run import TrainedRun
from kseg.storage.files import whole_file

LEAST_CASES = 5
"""Fewer cases with a class say nothing of other scans."""
CONFIDENCE = 0.9
"""Of the interval: nine of ten scans of the same kind lie in it."""

Share = Annotated[float, Field(ge=0, le=1)]


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
    """What the validation cases have of a class, as far as they have it: agreement and true Dice of each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agreement: tuple[Share, ...]
    dice: tuple[Share, ...]

    def expectation(self, agreement: float) -> Expectation | None:
        """Return what is to be expected of a mask; None where too few cases have the class."""
        count = len(self.dice)
        if count < LEAST_CASES:
            return None
        x, y = np.array(self.agreement), np.array(self.dice)
        spread = float(((x - x.mean()) ** 2).sum())
        slope = max(float(((x - x.mean()) * (y - y.mean())).sum()) / spread, 0.0) if spread > 0 else 0.0
        free = count - (2 if slope else 1)
        residual = sqrt(float(((y - y.mean() - slope * (x - x.mean())) ** 2).sum()) / free)
        away = (agreement - x.mean()) ** 2 / spread if slope else 0.0
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, free)) * residual * sqrt(1 + 1 / count + away)
        dice = float(y.mean()) + slope * (agreement - float(x.mean()))
        dice, low, high = (min(max(value, 0.0), 1.0) for value in (dice, dice - half, dice + half))
        return Expectation(dice, low, high, dice < self.least)

    @property
    def least(self) -> float:
        """The Dice below which one of twenty cases lies, as far as these tell: what is expected to be less is doubtful.

        The lower end of Student's prediction interval, without a word from agreement.
        """
        count, values = len(self.dice), np.array(self.dice)
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * float(values.std(ddof=1)) * sqrt(1 + 1 / count)
        return float(values.mean()) - half


class ExpectedDice(BaseModel):
    """All of `expected_dice.json`: what a run's validation cases say of its agreement."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[str, ...]
    """SHA-256 of the models that were validated."""
    flip_axes: tuple[str, ...]
    """Over which the masks were averaged: other opinions agree otherwise."""
    classes: dict[str, ClassPoints]

    def expectations(self, agreement: Sequence[float | None]) -> dict[str, Expectation]:
        """Return what is to be expected of each class, by its name; without those of which nothing can be said."""
        found = {
            name: points.expectation(value)
            for (name, points), value in zip(self.classes.items(), agreement, strict=True)
            if value is not None
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


def learn_expected_dice(
    agreements: Mapping[str, Sequence[float | None]],
    dice: Mapping[str, Sequence[float | None]],
    class_names: Sequence[str],
    run: TrainedRun,
) -> ExpectedDice:
    """Return what validation cases say of agreement.

    Args:
        agreements: of each case, for each foreground class.
        dice: the same cases' Dice with the truth.
        class_names: of the foreground.
        run: whose models segmented them.
    """
    classes = {}
    for number, name in enumerate(class_names):
        pairs = [(agreements[case][number], dice[case][number]) for case in agreements]
        known = [(one, other) for one, other in pairs if one is not None and other is not None]
        classes[name] = ClassPoints(
            agreement=tuple(min(one, 1.0) for one, _ in known), dice=tuple(min(other, 1.0) for _, other in known)
        )
    return ExpectedDice(
        models=tuple(run.model_hashes()), flip_axes=tuple(run.recipe.evaluation.flip_axes), classes=classes
    )


def save_expected_dice(expected: ExpectedDice, run_folder: Path) -> None:
    """Write `expected_dice.json` into a run's folder, all or not at all."""
    with whole_file(run_folder / EXPECTED_DICE_FILE) as path:
        path.write_text(expected.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_expected_dice(run: TrainedRun) -> ExpectedDice | None:
    """Read what a run's validation cases say; None where they have not been segmented by the models of now.

    Raises:
        InputError: the file is damaged, or is for other classes.
    """
    path = run.folder.path / EXPECTED_DICE_FILE
    try:
        expected = ExpectedDice.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        said = first_invalid(error)
        raise InputError(f"'{path}' is damaged ({said}): delete it, or evaluate --split val anew") from None
    if tuple(expected.classes) != run.description.label_map.names[1:]:
        raise InputError(f"'{path}' is for the classes {', '.join(expected.classes)}, not the run's: delete it")
    same = expected.models == tuple(run.model_hashes())
    return expected if same and expected.flip_axes == tuple(run.recipe.evaluation.flip_axes) else None


def mean_expected(expectations: Mapping[str, Expectation]) -> float | None:
    """Return the mean over classes, by which scans are ranked; None where nothing is expected of any."""
    return fmean(one.dice for one in expectations.values()) if expectations else None


def _correlation(points: ClassPoints) -> str:
    if min(map(len, ({*points.agreement}, {*points.dice}))) < 2:
        return "-"
    return f"{stats.spearmanr(points.agreement, points.dice).statistic:.2f} (n = {len(points.dice)})"
