"""What kseg uses of TensorRT 10 and 11 and of CUDA's runtime, as documented, with a processor that plays the GPU.

Engines compute by ONNX Runtime. Faithful where a mistake would pass unseen otherwise: memory of the "GPU" is known by
address and size, a stream does nothing before it is waited for, calls that fail return what the real ones return
(False, None, or a status) and tell the logger why, tensors are strongly typed, and an engine or a timing cache of
another GPU or version is refused. `test_engine_file.py` compares names and arguments with the real libraries where they
are installed.
"""

import ctypes
import hashlib
import json
from enum import IntEnum
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import onnxruntime

OPERATORS = {
    "Add", "Cast", "Concat", "Conv", "Identity", "InstanceNormalization", "LeakyRelu", "MaxPool", "Mul", "Pad", "Relu",
    "Reshape", "Resize", "Shape", "Slice", "Softmax", "Transpose",
}  # fmt: skip
"""Of the operators that TensorRT's ONNX parser supports, those that a network of kseg with a fixed size has."""


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class Runtime(ModuleType):
    """`cuda.bindings.runtime`: every function returns a status and then its values."""

    cudaError_t, cudaMemcpyKind = cudaError_t, cudaMemcpyKind

    def __init__(self, gpu="NVIDIA Fake 1", capability=(9, 0), driver=12080, memory=1 << 30):
        super().__init__("runtime")
        self.gpu, self.capability, self.driver, self.free_bytes = gpu, capability, driver, memory
        self.allocated = {}
        self.streams = {}

    def cudaGetDeviceCount(self):
        return (cudaError_t.cudaSuccess, 1) if self.driver else (cudaError_t.cudaErrorInsufficientDriver, None)

    def cudaGetDevice(self):
        return cudaError_t.cudaSuccess, 0

    def cudaGetDeviceProperties(self, device):
        major, minor = self.capability
        return cudaError_t.cudaSuccess, SimpleNamespace(name=self.gpu.encode(), major=major, minor=minor)

    def cudaDriverGetVersion(self):
        return cudaError_t.cudaSuccess, self.driver

    def cudaGetErrorString(self, error):
        return cudaError_t.cudaSuccess, error.name.encode()

    def cudaStreamCreate(self):
        handle = 1 + len(self.streams)
        self.streams[handle] = []
        return cudaError_t.cudaSuccess, handle

    def cudaMalloc(self, size):
        if size > self.free_bytes:
            return cudaError_t.cudaErrorMemoryAllocation, None
        self.free_bytes -= size
        held = ctypes.create_string_buffer(b"\xff" * size, size)  # what nobody has written is no number
        self.allocated[ctypes.addressof(held)] = held
        return cudaError_t.cudaSuccess, ctypes.addressof(held)

    def cudaFree(self, devPtr):
        self.free_bytes += ctypes.sizeof(self.allocated.pop(devPtr))
        return (cudaError_t.cudaSuccess,)

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        on_gpu = dst if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else src
        if on_gpu not in self.allocated or count > ctypes.sizeof(self.allocated[on_gpu]):
            return (cudaError_t.cudaErrorInvalidValue,)
        self.streams[stream].append(lambda: ctypes.memmove(dst, src, count))
        return (cudaError_t.cudaSuccess,)

    def cudaStreamSynchronize(self, stream):
        queue, self.streams[stream] = self.streams[stream], []
        for job in queue:
            job()
        return (cudaError_t.cudaSuccess,)

    def array(self, address, shape):
        """Memory of the GPU as a kernel sees it."""
        count = int(np.prod(shape))
        assert 4 * count <= ctypes.sizeof(self.allocated[address])
        return np.frombuffer(self.allocated[address], np.float32, count).reshape(shape)


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity, msg):
        raise NotImplementedError


class IProgressMonitor:
    def phase_start(self, phase_name, parent_phase, num_steps): ...

    def step_complete(self, phase_name, step): ...

    def phase_finish(self, phase_name): ...


class NetworkDefinitionCreationFlag(IntEnum):
    EXPLICIT_BATCH, STRONGLY_TYPED = range(2)


class BuilderFlag(IntEnum):
    FP16, TF32 = 0, 7


class ITimingCache:
    def __init__(self, table):
        self.table = table

    def serialize(self):
        return memoryview(json.dumps(self.table).encode())


class IOptimizationProfile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, input, min, opt, max):
        assert all(low <= mid <= high for low, mid, high in zip(min, opt, max, strict=True))
        self.shapes[input] = (tuple(min), tuple(max))


class IBuilderConfig:
    def __init__(self, trt):
        self.trt, self.flags, self.profiles, self.cache = trt, {BuilderFlag.TF32}, [], None
        self.progress_monitor = None

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache):
        empty = {"gpu": self.trt.cuda.gpu, "version": self.trt.__version__, "kernels": {}}
        return ITimingCache(json.loads(serialized_timing_cache) if serialized_timing_cache else empty)

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        if (cache.table["gpu"], cache.table["version"]) != (self.trt.cuda.gpu, self.trt.__version__):
            return False
        self.cache = cache
        return True


class INetworkDefinition:
    def __init__(self, flags):
        self.flags, self.model = flags, None


class OnnxParser:
    def __init__(self, network, logger):
        self.network, self.errors = network, []

    @property
    def num_errors(self):
        return len(self.errors)

    def get_error(self, index):
        return SimpleNamespace(desc=lambda: self.errors[index])

    def parse(self, model):
        try:
            parsed = onnx.load_from_string(model)
            onnx.shape_inference.infer_shapes(parsed, check_type=True, strict_mode=True)
        except Exception as error:
            self.errors.append(f"ModelImporter.cpp:\n{error}")
            return False
        self.errors += [
            f"No importer registered for op: {node.op_type}\nin {node.name}"
            for node in parsed.graph.node
            if node.op_type not in OPERATORS
        ]
        self.network.model = parsed
        return not self.errors


class Builder:
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags=0):
        return INetworkDefinition(flags)

    def create_builder_config(self):
        return IBuilderConfig(self.trt)

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        assert network.flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        (voxels,) = network.model.graph.input
        dims = [dim.dim_value or -1 for dim in voxels.type.tensor_type.shape.dim]
        low, high = (config.profiles[0].shapes if config.profiles else {}).get(voxels.name, (None, None))
        if low is None or any(n not in (-1, a) or n not in (-1, b) for n, a, b in zip(dims, low, high, strict=True)):
            self.logger.log(ILogger.ERROR, "IBuilder::buildSerializedNetwork: Error Code 4: no profile fits")
            return None
        kernels = [node.name for node in network.model.graph.node if node.op_type == "Conv"]
        config.progress_monitor.phase_start("Building Engine", None, len(kernels))
        config.progress_monitor.phase_start("Tactics", "Building Engine", len(kernels))
        for step, kernel in enumerate(kernels):
            hits = config.cache.table["kernels"]
            hits[kernel] = hits.get(kernel, -1) + 1
            assert config.progress_monitor.step_complete("Tactics", step)
        config.progress_monitor.phase_finish("Building Engine")
        header = {
            "version": self.trt.__version__,
            "gpu": self.trt.cuda.gpu,
            "tf32": BuilderFlag.TF32 in config.flags,
            "low": low,
            "high": high,
        }
        return memoryview(json.dumps(header).encode() + b"\n" + network.model.SerializeToString())


class TensorRTRuntime:
    def __init__(self, logger):
        self.logger = logger
        self.loaded = []

    def deserialize_cuda_engine(self, serialized_engine):
        self.trt.loaded.append(hashlib.sha256(serialized_engine).hexdigest())
        header, model = bytes(serialized_engine).split(b"\n", 1)
        header = json.loads(header)
        if (header["gpu"], header["version"]) != (self.trt.cuda.gpu, self.trt.__version__):
            self.logger.log(ILogger.ERROR, "IRuntime::deserializeCudaEngine: Error Code 6: serialization mismatch")
            return None
        return ICudaEngine(self.trt.cuda, header, model)


class ICudaEngine:
    def __init__(self, cuda, header, model):
        self.cuda, self.header, self.model = cuda, header, model

    def create_execution_context(self):
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine):
        self.engine, self.shape, self.addresses = engine, None, {}
        self.session = onnxruntime.InferenceSession(engine.model, providers=["CPUExecutionProvider"])
        self.names = [end.name for end in (*self.session.get_inputs(), *self.session.get_outputs())]

    def set_input_shape(self, name, shape):
        limits = zip(self.engine.header["low"], shape, self.engine.header["high"], strict=True)
        if name != self.names[0] or not all(a <= b for limit in limits for a, b in pairwise(limit)):
            return False
        self.shape = tuple(shape)
        return True

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return name in self.names

    def execute_async_v3(self, stream_handle):
        if self.shape is None or set(self.addresses) != set(self.names):
            return False
        source, target = (self.addresses[name] for name in self.names)
        shape, cuda = self.shape, self.engine.cuda

        def kernel():
            (result,) = self.session.run(None, {self.names[0]: cuda.array(source, shape).copy()})
            cuda.array(target, result.shape)[...] = result

        cuda.streams[stream_handle].append(kernel)
        return True


def make(version="10.16.1.11", **gpu):
    """Return TensorRT's module and `cuda.bindings.runtime` of a machine; `trt.loaded` has what was deserialised."""
    trt, cuda = ModuleType("tensorrt"), Runtime(**gpu)
    trt.__version__, trt.cuda, trt.loaded = version, cuda, []
    trt.Builder = type("Builder", (Builder,), {"trt": trt})
    trt.Runtime = type("Runtime", (TensorRTRuntime,), {"trt": trt})
    for kind in (BuilderFlag, ILogger, IProgressMonitor, NetworkDefinitionCreationFlag, OnnxParser):
        setattr(trt, kind.__name__, kind)
    return trt, cuda
