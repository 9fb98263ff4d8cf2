"""Draws from an input pipeline when told to: what all sides of the comparison have in common.

A worker reads a job a line from standard input and answers with a line of JSON: `draw`, patches a second; `peak`, the
largest sum over its processes of memory (each page shared by n of them counted as 1/n) that was seen after a draw,
bytes.
"""

import json
import os
import sys
import time
from pathlib import Path

READY_BEFORE = 12  # patches that may wait in queues from the time when others had their turn; not counted


def serve(batches, seconds):
    """Answer jobs until standard input ends; `batches` yields numbers of patches that were made, endlessly."""
    batches, peak = iter(batches), 0
    next(batches)
    for job in sys.stdin:
        answer = draw(batches, seconds) if job.strip() == "draw" else peak
        peak = max(peak, memory(os.getpid()))
        print(json.dumps(answer), flush=True)


def draw(batches, seconds):
    waiting = READY_BEFORE
    while waiting > 0:
        waiting -= next(batches)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        count += next(batches)
    return count / (time.perf_counter() - began)


def memory(process):
    """Bytes that a process and its children hold."""
    return sum(1024 * proportional_kb(one) for one in tree(process))


def tree(process):
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(one for child in children for one in tree(int(child)))]


def proportional_kb(process):
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
