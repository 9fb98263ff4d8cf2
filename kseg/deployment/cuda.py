"""The GPU through NVIDIA's own bindings of CUDA's runtime: which it is, its memory and its queue of work.

An engine needs no more than this, so that no framework for arrays on GPUs (PyTorch, CuPy) comes with it.
"""

import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseg.console.errors import InputError


@dataclass(frozen=True)
class GpuPlatform:
    """What an engine is bound to: GPU, compute capability, version of TensorRT and of CUDA that the driver has.

    Or the version of TensorRT for RTX, whose engines are bound to that and to some compute capabilities.
    """

    gpu: str
    compute_capability: str
    version: str
    cuda_driver: str


class Cuda:
    """CUDA's runtime, whose every failure is one line, and a stream of its own.

    Raises:
        InputError: the bindings are not installed, or there is no GPU, or no driver for it.
    """

    def __init__(self) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise InputError(f"CUDA's Python bindings are missing ({error}): pip install 'kseg[cuda]'") from None
        self._runtime = runtime
        if reason := self._why_none():
            raise InputError(f"an engine needs a GPU of NVIDIA's, and CUDA finds none here ({reason}): see nvidia-smi")
        self._stream = self.call("cudaStreamCreate")
        self.stream = int(self._stream)
        """The stream's handle, as TensorRT takes it."""

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of CUDA's runtime and return what it returns beside its status.

        Raises:
            InputError: it failed; the message has its name and CUDA's reason.
        """
        status, *values = getattr(self._runtime, name)(*arguments)
        if status != self._runtime.cudaError_t.cudaSuccess:
            reason = self._reason(status)
            raise InputError(f"the GPU cannot be used ({name}: {reason}): see nvidia-smi for GPU and driver")
        return values[0] if values else None

    def _why_none(self) -> str:
        """Return why there is no GPU to use, "" where there is one."""
        try:
            status, count = self._runtime.cudaGetDeviceCount()
        except RuntimeError as error:  # cuda-bindings 12, where no driver is installed
            return str(error)
        usable = status == self._runtime.cudaError_t.cudaSuccess and count
        return "" if usable else self._reason(status)

    def _reason(self, status: Any) -> str:
        _, reason = self._runtime.cudaGetErrorString(status)
        return str(reason.decode())

    def machine(self, version: str) -> GpuPlatform:
        """Return what engines of this machine are bound to."""
        properties = self.call("cudaGetDeviceProperties", self.call("cudaGetDevice"))
        driver = self.call("cudaDriverGetVersion")
        return GpuPlatform(
            gpu=properties.name.decode().rstrip("\0"),
            compute_capability=f"{properties.major}.{properties.minor}",
            version=version,
            cuda_driver=f"{driver // 1000}.{driver % 1000 // 10}",
        )

    def memory(self, count: int, owner: object) -> int:
        """Return the address of `count` bytes of the GPU's memory, which are given back when `owner` goes."""
        address = int(self.call("cudaMalloc", count))
        weakref.finalize(owner, self._runtime.cudaFree, address)
        return address

    def upload(self, array: np.ndarray, address: int) -> None:
        """Queue a copy of an array, contiguous, to the GPU; it must live until `wait`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self._stream)

    def download(self, address: int, array: np.ndarray) -> None:
        """Queue a copy from the GPU to an array, contiguous; it has its values after `wait`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self._stream)

    def wait(self) -> None:
        """Wait until all that is queued is done."""
        self.call("cudaStreamSynchronize", self._stream)


def leave_gpus() -> None:
    """Let TensorFlow work on the processor alone: it would take a GPU's memory from whatever else is to use it."""
    import tensorflow as tf

    with suppress(RuntimeError):  # raised where it has taken it already
        tf.config.set_visible_devices([], "GPU")
