"""The truth on a scan's own grid, for a case that was prepared at another spacing: what predictions are scored against.

It is one record of the shard: class indices brick by brick, as `pack_labels` leaves them, one behind the other.
"""

from typing import Any

import numpy as np

from kseg.console.errors import InputError
from kseg.records.bricks import Bricks
from kseg.records.packed_labels import PackedLabels, class_indices
from kseg.records.schema import MAX_BRICKS, Head
from kseg.records.tf_example import decode_example, encode_example
from kseg.volumes.geometry import ras_grid
from kseg.volumes.labels import index_dtype
from kseg.volumes.volume import Volume


def encode_truth(case: str, labels: PackedLabels) -> bytes:
    """Serialise the class indices of a case on the scan's own grid."""
    lengths = np.array([len(one) for one in labels.packed])
    partly = {"partly_labelled": np.array([1])} if labels.partly_labelled else {}
    return encode_example({"case": case.encode(), "lengths": lengths, "labels": b"".join(labels.packed), **partly})


def decode_truth(content: bytes, head: Head, num_classes: int) -> Volume:
    """Return class indices `(x, y, z)` on the scan's own grid, which `head.stored` describes.

    They are `num_classes` where nobody labelled a voxel.

    Raises:
        ValueError: the bytes are no truth of this case.
        zlib.error: neither are they.
    """
    try:
        features: dict[str, Any] = decode_example(content)
        case, lengths, packed = features["case"].decode(), features["lengths"], features["labels"]
        shape, affine = ras_grid(head.stored)
    except (LookupError, TypeError, AttributeError, InputError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if case != head.case:
        raise ValueError(f"it holds the truth of case '{case}'")
    bricks = Bricks.of(shape) if min(shape) > 0 else None
    if bricks is None or bricks.count > MAX_BRICKS or len(lengths) != bricks.count:
        raise ValueError(f"its truth has {len(lengths)} bricks, which do not make up the shape {shape}")
    stops = np.cumsum(lengths)
    if (lengths < 0).any() or stops[-1] != len(packed):
        raise ValueError("its truth is shorter, or longer, than it says")
    labels, partly = np.zeros(shape, index_dtype(num_classes)), "partly_labelled" in features
    for number, (length, stop) in enumerate(zip(lengths.tolist(), stops.tolist(), strict=True)):
        if length:
            content = packed[stop - length : stop]
            labels[bricks.box(number)] = class_indices(content, bricks, number, num_classes, partly)
    return Volume(labels, affine, head.stored)
