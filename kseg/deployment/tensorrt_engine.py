"""TensorRT's engines: built from an ONNX graph, and run on patches. Of TensorRT 10 and 11 alike.

Networks are strongly typed: a tensor has the type that the graph gives it, so that half precision is a matter of the
graph (`kseg.deployment.onnx_graph`). The flags that let TensorRT choose types are gone from its version 11. Single
precision is exact, or with `"tf32"` multiplied with 10 bits of mantissa, which is TensorRT's own default.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import counted, first_line
from kseg.deployment.cuda import Cuda
from kseg.deployment.tensor_names import PROBABILITIES, VOXELS


def load_tensorrt() -> Any:
    """Return TensorRT's module.

    Raises:
        InputError: it is not installed, or a library of its own is missing.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise InputError(f"TensorRT is missing ({error}): pip install 'kseg[tensorrt]'") from None
    return tensorrt


def build_engine(
    model: bytes, input_shape: Sequence[int], batch: int, precision: str, timings: bytes = b""
) -> tuple[bytes, bytes]:
    """Build an engine for this machine's GPU; TensorRT tries out which of its kernels are fastest, for minutes.

    Args:
        model: ONNX, whose input `voxels` has any batch and otherwise a fixed shape.
        input_shape: (x, y, z, channels) of a patch.
        batch: largest batch, for which kernels are chosen.
        precision: `"fp32"`, `"tf32"` or `"fp16"`; the types of `"fp16"` are those of `model`.
        timings: TensorRT's timing cache of an earlier build; one of another machine or version is not used.

    Returns:
        The serialised engine, and the timing cache with what was measured.

    Raises:
        InputError: TensorRT cannot read the model, or build an engine for it; the message has its reason.
    """
    trt = load_tensorrt()
    errors: list[str] = []
    logger = _logger(trt, errors)
    builder = _started(trt.Builder, logger, errors)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise InputError(f"TensorRT {trt.__version__} cannot read the ONNX model ({_first_line(errors)})")
    config = builder.create_builder_config()
    if precision == "tf32":
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)  # it is set unless one says otherwise
    profile = builder.create_optimization_profile()
    profile.set_shape(VOXELS, (1, *input_shape), (batch, *input_shape), (batch, *input_shape))
    config.add_optimization_profile(profile)
    cache = config.create_timing_cache(timings)
    if not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    monitor = _monitor(trt)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InputError(f"TensorRT {trt.__version__} cannot build an engine here ({_first_line(errors)})")
    return bytes(plan), bytes(cache.serialize())


class Engine:
    """An engine, loaded: patches `(n, x, y, z, channels)` float32 to probabilities `(n, x, y, z, classes)` float32.

    Whoever makes one has seen to it that the engine is this machine's own and unchanged: to load a serialised engine is
    to run what is in it. It has one set of buffers: one thread at a time may call it.

    Args:
        plan: the serialised engine.
        input_shape: (x, y, z, channels) of a patch.
        classes: of the probabilities.
        batch: most patches that it takes at once; more are taken in turn.

    Raises:
        InputError: TensorRT does not load it, or the GPU's memory is short.
    """

    def __init__(self, plan: bytes, input_shape: Sequence[int], classes: int, batch: int) -> None:
        trt = load_tensorrt()
        errors: list[str] = []
        self._cuda = Cuda()
        self._shapes = {VOXELS: tuple(input_shape), PROBABILITIES: (*input_shape[:3], classes)}
        self._batch = batch
        self._errors = errors
        self._logger = _logger(trt, errors)  # the runtime, and the runtime the engine: each must outlive the next
        self._runtime = _started(trt.Runtime, self._logger, errors)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise InputError(f"TensorRT does not load the engine ({_first_line(errors)}): export it anew")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise InputError(f"the engine does not start ({_first_line(errors)}): free memory of the GPU")
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
        voxels = np.ascontiguousarray(patches, np.float32)
        probabilities = np.empty((len(voxels), *self._shapes[PROBABILITIES]), np.float32)
        if not self._context.set_input_shape(VOXELS, voxels.shape):
            raise InputError(f"the engine takes no patches of {voxels.shape} ({_first_line(self._errors)})")
        self._cuda.upload(voxels, self._addresses[VOXELS])
        runs = self._context.execute_async_v3(self._cuda.stream)
        if runs:
            self._cuda.download(self._addresses[PROBABILITIES], probabilities)
        self._cuda.wait()  # in any case: until then the copies read and write the arrays
        if not runs:
            raise InputError(f"the engine failed ({_first_line(self._errors)})")
        return probabilities


def _started(kind: Any, logger: Any, errors: Sequence[str]) -> Any:
    """Make TensorRT's builder or runtime, whose constructors raise `TypeError` where CUDA does not start."""
    try:
        return kind(logger)
    except TypeError:
        raise InputError(f"TensorRT does not start here ({_first_line(errors)}): see nvidia-smi") from None


def _logger(trt: Any, errors: list[str]) -> Any:
    """A logger that prints nothing and keeps what went wrong, for the one line that a user gets."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                errors.append(msg)

    return Logger()


def _monitor(trt: Any) -> Any:
    """Says on standard error which phase of a build has begun: the only sign of life for minutes."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                say(f"TensorRT: {phase_name}, {counted(num_steps, 'step')}")

        def step_complete(self, phase_name: str, step: int) -> bool:
            return True

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()


def _first_line(errors: Sequence[str]) -> str:
    return first_line(errors[0]) if errors else "it gives no reason"
