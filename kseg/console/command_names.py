"""kseg's commands, a line for each, and how messages name them: in the way in which the user started kseg."""

from dataclasses import dataclass

COMMANDS = {
    "init": "Look at a folder of scans, and write a list of them and a recipe.",
    "prepare": "Bring scans into the form that training reads.",
    "train": "Train a network on a prepared dataset.",
    "evaluate": "Score a run, or the folds of one together, on whole volumes.",
    "predict": "Segment scans with a run, with its folds, or through TF Serving.",
    "measure": "Measure masks: volumes, lengths, areas, echo intensities.",
    "view": "Look at scans and masks in a browser, or at the cases of a run.",
    "export": "Export a run: SavedModel for TF Serving, ONNX, or TensorRT.",
    "sweep": "Train and compare all runs of a recipe's grid; finished ones stay.",
    "phantom": "Write made-up scans of calves and their labels, to try kseg on.",
    "bench": "Measure kseg on this machine.",
}
"""What stands in `kseg --help`, and what the help of each command begins with."""

RENAMED = {"run": "sweep"}
"""Earlier names of commands."""


@dataclass
class _Started:
    before: str = "python -m "
    separator: str = "."


_started = _Started()


def started_as_program(typed: str) -> None:
    """Note that kseg was started by its console command: `typed` is `kseg`, or `python -m kseg`."""
    _started.before, _started.separator = typed.removesuffix("kseg"), " "


def command_name(command: str = "") -> str:
    """Return what a command is called at the beginning of a line: `kseg.prepare`, or `kseg prepare`."""
    return f"kseg{_started.separator}{command}" if command else "kseg"


def command_line(command: str = "") -> str:
    """Return what runs a command here: `python -m kseg.prepare`, or `kseg prepare` where this was found on the PATH.

    Each way may fail where the other works (a folder on PYTHONPATH has no program, and one environment's program may be
    called from another's Python), so the way that has just worked is the one to name.
    """
    return f"{_started.before}{command_name(command)}"
