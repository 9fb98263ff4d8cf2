"""Names of classes, cases, channels and runs appear as they are written: in pictures, tables, pages and files."""

import csv
import io
import json
import os
import sys
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console

from kseg.console import terminal
from kseg.console.command import run
from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import markdown_text
from kseg.evaluation.score_tables import score_table, write_scores
from kseg.evaluation.scores import score_case, summarise
from kseg.pictures.area_curves import area_curves
from kseg.pictures.bland_altman import bland_altman
from kseg.pictures.curves import RunCurves, training_curves
from kseg.pictures.png import png_bytes, save_png
from kseg.pictures.three_planes import three_planes
from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Data
from kseg.records.scans import find_scans
from kseg.report.agreement_table import AgreementTable, OfStructure
from kseg.report.case_table import CaseTable
from kseg.report.page import inside, write_page
from kseg.report.run_report import CaseScores, MeanScores, RunPart
from kseg.volumes.cases.find import find_cases
from kseg.volumes.formats.open import open_stored
from kseg.volumes.labels import LabelMap

NAMES = (
    "$x_1$", "$\\bad$", "a_b^c_", "_hidden", "\\frac{1}{2}", "50%", "a & b &amp;", "<script>", "<b>x</b>", "🦵", "嗨",
    "[red]bold[/red]", "[link](there)", "a|b", "a/b", ":heart:", "{0}", "=1+1", "a, b", '"q"', "*x* `y` ~~z~~", "# ä ö",
)  # fmt: skip


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text().strip() for text in figure.findobj(Text)]


def test_pictures_show_names_and_no_mathematics(tmp_path):
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[2:4, 2:4, 2] = 1
    history = {"epoch": [0, 1], "val_loss": [1.0, 0.5], "val_dice": [0.1, 0.2], "alpha": [0.5, 0.4], "beta": [0.5, 0.6]}
    curves = RunCurves(history, np.array([0.5, 1]), np.array([1, 0.5]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in NAMES:
            case = three_planes(
                labels, labels, None, spacing_mm=(1, 1, 1), class_names=(name, "leg"), title=f"run: {name}, Dice 0.1"
            )
            assert {name, "leg", f"run: {name}, Dice 0.1"} <= set(texts_of(case))
            volumes = bland_altman({name: [(1.0, 2.0), (2.0, 2.5)]})
            assert name in texts_of(volumes)
            panels = training_curves({f"run {name}": [curves], "other": [curves]})
            assert f"run {name}" in texts_of(panels)
            areas = area_curves({name: (np.ones(2), np.ones(2))}, "z", f"run: {name}")
            assert {name, f"run: {name}"} <= set(texts_of(areas))
            for figure in (case, volumes, panels, areas):
                assert not any(text.get_parse_math() for text in figure.findobj(Text) if name in text.get_text())
        every = three_planes(
            labels, labels, None, spacing_mm=(1, 1, 1), class_names=NAMES, title=f"{NAMES[0]} {NAMES[1]}"
        )
        save_png(every, tmp_path / "case.png")
        assert png_bytes(bland_altman({"$x$, $\\bad$": [(1.0, 2.0)]})).startswith(b"\x89PNG")
    assert (tmp_path / "case.png").read_bytes().startswith(b"\x89PNG")


def scored(names: tuple[str, ...]) -> dict:
    truth = np.arange(4 * 4 * 4).reshape(4, 4, 4) % (len(names) + 1)
    return dict.fromkeys((f"case {name}" for name in names), score_case(truth, truth, np.eye(4), names, 1.0))


def test_tables_show_names_and_no_markup(monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr(terminal.stdout, "_file", output)  # `file` would be put back as what it is now
    monkeypatch.setattr(terminal.stdout, "_width", 400)
    scores = scored(NAMES)
    terminal.stdout.print(score_table(summarise(scores)))
    for name in NAMES:
        assert f" {name} " in output.getvalue()


def test_bars_show_names_and_no_markup(monkeypatch):
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, markup=False, emoji=False, width=200, color_system=None)
    monkeypatch.setattr(terminal, "stderr", console)
    for name in NAMES:
        list(terminal.progress([1, 2], name))
        assert name in output.getvalue()


def test_files_of_scores_hold_names(tmp_path):
    scores = scored(NAMES)
    write_scores(scores, summarise(scores), tmp_path, "test")
    with (tmp_path / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["case"], row["class_name"]) for row in csv.DictReader(file)]
    assert rows == [(f"case {case}", name) for case in NAMES for name in NAMES]
    assert list(json.loads((tmp_path / "test.json").read_text(encoding="utf-8"))["summary"]["classes"]) == list(NAMES)


class Page(HTMLParser):
    """Elements, and the texts of cells and captions."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.texts: list[str] = []
        self.alternatives: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.add(tag)
        self.texts.append("")
        self.alternatives += [value for key, value in attrs if key == "alt"]

    def handle_data(self, data: str) -> None:
        self.texts[-1:] = [(self.texts or [""])[-1] + data]


def test_pages_show_names_and_no_elements(tmp_path):
    path = tmp_path / "page.html"
    rows = {name: ["0.5"] for name in NAMES}
    pictures = [("The case", name, inside(b"x")) for name in NAMES]
    cases = [CaseScores(f"case {name}", "0.5", rows) for name in NAMES]
    drawn = {"agreement": inside(b"x"), "agreement_note": "", "seed": 1, "distributions": inside(b"x")}
    names = {"glance": list(NAMES), "overview": CaseTable(["case", *NAMES], [[f"case {name}" for name in NAMES]])}
    none = {"glance": ["", ""], "overview": CaseTable(["case"], [[""]])}
    for texts, structures in ((names, [f"measured {name}" for name in NAMES]), (none, ["leg"])):
        measured = [OfStructure(structure, "2 cases", [["volume, ml"]]) for structure in structures]
        texts["measures"] = AgreementTable(["measure"], measured, "")
    part = RunPart(
        "test", MeanScores(1, ["Dice"], rows), ["Dice"], cases, pictures, changes=tuple(NAMES), **names, **drawn
    )
    plain = RunPart("test", MeanScores(1, ["Dice"], {}), ["Dice"], [], pictures[:2], **none, **drawn)
    pages = []
    for one in (part, plain):
        texts = {"title": "&".join(NAMES), "recipe": "\n".join(NAMES), "view_command": " ".join(NAMES)}
        write_page("run.html", path, part=one, curves=None, **texts)
        pages.append(Page())
        pages[-1].feed(path.read_text(encoding="utf-8"))
    assert pages[0].elements - pages[1].elements <= {"td", "tr", "th", "li"}
    for name in NAMES:
        assert name in pages[0].texts
        assert f"case {name}" in pages[0].texts
        assert f"measured {name}" in pages[0].texts
        assert any(f": {name}, truth" in text for text in pages[0].alternatives)


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_names(name):
    tokens = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .parse(f"Segments {markdown_text(name)} in volumes.\n\n| x | y |\n|---|---|\n| {markdown_text(name)} | 1 |\n")
    )
    inline = [token for token in tokens if token.type == "inline"]
    shown = ["".join(child.content for child in token.children or []) for token in inline]
    assert shown == [f"Segments {name} in volumes.", "x", "y", name, "1"]
    assert {child.type for token in inline for child in token.children or []} <= {"text", "text_special"}


@pytest.mark.parametrize("name", ["two\nlines", "bell\x07"])
def test_names_of_more_than_a_line_are_refused(name, tmp_path):
    with pytest.raises(InputError, match=r"a class name .* must be a text of one line"):
        LabelMap(("background", name), (0, 1))
    (tmp_path / "a.nii").touch()
    labels, pairs = {"background": 0, "leg": 1}, [{"image": "a.nii", "label": "a.nii"}]
    description = {"modality": [name], "labels": labels, "training": pairs}
    (tmp_path / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(InputError, match=r"channel .* must have a name of one line"):
        find_cases(tmp_path)


def test_what_is_said_is_one_line_whatever_is_named(capsys):
    say("mask of 'two\nlines \x1b[2J\u2028.nii' written: größer 日本")
    assert capsys.readouterr().err == "mask of 'two\\nlines \\x1b[2J\\u2028.nii' written: größer 日本\n"


def test_letters_that_a_terminal_lacks_do_not_end_a_command(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)  # with it the system ends the process

    def main(argv):
        Console().print("größe 小")
        print("日本")

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 0
    screen.flush()
    assert screen.buffer.getvalue().decode("latin-1") == "größe \\u5c0f\n\\u65e5\\u672c\n"


def test_names_of_cases_leave_room_for_the_files_that_bear_them(tmp_path):
    for name in ("a.nii", "b.nii"):
        (tmp_path / name).touch()
    for length, fits in ((200, True), (201, False)):
        row = f"{'ä' * (length // 2)}{'x' * (length % 2)},s,,a.nii,b.nii"
        (tmp_path / "cases.csv").write_text(f"case,subject,split,image,label\n{row}\n", encoding="utf-8")
        if fits:
            assert len(find_cases(tmp_path / "cases.csv").cases) == 1
        else:
            with pytest.raises(InputError, match="of 200 bytes at most: rename it"):
                find_cases(tmp_path / "cases.csv")


def test_names_that_are_not_unicode_are_told_before_itk_ends_the_process(tmp_path):
    foreign = os.fsdecode(b"M\xfcller")
    for name in (f"{foreign}.mha", f"imagesTr/{foreign}_0000.nii", f"labelsTr/{foreign}.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for ending in ("mha", "nii"):
        (tmp_path / f"{foreign}.{ending}").touch()
        with pytest.raises(InputError, match=rf"M\\udcfcller.{ending}' is a name that is not UTF-8: rename it"):
            open_stored(tmp_path / f"{foreign}.{ending}")
    description = {"channel_names": ["US"], "labels": {"background": 0, "leg": 1}, "file_ending": ".nii"}
    (tmp_path / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(InputError, match=r"case 'M\\udcfcller' in .* must be fit as a file name, in Unicode"):
        find_cases(tmp_path)
    recipe = load_recipe(None).model_copy(update={"data": Data(source=f"scans/{foreign}")})
    with pytest.raises(InputError, match="is a name that is not UTF-8: rename it"):
        find_scans(recipe)
