"""Which files the processes of tests are given."""

from pathlib import Path
from types import SimpleNamespace

from worker_processes import Controller

ROOT = Path(__file__).resolve().parents[1]
NOT_WITH_OLDEST = ROOT / ".ci" / "not_with_oldest.txt"


def files_of(*words: str, ignore: list[str] | None = None) -> list[str]:
    option = SimpleNamespace(jobs=2, ignore=ignore)
    return Controller(
        SimpleNamespace(args=list(words), option=option, invocation_params=SimpleNamespace(args=words))
    ).files


def test_folders_are_given_by_files_but_those_that_are_to_be_ignored(tmp_path):
    for name in ("a/test_one.py", "a/test_two.py", "a/b/test_three.py", "c/test_four.py", "c/help.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    whole = ["a/b/test_three.py", "a/test_one.py", "a/test_two.py", "c/test_four.py"]
    assert files_of(str(tmp_path)) == [str(tmp_path / name) for name in whole]
    left = files_of(str(tmp_path), ignore=[str(tmp_path / "a" / "b"), str(tmp_path / "a" / "test_two.py")])
    assert left == [str(tmp_path / name) for name in ("a/test_one.py", "c/test_four.py")]


def test_what_is_not_run_with_the_oldest_versions_is_there():
    lines = NOT_WITH_OLDEST.read_text(encoding="utf-8").splitlines()
    assert lines == sorted(set(lines))
    for line in lines:
        assert line.startswith("--ignore=")
        assert (ROOT / line.removeprefix("--ignore=")).exists()
