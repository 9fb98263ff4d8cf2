"""TensorRT's engines, where a processor plays the GPU: built, compared, described, trusted and run.

They are built by TensorRT for RTX. What a GPU makes of them only a GPU can tell: `test_engine_on_gpu.py`.
"""

import inspect
import io
import json
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from both_masks import read_both, segment_both
from damage import flip_bits
from printed import last_json

pytest.importorskip("tensorrt_rtx", reason="needs kseg[tensorrt-rtx]")
import fake_tensorrt

from kseg import export, phantom, predict
from kseg.console.errors import InputError
from kseg.deployment import tensorrt_engine
from kseg.deployment.engine_file import open_engine
from kseg.deployment.tensorrt_engine import RTX, TENSORRT, Engine
from kseg.inference import local_predictor
from kseg.runs.owned_files import RUN
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import sha256_of
from kseg.storage.ownership import check_replaceable


def make_machine(monkeypatch, **options):
    """Make this machine one with a GPU; returns its TensorRT and CUDA."""
    trt, cuda = fake_tensorrt.make(**options)
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = cuda
    for name, module in {"tensorrt": trt, "cuda": ModuleType("cuda"), "cuda.bindings": bindings}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return trt, cuda


def refuse_as_cuda_bindings_12():
    """`cudaGetDeviceCount` of cuda-bindings 12 on a machine that has no driver; later ones return a status."""
    raise RuntimeError("Failed to dlopen libcuda.so.1")


@pytest.fixture
def machine(monkeypatch):
    """Make this machine one with a GPU, again and again if need be; returns its TensorRT and CUDA."""
    return partial(make_machine, monkeypatch)


@pytest.fixture(scope="module")
def exported_once(untrained_run_anywhere, tmp_path_factory):
    """The folder of a run with an engine for batches of two, and what the command printed and said; not to change."""
    folder, printed, said = tmp_path_factory.mktemp("exported"), io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_machine(patch)
        untrained_run_anywhere("leg")
        with redirect_stdout(printed), redirect_stderr(said):
            export.main(["leg", "--format", "tensorrt", "--batch", "2", "--json"])
    return folder / "saved_models" / "leg", printed.getvalue(), said.getvalue()


@pytest.fixture
def exported(exported_once, machine, tmp_path, monkeypatch):
    """A copy of that run, the machine that built its engine, the report of the export and what it said."""
    monkeypatch.chdir(tmp_path)
    folder, printed, said = exported_once
    shutil.copytree(folder, "saved_models/leg")
    return RunFolder(Path("saved_models/leg")), machine(), last_json(printed)["written"][0], said


def patches(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 16, 16, 16, 1)).astype(np.float32)


def test_an_engine_is_described_and_predicts_what_keras_predicts(exported):
    folder, (_, cuda), told, err = exported
    described = json.loads(folder.engine.description.read_text(encoding="utf-8"))
    assert described == {key: value for key, value in told.items() if key != "path"}
    assert {key: described[key] for key in ("gpu", "compute_capability", "tensorrt", "cuda_driver")} == {
        "gpu": "NVIDIA Fake 1",
        "compute_capability": "9.0",
        "tensorrt": "10.16.1.11",
        "cuda_driver": "12.8",
    }
    assert (described["precision"], described["patch"], described["batch"]) == ("fp32", [16, 16, 16], 2)
    files = (folder.model, folder.engine.onnx, folder.engine.plan)
    assert described["sha256"] == {path.name: sha256_of(path) for path in files}
    assert described["largest_difference"] < 1e-5
    assert err.count("TensorRT: ") == 1, "a phase within a phase is no news"
    engine = open_engine(folder)
    keras = folder.load_model().predict_on_batch
    for count in (1, 2, 5):  # less than a batch, a batch, and more than two of them
        np.testing.assert_allclose(engine(patches(count)), keras(patches(count)), atol=1e-4)
    flipped = np.flip(patches(2), 1)  # its bytes do not lie in the order of its voxels
    np.testing.assert_allclose(engine(flipped), keras(flipped.copy()), atol=1e-4)
    held = len(cuda.allocated)
    del engine
    assert held - len(cuda.allocated) == 2, "the GPU's memory goes back with the engine"


def test_a_scan_is_segmented_by_the_engine_as_by_keras_and_without_tensorflow(exported, tmp_path, monkeypatch):
    folder, _, _, _ = exported
    phantom.main(["--out", str(tmp_path / "scans"), "--shape", "20", "24", "28", "--format", "mha"])
    scan = str(tmp_path / "scans" / "images" / "leg_001.mha")
    flips = "evaluation.flip_axes=['z']"
    predict.main(["leg", scan, flips, "--out", str(tmp_path / "keras")])
    monkeypatch.setattr(type(folder), "load_model", lambda _: pytest.fail("the Keras model is not needed"))
    monkeypatch.setattr(local_predictor, "start_tensorflow", lambda: pytest.fail("nor is TensorFlow"))
    predict.main(["leg", scan, flips, "--out", str(tmp_path / "engine"), "--engine"])
    one, other = read_both(tmp_path)
    assert len(np.unique(one)) > 1
    assert (one == other).mean() > 0.999


@pytest.mark.parametrize(("precision", "tf32", "kind"), [("fp32", False, 1), ("tf32", True, 1), ("fp16", False, 10)])
def test_precision_is_in_the_flag_and_in_the_types_of_the_graph(precision, tf32, kind, machine, untrained_run):
    machine(version="11.4.0.106")
    folder = untrained_run("leg")
    export.main(["leg", "--format", "tensorrt", "--precision", precision])
    assert json.loads(folder.engine.plan.read_bytes().split(b"\n", 1)[0])["tf32"] is tf32
    kernels = [one for one in onnx.load(folder.engine.onnx).graph.initializer if one.name.endswith("/kernel")]
    assert {one.data_type for one in kernels} == {kind}
    difference = json.loads(folder.engine.description.read_bytes())["largest_difference"]
    assert (1e-6 < difference < 0.02) if precision == "fp16" else difference < 1e-5
    assert open_engine(folder)(patches(1)).dtype == np.float32


def test_an_ensemble_runs_the_engine_of_each_fold(machine, untrained_run, tmp_path):
    machine()
    for number in (1, 2):
        untrained_run(f"legs/fold-{number}", seed=number)
    export.main(["legs", "--format", "tensorrt"])
    one, other = segment_both("legs", tmp_path, (20, 24, 28))
    assert (one == other).mean() > 0.999


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"gpu": "NVIDIA Fake 2"}, "NVIDIA Fake 1 .* this is NVIDIA Fake 2"),
        ({"capability": (8, 6)}, r"capability 9\.0.* this is .*capability 8\.6"),
        ({"version": "10.16.2.0"}, r"TensorRT 10\.16\.1\.11, this is .* TensorRT 10\.16\.2\.0"),
        ({"driver": 12060}, r"driver of CUDA 12\.8, this one is of 12\.6"),
    ],
)
def test_an_engine_of_another_machine_is_refused_before_it_is_loaded(options, difference, exported, machine):
    folder, *_ = exported
    trt, _ = machine(**options)
    with pytest.raises(InputError, match=f"{difference}.*kseg.export .* --format tensorrt builds one here") as caught:
        open_engine(folder)
    assert "\n" not in str(caught.value)
    assert trt.loaded == []


def test_a_newer_driver_is_welcome(exported, machine):
    folder, *_ = exported
    machine(driver=13000)
    assert open_engine(folder)(patches(1)).shape == (1, 16, 16, 16, 4)


@pytest.mark.parametrize("name", ["model.engine", "engine.onnx", "model.keras"])
@pytest.mark.parametrize("change", ["flip", "remove"])
def test_a_changed_file_is_named_before_anything_is_loaded(name, change, exported):
    folder, (trt, _), *_ = exported
    trt.loaded.clear()
    path = folder.path / name
    flip_bits(path)
    if change == "remove":
        path.unlink()
    with pytest.raises(InputError, match=f"{re.escape(name)}' is not the file that belongs to the engine") as caught:
        open_engine(folder)
    assert "\n" not in str(caught.value)
    assert trt.loaded == []


@pytest.mark.parametrize("name", ["model.engine", "engine.onnx", "engine.json"])
def test_a_file_of_an_engine_that_was_changed_is_not_replaced(name, exported, monkeypatch):
    folder, *_ = exported
    theirs = (folder.path / name).read_bytes() + b" "
    (folder.path / name).write_bytes(theirs)
    with monkeypatch.context() as patched:
        patched.setattr(export, "start_tensorflow", lambda: pytest.fail("the work has begun"))
        with pytest.raises(InputError, match=f"{re.escape(name)}' is there, and is not as kseg wrote it: move it away"):
            export.main(["leg", "--format", "tensorrt"])
    with pytest.raises(InputError, match=f"holds '{re.escape(name)}', which is not as kseg wrote it"):
        check_replaceable(folder.path, RUN)
    assert (folder.path / name).read_bytes() == theirs


def test_what_an_engine_is_made_of_may_be_made_again_beside_a_changed_onnx_model(exported):
    folder, *_ = exported
    folder.onnx.write_bytes(b"theirs")
    export.main(["leg", "--format", "tensorrt"])
    assert folder.onnx.read_bytes() == b"theirs"
    folder.onnx.unlink()
    check_replaceable(folder.path, RUN)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda text: text[:-9], "is damaged"),
        (lambda text: text.replace('"fp32"', '"fp8"'), r"is damaged \(precision"),
        (lambda text: text.replace('"batch"', '"batches"'), r"is damaged \(batch"),
        (lambda text: text.replace("12.8", "new"), r"is damaged \(cuda_driver"),
        (lambda text: re.sub(r"16,(\s+)16,", r"16,\g<1>8,", text, count=1), r"takes patches of \(16, 8, 16\)"),
    ],
)
def test_a_description_that_is_not_one_is_one_line(spoil, complaint, exported):
    folder, (trt, _), *_ = exported
    trt.loaded.clear()
    folder.engine.description.write_text(spoil(folder.engine.description.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=complaint) as caught:
        open_engine(folder)
    assert "\n" not in str(caught.value)
    assert trt.loaded == []


def test_an_engine_that_disagrees_is_not_kept(machine, untrained_run, monkeypatch):
    machine()
    folder = untrained_run("leg")
    run = tensorrt_engine.Engine.__call__
    monkeypatch.setattr(tensorrt_engine.Engine, "__call__", lambda engine, voxels: run(engine, voxels) + 2e-4)
    with pytest.raises(InputError, match=r"by 2\.0e-04 in a probability, fp32 may by 0\.0001: it is not kept"):
        export.main(["leg", "--format", "tensorrt"])
    assert not any(path.exists() for path in (folder.engine.plan, folder.engine.onnx, folder.engine.description))


def test_what_was_timed_serves_the_next_build_of_the_same_machine(exported, machine):
    folder, *_ = exported
    path = folder.path / "timing.cache"

    def hits():
        return set(json.loads(path.read_bytes()[32:])["kernels"].values())

    assert hits() == {0}
    export.main(["leg", "--format", "tensorrt"])
    assert hits() == {1}
    machine(gpu="NVIDIA Fake 2")
    export.main(["leg", "--format", "tensorrt"])
    assert hits() == {0}, "another GPU begins anew"
    path.write_bytes(path.read_bytes().replace(b"Fake 2", b"Fake 3"))
    export.main(["leg", "--format", "tensorrt"])
    assert hits() == {0}, "a damaged one is not read"


def test_an_engine_that_does_not_load_says_why_while_others_live(exported):
    """TensorRT goes on with the logger that it was given first, as long as a runtime lives."""
    folder, (trt, _), *_ = exported
    first = open_engine(folder)
    plan = folder.engine.plan.read_bytes().replace(b"Fake 1", b"Fake 2")
    with pytest.raises(InputError, match=r"TensorRT does not load the engine \(IRuntime::deserializeCudaEngine: Error"):
        Engine(TENSORRT, plan, (16, 16, 16, 1), 4, 2)
    assert first(patches(1)).shape == (1, 16, 16, 16, 4)
    assert len(trt.loaded) == 2


def test_a_gpu_without_memory_left_is_one_line(exported, machine):
    folder, *_ = exported
    machine(memory=1 << 16)
    with pytest.raises(InputError, match=r"the GPU cannot be used \(cudaMalloc: cudaErrorMemoryAllocation\)"):
        open_engine(folder)


def test_what_is_missing_is_named(untrained_run, machine, monkeypatch):
    folder = untrained_run("leg")
    with pytest.raises(
        InputError, match=r"run '.*leg' has no engine: .*kseg.export .*leg --format tensorrt builds one here"
    ):
        open_engine(folder)
    machine(driver=0)
    with pytest.raises(InputError, match=r"CUDA finds none here \(.*\): see nvidia-smi"):
        export.main(["leg", "--format", "tensorrt"])
    _, cuda = machine()
    monkeypatch.setattr(cuda, "cudaGetDeviceCount", refuse_as_cuda_bindings_12)
    with pytest.raises(InputError, match=r"CUDA finds none here \(Failed to dlopen libcuda.so.1\): see nvidia-smi"):
        export.main(["leg", "--format", "tensorrt"])
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(InputError, match=r"CUDA's Python bindings are missing .*pip install 'kseg\[cuda\]'"):
        export.main(["leg", "--format", "tensorrt"])
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InputError, match=r"TensorRT is missing .*pip install 'kseg\[tensorrt\]'"):
        export.main(["leg", "--format", "tensorrt"])
    with pytest.raises(InputError, match="--batch must be 1 or more"):
        export.main(["leg", "--format", "tensorrt", "--batch", "0"])


def test_the_command_that_lacks_an_engine_says_so_without_tensorflow(untrained_run, tmp_path):
    folder = untrained_run("leg")
    code = (
        "import sys, runpy\n"
        "sys.argv[1:] = [sys.argv[1], '--engine', '--out', 'out', 'scan.mha']\n"
        "try: runpy.run_module('kseg.predict', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as stop: print(stop.code, 'tensorflow' in sys.modules)"
    )
    (tmp_path / "scan.mha").touch()
    done = subprocess.run([sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"
    assert done.stderr.splitlines()[-1].startswith("kseg.predict: run ")


USED = {
    "Builder": {
        "create_network": ["flags"],
        "create_builder_config": [],
        "create_optimization_profile": [],
        "build_serialized_network": ["network", "config"],
    },
    "IBuilderConfig": {
        "set_flag": ["flag"],
        "clear_flag": ["flag"],
        "add_optimization_profile": ["profile"],
        "create_timing_cache": ["serialized_timing_cache"],
        "set_timing_cache": ["cache", "ignore_mismatch"],
    },
    "ICudaEngine": {"create_execution_context": []},
    "IExecutionContext": {
        "set_input_shape": ["name", "shape"],
        "set_tensor_address": ["name", "memory"],
        "execute_async_v3": ["stream_handle"],
    },
    "ILogger": {"log": ["severity", "msg"]},
    "IOptimizationProfile": {"set_shape": ["input", "min", "opt", "max"]},
    "IProgressMonitor": {
        "phase_start": ["phase_name", "parent_phase", "num_steps"],
        "step_complete": ["phase_name", "step"],
        "phase_finish": ["phase_name"],
    },
    "ITimingCache": {"serialize": []},
    "OnnxParser": {"parse": ["model"], "get_error": ["index"]},
    "Runtime": {"deserialize_cuda_engine": ["serialized_engine"]},
}
"""What kseg calls, and the arguments that it gives, in their order."""


@pytest.mark.parametrize("library", [TENSORRT, RTX], ids=lambda library: library.module)
def test_the_libraries_have_what_is_used_and_what_is_played(library):
    real = pytest.importorskip(library.module, reason=f"needs kseg[{library.extra}]")
    for kind, methods in USED.items():
        for method, ours in methods.items():
            documented = getattr(getattr(real, kind), method).__doc__
            signatures = re.findall(rf"{method}\((self.*?)\) ->", documented)
            arguments = [[word.split(":")[0] for word in signature.split(", ")][1:] for signature in signatures]
            assert any(names[: len(ours)] == ours for names in arguments), f"{kind}.{method}: {signatures}"
    played = ("IBuilderConfig", "ICudaEngine", "IExecutionContext", "ITimingCache")
    fakes = {kind: getattr(fake_tensorrt, kind) for kind in played} | {"Runtime": fake_tensorrt.TensorRTRuntime}
    for kind, fake in fakes.items():
        for method, function in inspect.getmembers(fake, inspect.isfunction):
            if not method.startswith("_"):
                assert list(inspect.signature(function).parameters)[1:] == USED[kind][method], f"{kind}.{method}"
    assert {"STRONGLY_TYPED"} <= set(real.NetworkDefinitionCreationFlag.__members__)
    assert {"TF32"} <= set(real.BuilderFlag.__members__)
    assert {"ERROR", "INTERNAL_ERROR"} <= set(real.ILogger.Severity.__members__)
    assert hasattr(real.OnnxParser, "num_errors")
    assert hasattr(real.IBuilderConfig, "progress_monitor")
    if library.targets:
        assert hasattr(real.IBuilderConfig, "num_compute_capabilities")
        assert re.search(r"compute_capability: .*, index: ", real.IBuilderConfig.set_compute_capability.__doc__)


def test_the_fake_has_the_functions_and_arguments_of_cuda():
    real = pytest.importorskip("cuda.bindings.runtime", reason="needs kseg[cuda]")
    for name, function in inspect.getmembers(fake_tensorrt.Runtime, inspect.isfunction):
        if name.startswith("cuda"):
            documented = getattr(real, name).__doc__.splitlines()[0]
            words = re.fullmatch(rf"{name}\((.*)\)", documented)[1].split(", ")
            arguments = [word.split(":")[0].split(" ")[-1].strip("*") for word in words if word]
            assert arguments == list(inspect.signature(function).parameters)[1:], documented
    for kind in (fake_tensorrt.cudaError_t, fake_tensorrt.cudaMemcpyKind):
        for member in kind:
            assert int(getattr(getattr(real, kind.__name__), member.name)) == member
