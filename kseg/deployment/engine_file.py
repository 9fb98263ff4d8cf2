"""A run's engines, TensorRT's and that of TensorRT for RTX: written, and opened once all that is said of them holds."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.deployment.cuda import GpuPlatform
from kseg.deployment.engine_description import (
    KINDS,
    EngineDescription,
    RtxDescription,
    TensorRTDescription,
    check_capability,
    check_runs_here,
    load_description,
    platform_of,
)
from kseg.deployment.tensorrt_engine import RTX, TENSORRT, Engine, build_engine
from kseg.deployment.tolerances import MAX_DIFFERENCES, Precision
from kseg.inference.ensemble import Predict
from kseg.runs.model_interface import ModelInterface
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import sha256_of, whole_file
from kseg.storage.listing import listed_file

if TYPE_CHECKING:
    from kseg.deployment.check_patches import CheckPatches
    from kseg.nn.segmenter import Segmenter

DIGEST_BYTES = hashlib.sha256().digest_size
SMALLEST = (1, 1, 1)
"""The smallest patch that an engine for any size takes."""


def write_engine(
    member: RunFolder, check: "CheckPatches", precision: Precision, batch: int, platform: GpuPlatform, timings: Path
) -> TensorRTDescription:
    """Build an engine of a run's model for this machine, compare it with the Keras model, and write it.

    Args:
        member: the run.
        check: patches on which it is compared.
        precision: of weights and maps.
        batch: largest batch.
        platform: TensorRT's, from `platform_of`.
        timings: file of TensorRT's timing cache; it makes the next build faster.

    Raises:
        InputError: TensorRT builds no engine, or the engine differs from the Keras model by more than
            `MAX_DIFFERENCES`; nothing is kept.
    """
    from kseg.deployment.check_patches import expected_probabilities, largest_difference

    model, interface = _opened(member)
    channels, classes = len(interface.channels), interface.label_map.structures.num_maps
    graph = _graph(member, model, interface, precision)
    input_shape = (*interface.patch_size, channels)
    plan, measured = build_engine(TENSORRT, graph, input_shape, batch, precision, timings=_read_timings(timings))
    with whole_file(timings) as partial:
        partial.write_bytes(hashlib.sha256(measured).digest() + measured)
    batches = check.batches()
    engine = Engine(TENSORRT, plan, input_shape, classes, batch)
    difference = largest_difference(engine, batches, expected_probabilities(model, batches))
    _check_difference(f"the engine of '{member.path}'", difference, precision)
    description = TensorRTDescription(
        gpu=platform.gpu,
        compute_capability=platform.compute_capability,
        tensorrt=platform.version,
        cuda_driver=platform.cuda_driver,
        precision=precision,
        patch=interface.patch_size,
        batch=batch,
        channels=channels,
        classes=classes,
        largest_difference=difference,
        compared_on=check.origin,
        sha256=_hashes(TensorRTDescription, member, graph, plan),
    )
    _write(member, description, graph, plan)
    return description


def write_rtx_engine(
    member: RunFolder, check: "CheckPatches", precision: Precision, batch: int, any_size: bool
) -> tuple[RtxDescription, str]:
    """Build an engine of a run's model for GPUs that TensorRT for RTX knows, and write it.

    Its graph is compared with the Keras model in ONNX Runtime before it is built; the engine itself where a GPU is here
    that runs it.

    Args:
        member: the run.
        check: patches on which they are compared.
        precision: of weights and maps, `"fp32"` or `"fp16"`.
        batch: largest batch.
        any_size: whether it takes any patches no larger than those of the training; else those alone.

    Returns:
        Its description, and why the engine itself was not compared; empty where it was.

    Raises:
        InputError: no engine is built, or the graph or the engine differs from the Keras model by more than
            `MAX_DIFFERENCES`; nothing is kept.
    """
    from kseg.deployment.check_patches import expected_probabilities, largest_difference
    from kseg.deployment.onnx_file import open_onnx

    version = RTX.load().__version__
    model, interface = _opened(member)
    channels, classes = len(interface.channels), interface.label_map.structures.num_maps
    graph = _graph(member, model, interface, precision, any_size)
    batches = check.batches(any_size)
    expected = expected_probabilities(model, batches)
    graph_difference = largest_difference(open_onnx(graph), batches, expected)
    _check_difference(f"the ONNX graph of '{member.path}'", graph_difference, precision)
    input_shape, smallest = (*interface.patch_size, channels), SMALLEST if any_size else interface.patch_size
    plan, _ = build_engine(RTX, graph, input_shape, batch, precision, (*smallest, channels))
    difference, why_not = None, ""
    try:
        check_capability(platform_of(RTX), RTX.targets)
        engine = Engine(RTX, plan, input_shape, classes, batch)
    except InputError as error:
        why_not = str(error)
    else:
        patches = len(check.patches)
        difference = largest_difference(engine, batches[:patches], expected[:patches])
        _check_difference(f"the engine of '{member.path}'", difference, precision)
    description = RtxDescription(
        tensorrt_rtx=version,
        compute_capabilities=RTX.targets,
        precision=precision,
        smallest=smallest,
        patch=interface.patch_size,
        batch=batch,
        channels=channels,
        classes=classes,
        graph_difference=graph_difference,
        largest_difference=difference,
        compared_on=check.origin,
        sha256=_hashes(RtxDescription, member, graph, plan),
    )
    _write(member, description, graph, plan)
    return description, why_not


def open_engine(member: RunFolder) -> Predict:
    """Load a run's engine: that of TensorRT, or that of TensorRT for RTX where the run has no other that is for here.

    Raises:
        InputError: none is for here, or the one that is cannot be opened (`open_engine_of`).
    """
    there = [kind for kind in KINDS if kind.files(member).description.exists()]
    refusals = []
    for kind in there:
        description = load_description(kind, member)
        try:
            description.check_platform(platform_of(kind.library), member)
        except InputError as error:
            refusals.append(str(error))
        else:
            return _load(member, description)
    if refusals:
        raise InputError("; and ".join(refusals))
    remedies = f"{TensorRTDescription.remedy(member)}, --format {RtxDescription.form} one for other machines"
    raise InputError(f"run '{member.path}' has no engine: {remedies}")


def open_engine_of(kind: type[EngineDescription], member: RunFolder) -> Predict:
    """Load a run's engine of a kind, once all that its description says holds here.

    Raises:
        InputError: there is none, it is not for this machine or of another model, a file of it was changed, or its
            library or the GPU is missing. The message says which; nothing has been loaded then.
    """
    return _load(member, check_runs_here(kind, member))


def _load(member: RunFolder, description: EngineDescription) -> Engine:
    plan = _checked(member, description)
    if isinstance(description, RtxDescription) and description.largest_difference is None:
        say(
            f"note: '{member.rtx.plan}' was never compared with the Keras model on a GPU: look at its first masks "
            "beside those without --engine, or export it anew on this machine"
        )
    return Engine(description.library, plan, description.input_shape, description.classes, description.batch)


def _opened(member: RunFolder) -> "tuple[Segmenter, ModelInterface]":
    return member.load_model(), ModelInterface.of_model(member.load_recipe(), member.load_data_description())


def _graph(
    member: RunFolder, model: "Segmenter", interface: ModelInterface, precision: Precision, any_size: bool = False
) -> bytes:
    """What an engine is built from, in ONNX's format."""
    from kseg.deployment.onnx_file import describe_model
    from kseg.deployment.onnx_graph import onnx_model

    size = None if any_size else interface.patch_size
    dtype = "float16" if precision == "fp16" else "float32"
    return onnx_model(model.network, size, dtype, plain=True, metadata=describe_model(member)).SerializeToString()


def _check_difference(what: str, difference: float, precision: Precision) -> None:
    if not difference <= MAX_DIFFERENCES[precision]:
        raise InputError(
            f"{what} differs from the Keras model by {difference:.1e} in a probability, {precision} may by "
            f"{MAX_DIFFERENCES[precision]:g}: it is not kept; try another --precision"
        )


def _hashes(kind: type[EngineDescription], member: RunFolder, graph: bytes, plan: bytes) -> dict[str, str]:
    files = kind.files(member)
    return {
        member.model.name: sha256_of(member.model),
        files.onnx.name: hashlib.sha256(graph).hexdigest(),
        files.plan.name: hashlib.sha256(plan).hexdigest(),
    }


def _write(member: RunFolder, description: EngineDescription, graph: bytes, plan: bytes) -> None:
    """Write an engine; its description, without which it is none, at last."""
    files = description.files(member)
    files.description.unlink(missing_ok=True)  # of another engine
    told = (description.model_dump_json(indent=2) + "\n").encode()
    for path, content in ((files.onnx, graph), (files.plan, plan), (files.description, told)):
        with listed_file(path) as partial:
            partial.write_bytes(content)


def _checked(member: RunFolder, description: EngineDescription) -> bytes:
    """Return the serialised engine, if it and what belongs to it have the hashes of the description."""
    if description.patch != member.load_recipe().patches.size:
        raise InputError(
            f"the engine of '{member.path}' takes patches of {description.patch}: {description.remedy(member)}"
        )
    files = description.files(member)
    paths = (member.model, files.onnx, files.plan)
    content = {path: path.read_bytes() if path.is_file() else b"" for path in paths}
    for path, held in content.items():
        if hashlib.sha256(held).hexdigest() != description.sha256.get(path.name):
            raise InputError(
                f"'{path}' is not the file that belongs to the engine (its SHA-256 is another): "
                f"{description.remedy(member)}"
            )
    return content[files.plan]


def _read_timings(path: Path) -> bytes:
    """The timing cache, if the digest before it says that it is whole; else none."""
    held = path.read_bytes() if path.is_file() else b""
    digest, timings = held[:DIGEST_BYTES], held[DIGEST_BYTES:]
    return timings if hashlib.sha256(timings).digest() == digest else b""
