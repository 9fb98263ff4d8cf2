"""TensorFlow, started without its greetings and with kseg's settings."""

import os
import sys
from pathlib import Path

TENSORFLOW_SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Without oneDNN each map is fresh memory from the system, which costs a third of a training step to clear.
    "TF_CPU_ALLOCATOR_USE_BFC": "true",
}
"""Environment variables that TensorFlow reads when it starts, unless the user has set them."""


def start_tensorflow() -> None:
    """Import TensorFlow without the greetings that it prints to standard error whatever its log level says."""
    os.environ.update(TENSORFLOW_SETTINGS | os.environ)
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
