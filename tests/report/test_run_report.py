"""Reports: what comes from files is escaped, pictures are inside, extremes are the best and the worst case."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from kseg.console.errors import InputError
from kseg.evaluation.case_pictures import CasePictures
from kseg.evaluation.measure_agreement import Agreement, MeasureAgreement, StructureAgreement
from kseg.evaluation.score_tables import write_scores
from kseg.evaluation.scored_masks import scored_masks
from kseg.evaluation.scores import ClassScore, mean_dice, score_case, summarise
from kseg.inference.postprocessing import Operation
from kseg.inference.postprocessing_choice import ClassChoice, PostProcessing
from kseg.recipe.sections import Evaluation
from kseg.report.agreement_table import agreement_table
from kseg.report.page import inside, write_page
from kseg.report.run_report import read_scores, run_part
from kseg.runs.run_folder import RunFolder
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

NAMES = ("soleus", "<b>lateralis</b>")
AGREEMENT = MeasureAgreement(
    {name: StructureAgreement(8, 0, 0, 0, {"volume_ml": Agreement(8, 12.34, -1.5, 0.25)}) for name in NAMES}
)


@pytest.fixture
def folder(scored: Path, tmp_path: Path) -> RunFolder:
    """The run of `scored`, of which a test may change the files."""
    return RunFolder(Path(shutil.copytree(scored, tmp_path / "run")))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with eight scored test cases, `case_5` the best and `case_6` the worst, drawn as kseg.evaluate draws."""
    folder = RunFolder(tmp_path_factory.mktemp("scored") / "run")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (8, 8, 8)).astype(np.uint8)
    image = Volume(truth[..., np.newaxis] * 50, np.eye(4), StoredGeometry((8, 8, 8), np.eye(4), ".nii"))
    pictures = CasePictures(folder, "test", NAMES, "run")
    scores = {}
    for number, wrong in enumerate((0.3, 0.35, 0.4, 0.32, 0.3, 0.0, 0.9, 0.5)):
        prediction = np.where(rng.random(truth.shape) < wrong, 0, truth).astype(np.uint8)
        case = f"case_{number}"
        scores[case] = score_case(truth, prediction, np.eye(4), NAMES, 1.0)
        pictures.see(case, image, truth, prediction, scores[case])
    write_scores(scores, summarise(scores), folder.evaluation, "test", agreement=AGREEMENT)
    return folder.path


def test_the_first_cases_are_drawn_and_whatever_is_better_or_worse(folder: RunFolder) -> None:
    drawn = sorted(path.stem for path in folder.evaluation.glob("*.png"))
    assert drawn == [f"test-case_{number}" for number in range(8)]  # 5 is the best, 6 and 7 are of the worst five


@pytest.mark.parametrize(
    ("evaluation", "chosen", "cases", "other"),
    [
        (Evaluation(), None, 2, ""),
        (Evaluation(flip_axes=("x",)), None, 2, "flip_axes"),
        (Evaluation(overlap=0.25), None, 2, "overlap"),
        (Evaluation(), ("fill_holes",), 2, "postprocessing"),
        (Evaluation(), None, 1, "scans"),
    ],
)
def test_scores_of_masks_that_are_made_otherwise_are_not_those_of_a_run(
    evaluation: Evaluation, chosen: tuple[Operation, ...] | None, cases: int, other: str, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    score = score_case(np.ones((4, 4, 4), np.uint8), np.ones((4, 4, 4), np.uint8), np.eye(4), ("soleus",), 1.0)
    entries = [SimpleNamespace(origin_hash=str(number) * 64) for number in range(2)]
    scored = scored_masks(Evaluation(), None, entries)  # type: ignore[arg-type]
    write_scores({"a": score}, summarise({"a": score}), folder.evaluation, "test", ["ab"], scored=scored)
    choice = ClassChoice(operations=chosen or (), dice_before=0.5, dice_after=0.6)
    postprocessing = PostProcessing(cases=5, models=("ab",), classes={"soleus": choice}) if chosen else None
    wanted = scored_masks(evaluation, postprocessing, entries[:cases])  # type: ignore[arg-type]
    if other:
        with pytest.raises(InputError, match=f"has scores with another {other}: .*evaluate makes it anew"):
            read_scores(folder, "test", ["ab"], wanted)
    assert read_scores(folder, "test", ["ab"], wanted if not other else None).cases == 1
    earlier = json.loads((folder.evaluation / "test.json").read_text(encoding="utf-8"))
    del earlier["scored"]
    (folder.evaluation / "test.json").write_text(json.dumps(earlier), encoding="utf-8")
    assert read_scores(folder, "test", ["ab"], wanted).cases == 1  # it does not say


def test_a_case_between_the_best_and_the_worst_is_not_drawn(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    truth = np.ones((4, 4, 4), np.uint8)
    image = Volume(truth[..., np.newaxis], np.eye(4), StoredGeometry((4, 4, 4), np.eye(4), ".nii"))
    pictures = CasePictures(folder, "test", ("soleus",), "run")
    dice = [0.5, 0.6, 0.7, 0.8, 0.4, 0.9, 0.85, 0.55]
    for number, value in enumerate(dice):
        score = ClassScore("soleus", value, None, None, None, None, 1.0, None, None, None)
        pictures.see(f"case_{number}", image, truth, truth, [score])
    # Five first; 0.9 is the best; 0.85 has five below it; 0.55 only two.
    assert sorted(path.stem[-1] for path in folder.evaluation.glob("*.png")) == ["0", "1", "2", "3", "4", "5", "7"]


def test_a_part_shows_the_worst_cases_and_the_best(folder: RunFolder) -> None:
    part = run_part(folder, "test", seed=1)
    document = json.loads((folder.evaluation / "test.json").read_text(encoding="utf-8"))["cases"]
    dice = {case: np.mean([row["dice"] for row in rows]) for case, rows in document.items()}
    assert [case for _, case, _ in part.pictures] == [*sorted(dice, key=lambda case: dice[case])[:5], "case_5"]
    assert [heading.partition(",")[0] for heading, _, _ in part.pictures] == [
        "Worst case",
        *["Among the worst"] * 4,
        "Best case",
    ]
    assert part.pictures[-1][0] == "Best case, Dice 1.000"
    assert part.pictures[-1][2] == inside((folder.evaluation / "test-case_5.png").read_bytes())
    document = json.loads((folder.evaluation / "test.json").read_text(encoding="utf-8"))
    assert part.scores.rows["soleus"][0] == f"{document['summary']['classes']['soleus']['dice']['mean']:.3f}"
    assert list(part.scores.rows) == [*NAMES, "all classes"]
    assert part.scores.headings[-2:] == ["volume error %", "absolute volume error %"]


def test_a_part_has_a_table_by_case_the_worst_first(folder: RunFolder) -> None:
    part = run_part(folder, "test", seed=1)
    document = json.loads((folder.evaluation / "test.json").read_text(encoding="utf-8"))["cases"]
    dice = {case: np.mean([row["dice"] for row in rows]) for case, rows in document.items()}
    assert [one.case for one in part.cases] == sorted(dice, key=lambda case: dice[case])
    assert [one.dice for one in part.cases] == [f"{dice[one.case]:.3f}" for one in part.cases]
    worst = part.cases[0]
    assert list(worst.rows) == list(NAMES)
    cells = dict(zip(part.case_headings, worst.rows["soleus"], strict=True))
    assert cells["Dice"] == f"{document['case_6'][0]['dice']:.3f}"
    assert cells["volume error %"] == f"{document['case_6'][0]['volume_error_percent']:+.1f}"
    assert float(cells["prediction ml"]) == pytest.approx(document["case_6"][0]["prediction_ml"], rel=0.01)


def only_cases(folder: RunFolder, number: int) -> None:
    """Leave the first cases of the scores."""
    path = folder.evaluation / "test.json"
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    scores = {case: [ClassScore(**row) for row in cases[case]] for case in list(cases)[:number]}
    write_scores(scores, summarise(scores), folder.evaluation, "test")


def test_one_case_is_neither_best_nor_worst_and_shows_no_agreement(folder: RunFolder, tmp_path: Path) -> None:
    only_cases(folder, 1)
    part = run_part(folder, "test", seed=1)
    assert [heading.partition(",")[0] for heading, _, _ in part.pictures] == ["The case"]
    assert part.agreement is None
    write_page(
        "run.html", tmp_path / "page.html", title="t", part=part, curves=None, recipe="", view_command="kseg view run"
    )
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Best" not in page
    assert "Agreement" not in page
    assert "All scores of the case, class by class" in page
    assert "click on a heading to sort" not in page
    assert "One case." in page


def test_limits_of_agreement_ask_for_ten_cases(folder: RunFolder) -> None:
    few = run_part(folder, "test", seed=1)
    assert str(few.agreement).startswith("data:image/png;base64,")
    assert few.agreement_note.endswith("mean difference. Limits of agreement need 10 cases of a class.")


def test_scores_of_earlier_versions_are_shown(folder: RunFolder) -> None:
    path = folder.evaluation / "test.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    assert run_part(folder, "test", seed=1).measures == agreement_table(AGREEMENT)
    del document["summary"]["nsd_tolerance_least_mm"], document["measure_agreement"]
    for statistics in (*document["summary"]["classes"].values(), document["summary"]["foreground"]):
        del statistics["absolute_volume_error_percent"]
    path.write_text(json.dumps(document), encoding="utf-8")
    part = run_part(folder, "test", seed=1)
    assert part.scores.headings[2] == "NSD 1 mm"
    assert part.scores.rows["all classes"][-1] == "-"
    assert part.measures is None


def test_what_was_not_scored_is_named(folder: RunFolder) -> None:
    with pytest.raises(
        InputError, match=r"val\.json' is missing or damaged: python -m kseg.evaluate .* --split val makes it"
    ):
        run_part(folder, "val", seed=1)
    (folder.evaluation / "val.json").write_text('{"summary": 3}', encoding="utf-8")
    with pytest.raises(InputError, match=r"val\.json' is missing or damaged"):
        run_part(folder, "val", seed=1)


def test_text_is_escaped_and_pictures_are_whole(folder: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    part = run_part(folder, "test", seed=1)
    write_page(
        "run.html", path, title="a & b", part=part, curves=None, recipe="<script>alert(1)</script>", view_command=""
    )
    page = path.read_text(encoding="utf-8")
    assert page.count("<script>") == 1  # the page's own, which sorts
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>lateralis" not in page
    assert "a &amp; b" in page
    assert "Agreement of measures" in page and "<td>-1.50 ± 0.25</td>" in page
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == len(re.findall("<img", page)) == 8  # distributions, five worst, the best, agreement
    for number, picture in enumerate(pictures):
        (tmp_path / f"{number}.png").write_bytes(base64.b64decode(picture))
        assert min(imread(tmp_path / f"{number}.png").shape[:2]) > 200


def test_a_case_without_scores_has_no_mean() -> None:
    nothing = np.zeros((4, 4, 4), np.uint8)
    assert mean_dice(score_case(nothing, nothing, np.eye(4), NAMES, 1.0)) is None


Document = dict[str, Any]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda d: d.pop("cases"),
        lambda d: d["summary"].pop("classes"),
        lambda d: d["measure_agreement"].pop("structures"),
    ],
)
def test_damaged_scores_are_refused(break_it: Callable[[Document], object], folder: RunFolder) -> None:
    path = folder.evaluation / "test.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    break_it(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match="is missing or damaged"):
        run_part(folder, "test", seed=1)
