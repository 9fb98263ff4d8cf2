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
    Expectation,
    ExpectedDice,
    LearnedCase,
    learn_expected_dice,
    load_expected_dice,
    save_expected_dice,
)
from kseg.inference.postprocessing_choice import ClassChoice, Operations, PostProcessing
from kseg.runs.owned_files import EXPECTED_DICE_FILE
from kseg.volumes.labels import LabelMap

AGREEMENT = (0.70, 0.80, 0.85, 0.90, 0.92, 0.95)
DICE = (0.60, 0.78, 0.80, 0.84, 0.88, 0.90)


def run(folder: Path, models: tuple[str, ...] = ("ab",), flip_axes: tuple[str, ...] = ("x",)) -> Any:
    return SimpleNamespace(
        folder=SimpleNamespace(path=folder),
        model_hashes=lambda: list(models),
        description=SimpleNamespace(label_map=LabelMap(("background", "soleus", "gm"), (0, 1, 2))),
        recipe=SimpleNamespace(evaluation=SimpleNamespace(flip_axes=flip_axes, ensemble=())),
    )


def points(
    agreement: tuple[float, ...] = AGREEMENT, dice: tuple[float, ...] = DICE, in_all: bool = False
) -> ClassPoints:
    return ClassPoints(agreement=agreement, dice=dice, in_all=in_all)


def expected(of: ClassPoints, agreement: float | None) -> Expectation:
    found = of.expectation(agreement)
    if found is None:
        pytest.fail("nothing is expected")
    return found


def cases(agreement: tuple[float | None, ...], dice: tuple[float | None, ...]) -> list[LearnedCase]:
    """Whose truth has the class where there is a Dice."""
    return [LearnedCase(a, d, d is not None) for a, d in zip(agreement, dice, strict=True)]


@pytest.mark.parametrize("agreement", [0.7, 0.87, 0.95])
def test_the_interval_is_that_of_a_new_observation(agreement: float) -> None:
    design = np.stack([np.ones(6), AGREEMENT], axis=1)
    line, *_ = np.linalg.lstsq(design, np.array(DICE), rcond=None)
    variance = np.sum((design @ line - DICE) ** 2) / 4
    new = np.array([1.0, agreement])
    half = stats.t.ppf(0.95, 4) * np.sqrt(variance * (1 + new @ np.linalg.inv(design.T @ design) @ new))
    found = expected(points(), agreement)
    assert found.dice == pytest.approx(new @ line)
    assert found.low == pytest.approx(new @ line - half)
    assert found.high == pytest.approx(min(new @ line + half, 1))


def test_nine_of_ten_new_scans_lie_in_the_interval() -> None:
    rng = np.random.default_rng(3)
    hits, tries = 0, 400
    for _ in range(tries):
        x = rng.uniform(0.6, 0.9, 13)
        y = 0.1 + 0.7 * x + rng.normal(scale=0.02, size=13)
        found = expected(points(tuple(x[1:]), tuple(y[1:])), x[0])
        hits += found.low <= y[0] <= found.high
    assert 0.86 < hits / tries < 0.94


def test_below_all_validation_cases_nothing_bounds_the_interval_from_below() -> None:
    found, lowest = expected(points(), 0.5), expected(points(), 0.7)
    assert found.low == 0
    assert found.high == pytest.approx(lowest.high)
    assert found.dice < lowest.dice
    assert found.doubtful
    assert not lowest.doubtful


def test_a_class_that_the_mask_lacks_was_missed_where_all_validation_cases_have_it() -> None:
    assert points().expectation(None) is None
    found = expected(points(in_all=True), None)
    assert (found.dice, found.low, found.doubtful) == (0.0, 0.0, True)


def test_rounding_is_no_spread() -> None:
    same = (0.8132702392002724,) * 6
    nearly = points(tuple(np.nextafter(value, n) for n, value in enumerate(same)))
    assert expected(nearly, 0.9).dice == pytest.approx(np.mean(DICE))
    found = expected(points(same), 0.9)
    assert found.dice == pytest.approx(np.mean(DICE))


@pytest.mark.parametrize("agreement", [tuple(reversed(AGREEMENT)), (0.9,) * 6])
def test_where_agreement_says_nothing_the_mean_is_expected(agreement: tuple[float, ...]) -> None:
    found = expected(points(agreement), 0.91)
    half = stats.t.ppf(0.95, 5) * np.std(DICE, ddof=1) * np.sqrt(1 + 1 / 6)
    assert found.dice == pytest.approx(np.mean(DICE))
    assert found.low == pytest.approx(np.mean(DICE) - half)
    assert not found.doubtful


def test_expectations_stay_shares() -> None:
    for agreement in (0.0, 1.0):
        found = expected(points(), agreement)
        assert 0 <= found.low <= found.dice <= found.high <= 1


def test_less_than_validation_cases_have_is_doubtful() -> None:
    wide = points((0.3, *AGREEMENT), (0.62, *DICE))
    assert points().least == pytest.approx(
        np.mean(DICE) - stats.t.ppf(0.95, 5) * np.std(DICE, ddof=1) * np.sqrt(1 + 1 / 6)
    )
    assert expected(wide, 0.31).dice == pytest.approx(np.polyval(np.polyfit(wide.agreement, wide.dice, 1), 0.31))
    assert not expected(wide, 0.31).doubtful
    steep = points((0.1, *AGREEMENT), (0.1, *DICE))
    assert [expected(steep, value).doubtful for value in (0.11, 0.95)] == [True, False]


def test_few_cases_say_nothing() -> None:
    few = points(AGREEMENT[:4], DICE[:4])
    assert few.expectation(0.9) is None
    some = ExpectedDice(models=("ab",), flip_axes=(), classes={"soleus": few})
    assert some.expectations([0.9]) == {}
    assert str(some) == "expected Dice: none (it needs 5 validation cases with a class, and has 4 validation cases)"


def learned(
    soleus: list[LearnedCase], gm: list[LearnedCase], of: Any, processed: PostProcessing | None = None
) -> ExpectedDice:
    return learn_expected_dice({f"{n}": both for n, both in enumerate(zip(soleus, gm, strict=True))}, of, processed)


def test_cases_without_a_class_do_not_count_for_it_and_those_that_miss_it_do(tmp_path: Path) -> None:
    few = cases((0.9, 0.9, None, None, None, None), (0.8, 0.8, 0.0, None, None, None))
    found = learned(cases(AGREEMENT, DICE), few, run(tmp_path))
    assert found.classes["soleus"] == points(in_all=True)
    assert found.classes["gm"] == points((0.9, 0.9, 0.0), (0.8, 0.8, 0.0))
    assert set(found.expectations([0.9, 0.9])) == {"soleus"}
    assert {name: one.dice for name, one in found.expectations([None, None]).items()} == {"soleus": 0.0}
    assert "soleus 1.00 (n = 6)" in str(found)
    assert "gm" not in str(found)


def test_it_is_kept_for_each_way_to_segment_that_was_validated(tmp_path: Path) -> None:
    some = cases(AGREEMENT, DICE)
    ways = [run(tmp_path), run(tmp_path, models=("cd", "ab")), run(tmp_path, flip_axes=())]
    assert load_expected_dice(ways[0], None) is None
    for number, way in enumerate(ways):
        save_expected_dice(learned(some, cases(AGREEMENT[:number], DICE[:number]) + some[number:], way), tmp_path)
    for number, way in enumerate(ways):
        gm = cases(AGREEMENT[:number], DICE[:number]) + some[number:]
        assert load_expected_dice(way, None) == learned(some, gm, way)
    assert load_expected_dice(run(tmp_path, models=("ab", "cd")), None) == load_expected_dice(
        ways[1], None
    )  # any order
    assert load_expected_dice(run(tmp_path, models=("cd",)), None) is None


def after(operations: Operations) -> PostProcessing:
    """A choice of operations for the first class."""
    classes = (("soleus", operations), ("gm", ()))
    choices = {name: ClassChoice(operations=own, dice_before=0.8, dice_after=0.9) for name, own in classes}
    return PostProcessing(cases=6, models=("ab",), classes=choices)


def test_it_is_void_for_another_post_processing(tmp_path: Path) -> None:
    some, filled, nothing = cases(AGREEMENT, DICE), after(("fill_holes",)), after(())
    save_expected_dice(learned(some, some, run(tmp_path), filled), tmp_path)
    assert load_expected_dice(run(tmp_path), None) is None
    assert load_expected_dice(run(tmp_path), nothing) is None
    save_expected_dice(learned(some, some[:5] + some[:1], run(tmp_path), nothing), tmp_path)
    assert load_expected_dice(run(tmp_path), None) == learned(some, some[:5] + some[:1], run(tmp_path))
    assert load_expected_dice(run(tmp_path), filled) == learned(some, some, run(tmp_path), filled)


def test_that_of_an_earlier_version_counts_as_it_did_but_for_ensembles(tmp_path: Path) -> None:
    some, filled = cases(AGREEMENT, DICE), after(("fill_holes",))
    earlier = learned(some, some, run(tmp_path)).model_copy(update={"operations": None})
    save_expected_dice(earlier, tmp_path)
    path = tmp_path / EXPECTED_DICE_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    del document["learned"][0]["operations"]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert load_expected_dice(run(tmp_path), filled) == load_expected_dice(run(tmp_path), None) == earlier
    ensemble = run(tmp_path)
    ensemble.recipe.evaluation.ensemble = ("other",)
    assert load_expected_dice(ensemble, filled) is None
    assert load_expected_dice(ensemble, None) == earlier
    anew = learned(some, some, run(tmp_path), filled)
    save_expected_dice(anew, tmp_path)
    assert load_expected_dice(run(tmp_path), filled) == anew
    assert load_expected_dice(run(tmp_path), None) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": {}}, "is for the classes"),
        ({"classes": []}, "is damaged"),
        ({"more": 1}, "is damaged"),
        ({"classes": {"soleus": {"agreement": [0.5], "dice": [], "in_all": True}}}, "1 values of agreement for 0"),
    ],
)
def test_a_damaged_file_gets_one_line(tmp_path: Path, change: dict[str, object], said: str) -> None:
    some = cases(AGREEMENT, DICE)
    save_expected_dice(learned(some, some, run(tmp_path)), tmp_path)
    path = tmp_path / EXPECTED_DICE_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    document["learned"][0] |= change
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        load_expected_dice(run(tmp_path), None)
