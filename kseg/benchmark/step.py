"""`kseg.bench step`: a training step and a forward pass of the paper's network, plain beside fast layers in turn."""

import json
import statistics
import sys
from contextlib import ExitStack
from typing import Any

from kseg.benchmark.worker_process import start_worker
from kseg.console.messages import say
from kseg.console.tensorflow_start import start_tensorflow
from kseg.console.terminal import progress

SIDES = {"direct": "direct", "reuse": "auto"}
"""What is compared, and the `implementation` that stands for it: the fast side is what a user gets by default."""
JOBS = {"train": "train_step_s", "forward": "forward_s"}


def bench_step(patch: tuple[int, int, int], batch: int, repeats: int) -> tuple[dict[str, Any], Any]:
    """Measure and count both sides of a step; return the report and its table."""
    start_tensorflow()
    from kseg.benchmark.cost import network_cost
    from kseg.nn.networks import build_network

    say(f"the paper's network on patches of {patch}, batch {batch}; both sides take turns")
    report = measure_step(patch, batch, repeats)
    network = build_network("midl2021")
    costs = {side: network_cost(network, patch, batch, name) for side, name in SIDES.items()}
    report |= {
        "forward_gflop": {side: cost.flop / 1e9 for side, cost in costs.items()},
        "forward_gbytes": {side: cost.bytes / 1e9 for side, cost in costs.items()},
        "patch": patch,
        "batch": batch,
    }
    return report, _table(report)


def measure_step(patch: tuple[int, int, int], batch: int, repeats: int) -> dict[str, Any]:
    """Measure both sides in turn and return medians, ratios (direct over reuse), peak memory and time by layer.

    Args:
        patch: voxels along x, y, z.
        batch: patches of a step.
        repeats: measured runs of each job, after one that is not counted.
    """
    times: dict[str, dict[str, list[float]]] = {job: {side: [] for side in SIDES} for job in JOBS}
    with ExitStack() as stack:
        workers = {}
        for side, implementation in SIDES.items():
            options = {"implementation": implementation, "patch": patch, "batch": batch}
            command = [sys.executable, "-m", "kseg.benchmark.step_worker", json.dumps(options)]
            workers[side] = stack.enter_context(start_worker(command))
        rounds = [(job, number) for number in range(repeats + 1) for job in JOBS]
        for job, number in progress(rounds, "measuring"):
            for side, worker in workers.items():
                seconds = worker.ask(job)
                if number > 0:  # the first run compiles
                    times[job][side].append(seconds)
        peaks = {side: worker.ask("peak") for side, worker in workers.items()}
        layers = {side: worker.ask("layers") for side, worker in workers.items()}
    medians = {job: {side: statistics.median(runs) for side, runs in sides.items()} for job, sides in times.items()}
    return {
        **{key: _with_ratio(medians[job]) for job, key in JOBS.items()},
        "peak_bytes": _with_ratio(peaks),
        "layers_s": {name: _with_ratio({side: layers[side][name] for side in SIDES}) for name in layers["direct"]},
    }


def _with_ratio(sides: dict[str, float]) -> dict[str, float]:
    return {**sides, "ratio": sides["direct"] / sides["reuse"]}


def _table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title="direct: plain dilated convolutions; reuse: what implementation='auto' picks")
    table.add_column("")
    for heading in ("direct", "reuse", "direct / reuse"):
        table.add_column(heading, justify="right")

    def row(name: str, sides: dict[str, float], scale: float, style: str | None = None) -> None:
        ratio = sides["direct"] / sides["reuse"]
        table.add_row(
            name, f"{sides['direct'] / scale:.3g}", f"{sides['reuse'] / scale:.3g}", f"{ratio:.1f}", style=style
        )

    row("training step, s", report["train_step_s"], 1, "bold")
    row("forward pass, s", report["forward_s"], 1, "bold")
    row("peak memory, GB", report["peak_bytes"], 1e9, "bold")
    row("forward convolutions, GFLOP", report["forward_gflop"], 1)
    row("forward convolutions, GB moved", report["forward_gbytes"], 1)
    table.add_section()
    for name, sides in report["layers_s"].items():
        row(f"{name}, both ways, ms", sides, 1e-3)
    return table
