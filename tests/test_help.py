"""`--help` and errors in a recipe answer at once, in both ways of starting a command: TensorFlow is not imported."""

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from kseg import __version__
from kseg.bench import BENCHES
from kseg.console.command_names import COMMANDS, RENAMED

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path.stem for path in (ROOT / "kseg").glob("*.py") if not path.stem.startswith("__"))

# Runs a command as `python -m` does, or the console command, then says which slow libraries it has imported.
RUN = """
import runpy, sys
program, *sys.argv[1:] = sys.argv[1:]
try:
    if program == "kseg":
        from kseg.__main__ import main
        main()
    runpy.run_module(program, run_name="__main__", alter_sys=True)
except SystemExit as stop:
    slow = sorted({"tensorflow", "keras", "numpy", "scipy", "SimpleITK", "matplotlib"} & set(sys.modules))
    print(f"\\nexit {stop.code}, imported {slow}")
"""


def run(*words):
    return subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True)


def test_the_commands_are_those_of_the_design():
    designed = [
        *("bench", "evaluate", "export", "init", "measure", "phantom", "predict", "prepare", "run", "sweep", "train"),
        "view",
    ]
    assert designed == MODULES
    assert sorted(COMMANDS) == [name for name in MODULES if name not in RENAMED]


def test_an_installation_brings_the_console_command():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert setup["options.entry_points"]["console_scripts"].strip() == "kseg = kseg.__main__:main"


@pytest.mark.parametrize("command", MODULES)
def test_help_imports_nothing_slow(command):
    done = run(f"kseg.{command}", "--help")
    assert done.stdout.endswith("exit 0, imported []\n")
    named = RENAMED.get(command, command)
    assert done.stdout.startswith(f"usage: kseg.{named}")
    assert f"\n\n{COMMANDS[named]}\n" in done.stdout
    assert done.stderr == (
        f"kseg.run is called kseg.{named} now; this name goes with the next release\n" if named != command else ""
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_the_console_command_imports_nothing_slow(command):
    done = run("kseg", command, "--help")
    assert done.stdout.endswith("exit 0, imported []\n")
    assert done.stdout.startswith(f"usage: kseg {command}")
    assert f"\n\n{COMMANDS[command]}\n" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("bench", BENCHES)
@pytest.mark.parametrize("program", [("kseg", "bench"), ("kseg.bench",)])
def test_help_of_each_bench_imports_nothing_slow(program, bench):
    done = run(*program, bench, "--help")
    assert done.stdout.endswith("exit 0, imported []\n")
    assert done.stdout.startswith(f"usage: {' '.join(program)} {bench}")
    assert f"\n\nMeasure {BENCHES[bench]}.\n" in done.stdout


@pytest.mark.parametrize(
    ("words", "commands"), [(["kseg"], COMMANDS), (["kseg.__main__"], COMMANDS), (["kseg", "bench"], BENCHES)]
)
def test_help_has_a_line_for_each_command(words, commands):
    done = run(*words, "--help")
    assert done.stdout.endswith("exit 0, imported []\n")
    width = max(map(len, commands))
    lines = done.stdout.split("\n\ncommands:\n")[1].splitlines()[: len(commands)]
    assert lines == [f"  {name:{width}}  {line}" for name, line in commands.items()]
    assert max(map(len, lines)) <= 80


def test_the_console_command_says_its_version():
    assert run("kseg", "--version").stdout == f"kseg {__version__}\n\nexit 0, imported []\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kseg", "prepar"], "kseg: 'prepar' is no command: did you mean 'prepare'?"),
        (["kseg", "run", "my.toml"], "kseg: 'run' is no command: did you mean 'sweep'?"),
        (["kseg", "my.toml"], "kseg: 'my.toml' is no command: kseg --help lists them"),
        (["kseg", "two\nlines"], "kseg: 'two\\nlines' is no command: kseg --help lists them"),
        (["kseg"], "kseg: name a command. See kseg --help"),
        (["kseg.__main__"], "kseg: name a command. See python -m kseg --help"),
        (["kseg", "--json", "train"], "kseg: unrecognized arguments: --json train. See kseg --help"),
        (["kseg", "train", "--fold", "2"], "kseg train: unrecognized arguments: --fold. See kseg train --help"),
        (["kseg.__main__", "train", "-x"], "kseg train: unrecognized arguments: -x. See python -m kseg train --help"),
        (["kseg.train", "-x"], "kseg.train: unrecognized arguments: -x. See python -m kseg.train --help"),
        (["kseg.bench", "inputs"], "kseg.bench: 'inputs' is no command: did you mean 'input'?"),
        (["kseg.bench"], "kseg.bench: name a command. See python -m kseg.bench --help"),
        (["kseg", "bench", "step", "16"], "kseg bench: unrecognized arguments: 16. See kseg bench step --help"),
        (["kseg", "prepare", "nothing.toml"], "kseg prepare: recipe 'nothing.toml' does not exist: "),
        (
            ["kseg", "train", "a.b.c=1"],
            "kseg train: on the command line: 'a.b.c' is no key of a recipe: kseg train --help lists",
        ),
    ],
)
def test_a_slip_is_one_line_that_names_commands_as_they_were_typed(words, said):
    done = run(*words)
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert done.stdout == "\nexit 2, imported []\n"


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_a_slip_in_the_recipe_imports_nothing_slow(command):
    done = run(f"kseg.{command}", "train.max_minute=3")
    assert done.stdout == "\nexit 2, imported []\n"
    assert done.stderr == (
        f"kseg.{command}: on the command line: 'train.max_minute' is no key of a recipe: did you mean "
        "'train.max_minutes'?\n"
    )


def test_importing_kseg_is_free():
    code = "import kseg, sys; print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
