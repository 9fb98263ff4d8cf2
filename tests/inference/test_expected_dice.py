"""The Dice that is expected of masks, against least squares in matrix form."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kseg.console.errors import InputError
from kseg.inference.expected_dice import (
    ClassPoints,
    ExpectedDice,
    learn_expected_dice,
    load_expected_dice,
    mean_expected,
    save_expected_dice,
)
from kseg.runs.owned_files import EXPECTED_DICE_FILE

AGREEMENT = (0.70, 0.80, 0.85, 0.90, 0.92, 0.95)
DICE = (0.60, 0.78, 0.80, 0.84, 0.88, 0.90)


def run(folder: Path, models: tuple[str, ...] = ("ab",), flip_axes: tuple[str, ...] = ("x",)) -> Any:
    return SimpleNamespace(
        folder=SimpleNamespace(path=folder),
        model_hashes=lambda: list(models),
        description=SimpleNamespace(label_map=SimpleNamespace(names=("background", "soleus", "gm"))),
        recipe=SimpleNamespace(evaluation=SimpleNamespace(flip_axes=flip_axes)),
    )


@pytest.mark.parametrize("agreement", [0.5, 0.87, 0.95])
def test_the_interval_is_that_of_a_new_observation(agreement: float) -> None:
    design = np.stack([np.ones(6), AGREEMENT], axis=1)
    line, *_ = np.linalg.lstsq(design, np.array(DICE), rcond=None)
    variance = np.sum((design @ line - DICE) ** 2) / 4
    new = np.array([1.0, agreement])
    half = stats.t.ppf(0.95, 4) * np.sqrt(variance * (1 + new @ np.linalg.inv(design.T @ design) @ new))
    found = ClassPoints(agreement=AGREEMENT, dice=DICE).expectation(agreement)
    assert found is not None
    assert found.dice == pytest.approx(new @ line)
    assert found.low == pytest.approx(new @ line - half)
    assert found.high == pytest.approx(min(new @ line + half, 1))


def test_nine_of_ten_new_scans_lie_in_the_interval() -> None:
    rng = np.random.default_rng(3)
    hits, tries = 0, 400
    for _ in range(tries):
        x = rng.uniform(0.6, 0.9, 13)
        y = 0.1 + 0.7 * x + rng.normal(scale=0.02, size=13)
        found = ClassPoints(agreement=tuple(x[1:]), dice=tuple(y[1:])).expectation(x[0])
        assert found is not None
        hits += found.low <= y[0] <= found.high
    assert 0.86 < hits / tries < 0.94


@pytest.mark.parametrize("agreement", [tuple(reversed(AGREEMENT)), (0.9,) * 6])
def test_where_agreement_says_nothing_the_mean_is_expected(agreement: tuple[float, ...]) -> None:
    found = ClassPoints(agreement=agreement, dice=DICE).expectation(0.3)
    assert found is not None
    half = stats.t.ppf(0.95, 5) * np.std(DICE, ddof=1) * np.sqrt(1 + 1 / 6)
    assert found.dice == pytest.approx(np.mean(DICE))
    assert found.low == pytest.approx(np.mean(DICE) - half)
    assert not found.doubtful


def test_expectations_stay_shares() -> None:
    points = ClassPoints(agreement=AGREEMENT, dice=DICE)
    low, high = points.expectation(0.0), points.expectation(1.0)
    assert low is not None
    assert high is not None
    assert (low.dice, low.low) == (0.0, 0.0)
    assert high.high <= 1.0


def test_less_than_validation_cases_have_is_doubtful() -> None:
    points = ClassPoints(agreement=AGREEMENT, dice=DICE)
    assert points.least == pytest.approx(
        np.mean(DICE) - stats.t.ppf(0.95, 5) * np.std(DICE, ddof=1) * np.sqrt(1 + 1 / 6)
    )
    assert [points.expectation(value).doubtful for value in (0.6, 0.75, 0.95)] == [True, False, False]  # type: ignore[union-attr]


def test_few_cases_say_nothing() -> None:
    few = ClassPoints(agreement=AGREEMENT[:4], dice=DICE[:4])
    assert few.expectation(0.9) is None
    expected = ExpectedDice(models=("ab",), flip_axes=(), classes={"soleus": few})
    assert expected.expectations([0.9]) == {}
    assert mean_expected({}) is None
    assert str(expected) == "expected Dice: none (it needs 5 validation cases with a class, and has 4 validation cases)"


def test_cases_without_a_class_do_not_count_for_it(tmp_path: Path) -> None:
    agreements = {f"{n}": [a, 0.9 if n < 3 else None] for n, a in enumerate(AGREEMENT)}
    dice = {f"{n}": [d, 0.8] for n, d in enumerate(DICE)}
    learned = learn_expected_dice(agreements, dice, ("soleus", "gm"), run(tmp_path))
    assert learned.classes["soleus"] == ClassPoints(agreement=AGREEMENT, dice=DICE)
    assert len(learned.classes["gm"].dice) == 3
    assert set(learned.expectations([0.9, 0.9])) == {"soleus"}
    assert learned.expectations([None, None]) == {}
    assert "soleus 1.00 (n = 6)" in str(learned)
    assert "gm" not in str(learned)


def test_it_is_kept_for_the_models_and_flips_that_were_validated(tmp_path: Path) -> None:
    values = {f"{n}": [0.9, 0.9] for n in range(5)}
    learned = learn_expected_dice(values, values, ("soleus", "gm"), run(tmp_path))
    assert load_expected_dice(run(tmp_path)) is None
    save_expected_dice(learned, tmp_path)
    assert load_expected_dice(run(tmp_path)) == learned
    assert load_expected_dice(run(tmp_path, models=("cd",))) is None
    assert load_expected_dice(run(tmp_path, flip_axes=())) is None


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("classes", {}, "is for the classes"), ("classes", [], "is damaged"), ("more", 1, "is damaged")],
)
def test_a_damaged_file_gets_one_line(tmp_path: Path, key: str, value: object, said: str) -> None:
    values = {f"{n}": [0.9, 0.9] for n in range(5)}
    save_expected_dice(learn_expected_dice(values, values, ("soleus", "gm"), run(tmp_path)), tmp_path)
    path = tmp_path / EXPECTED_DICE_FILE
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {key: value}), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        load_expected_dice(run(tmp_path))
