"""The network's training step and forward pass on a GPU: every implementation and precision, beside PyTorch.

Usage: python tests/benchmarks/step_on_gpu.py OUT.json [--sides jax torch tensorflow] [--minutes 5]

Each case has a process of its own, which builds its network beside the others and then waits for the card, so that one
at a time uses it. What is done is written at once: the file can be read, and the run ended, at any time. Cases that
fail are in it with the last line that they printed. Without a GPU it runs on the processor (`--patch 16 --repeats 1` to
see that it does).
"""

import argparse
import itertools
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

HERE = Path(__file__).parent
WAYS = ("reuse", "direct")
PRECISIONS = ("tf32", "bfloat16", "float32")
WAITING = 4
"""Processes that build their networks while one measures."""


def cases(sides, patches):
    """Return the cases of each side, the most telling first."""
    found = []
    for side, precision, patch in itertools.product(sides, PRECISIONS, patches):
        common = {"side": side, "precision": precision, "patch": patch}
        if precision == "float32" and patch != patches[0]:
            continue
        if side == "torch":
            modes = ("eager", "compile") if precision != "float32" and patch == patches[-1] else ("eager",)
            found += [common | {"preset": "midl2021", "mode": mode} for mode in modes]
            continue
        found += [common | {"preset": "midl2021", "implementation": way} for way in WAYS]
        if side == "tensorflow" and precision != "float32" and patch == patches[-1]:
            found += [common | {"preset": "kseg", "implementation": way} for way in WAYS]
            names = ("kseg", "midl2021")
            found += [common | {"preset": name, "implementation": "direct", "jit": False} for name in names]
    return found


def start(case, log, filters=None):
    """Start the process of a case, perhaps with other filters than its preset's."""
    program = {"torch": "torch_worker.py"}.get(case["side"], "keras_worker.py")
    options = case | {"patch": [case["patch"]] * 3, "batch": 1, "device": "gpu"}
    options |= {"filters": filters} if filters else {}
    backend = {} if case["side"] == "torch" else {"KERAS_BACKEND": case["side"]}
    return subprocess.Popen(
        [sys.executable, str(HERE / program), json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
        env={
            **os.environ,
            **backend,
            "PYTHONPATH": f"{HERE.parents[1]}:{os.environ.get('PYTHONPATH', '')}",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        },
    )


def measure(process, log, repeats, end):
    """Have a process measure until `end` at most, and return its figures."""

    def ask(job):
        try:
            print(job, file=process.stdin, flush=True)
            if not select.select([process.stdout], [], [], max(end - time.monotonic(), 0))[0]:
                raise RuntimeError(f"no time was left for '{job}'")
            return json.loads(process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            process.wait(timeout=10)
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            raise RuntimeError(lines[-1][:500] if lines else "it has died") from None

    figures = {}
    for job in ("train", "forward"):
        first, *rest = (ask(job) for _ in range(repeats + 1))
        figures |= {job: statistics.median(rest), f"first_{job}": first}
    return figures | ask("peak")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sides", nargs="+", default=["jax", "torch"], choices=["jax", "torch", "tensorflow"])
    parser.add_argument("--patch", type=int, nargs="+", default=[96, 128])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="of one case at most, once it has the card")
    parser.add_argument("--cases", type=int, help="the first of each side alone")
    parser.add_argument("--filters", type=int, nargs="+", help="of a smaller network than the presets', to try this")
    arguments = parser.parse_args()

    end = time.monotonic() + 60 * arguments.minutes
    each = [cases([side], arguments.patch)[: arguments.cases] for side in arguments.sides]
    waiting, report = deque(itertools.chain(*each)), []
    running = deque()
    while waiting or running:
        while waiting and len(running) < WAITING:
            case = waiting.popleft()
            log = arguments.out.with_name(f"{arguments.out.stem}-{len(report) + len(running):03d}.log")
            running.append((case, log, start(case, log, arguments.filters)))
        case, log, process = running.popleft()
        try:
            until = min(end, time.monotonic() + arguments.seconds)
            figures = measure(process, log, arguments.repeats, until)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            figures = {"error": str(error)}
        process.kill()
        report.append(case | figures)
        print(json.dumps(report[-1]), flush=True)
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
