"""The frame of every command: one style of arguments, one way to fail."""

import argparse
import atexit
import difflib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from kseg.console.command_names import COMMANDS, RENAMED, command_line, command_name
from kseg.console.disk_errors import refusal
from kseg.console.errors import InputError, MachineError
from kseg.console.messages import say

Main = Callable[[Sequence[str] | None], None]


AFTER_DASHES = "\0"
"""Marks a word that stood after `--`; none that a user types holds it."""


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose error is one line (`InputError`) instead of a page of usage.

    Args:
        command: what it parses for: `prepare`, `bench input`, or nothing for `kseg` itself.
        description: what stands first in its help.
        epilog: what stands last there.
        usage: instead of argparse's own.
    """

    def __init__(self, command: str, description: str, epilog: str | None = None, usage: str | None = None):
        super().__init__(
            prog=command_name(command),
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._remedy = f"See {command_line(command)} --help"

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse a command line, by default this process's.

        Words and options stand in any order, and after `--` are words alone. argparse loses those that begin with a
        dash where words may stand between options, so the dash is hidden from it.
        """
        words = list(sys.argv[1:] if argv is None else argv)
        if "--" in words:
            end = words.index("--")
            words[end + 1 :] = [AFTER_DASHES + word for word in words[end + 1 :]]
        arguments = self.parse_intermixed_args(words)
        for name, value in vars(arguments).items():
            setattr(arguments, name, _unmarked(value))
        return arguments

    def error(self, message: str) -> NoReturn:
        """Raise the error; `run` prints it."""
        raise InputError(f"{message.replace(AFTER_DASHES, '')}. {self._remedy}")


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmarked(one) for one in value if one != "--"]
    return value.removeprefix(AFTER_DASHES) if isinstance(value, str) else value


def command_parser(name: str, epilog: str | None = None) -> CommandParser:
    """Return the parser of a command."""
    return CommandParser(name, COMMANDS[name], epilog)


def choose_command(
    command: str, description: str, choices: Mapping[str, str], argv: Sequence[str] | None, version: str | None = None
) -> tuple[str, list[str]]:
    """Return which of a command's own commands a command line names first, and the words after it.

    Args:
        command: `bench`, or nothing for `kseg` itself.
        description: what stands first in its help.
        choices: a line for each of its commands.
        argv: the command line, by default this process's.
        version: what `--version` prints, if there is such an option.

    Raises:
        InputError: it names none of them.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    width = max(map(len, choices))
    table = "\n".join(f"  {name:{width}}  {line}" for name, line in choices.items())
    line = command_line(command)
    parser = CommandParser(
        command,
        f"{description}\n\ncommands:\n{table}",
        epilog=f"{line} COMMAND --help says more of a command.",
        usage="%(prog)s COMMAND ...",
    )
    if version is not None:
        parser.add_argument("--version", action="version", version=f"kseg {version}", help="print the version and exit")
    if words and not words[0].startswith("-"):
        if words[0] in choices:
            return words[0], words[1:]
        known = ({} if command else RENAMED) | {name: name for name in choices}
        near = difflib.get_close_matches(words[0], known, n=1)
        hint = f"did you mean '{known[near[0]]}'?" if near else f"{line} --help lists them"
        raise InputError(f"'{words[0]}' is no command: {hint}")
    parser.parse_args(words)  # --help and --version end here
    parser.error("name a command")


def add_run_arguments(parser: argparse.ArgumentParser, changes: str) -> None:
    """Add a trained run, and changes to the section 'evaluation' of its recipe; `changes` says what these do."""
    parser.add_argument("run", metavar="RUN", help="name or folder of the run")
    parser.add_argument("changes", nargs="*", default=[], metavar="evaluation.KEY=VALUE", help=changes)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add `--json` to the parser of a command that reports numbers."""
    parser.add_argument("--json", action="store_true", help="print one JSON object last on standard output")


def run(main: Main, argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command's `main` and exit: 0 done, 2 the user's mistake or a disk's refusal (one line), 1 anything else.

    Args:
        main: of the command.
        argv: its command line, by default this process's.
    """
    module = main.__module__ if main.__module__ != "__main__" else sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
    package, _, command = module.partition(".")
    name = command_name("" if command == "__main__" else command) if package == "kseg" else module
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that a terminal has no letters for must not end the work
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is from the start
    try:
        main(argv)
        _flush()  # what cannot be told is a refusal, too
    except InputError as error:
        say(f"{name}: {error}")
        _leave(2)
    except MachineError as error:
        say(f"{name}: {error}")
        _leave(1, at_once=True)
    except KeyboardInterrupt:
        say(f"{name}: stopped by the user")
        _leave(1)
    except BrokenPipeError:  # `| head`: nobody listens any more, and nobody is to be told
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        _leave(1)
    except Exception as error:  # a library's own have no type in common; what is no refusal of a disk passes as it is
        if (line := refusal(error)) is None:
            raise
        say(f"{name}: {line}")
        _leave(2)
    _leave(0, at_once="tensorflow" in sys.modules)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed before the process began
            stream.flush()


def _leave(status: int, at_once: bool = False) -> NoReturn:
    """Exit, and let nothing else have a say in the status, or take its time over it.

    TensorFlow takes a second to be taken apart, and may wait for a worker that has ended; tensorflow-io's client of S3
    aborts a process that ends ("pure virtual method called", tensorflow/io issue 1912). So what Python has to do at
    its end is done here, and the system ends the process.
    """
    if at_once or "tensorflow_io" in sys.modules:
        atexit._run_exitfuncs()
        _flush()
        os._exit(status)
    sys.exit(status)
