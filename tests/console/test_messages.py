"""Lines of several threads, each whole."""

import io
import json
import sys
import threading
import time

import pytest

from kseg.console.messages import print_json, say

LINES = 20


class Slow(io.StringIO):
    """Lets other threads go on between what is written."""

    def write(self, text: str) -> int:
        written = super().write(text)
        time.sleep(0.0005)
        return written


def test_lines_of_several_threads_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    said, printed = Slow(), Slow()
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.setattr(sys, "stdout", printed)

    def tell(name: str) -> None:
        for number in range(LINES):
            say(f"{name} {number}")
            print_json({name: number})

    threads = [threading.Thread(target=tell, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said.getvalue().splitlines()) == sorted(
        f"{name} {number}" for name in "ab" for number in range(LINES)
    )
    reports = [json.loads(line) for line in printed.getvalue().splitlines()]
    assert sorted(map(str, reports)) == sorted(str({name: number}) for name in "ab" for number in range(LINES))
