"""What a served model takes and returns, as TF Serving describes it, and which of its signatures suits a scan."""

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.deployment.tensor_names import LABELS, SEGMENT, SPACING, VOXELS, segment_signature

VOXEL_AXES = 5
"""(batch, x, y, z, channels)"""

DTYPES = {
    "DT_UINT8": np.uint8,
    "DT_INT8": np.int8,
    "DT_UINT16": np.uint16,
    "DT_INT16": np.int16,
    "DT_UINT32": np.uint32,
    "DT_INT32": np.int32,
    "DT_UINT64": np.uint64,
    "DT_INT64": np.int64,
    "DT_HALF": np.float16,
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
}


class Signature(NamedTuple):
    """A signature from voxels `(batch, x, y, z, channels)` and `spacing_mm` to labels `(batch, x, y, z)`.

    `dtype` is that of the voxels; `channels` is None where the model takes any number.
    """

    name: str
    dtype: np.dtype
    channels: int | None
    labels_dtype: np.dtype


def signatures_of(described: Mapping[str, Any], model: str) -> list[Signature]:
    """Return a model's signatures that segment.

    Args:
        described: names to `SignatureDef`s, as protobuf writes them in JSON.
        model: its name, for messages.

    Raises:
        InputError: it has none, or one that takes or returns something else than kseg's models do.
    """
    known = {SEGMENT, *(segment_signature(np.dtype(dtype)) for dtype in DTYPES.values())}
    names = sorted(known & set(described))
    if not names:
        others = ", ".join(sorted(name for name in described if not name.startswith("__"))) or "none"
        raise InputError(
            f"model '{model}' has no signature '{SEGMENT}' (it has {others}): export it with {command_line('export')}"
        )
    return [_signature(name, described[name], f"signature '{name}' of model '{model}'") for name in names]


def choose_signature(signatures: list[Signature], dtype: np.dtype, types: Set[np.dtype]) -> Signature:
    """Return the narrowest signature that holds voxels of type `dtype` exactly, else the one that takes float32.

    Args:
        signatures: of one model.
        dtype: the scan's.
        types: those that can be sent, and received.

    Raises:
        InputError: what would suit it can be neither sent nor received.
    """
    possible = [one for one in signatures if {one.dtype, one.labels_dtype} <= types]
    exact = [one for one in possible if np.can_cast(dtype, one.dtype, "safe")]
    if exact:
        return min(exact, key=lambda one: one.dtype.itemsize)
    plain = [one for one in possible if one.name == SEGMENT]
    if not plain:
        offered = ", ".join(f"{one.name} from {one.dtype} to {one.labels_dtype}" for one in signatures)
        raise InputError(
            f"no signature of the model suits voxels of type {dtype} by this protocol (it has {offered}): "
            "use --protocol grpc, or export the model anew"
        )
    return plain[0]


def _signature(name: str, described: Any, where: str) -> Signature:
    inputs, outputs = (described.get(side, {}) for side in ("inputs", "outputs"))
    if set(inputs) != {VOXELS, SPACING} or LABELS not in outputs:
        raise InputError(
            f"{where} maps {', '.join(sorted(inputs))} to {', '.join(sorted(outputs))}, where kseg's models map "
            f"{VOXELS} and {SPACING} to {LABELS}: serve one that {command_line('export')} wrote"
        )
    dtype, shape = _tensor(inputs[VOXELS], where)
    labels_dtype, labels_shape = _tensor(outputs[LABELS], where)
    for what, axes, wanted in ((VOXELS, shape, VOXEL_AXES), (LABELS, labels_shape, VOXEL_AXES - 1)):
        if axes is not None and len(axes) != wanted:
            raise InputError(f"{where} has {what} of {len(axes)} axes, where kseg's models have {wanted}")
    if labels_dtype.kind not in "iu":
        raise InputError(f"{where} returns {LABELS} of type {labels_dtype}, where kseg's models return integers")
    channels = shape[-1] if shape is not None and shape[-1] >= 0 else None
    return Signature(name, dtype, channels, labels_dtype)


def _tensor(described: Any, where: str) -> tuple[np.dtype, tuple[int, ...] | None]:
    """Type and shape of a tensor; -1 for an axis of any length, None for a shape of any rank."""
    if described.get("dtype") not in DTYPES:
        raise InputError(f"{where} has a tensor of type {described.get('dtype')}, where kseg's models have numbers")
    shape = described.get("tensor_shape", {})
    axes = None if shape.get("unknown_rank") else tuple(int(axis.get("size", 0)) for axis in shape.get("dim", []))
    return np.dtype(DTYPES[described["dtype"]]), axes
