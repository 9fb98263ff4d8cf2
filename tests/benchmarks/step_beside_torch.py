"""kseg beside PyTorch: a training step and a forward pass of the paper's network, in turn in one run.

Usage: python tests/benchmarks/step_beside_torch.py PYTHON_WITH_TORCH [--patch 96 96 96] [--batch 1] [--repeats 5]
"""

import argparse
import json
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

from kseg.benchmark.worker_process import start_worker

HERE = Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="a Python that has PyTorch")
    parser.add_argument("--patch", type=int, nargs=3, default=(96, 96, 96))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--modes", nargs="+", default=["eager"], choices=["eager", "compile"])
    arguments = parser.parse_args()

    options = {"patch": arguments.patch, "batch": arguments.batch}
    commands = {
        f"kseg {name}": [
            sys.executable,
            "-m",
            "kseg.benchmark.step_worker",
            json.dumps(options | {"implementation": name}),
        ]
        for name in ("direct", "auto")
    }
    for mode in arguments.modes:
        program = [arguments.python, str(HERE / "torch_worker.py")]
        commands[f"torch {mode}"] = [*program, json.dumps(options | {"mode": mode})]

    with ExitStack() as stack:
        workers = {name: stack.enter_context(start_worker(command)) for name, command in commands.items()}
        times = {name: {"train": [], "forward": []} for name in workers}
        for number in range(arguments.repeats + 1):
            for job in ("train", "forward"):
                for name, worker in workers.items():
                    seconds = worker.ask(job)
                    if number > 0:
                        times[name][job].append(seconds)
        report = {
            name: {job: statistics.median(runs) for job, runs in jobs.items()}
            | {"peak_bytes": workers[name].ask("peak")}
            for name, jobs in times.items()
        }
    fast = report["kseg auto"]
    for name, figures in report.items():
        train, forward, peak = figures["train"], figures["forward"], figures["peak_bytes"]
        print(
            f"{name:14s} train {train:6.3f} s ({train / fast['train']:4.1f} x kseg auto)   "
            f"forward {forward:6.3f} s ({forward / fast['forward']:4.1f} x)   peak {peak / 1e9:.2f} GB"
        )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
