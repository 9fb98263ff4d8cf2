"""`kseg prepare ...`, as an installation's program starts it, beside `python -m kseg.prepare ...`: all the same."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from printed import last_json

from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import Recipe

ROOT = Path(__file__).resolve().parents[1]
GRACE = 180
PROGRAM = f"""#!{sys.executable}
import sys
from kseg.__main__ import main
if __name__ == "__main__":
    sys.exit(main())
"""
"""What pip makes of the entry point."""
RECORDS = ("data.records=legs", "phantom.subjects=4", "phantom.shape=[16, 16, 16]", "patches.size=[8, 8, 8]")
SMALL = ("network.filters=[2]", "network.dilation_rates=[1]", "train.steps_per_epoch=2", "train.validation_patches=2")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bin") / "kseg"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


@pytest.fixture
def ways(program: Path) -> dict[str, Callable[[str], list[str]]]:
    """How a command may be started."""
    return {
        "kseg": lambda command: [sys.executable, str(program), command],
        "python -m kseg": lambda command: [sys.executable, "-m", "kseg", command],
        "python -m kseg.": lambda command: [sys.executable, "-m", f"kseg.{command}"],
    }


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start a command in a folder from which it is not imported."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_cases_are_prepared_side_by_side_and_the_report_is_the_last_line(ways, tmp_path: Path) -> None:
    written, reports = [], []
    for name, way in ways.items():
        folder = tmp_path / name.strip(".")
        with start([*way("prepare"), *RECORDS, "--workers", "2", "--json", "seed=3"], folder) as process:
            printed, said = process.communicate(timeout=GRACE)
        assert process.returncode == 0, said
        reports.append(last_json(printed))
        written.append({path.name: path.read_bytes() for path in (folder / "legs").iterdir()})
    assert reports[0]["cases"] == {"train": 2, "val": 1, "test": 1}
    assert reports == [reports[0]] * 3
    assert written == [written[0]] * 3


def test_what_a_user_gets_wrong_is_one_line_and_status_2(ways, tmp_path: Path) -> None:
    for way in ways.values():
        with start([*way("prepare"), "nothing.toml", "--json"], tmp_path) as process:
            printed, said = process.communicate(timeout=GRACE)
        assert (process.returncode, printed) == (2, "")
        assert said.endswith(
            "prepare: recipe 'nothing.toml' does not exist: give the path of a .toml file, see pipelines/\n"
        )


FAILS = """
import errno, os, sys
from kseg import prepare
from kseg.__main__ import main
from kseg.console.errors import MachineError
def load(*_):
    raise {error}
prepare.load_recipe = load
sys.argv = ["kseg", "prepare"]
main()
"""


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        ("KeyboardInterrupt", 1, "kseg prepare: stopped by the user"),
        ("MachineError('the other machine is gone')", 1, "kseg prepare: the other machine is gone"),
        ("OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'a')", 2, "kseg prepare: 'a': No space left on device: "),
        ("ArithmeticError('a fault of kseg')", 1, "ArithmeticError: a fault of kseg"),
    ],
)
def test_other_ends_have_the_statuses_of_the_modules(error: str, status: int, said: str, tmp_path: Path) -> None:
    with start([sys.executable, "-c", FAILS.format(error=error)], tmp_path) as process:
        _, lines = process.communicate(timeout=GRACE)
    assert process.returncode == status
    assert lines.splitlines()[-1].startswith(said)
    assert (lines.count("\n") == 1) == (not said.startswith("ArithmeticError"))


ENDS = """
import sys
from kseg import prepare
from kseg.__main__ import main
def told(argv):
    print("told")
told.__module__ = "kseg.prepare"
prepare.main = told
sys.modules["tensorflow"] = sys  # with which a process is ended by the system
sys.argv = ["kseg", "prepare"]
main()
"""


def test_a_command_that_nobody_listens_to_is_done_all_the_same(tmp_path: Path) -> None:
    words = [sys.executable, "-c", ENDS]
    with start(words, tmp_path) as process:
        assert process.communicate(timeout=GRACE) == ("told\n", "")
    assert process.returncode == 0
    with start(["sh", "-c", '"$@" >&-', "sh", *words], tmp_path) as process:
        assert process.communicate(timeout=GRACE) == ("", "")
    assert process.returncode == 0
    with start(["bash", "-c", '"$@" | :; exit "${PIPESTATUS[0]}"', "bash", *words], tmp_path) as process:
        assert process.communicate(timeout=GRACE) == ("", "")
    assert process.returncode in (0, 1), "1 where the pipe was closed before the word was in it"


def test_sigterm_ends_a_training_with_status_0_and_its_last_line(
    ways, tiny_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(dump_recipe(tiny_recipe(*SMALL, "train.epochs=100000")), encoding="utf-8")
    with start([*ways["kseg"]("train"), "--json", str(recipe), "name=leg"], tmp_path) as process:
        try:
            assert any("from epoch 1" in line for line in process.stderr)
            process.terminate()
            printed, said = process.communicate(timeout=GRACE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert said.splitlines()[-1].endswith(": go on with --resume")
    assert json.loads(printed) == {"stopped": said.splitlines()[-1].removeprefix("stopped ")}


def test_a_sweep_starts_its_runs(ways, tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    grid = "\n[grid]\nseeds = [1]\n[grid.axes.pooling]\nbroken = ['network.pooling=[[2, 2, 2], [2, 2, 2]]']\n"
    recipe.write_text(dump_recipe(tiny_recipe(*SMALL)) + grid, encoding="utf-8")
    with start([*ways["kseg"]("sweep"), "--json", str(recipe), "name=study"], tmp_path) as process:
        _, said = process.communicate(timeout=GRACE)
    assert process.returncode == 2
    told, end = [line for line in said.splitlines() if line][-2:]  # rich 13 ends a bar with an empty line
    assert told.startswith("study/broken/seed-1 failed: kseg.train: ")
    assert "`pooling` must have one entry per level" in told
    assert end.startswith("kseg sweep: 1 of 1 run failed, study/broken/seed-1 among them")
