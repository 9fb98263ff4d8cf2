"""What became of the files that a command takes one by one: a bad one does not stop the others."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from kseg.console.command_names import command_name
from kseg.console.errors import InputError
from kseg.console.messages import say


@dataclass
class Outcomes:
    """What became of so many `inputs`, which are `kind` of `command`; each thing is told as it happens.

    A single input that fails is not told of here: `raise_failed` says it, as the command's last line.
    """

    command: ClassVar[str]
    kind: ClassVar[str]

    inputs: int
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def fail(self, path: Path, reason: str) -> None:
        """Note that an input failed, and why."""
        self.failed[str(path)] = reason
        if self.inputs > 1:
            say(f"{command_name(self.command)}: {reason}")

    def skip(self, path: Path, reason: str) -> None:
        """Note that a file that was found is none to work on, and why."""
        self.skipped[str(path)] = reason
        say(f"skipped: '{path}' {reason}")

    def raise_failed(self) -> None:
        """Raise `InputError` where an input failed."""
        if self.failed:
            several = f"{len(self.failed)} of {self.inputs} {self.kind} failed: {', '.join(self.failed)}; see above"
            raise InputError(several if self.inputs > 1 else next(iter(self.failed.values())))
