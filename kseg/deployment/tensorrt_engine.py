"""TensorRT's engines: built from an ONNX graph, and run on patches. Of TensorRT 10 and 11 and TensorRT for RTX alike.

Networks are strongly typed: a tensor has the type that the graph gives it, so that half precision is a matter of the
graph (`kseg.deployment.onnx_graph`). The flags that let TensorRT choose types are gone from its version 11. Single
precision is exact, or with `"tf32"` multiplied with 10 bits of mantissa, which is TensorRT's own default.
"""

import importlib
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from textwrap import shorten
from typing import Any

import numpy as np

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import counted
from kseg.deployment.cuda import Cuda
from kseg.deployment.tensor_names import PROBABILITIES, VOXELS

MAX_REASON = 400
"""Characters of an error of TensorRT's: some of several lines list all values of a layer."""


@dataclass(frozen=True)
class Library:
    """TensorRT, or TensorRT for RTX: its name, its Python module, and the extra of kseg that installs it."""

    name: str
    module: str
    extra: str
    targets: tuple[str, ...] = ()
    """The compute capabilities that it builds for, without a GPU; none where it builds for the GPU that is here."""

    def load(self) -> Any:
        """Return its module.

        Raises:
            InputError: it is not installed, or a library of its own is missing.
        """
        try:
            return importlib.import_module(self.module)
        except (ImportError, OSError) as error:  # OSError: on Windows, where a DLL is missing
            raise InputError(f"{self.name} is missing ({error}): pip install 'kseg[{self.extra}]'") from None


TENSORRT = Library("TensorRT", "tensorrt", "tensorrt")
RTX = Library("TensorRT for RTX", "tensorrt_rtx", "tensorrt-rtx", ("8.0", "8.6", "8.9", "12.0"))
"""It targets what its engines are for by default: from Ampere on, without Hopper (9.0) and data centres' Blackwell."""


def build_engine(
    library: Library,
    model: bytes,
    input_shape: Sequence[int],
    batch: int,
    precision: str,
    smallest: Sequence[int] | None = None,
    timings: bytes = b"",
) -> tuple[bytes, bytes]:
    """Build an engine for the library's targets, in seconds; or for this machine's GPU, in minutes.

    For this GPU TensorRT tries out which of its kernels are fastest.

    Args:
        library: `TENSORRT` or `RTX`.
        model: ONNX, whose input `voxels` has any batch, and the shape of a patch, or any where `smallest` is another.
        input_shape: (x, y, z, channels) of a patch, for which kernels are chosen; no larger one is taken.
        batch: largest batch, for which kernels are chosen.
        precision: `"fp32"`, `"tf32"` or `"fp16"`; the types of `"fp16"` are those of `model`.
        smallest: (x, y, z, channels) of the smallest patch that is taken; None for `input_shape`.
        timings: TensorRT's timing cache of an earlier build; one of another machine or version is not used.

    Returns:
        The serialised engine, and the timing cache with what was measured; empty where nothing is.

    Raises:
        InputError: TensorRT cannot read the model, or build an engine for it; the message has its reason.
    """
    trt = library.load()
    logger = _logger(trt)
    builder = _started(library, trt.Builder)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        reason = _in_one_line([str(parser.get_error(index)) for index in range(parser.num_errors)])
        raise InputError(f"{library.name} {trt.__version__} cannot read the ONNX model ({reason})")
    config = builder.create_builder_config()
    if precision == "tf32":
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)  # it is set unless one says otherwise
    profile = builder.create_optimization_profile()
    profile.set_shape(VOXELS, (1, *(smallest or input_shape)), (batch, *input_shape), (batch, *input_shape))
    config.add_optimization_profile(profile)  # one that is refused is missed, and named, by the build
    timing = None if library.targets else _timing_cache(config, timings)
    if library.targets:
        config.num_compute_capabilities = len(library.targets)
        for index, target in enumerate(library.targets):
            config.set_compute_capability(trt.ComputeCapability.__members__[f"SM{target.replace('.', '')}"], index)
    monitor = _monitor(library, trt)
    config.progress_monitor = monitor
    with _interruptible(monitor):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = _in_one_line(logger.errors)
        raise InputError(f"{library.name} {trt.__version__} cannot build an engine here ({reason})")
    return bytes(plan), bytes(timing.serialize()) if timing else b""


class Engine:
    """An engine, loaded: patches `(n, x, y, z, channels)` float32 to probabilities `(n, x, y, z, classes)` float32.

    Whoever makes one has seen to it that the engine is this machine's own and unchanged: to load a serialised engine is
    to run what is in it. It has one set of buffers: one thread at a time may call it.

    Args:
        library: which built it.
        plan: the serialised engine.
        input_shape: (x, y, z, channels) of a patch.
        classes: of the probabilities.
        batch: most patches that it takes at once; more are taken in turn.

    Raises:
        InputError: TensorRT does not load it, or the GPU's memory is short.
    """

    def __init__(self, library: Library, plan: bytes, input_shape: Sequence[int], classes: int, batch: int) -> None:
        trt = library.load()
        self._cuda = Cuda()
        self._shapes = {VOXELS: tuple(input_shape), PROBABILITIES: (*input_shape[:3], classes)}
        self._batch = batch
        self._logger = _logger(trt)
        self._runtime = _started(library, trt.Runtime)  # it must outlive the engine
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            reason = _in_one_line(self._logger.errors)
            raise InputError(f"{library.name} does not load the engine ({reason}): export it anew")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            reason = _in_one_line(self._logger.errors)
            raise InputError(f"the engine does not start ({reason}): free memory of the GPU")
        self._addresses = {}
        for name, shape in self._shapes.items():
            self._addresses[name] = self._cuda.memory(4 * batch * int(np.prod(shape)), self)
            self._context.set_tensor_address(name, self._addresses[name])

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """Return the probabilities of patches.

        Raises:
            InputError: the GPU failed.
        """
        parts = [patches[first : first + self._batch] for first in range(0, len(patches), self._batch)]
        return np.concatenate([self._run(part) for part in parts])

    def _run(self, patches: np.ndarray) -> np.ndarray:
        self._logger.errors.clear()
        voxels = np.ascontiguousarray(patches, np.float32)
        probabilities = np.empty((len(voxels), *self._shapes[PROBABILITIES]), np.float32)
        if not self._context.set_input_shape(VOXELS, voxels.shape):
            raise InputError(f"the engine takes no patches of {voxels.shape} ({_in_one_line(self._logger.errors)})")
        self._cuda.upload(voxels, self._addresses[VOXELS])
        runs = self._context.execute_async_v3(self._cuda.stream)
        if runs:
            self._cuda.download(self._addresses[PROBABILITIES], probabilities)
        self._cuda.wait()  # in any case: until then the copies read and write the arrays
        if not runs:
            raise InputError(f"the engine failed ({_in_one_line(self._logger.errors)})")
        return probabilities


def _started(library: Library, kind: Any) -> Any:
    """Make a builder or a runtime, which begins without errors.

    TensorRT's constructors raise `TypeError` where CUDA does not start; those of TensorRT for RTX need no GPU.
    """
    logger = _logger(library.load())
    logger.errors.clear()
    try:
        return kind(logger)
    except TypeError:
        raise InputError(
            f"{library.name} does not start here ({_in_one_line(logger.errors)}): see nvidia-smi"
        ) from None


@cache
def _logger(trt: Any) -> Any:
    """The logger: it prints nothing and keeps what went wrong in `errors`, for the one line that a user gets.

    There is one, because TensorRT goes on with the first that it was given, as long as a builder or a runtime lives.
    """

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(msg)

    return Logger()


def _timing_cache(config: Any, timings: bytes) -> Any:
    """Give a build the timings of an earlier one, or none where they are another machine's; return what holds them."""
    held = config.create_timing_cache(timings)
    if not config.set_timing_cache(held, False):
        held = config.create_timing_cache(b"")
        config.set_timing_cache(held, False)
    return held


def _monitor(library: Library, trt: Any) -> Any:
    """Says on standard error which phase of a build has begun: the only sign of life for minutes."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                say(f"{library.name}: {phase_name}, {counted(num_steps, 'step')}")

        def step_complete(self, phase_name: str, step: int) -> bool:
            return not self.stopped

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()


@contextmanager
def _interruptible(monitor: Any) -> Iterator[None]:
    """Let Ctrl-C end a build at its next step: the bindings swallow what is raised in a logger or a monitor.

    Raises:
        KeyboardInterrupt: after the build, in place of one within it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def stop(*_: Any) -> None:
        monitor.stopped = True

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if monitor.stopped:
        raise KeyboardInterrupt


def _in_one_line(errors: Sequence[str]) -> str:
    """The first of the errors, cut where it is long."""
    return shorten(errors[0], MAX_REASON, placeholder=" ...") if errors else "it gives no reason"
