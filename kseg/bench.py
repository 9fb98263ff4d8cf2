"""`python -m kseg.bench`: what this machine will do, measured side by side in one run."""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from kseg.console.command import add_json_option, command_parser, print_json, run, say, start_tensorflow
from kseg.console.errors import InputError


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for, print a table, and with `--json` the numbers."""
    arguments = _parse(argv)
    if min(*arguments.patch, arguments.batch, arguments.repeats) < 1:
        raise InputError("--patch, --batch and --repeats must be 1 or more")

    start_tensorflow()
    from kseg.benchmark.cost import network_cost
    from kseg.benchmark.step import SIDES, measure_step
    from kseg.console.progress import stdout
    from kseg.nn.networks import build_network

    patch = tuple(arguments.patch)
    say(f"the paper's network on patches of {patch}, batch {arguments.batch}; both sides take turns")
    report = measure_step(patch, arguments.batch, arguments.repeats)
    network = build_network("midl2021")
    costs = {side: network_cost(network, patch, arguments.batch, name) for side, name in SIDES.items()}
    report |= {
        "forward_gflop": {side: cost.flop / 1e9 for side, cost in costs.items()},
        "forward_gbytes": {side: cost.bytes / 1e9 for side, cost in costs.items()},
        "patch": patch,
        "batch": arguments.batch,
        "machine": _machine(),
    }
    stdout.print(_table(report))
    if arguments.json:
        print_json(report)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("bench", "Measure kseg on this machine.")
    benches = parser.add_subparsers(dest="bench", required=True, metavar="WHAT")
    step = benches.add_parser("step", help="a training step and a forward pass, plain beside fast layers")
    step.add_argument("--patch", type=int, nargs=3, default=(96, 96, 96), metavar=("X", "Y", "Z"), help="voxels")
    step.add_argument("--batch", type=int, default=1, help="patches of a step")
    step.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    add_json_option(step)
    return parser.parse_args(argv)


def _machine() -> dict[str, Any]:
    import platform

    import keras
    import tensorflow as tf

    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


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


if __name__ == "__main__":
    run(main)
