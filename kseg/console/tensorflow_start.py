"""TensorFlow, started without its greetings and with kseg's settings."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kseg.console.errors import InputError

TENSORFLOW_SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Without oneDNN each map is fresh memory from the system, which costs a third of a training step to clear.
    "TF_CPU_ALLOCATOR_USE_BFC": "true",
    "KERAS_BACKEND": "tensorflow",
}
"""Environment variables that TensorFlow and Keras read when they start, unless the user has set them."""
UNUSED = ("jax", "matplotlib", "pandas", "sklearn")
"""Libraries that TensorFlow and Keras import where they are installed, for parts of theirs that no command uses.

They are two fifths of the time of that import.
"""


def start_tensorflow() -> None:
    """Import TensorFlow without the greetings that it prints to standard error whatever its log level says.

    What the user's `keras.json` says of backend, axes and numbers does not count.

    Raises:
        InputError: `KERAS_BACKEND` names another backend.
    """
    os.environ.update(TENSORFLOW_SETTINGS | os.environ)
    if (backend := os.environ["KERAS_BACKEND"]) != "tensorflow":
        raise InputError(f"KERAS_BACKEND is {backend!r}, and kseg's commands run on TensorFlow: unset KERAS_BACKEND")
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with _hidden(UNUSED):
            import keras
            import tensorflow  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)


@contextmanager
def _hidden(libraries: Iterable[str]) -> Iterator[None]:
    """Make libraries that are not imported yet seem not to be installed, within the block."""
    names = [name for name in libraries if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None is Python's own mark for that
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
