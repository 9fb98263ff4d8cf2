"""Functions whose element-wise operations become loops that go through memory once.

TensorFlow makes a copy for each shift and each sum unless XLA compiles the function; JAX compiles the whole step
anyway.
"""

import atexit
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from keras import backend


def compiled(function: Callable[..., Any], **constants: Any) -> Callable[..., Any]:
    """Return `function` with hashable `constants` bound, compiled by XLA where the backend leaves that to us."""
    return _compiled(function, tuple(sorted(constants.items())), backend.backend())


@cache
def _compiled(
    function: Callable[..., Any], constants: tuple[tuple[str, Any], ...], backend_name: str
) -> Callable[..., Any]:
    bound = partial(function, **dict(constants))
    if backend_name != "tensorflow":
        return bound
    import tensorflow as tf

    # Traced as it stands, as JAX does it: to look for control flow of Python's that there is none of takes longer.
    return tf.function(bound, autograph=False, jit_compile=True)


# Compiled functions that live until the interpreter's end outlive what TensorFlow 2.16 needs to let go of them.
atexit.register(_compiled.cache_clear)
