"""kseg's own commands as processes: each run of a sweep gets its memory and its cores, and gives them back."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kseg.console.errors import InputError
from kseg.storage.files import lock


class Commands:
    """Runs commands of kseg one after another and keeps what they say.

    Args:
        log: file that their lines are added to.
        cores: processor cores they may use, where the system can bind processes to cores; empty for all.
    """

    def __init__(self, log: Path, cores: Sequence[int] = ()):
        self.log = log
        self.cores = cores
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def __call__(self, command: str, *arguments: str) -> dict[str, Any]:
        """Run `python -m kseg.<command>` with `--json` and return what it reports.

        Raises:
            InputError: it failed, or was asked to end before its end; the message is its last line.
        """
        if self._stopped:
            raise InputError("stopped")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", f"kseg.{command}", *arguments, "--json"]
        with self.log.open("a", encoding="utf-8") as log:
            # The command inherits the lock, so that it outlives a killed parent as long as the command.
            lock(log, f"a command of an earlier start still writes to '{self.log}': wait for it, or stop it")
            print(f"$ {' '.join(words)}", file=log, flush=True)
            self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
            if self.cores and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(self._process.pid, self.cores)
            printed, _ = self._process.communicate()
            log.write(printed)
        if self._process.returncode:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = said[-1] if said else f"kseg.{command} failed"  # a full disk takes no log
            raise InputError(f"{last} (all it said: '{self.log}')")
        report = dict(json.loads(printed.splitlines()[-1]))
        if "stopped" in report:
            raise InputError(f"stopped {report['stopped']}")
        return report

    def stop(self) -> None:
        """End the command that runs, if any, and start no other: a training keeps its last checkpoint."""
        self._stopped = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
