"""Changes of a recipe stand before, between and after options, in every command; what begins with a dash too."""

import sys
from itertools import permutations

import pytest

from kseg import bench, evaluate, export, phantom, predict, prepare, run, sweep, train
from kseg.console.command import CommandParser
from kseg.console.errors import InputError

RUN_CHANGES = ("evaluation.overlap=0.25", "evaluation.flip_axes=['x', 'y']")
RECIPE_CHANGES = ("train.epochs=3", "phantom.difficulty=-1", "data.labels={background=0, leg=1}")
COMMANDS = {
    "prepare": (prepare, ["leg.toml"], RECIPE_CHANGES, [["--workers", "2"], ["--force"]]),
    "train": (train, ["leg.toml"], RECIPE_CHANGES, [["--folds", "3"], ["--resume"]]),
    "evaluate": (evaluate, ["leg"], RUN_CHANGES, [["--split", "val"], ["--json"]]),
    "predict": (predict, ["leg", "scan.nii.gz"], RUN_CHANGES, [["--out", "masks"], ["--force"]]),
    "export": (export, ["leg"], RUN_CHANGES, [["--format", "onnx"], ["--size", "fixed"]]),
    "sweep": (sweep, ["leg.toml"], RECIPE_CHANGES, [["--jobs", "2"], ["--json"]]),
    "run": (run, ["leg.toml"], RECIPE_CHANGES, [["--jobs", "2"], ["--json"]]),
    "bench input": (bench, ["leg.toml"], RECIPE_CHANGES, [["--repeats", "3"], ["--json"]]),
    "bench prepare": (bench, ["leg.toml"], RECIPE_CHANGES, [["--cases", "3"], ["--json"]]),
    "bench predict": (bench, ["leg"], (), [["--shape", "8", "8", "8"], ["--json"]]),
}  # fmt: skip
"""What each command takes: words that say on what, changes, and options with and without a value."""


class ParsedError(Exception):
    """Ends a command as soon as its command line is parsed."""


@pytest.fixture
def parsed(monkeypatch):
    """Return what a command makes of its command line."""
    parse = CommandParser.parse

    def end(self, argv):
        raise ParsedError(vars(parse(self, argv)))

    monkeypatch.setattr(CommandParser, "parse", end)

    def of(command, words):
        module = COMMANDS[command][0]
        with pytest.raises(ParsedError) as caught:
            module.main([*command.split()[1:], *words])
        return caught.value.args[0]

    return of


def words_of(arguments):
    """All words in their order, however the command calls them."""
    first = [arguments["run"]] if "run" in arguments else []
    return [*first, *arguments.get("words", arguments.get("changes", []))]


def orders(command):
    """Words and options of a command in many orders; the words' own order is kept."""
    _, target, changes, options = COMMANDS[command]
    words = [*target, *changes]
    for at in range(len(words) + 1):
        for one, other in permutations(options):
            yield [*words[:at], *one, *words[at:], *other]
            yield [*one, *words[:at], *other, *words[at:]]


@pytest.mark.parametrize("command", COMMANDS)
def test_words_stand_before_between_and_after_options(command, parsed):
    _, target, changes, options = COMMANDS[command]
    expected = parsed(command, [*target, *changes, *options[0], *options[1]])
    assert words_of(expected) == [*target, *changes]
    for words in orders(command):
        assert parsed(command, words) == expected, words


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ("prepare", "bench predict")])
def test_what_follows_two_dashes_is_words(command, parsed):
    _, target, changes, options = COMMANDS[command]
    more = ["-scan.nii", "--json", "--", "-1", "a=-1"]
    for before in ([*options[0], *target], [*target, *options[0]], [*target, *changes, *options[0], *options[1]]):
        expected = parsed(command, before)
        found = parsed(command, [*before, "--", *more])
        assert words_of(found) == [*words_of(expected), *more], before
        key = "words" if "words" in found else "changes"
        assert found | {key: []} == expected | {key: []}


@pytest.mark.parametrize("command", ["train", "sweep", "bench input"])
def test_two_dashes_may_stand_first_and_after_an_option_alone(command, parsed):
    for words in (["--", "-r.toml"], ["--json", "--", "-r.toml"]):
        assert words_of(parsed(command, words)) == ["-r.toml"]


def test_the_words_of_a_run_may_all_follow_two_dashes(parsed):
    found = parsed("predict", ["--out", "masks", "--", "-run", "-scan.nii"])
    assert (found["run"], found["words"], found["out"]) == ("-run", ["-scan.nii"], "masks")


def test_an_option_s_value_may_begin_with_a_dash(parsed):
    assert parsed("export", ["leg", "--licence=-MIT", RUN_CHANGES[0]])["licence"] == "-MIT"
    assert parsed("predict", ["leg", "--out=-masks", "scan.nii"])["out"] == "-masks"
    assert parsed("train", ["--folds", "-1", "seed=2"])["folds"] == -1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["leg", "scan.nii", "--out", "--", "masks"], "argument --out: expected one argument"),
        (["leg", "--out", "masks"], "no scan is named: give volumes, folders, or a list"),
        (["--out", "masks", "--"], "the following arguments are required: RUN|MODEL"),
        (["leg", "scan.nii"], "the following arguments are required: --out"),
    ],
)
def test_what_is_missing_is_one_line(words, said):
    with pytest.raises(InputError, match=r"See python -m kseg\.predict --help") as caught:
        predict.main(words)
    assert str(caught.value).startswith(said)


def test_a_command_without_words_takes_none_after_two_dashes():
    with pytest.raises(InputError, match=r"^unrecognized arguments: (-- )?-x\. See"):
        phantom.main(["--out", "made", "--", "-x"])


def test_a_command_takes_the_words_of_its_process_by_default(monkeypatch, parsed):
    monkeypatch.setattr(sys, "argv", ["kseg.train", "--resume", "leg.toml"])
    with pytest.raises(ParsedError) as caught:
        train.main()
    assert caught.value.args[0]["words"] == ["leg.toml"]
