"""`--help` and errors in a recipe answer at once: TensorFlow is not imported for them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = sorted(path.stem for path in (ROOT / "kseg").glob("*.py") if path.stem not in ("__init__", "recipe"))

# Runs a command as `python -m` does, then says which slow libraries it has imported.
RUN = """
import runpy, sys
command, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_module(f"kseg.{command}", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    slow = sorted({"tensorflow", "keras", "numpy", "scipy", "SimpleITK", "matplotlib"} & set(sys.modules))
    print(f"\\nexit {stop.code}, imported {slow}")
"""


def run(*words):
    return subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True)


def test_the_commands_are_those_of_the_design():
    assert COMMANDS == ["bench", "evaluate", "export", "phantom", "predict", "prepare", "run", "train"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_slow(command):
    done = run(command, "--help")
    assert done.stdout.endswith("exit 0, imported []\n")
    assert done.stdout.startswith(f"usage: kseg.{command}")
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_a_slip_in_the_recipe_imports_nothing_slow(command):
    done = run(command, "train.max_minute=3")
    assert done.stdout == "\nexit 2, imported []\n"
    assert done.stderr == (
        f"kseg.{command}: 'train.max_minute' is no key of a recipe: did you mean 'train.max_minutes'?\n"
    )


def test_importing_kseg_is_free():
    code = "import kseg, sys; print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
