"""TensorRT for RTX: what it builds, without a GPU, of each kind of network; then a processor plays the GPU.

What a GPU makes of it only a GPU can tell: `test_engine_on_gpu.py`.
"""

import json
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from both_masks import segment_both
from damage import flip_bits
from onnx import helper
from printed import last_json
from small_networks import NETWORKS, SMALL, trained

pytest.importorskip("tensorrt_rtx", reason="needs kseg[tensorrt-rtx]")
import fake_tensorrt
import tensorrt_rtx

from kseg import export, predict
from kseg.benchmark.predict import find_sides
from kseg.console.errors import InputError
from kseg.deployment import onnx_graph, tensorrt_engine
from kseg.deployment.engine_file import open_engine
from kseg.deployment.onnx_graph import onnx_model
from kseg.deployment.tensorrt_engine import RTX, build_engine
from kseg.runs.owned_files import RTX_FILES, RUN
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import sha256_of
from kseg.storage.ownership import check_replaceable

ODD = (33, 40, 27)
LARGE = (192, 160, 128)
VERSION = tensorrt_rtx.__version__
CASES = [
    *((name, preset, options, classes) for name, (preset, options) in NETWORKS.items() for classes in (2, 4)),
    ("two channels", "midl2021", SMALL | {"input_channels": 2}, 3),
]


@pytest.mark.parametrize(
    ("preset", "options", "classes"), [case[1:] for case in CASES], ids=[f"{c[0]}, {c[3]}" for c in CASES]
)
def test_each_kind_of_network_is_built_in_each_precision_for_one_size_and_for_any(preset, options, classes):
    network = trained(preset, options, classes)
    channels = options.get("input_channels", 1)
    sizes = {}
    for precision, dtype, size, patch, smallest in (
        ("fp32", "float32", ODD, ODD, ODD),
        ("fp16", "float16", ODD, ODD, ODD),
        ("fp32", "float32", None, ODD, (1, 1, 1)),
        ("fp16", "float16", None, LARGE, (1, 1, 1)),
    ):
        graph = onnx_model(network, size, dtype, plain=True).SerializeToString()
        plan, timings = build_engine(RTX, graph, (*patch, channels), 2, precision, (*smallest, channels))
        assert timings == b""
        sizes[precision, size, patch] = len(plan)
    weights = 4 * network.count_params()
    halved = sizes["fp32", ODD, ODD] - sizes["fp16", ODD, ODD]
    assert min(sizes.values()) > weights / 2, "the weights are in it"
    if weights > 1e6:
        assert halved > weights / 4, "and in half precision take less"


def few_nodes(*nodes, kind=onnx.TensorProto.FLOAT, shape=("batch", 8, 8, 8, 1)):
    """A graph from `voxels` to `probabilities`."""
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in ("voxels", "probabilities")]
    graph = helper.make_graph(nodes, "few", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


RELU = helper.make_node("Relu", ["voxels"], ["probabilities"])
REFUSED = {
    "an operator that it lacks": (
        few_nodes(helper.make_node("Unique", ["voxels"], ["probabilities"], name="only")),
        {},
        r"cannot read the ONNX model \(In node 0 with name: only and operator: Unique .*UNSUPPORTED_NODE",
    ),
    "an operator that nobody has": (
        few_nodes(helper.make_node("Segment", ["voxels"], ["probabilities"])),
        {},
        r"cannot read the ONNX model \(In node 0 .*operator: Segment ",
    ),
    "a type that it lacks": (
        few_nodes(RELU, kind=onnx.TensorProto.STRING),
        {},
        r"cannot read the ONNX model \(.*UNSUPPORTED_NODE: .*Failed to convert ONNX date type",
    ),
    "a type that an operator lacks": (
        few_nodes(RELU, kind=onnx.TensorProto.BOOL),
        {},
        r"cannot read the ONNX model \(In node 0 .*Found unsupported input type of BOOL",
    ),
    "bytes cut short": (few_nodes(RELU)[:-20], {}, r"cannot read the ONNX model \(.*MODEL_DESERIALIZE_FAILED"),
    "no bytes": (b"", {}, r"cannot build an engine here \(.*Network must have at least one output"),
    "a patch of another size": (
        few_nodes(RELU),
        {"input_shape": (16, 16, 16, 1)},
        r"cannot build an engine here \(IBuilder::buildSerializedNetwork: .*profile has min=16, .* but tensor has 8",
    ),
    "a smallest patch that is larger": (
        few_nodes(RELU, shape=("batch", "x", 8, 8, 1)),
        {"smallest": (9, 8, 8, 1)},
        r"cannot build an engine here \(.*satisfy MIN<=OPT<=MAX",
    ),
}


@pytest.mark.parametrize(("model", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_it_cannot_read_or_build_is_one_line_with_its_reason(model, options, message):
    with pytest.raises(InputError, match=rf"^TensorRT for RTX {VERSION} {message}") as caught:
        build_engine(RTX, model, **({"input_shape": (8, 8, 8, 1), "batch": 1, "precision": "fp32"} | options))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert build_engine(RTX, few_nodes(RELU), (8, 8, 8, 1), 1, "fp32")[0], "the next is built"


@pytest.fixture
def heard_by_python():
    """SIGINT as Python begins with it, which a shell that started the tests in the background has turned off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_by_python")
def test_ctrl_c_ends_a_build(monkeypatch):
    """The bindings swallow what is raised in their callbacks, so that a build of minutes would go on."""
    monkeypatch.setattr(tensorrt_engine, "say", lambda line: signal.raise_signal(signal.SIGINT))
    graph = onnx_model(trained("midl2021", SMALL, 2), ODD, plain=True).SerializeToString()
    with pytest.raises(KeyboardInterrupt):
        build_engine(RTX, graph, (*ODD, 1), 1, "fp32")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_each_target_is_one_of_the_librarys():
    assert {f"SM{target.replace('.', '')}" for target in RTX.targets} <= set(tensorrt_rtx.ComputeCapability.__members__)


def make_machine(monkeypatch, capability=(8, 9), version=VERSION, **options):
    """Make this machine one with an RTX card; returns its TensorRT for RTX and CUDA. It has no TensorRT."""
    trt, cuda = fake_tensorrt.make(version, for_rtx=True, capability=capability, **options)
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = cuda
    modules = {"tensorrt": None, "tensorrt_rtx": trt, "cuda": ModuleType("cuda"), "cuda.bindings": bindings}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return trt, cuda


@pytest.fixture
def machine(monkeypatch):
    """Make this machine one with an RTX card, again and again if need be."""
    return partial(make_machine, monkeypatch)


@pytest.fixture
def no_gpu(monkeypatch):
    """Make this machine one without a driver of NVIDIA's, whatever it is."""
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = fake_tensorrt.Runtime(driver=0)
    for name, module in {"cuda": ModuleType("cuda"), "cuda.bindings": bindings}.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(scope="module")
def exported_once(untrained_run_anywhere, tmp_path_factory):
    """The folder of a run whose engine a machine with an RTX card has built; not to change."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_machine(patch)
        untrained_run_anywhere("leg")
        export.main(["leg", "--format", "tensorrt-rtx", "--batch", "2"])
    return folder / "saved_models" / "leg"


@pytest.fixture
def exported(exported_once, machine, tmp_path, monkeypatch):
    """A copy of that run, and the machine."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(exported_once, "saved_models/leg")
    return RunFolder(Path("saved_models/leg")), machine()


def patches(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 16, 16, 16, 1)).astype(np.float32)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("size", ["dynamic", "fixed"])
def test_an_engine_is_exported_without_a_gpu_and_says_that_it_was_not_compared(precision, size, untrained_run, capsys):
    folder = untrained_run("leg")
    export.main(["leg", "--format", "tensorrt-rtx", "--precision", precision, "--size", size, "--batch", "3", "--json"])
    out, err = capsys.readouterr()
    told = last_json(out)["written"][0]
    assert told.pop("path") == str(folder.rtx.plan)
    assert told == json.loads(folder.rtx.description.read_text(encoding="utf-8"))
    most = {"fp32": 1e-5, "fp16": 0.02}[precision]
    assert (1e-6 if precision == "fp16" else 0) <= told.pop("graph_difference") < most
    files = (folder.model, folder.rtx.onnx, folder.rtx.plan)
    assert told.pop("sha256") == {path.name: sha256_of(path) for path in files}
    assert told.pop("compared_on").startswith("4 patches of ")
    assert told == {
        "tensorrt_rtx": VERSION,
        "compute_capabilities": ["8.0", "8.6", "8.9", "12.0"],
        "precision": precision,
        "smallest": [1, 1, 1] if size == "dynamic" else [16, 16, 16],
        "patch": [16, 16, 16],
        "batch": 3,
        "channels": 1,
        "classes": 4,
        "largest_difference": None,
    }
    assert f"for compute capability 8.0, 8.6, 8.9, 12.0, TensorRT for RTX {VERSION}; compared on 4 patches" in err
    assert "not compared: an engine needs a GPU of NVIDIA's, and CUDA finds none here (" in err
    assert "TensorRT for RTX: Building engine, " in err
    check_replaceable(folder.path, RUN)
    space = [dim.dim_value for dim in onnx.load(folder.rtx.onnx).graph.input[0].type.tensor_type.shape.dim[1:4]]
    assert space == ([0, 0, 0] if size == "dynamic" else [16, 16, 16])


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_one_line_says_so_and_the_bench_leaves_it_out(untrained_run, tmp_path):
    folder = untrained_run("leg")
    assert "leg --format tensorrt-rtx builds one" in find_sides(folder)[1]["rtx"]
    export.main(["leg", "--format", "tensorrt-rtx"])
    (tmp_path / "scan.mha").touch()
    with pytest.raises(InputError, match=r"^an engine needs a GPU .* CUDA finds none here \(.*\): see nvidia-smi"):
        predict.main(["leg", str(tmp_path / "scan.mha"), "--engine", "--out", str(tmp_path / "out")])
    assert "CUDA finds none here" in find_sides(folder)[1]["rtx"]


def test_where_a_card_is_the_engine_itself_is_compared_and_segments_as_keras(exported, tmp_path, capsys):
    folder, _ = exported
    assert json.loads(folder.rtx.description.read_bytes())["largest_difference"] < 1e-5
    assert "rtx" in find_sides(folder)[0]
    one, other = segment_both("leg", tmp_path, (20, 24, 28))
    assert len(np.unique(one)) > 1
    assert (one == other).mean() > 0.999
    assert "never compared" not in capsys.readouterr().err


def test_an_engine_that_was_never_compared_runs_and_a_line_says_so(untrained_run, machine, capsys):
    folder = untrained_run("leg")
    machine(capability=(9, 0))
    export.main(["leg", "--format", "tensorrt-rtx", "--batch", "2"])
    assert "has 9.0: for such GPUs there is" in capsys.readouterr().err
    machine(capability=(12, 0))
    engine = open_engine(folder)
    assert "model.rtx' was never compared with the Keras model on a GPU" in capsys.readouterr().err
    keras = folder.load_model().predict_on_batch
    for count in (1, 2, 5):
        np.testing.assert_allclose(engine(patches(count)), keras(patches(count)), atol=1e-4)


def test_a_card_that_cannot_run_it_does_not_hinder_its_export(untrained_run, machine, capsys):
    machine(memory=1 << 16)
    folder = untrained_run("leg")
    export.main(["leg", "--format", "tensorrt-rtx"])
    assert "was not compared: the GPU cannot be used (cudaMalloc: cudaErrorMemoryAll" in capsys.readouterr().err
    assert json.loads(folder.rtx.description.read_bytes())["largest_difference"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"capability": (9, 0)},
            r"^engines of TensorRT for RTX are for compute capability 8\.0, .* NVIDIA Fake 1 has 9\.0",
        ),
        ({"capability": (7, 5)}, r"has 7\.5: for such GPUs there is .*kseg.export RUN --format tensorrt$"),
        ({"version": "1.3.0"}, rf"was built by TensorRT for RTX {VERSION}, this is 1\.3\.0: .* --format tensorrt-rtx"),
        ({"driver": 0}, r"^an engine needs a GPU of NVIDIA's, and CUDA finds none here"),
    ],
)
def test_what_is_not_for_this_machine_is_refused_before_it_is_loaded(options, message, exported, machine):
    folder, _ = exported
    trt, _ = machine(**options)
    with pytest.raises(InputError, match=message) as caught:
        open_engine(folder)
    assert "\n" not in str(caught.value)
    assert trt.loaded == []


@pytest.mark.parametrize("name", ["model.rtx", "rtx.onnx", "model.keras", "rtx.json"])
def test_a_changed_file_is_named_before_anything_is_loaded_and_is_not_replaced(name, exported):
    folder, (trt, _) = exported
    path = folder.path / name
    flip_bits(path, -1)
    with pytest.raises(InputError, match=rf"{name}' is (damaged|not the file that belongs to the engine)") as caught:
        open_engine(folder)
    assert "\n" not in str(caught.value)
    assert trt.loaded == []
    if name in RTX_FILES:
        with pytest.raises(InputError, match=f"{name}' is there, and is not as kseg wrote it: move it away"):
            export.main(["leg", "--format", "tensorrt-rtx"])


def test_of_two_engines_tensorrts_is_taken_where_it_is_for_this_machine(exported, machine, monkeypatch):
    folder, _ = exported
    for_server, cuda = fake_tensorrt.make()
    monkeypatch.setitem(sys.modules, "tensorrt", for_server)
    sys.modules["cuda.bindings"].runtime = cuda
    export.main(["leg", "--format", "tensorrt"])
    for_server.loaded.clear()
    here, _ = machine()  # another GPU, without TensorRT
    open_engine(folder)
    assert (len(for_server.loaded), len(here.loaded)) == (0, 1)
    sys.modules["cuda.bindings"].runtime = cuda
    monkeypatch.setitem(sys.modules, "tensorrt", for_server)
    open_engine(folder)
    assert (len(for_server.loaded), len(here.loaded)) == (1, 1)
    elsewhere, cuda = fake_tensorrt.make(gpu="NVIDIA Fake 2")
    monkeypatch.setitem(sys.modules, "tensorrt", elsewhere)
    sys.modules["cuda.bindings"].runtime = cuda
    with pytest.raises(
        InputError, match=r"built for NVIDIA Fake 1 .*; and engines of TensorRT for RTX are for .* has 9\.0"
    ):
        open_engine(folder)


def test_a_graph_or_an_engine_that_disagrees_is_not_kept(machine, untrained_run, monkeypatch):
    machine()
    folder = untrained_run("leg")
    run = tensorrt_engine.Engine.__call__
    with monkeypatch.context() as patched:
        patched.setattr(tensorrt_engine.Engine, "__call__", lambda engine, voxels: run(engine, voxels) + 2e-4)
        with pytest.raises(InputError, match=r"the engine of .* by 2\.0e-04 in a probability, fp32 may by 0\.0001"):
            export.main(["leg", "--format", "tensorrt-rtx"])
    monkeypatch.setitem(onnx_graph._WRITERS, onnx_graph.MaxPool3D, _mean)
    monkeypatch.setattr(tensorrt_engine, "_started", lambda *_: pytest.fail("what disagrees is not built"))
    with pytest.raises(InputError, match=r"the ONNX graph of .* differs from the Keras model by \d.*it is not kept"):
        export.main(["leg", "--format", "tensorrt-rtx"])
    assert not any(path.exists() for path in folder.rtx)


def _mean(graph, layer, x):
    size = tuple(layer.pool_size)
    return graph.node("AveragePool", [x], layer.name, kernel_shape=size, strides=size)


@pytest.mark.usefixtures("no_gpu")
def test_each_fold_gets_an_engine(untrained_run):
    folders = [untrained_run(f"legs/fold-{number}", seed=number) for number in (1, 2)]
    export.main(["legs", "--format", "tensorrt-rtx"])
    assert len({sha256_of(folder.rtx.plan) for folder in folders}) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--precision", "tf32"], "--precision tf32 is TensorRT's alone: --format tensorrt-rtx has fp32 and fp16"),
        (["--batch", "0"], "--batch must be 1 or more"),
        (["--licence", "mine"], "--licence is an option of --format savedmodel"),
    ],
)
def test_an_option_that_it_lacks_is_refused(words, message):
    with pytest.raises(InputError, match=message):
        export.main(["leg", "--format", "tensorrt-rtx", *words])


def test_a_library_that_is_missing_is_one_line(untrained_run, monkeypatch):
    untrained_run("leg")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(InputError, match=r"TensorRT for RTX is missing .*pip install 'kseg\[tensorrt-rtx\]'"):
        export.main(["leg", "--format", "tensorrt-rtx"])
