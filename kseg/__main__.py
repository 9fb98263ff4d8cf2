"""The console command: `kseg prepare ...` is `python -m kseg.prepare ...`, and `kseg --help` lists what there is."""

from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from kseg import __version__
from kseg.console.command import choose_command, run
from kseg.console.command_names import COMMANDS, started_as_program


def main(typed: str = "kseg") -> NoReturn:
    """Run the command that the command line names, and exit as it does.

    Args:
        typed: what the user typed before the command.
    """
    started_as_program(typed)
    run(_run_command)


def _run_command(argv: Sequence[str] | None) -> None:
    description = "Trains compact 3D segmentation networks on few scans, and puts them to work."
    command, rest = choose_command("", description, COMMANDS, argv, __version__)
    run(import_module(f"kseg.{command}").main, rest)


if __name__ == "__main__":
    main("python -m kseg")
