"""The machine: what this process may use of it, and what a measurement says of it."""

import os
import platform
import sys
from typing import Any


def cores() -> int:
    """Return how many processor cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """Return what was measured on; TensorFlow is asked for its GPUs only where it has been imported."""
    from importlib.metadata import version

    report = {"cpus": cores(), "architecture": platform.machine(), "python": platform.python_version()}
    report |= {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    if tensorflow := sys.modules.get("tensorflow"):
        report["gpus"] = [device.name for device in tensorflow.config.list_physical_devices("GPU")]
    return report
