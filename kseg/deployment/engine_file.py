"""A run's TensorRT engine: exported for the GPU that is here, and used nowhere else.

An engine is a program, and TensorRT does not notice when one was changed (NVIDIA, TensorRT documentation, Security
Considerations). So `engine.json` says where it was built and has the hashes of all that belongs to it, and an engine is
loaded only if all of that holds.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.validation_errors import first_invalid
from kseg.deployment.cuda import Cuda, GpuPlatform
from kseg.deployment.tensorrt_engine import Engine, build_engine, load_tensorrt
from kseg.deployment.tolerances import MAX_DIFFERENCES, Precision
from kseg.inference.ensemble import Predict
from kseg.runs.model_interface import ModelInterface
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import sha256_of, whole_file
from kseg.storage.listing import list_files

if TYPE_CHECKING:
    from kseg.deployment.check_patches import CheckPatches

DIGEST_BYTES = hashlib.sha256().digest_size


class EngineDescription(BaseModel):
    """`engine.json`: where an engine was built, what it takes, and the SHA-256 of the files that belong to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpu: str
    compute_capability: str
    tensorrt: str
    cuda_driver: str = Field(pattern=r"^\d+\.\d+$")
    precision: Precision
    patch: tuple[PositiveInt, PositiveInt, PositiveInt]
    batch: PositiveInt
    channels: PositiveInt
    classes: PositiveInt
    largest_difference: NonNegativeFloat
    compared_on: str
    sha256: dict[str, str]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(x, y, z, channels) of a patch."""
        return (*self.patch, self.channels)


def this_platform() -> GpuPlatform:
    """Return what an engine of this machine is bound to.

    Raises:
        InputError: TensorRT, CUDA's bindings, a GPU or its driver is missing; the message says which.
    """
    version = load_tensorrt().__version__
    return Cuda().machine(version)


def write_engine(
    member: RunFolder, check: "CheckPatches", precision: Precision, batch: int, platform: GpuPlatform, timings: Path
) -> EngineDescription:
    """Build an engine of a run's model for this machine, compare it with the Keras model, and write it.

    Args:
        member: the run.
        check: patches on which it is compared.
        precision: of weights and maps.
        batch: largest batch.
        platform: from `this_platform`.
        timings: file of TensorRT's timing cache; it makes the next build faster.

    Raises:
        InputError: TensorRT builds no engine, or the engine differs from the Keras model by more than
            `MAX_DIFFERENCES`; nothing is kept.
    """
    from kseg.deployment.check_patches import expected_probabilities, largest_difference
    from kseg.deployment.onnx_file import describe_model
    from kseg.deployment.onnx_graph import onnx_model

    model = member.load_model()
    interface = ModelInterface.of_model(member.load_recipe(), member.load_data_description())
    dtype = "float16" if precision == "fp16" else "float32"
    metadata = describe_model(member)
    onnx_bytes = onnx_model(
        model.network, interface.patch_size, dtype, plain=True, metadata=metadata
    ).SerializeToString()
    channels, classes = len(interface.channels), interface.label_map.structures.num_maps
    input_shape = (*interface.patch_size, channels)
    plan, measured = build_engine(onnx_bytes, input_shape, batch, precision, _read_timings(timings))
    with whole_file(timings) as partial:
        partial.write_bytes(hashlib.sha256(measured).digest() + measured)
    batches = list(check)
    engine = Engine(plan, input_shape, classes, batch)
    difference = largest_difference(engine, batches, expected_probabilities(model, batches))
    if not difference <= MAX_DIFFERENCES[precision]:
        raise InputError(
            f"the engine of '{member.path}' differs from the Keras model by {difference:.1e} in a probability, "
            f"{precision} may by {MAX_DIFFERENCES[precision]:g}: it is not kept; try another --precision"
        )
    member.engine_description.unlink(missing_ok=True)  # of another engine
    _write(member.engine_onnx, onnx_bytes)
    _write(member.engine, plan)
    description = EngineDescription(
        gpu=platform.gpu,
        compute_capability=platform.compute_capability,
        tensorrt=platform.tensorrt,
        cuda_driver=platform.cuda_driver,
        precision=precision,
        patch=interface.patch_size,
        batch=batch,
        channels=channels,
        classes=classes,
        largest_difference=difference,
        compared_on=check.origin,
        sha256={path.name: sha256_of(path) for path in _hashed(member)},
    )
    _write(member.engine_description, (description.model_dump_json(indent=2) + "\n").encode())
    return description


def open_engine(member: RunFolder) -> Predict:
    """Load a run's engine, once all that its description says holds here.

    Raises:
        InputError: there is none, it was built elsewhere or of another model, a file of it was changed, or TensorRT or
            the GPU is missing. The message says which; nothing has been loaded then.
    """
    description = load_engine_description(member)
    check_platform(description, this_platform(), member)
    plan = _checked(member, description)
    return Engine(plan, description.input_shape, description.classes, description.batch)


def load_engine_description(member: RunFolder) -> EngineDescription:
    """Read a run's `engine.json`.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = member.engine_description
    try:
        return EngineDescription.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"run '{member.path}' has no engine ('{path}' is missing): {_remedy(member)}") from None
    except ValidationError as error:
        raise InputError(f"'{path}' is damaged ({first_invalid(error)}): {_remedy(member)}") from None


def check_platform(description: EngineDescription, here: GpuPlatform, member: RunFolder) -> None:
    """See to it that an engine was built for this GPU and this TensorRT, under a driver no newer than this one.

    Raises:
        InputError: it was not; the message says what differs.
    """
    built = (description.gpu, description.compute_capability, description.tensorrt)
    if built != (here.gpu, here.compute_capability, here.tensorrt):
        raise InputError(
            f"the engine of '{member.path}' was built for {_names(*built)}, this is "
            f"{_names(here.gpu, here.compute_capability, here.tensorrt)}: {_remedy(member)}"
        )
    if _numbers(description.cuda_driver) > _numbers(here.cuda_driver):
        raise InputError(
            f"the engine of '{member.path}' was built under a driver of CUDA {description.cuda_driver}, this one is of "
            f"{here.cuda_driver}: update the driver, or {_remedy(member)}"
        )


def _checked(member: RunFolder, description: EngineDescription) -> bytes:
    """Return the serialised engine, if it and what belongs to it have the hashes of the description."""
    if description.patch != member.load_recipe().patches.size:
        raise InputError(f"the engine of '{member.path}' takes patches of {description.patch}: {_remedy(member)}")
    content = {path.name: path.read_bytes() if path.is_file() else b"" for path in _hashed(member)}
    for name, held in content.items():
        if hashlib.sha256(held).hexdigest() != description.sha256.get(name):
            raise InputError(
                f"'{member.path / name}' is not the file that belongs to the engine (its SHA-256 is another): "
                f"{_remedy(member)}"
            )
    return content[member.engine.name]


def _hashed(member: RunFolder) -> Sequence[Path]:
    return member.model, member.engine_onnx, member.engine


def _read_timings(path: Path) -> bytes:
    """The timing cache, if the digest before it says that it is whole; else none."""
    held = path.read_bytes() if path.is_file() else b""
    digest, timings = held[:DIGEST_BYTES], held[DIGEST_BYTES:]
    return timings if hashlib.sha256(timings).digest() == digest else b""


def _write(path: Path, content: bytes) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(content)
        list_files(path.parent, {path.name: partial})


def _remedy(member: RunFolder) -> str:
    return f"{command_line('export')} {member.path} --format tensorrt builds one here"


def _names(gpu: str, compute_capability: str, tensorrt: str) -> str:
    return f"{gpu} (compute capability {compute_capability}) and TensorRT {tensorrt}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
