"""Every public name of the library has an example in its docstring, and each example is true."""

import doctest
from pathlib import Path

import pytest

import kseg
from kseg.console.tensorflow_start import start_tensorflow

FINDER = doctest.DocTestFinder(exclude_empty=True)


def examples(name: str) -> list[doctest.DocTest]:
    """The examples in the docstring of a public name, and in those of its methods, if it is a class."""
    return [test for test in FINDER.find(getattr(kseg, name), name, globs={}) if test.examples]


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    start_tensorflow()


@pytest.mark.parametrize("name", kseg.__all__)
def test_a_public_name_has_an_example_and_it_is_true(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = examples(name)
    assert name in {test.name for test in found}, f"the docstring of kseg.{name} has no example (>>>)"
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    for test in found:
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "".join(said)
    assert not list(tmp_path.iterdir()), "an example leaves files in the current folder"
