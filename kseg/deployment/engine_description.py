"""What an engine's description says: where it runs, what it takes, how it was compared, and what belongs to it.

An engine is a program, and TensorRT does not notice when one was changed (NVIDIA, TensorRT documentation, Security
Considerations). So an engine is loaded only if all of its description holds.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.validation_errors import first_invalid
from kseg.deployment.cuda import Cuda, GpuPlatform
from kseg.deployment.tensorrt_engine import RTX, TENSORRT, Library
from kseg.deployment.tolerances import Precision
from kseg.runs.run_folder import EngineFiles, RunFolder


class EngineDescription(BaseModel, ABC):
    """What the descriptions of all engines have, and what differs between the kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    library: ClassVar[Library]
    """What builds and runs engines of the kind."""
    form: ClassVar[str]
    """That of `--format` which exports them."""

    precision: Precision
    patch: tuple[PositiveInt, PositiveInt, PositiveInt]
    batch: PositiveInt
    channels: PositiveInt
    classes: PositiveInt
    compared_on: str
    sha256: dict[str, str]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(x, y, z, channels) of a patch."""
        return (*self.patch, self.channels)

    @staticmethod
    @abstractmethod
    def files(member: RunFolder) -> EngineFiles:
        """Return the files of a run's engine."""

    @classmethod
    def remedy(cls, member: RunFolder) -> str:
        """Say how an engine is made that runs."""
        where = "" if cls.library.targets else " here"
        return f"{command_line('export')} {member.path} --format {cls.form} builds one{where}"

    @abstractmethod
    def check_platform(self, here: GpuPlatform, member: RunFolder) -> None:
        """See to it that an engine runs on this GPU and this version of its library.

        Raises:
            InputError: it does not; the message says what differs.
        """


class TensorRTDescription(EngineDescription):
    """`engine.json`: of an engine for one kind of GPU, which was compared with the Keras model there."""

    library = TENSORRT
    form = "tensorrt"

    gpu: str
    compute_capability: str
    tensorrt: str
    cuda_driver: str = Field(pattern=r"^\d+\.\d+$")
    largest_difference: NonNegativeFloat

    @staticmethod
    def files(member: RunFolder) -> EngineFiles:
        """Return the files of a run's engine."""
        return member.engine

    def check_platform(self, here: GpuPlatform, member: RunFolder) -> None:
        """See to it that an engine was built for this GPU and this TensorRT, under a driver no newer than this one."""
        built = (self.gpu, self.compute_capability, self.tensorrt)
        if built != (here.gpu, here.compute_capability, here.version):
            raise InputError(
                f"the engine of '{member.path}' was built for {_names(*built)}, this is "
                f"{_names(here.gpu, here.compute_capability, here.version)}: {self.remedy(member)}"
            )
        if _numbers(self.cuda_driver) > _numbers(here.cuda_driver):
            raise InputError(
                f"the engine of '{member.path}' was built under a driver of CUDA {self.cuda_driver}, this one is of "
                f"{here.cuda_driver}: update the driver, or {self.remedy(member)}"
            )


class RtxDescription(EngineDescription):
    """`rtx.json`: of an engine for several kinds of GPU, which may have been built where there is none of them.

    `graph_difference` is that of its graph in ONNX Runtime to the Keras model; `largest_difference` that of the engine,
    None where nothing could run it. It takes patches from `smallest` to `patch`, for which it is the fastest.
    """

    library = RTX
    form = "tensorrt-rtx"

    tensorrt_rtx: str
    compute_capabilities: tuple[str, ...]
    smallest: tuple[PositiveInt, PositiveInt, PositiveInt]
    graph_difference: NonNegativeFloat
    largest_difference: NonNegativeFloat | None

    @staticmethod
    def files(member: RunFolder) -> EngineFiles:
        """Return the files of a run's engine."""
        return member.rtx

    def check_platform(self, here: GpuPlatform, member: RunFolder) -> None:
        """See to it that an engine was built by this version, and for the compute capability of this GPU."""
        if self.tensorrt_rtx != here.version:
            raise InputError(
                f"the engine of '{member.path}' was built by {RTX.name} {self.tensorrt_rtx}, this is {here.version}: "
                f"{self.remedy(member)}"
            )
        check_capability(here, self.compute_capabilities)


Kind = TypeVar("Kind", bound=EngineDescription)
KINDS: tuple[type[EngineDescription], ...] = (TensorRTDescription, RtxDescription)


def platform_of(library: Library) -> GpuPlatform:
    """Return what a library's engines of this machine are bound to.

    Raises:
        InputError: the library, CUDA's bindings, a GPU or its driver is missing; the message says which.
    """
    version = library.load().__version__
    return Cuda().machine(version)


def check_capability(here: GpuPlatform, targets: Sequence[str]) -> None:
    """See to it that engines of TensorRT for RTX run on this GPU.

    Raises:
        InputError: they do not.
    """
    if here.compute_capability not in targets:
        raise InputError(
            f"engines of {RTX.name} are for compute capability {', '.join(targets)}, and {here.gpu} has "
            f"{here.compute_capability}: for such GPUs there is {command_line('export')} RUN --format tensorrt"
        )


def load_description(kind: type[Kind], member: RunFolder) -> Kind:
    """Read the description of a run's engine.

    Raises:
        InputError: it has none of this kind, or the description is damaged.
    """
    path = kind.files(member).description
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"run '{member.path}' has no engine ('{path}' is missing): {kind.remedy(member)}") from None
    except ValidationError as error:
        raise InputError(f"'{path}' is damaged ({first_invalid(error)}): {kind.remedy(member)}") from None


def check_runs_here(kind: type[Kind], member: RunFolder) -> Kind:
    """Read the description of a run's engine, and see to it that the engine is for this machine; return it.

    Raises:
        InputError: it has none of this kind, the description is damaged, the engine is for another machine, or its
            library or a GPU is missing.
    """
    description = load_description(kind, member)
    description.check_platform(platform_of(kind.library), member)
    return description


def _names(gpu: str, compute_capability: str, tensorrt: str) -> str:
    return f"{gpu} (compute capability {compute_capability}) and {TENSORRT.name} {tensorrt}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
