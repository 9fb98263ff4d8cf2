"""A process of its own that measures when it is told to: its memory is its own, and several can take turns."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

from kseg.console.tensorflow_start import TENSORFLOW_SETTINGS


class Worker:
    """A process that holds one side; see `kseg.benchmark.step_worker` and `kseg.benchmark.predict_worker`."""

    def __init__(self, jobs: IO[str], answers: IO[str]):
        self._jobs = jobs
        self._answers = answers

    def ask(self, job: str) -> Any:
        """Have a job done and return its answer.

        Raises:
            RuntimeError: the process has died, most likely for want of memory.
        """
        try:
            print(job, file=self._jobs, flush=True)
            return json.loads(self._answers.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise RuntimeError(f"the process that measures '{job}' has died: try a smaller volume or patch") from None


@contextmanager
def start_worker(command: Sequence[str]) -> Iterator[Worker]:
    """Start a process that answers jobs, and end it with the block."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=TENSORFLOW_SETTINGS | os.environ,
    )
    with process:
        try:
            yield Worker(cast(IO[str], process.stdin), cast(IO[str], process.stdout))  # both are pipes
        finally:
            process.kill()
