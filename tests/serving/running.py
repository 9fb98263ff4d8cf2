"""A running stand-in for TF Serving."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROGRAM = Path(__file__).with_name("model_server.py")


class Server:
    """A process of `model_server.py` that listens.

    Args:
        models: names to folders.
        hold: the file that makes requests wait while it is there.
        flags: of the program.
    """

    def __init__(self, models: dict[str, Path], hold: Path, flags: Sequence[str] = ()):
        words = [f"{name}={folder}" for name, folder in models.items()]
        self._hold = hold
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *words, "--hold", str(hold), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self._line()
        assert line, self._process.communicate()[1]
        self._ports = json.loads(line)

    def address(self, protocol: str) -> str:
        return f"127.0.0.1:{self._ports[protocol]}"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let requests wait until the end of the block."""
        self._hold.touch()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        self._hold.unlink(missing_ok=True)

    def wait_for_a_held_request(self) -> None:
        assert self._line() == "held\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        return self._process.stdout.readline()
