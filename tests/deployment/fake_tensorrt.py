"""What kseg uses of TensorRT and of CUDA's runtime where that needs a GPU, with a processor that plays it.

All that needs no GPU is TensorRT for RTX itself: its parser reads a graph, and its builder builds it or refuses it.
Engines compute by ONNX Runtime. Faithful where a mistake would pass unseen otherwise: memory of the "GPU" is known by
address and size, a stream does nothing before it is waited for, calls that fail return what the real ones return
(False, None, or a status) and tell a logger why, the first one that was given, and an engine or a timing cache of
another GPU or version is refused. `test_engine_file.py` compares names and arguments with the real libraries.
"""

import ctypes
import hashlib
import json
from enum import IntEnum
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from weakref import WeakSet

import numpy as np
import onnx
import onnxruntime
import tensorrt_rtx as real


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


class ITimingCache:
    def __init__(self, table):
        self.table = table

    def serialize(self):
        return memoryview(json.dumps(self.table).encode())


class IBuilderConfig:
    """The real one, with timings: those of TensorRT for RTX hold nothing."""

    def __init__(self, trt, config):
        self.__dict__.update(trt=trt, config=config, cache=None)

    def __getattr__(self, name):
        return getattr(self.config, name)

    def __setattr__(self, name, value):
        setattr(self.config, name, value)

    def create_timing_cache(self, serialized_timing_cache):
        empty = {"gpu": self.trt.cuda.gpu, "version": self.trt.__version__, "kernels": {}}
        return ITimingCache(json.loads(serialized_timing_cache) if serialized_timing_cache else empty)

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        if (cache.table["gpu"], cache.table["version"]) != (self.trt.cuda.gpu, self.trt.__version__):
            return False
        self.__dict__["cache"] = cache
        return True


class OnnxParser(real.OnnxParser):
    def parse(self, model):
        self.trt.parsed = model
        return super().parse(model)


class Builder(real.Builder):
    def create_network(self, flags=0):
        assert flags == 1 << int(real.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return super().create_network(flags)

    def create_builder_config(self):
        config = super().create_builder_config()
        return config if self.trt.for_rtx else IBuilderConfig(self.trt, config)

    def create_optimization_profile(self):
        self.profile = super().create_optimization_profile()
        return self.profile

    def build_serialized_network(self, network, config):
        """Build it, and return what a runtime of this file needs to play it instead."""
        if super().build_serialized_network(network, config if self.trt.for_rtx else config.config) is None:
            return None
        model = onnx.load_from_string(self.trt.parsed)
        low, _, high = (tuple(shape) for shape in self.profile.get_shape(model.graph.input[0].name))
        header = {
            "version": self.trt.__version__,
            "tf32": config.get_flag(real.BuilderFlag.TF32),
            "low": low,
            "high": high,
        }
        if self.trt.for_rtx:
            targets = [config.get_compute_capability(index).name for index in range(config.num_compute_capabilities)]
            header["targets"] = targets
        else:
            header["gpu"] = self.trt.cuda.gpu
            hits = config.cache.table["kernels"]
            for node in model.graph.node:
                if node.op_type == "Conv":
                    hits[node.name] = hits.get(node.name, -1) + 1
        return memoryview(json.dumps(header).encode() + b"\n" + self.trt.parsed)


class TensorRTRuntime:
    def __init__(self, logger):
        if not self.trt.runtimes:
            self.trt.logger = logger
        self.trt.runtimes.add(self)

    def deserialize_cuda_engine(self, serialized_engine):
        self.trt.loaded.append(hashlib.sha256(serialized_engine).hexdigest())
        header, model = bytes(serialized_engine).split(b"\n", 1)
        header, cuda = json.loads(header), self.trt.cuda
        capability = f"SM{cuda.capability[0]}{cuda.capability[1]}"
        runs = capability in header["targets"] if self.trt.for_rtx else header["gpu"] == cuda.gpu
        if not runs or header["version"] != self.trt.__version__:
            self.trt.logger.log(real.ILogger.ERROR, "IRuntime::deserializeCudaEngine: Error Code 6: mismatch")
            return None
        return ICudaEngine(cuda, header, model)


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


def make(version="10.16.1.11", for_rtx=False, **gpu):
    """Return the module of TensorRT, or of TensorRT for RTX, and `cuda.bindings.runtime` of a machine.

    `trt.loaded` has what was deserialised.
    """
    trt, cuda = ModuleType("tensorrt_rtx" if for_rtx else "tensorrt"), Runtime(**gpu)
    trt.__version__, trt.for_rtx, trt.cuda, trt.loaded, trt.runtimes = version, for_rtx, cuda, [], WeakSet()
    for name, kind in {"Builder": Builder, "OnnxParser": OnnxParser, "Runtime": TensorRTRuntime}.items():
        setattr(trt, name, type(name, (kind,), {"trt": trt}))
    for name in ("BuilderFlag", "ComputeCapability", "ILogger", "IProgressMonitor", "NetworkDefinitionCreationFlag"):
        setattr(trt, name, getattr(real, name))
    return trt, cuda
