"""The schema of a shard: one case, as a record for each brick and one, the head, that says where they are.

A shard is a TFRecord file of `tf.train.Example`; the head comes last, since its places are known only then, and the
manifest says where it begins. Image bytes are C order `(x, y, z, channels)` in the volume's own dtype; label indices
are C order `(x, y, z)`, compressed with zlib, no bytes where all is background. Voxels of each class are counted for
each brick, so that a voxel of a class can be drawn by looking into one brick.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kseg.console.errors import InputError
from kseg.records.bricks import Bricks
from kseg.records.tf_example import decode_example, encode_example
from kseg.volumes.cases.case import UNSAFE_NAME
from kseg.volumes.geometry import check_affine
from kseg.volumes.intensity_normalisation import STD
from kseg.volumes.stored_geometry import StoredGeometry

VERSION: Final = 3
DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32")
STATISTICS = 4
MAX_BRICKS = 2**22
NO_TRUTH = -1


@dataclass(frozen=True)
class Head:
    """All that a shard holds of its case, but the voxels.

    `image_dtype` is one of `DTYPES`; `affine` maps (x, y, z) to RAS mm; `places` are the bytes at which the bricks'
    records begin; `foreground` `(classes - 1, bricks)` their voxels of each foreground class; `labelled` `(bricks,)`
    those that somebody labelled, empty where that is all; `statistics` `(channels, 4)` those of `intensity_statistics`.
    `truth` is the byte at which the record of the truth on the scan's own grid begins (`kseg.records.ground_truth`),
    `NO_TRUTH` where the case is on that grid itself.
    """

    case: str
    subject: str
    bricks: Bricks
    channels: int
    image_dtype: np.dtype
    affine: np.ndarray
    stored: StoredGeometry
    places: np.ndarray
    foreground: np.ndarray
    labelled: np.ndarray
    statistics: np.ndarray
    truth: int

    @property
    def partly_labelled(self) -> bool:
        """Whether there are voxels that nobody labelled."""
        return self.labelled.size > 0


def encode_head(head: Head) -> bytes:
    """Serialise a head."""
    geometry = {"affine": head.affine.tolist(), "stored": head.stored.to_json()}
    labelled = {"labelled": head.labelled} if head.partly_labelled else {}
    return encode_example(
        {
            "case": head.case.encode(),
            "subject": head.subject.encode(),
            "geometry": json.dumps(geometry).encode(),
            "shape": np.array([*head.bricks.shape, head.channels]),
            "brick_size": np.array(head.bricks.size),
            "dtype": np.array([DTYPES.index(head.image_dtype.name)]),
            "places": head.places,
            "foreground": head.foreground,
            "statistics": head.statistics.astype(np.float32),
            "truth": np.array([head.truth]),
            **labelled,
        }
    )


def decode_head(content: bytes, num_classes: int) -> Head:
    """Read a head back, and check that its parts agree.

    Raises:
        ValueError: the bytes are no head of this kseg, or its parts contradict each other.
    """
    try:
        features: dict[str, Any] = decode_example(content)
        case, subject = features["case"].decode(), features["subject"].decode()
        _check(not UNSAFE_NAME.search(case), f"case {case!r} is not fit as a file name")
        geometry = json.loads(features["geometry"])
        x, y, z, channels = features["shape"].tolist()
        size = tuple(features["brick_size"].tolist())
        _check(min(x, y, z, channels) > 0 and max(x, y, z) < 2**31, f"a volume of shape {(x, y, z, channels)} is none")
        bricks = Bricks.of((x, y, z))
        _check(size == bricks.size, f"bricks of {size} are not those of shape {bricks.shape}")
        _check(bricks.count <= MAX_BRICKS, f"{bricks.count} bricks are more than {MAX_BRICKS}")
        (kind,), (truth,) = features["dtype"].tolist(), features["truth"].tolist()
        _check(0 <= kind < len(DTYPES), f"the type {kind} is unknown")
        places, foreground = features["places"], features["foreground"].reshape(num_classes - 1, bricks.count)
        _check(len(places) == bricks.count, f"{len(places)} places are listed for {bricks.count} bricks")
        _check(bool((places >= 0).all() and (foreground >= 0).all()), "a place or a count is negative")
        labelled = features.get("labelled", np.zeros(0, np.int64))
        _check(len(labelled) in (0, bricks.count), f"{len(labelled)} counts of voxels are for {bricks.count} bricks")
        statistics = features["statistics"].reshape(channels, STATISTICS)
        _check(bool(np.isfinite(statistics).all() and (statistics[:, STD] > 0).all()), "its statistics are no numbers")
        return Head(
            case,
            subject,
            bricks,
            channels,
            np.dtype(DTYPES[kind]).newbyteorder("<"),
            check_affine(np.array(geometry["affine"], np.float64), "its geometry"),
            StoredGeometry.from_json(geometry["stored"]),
            places,
            foreground,
            labelled,
            statistics,
            truth,
        )
    except InputError as error:  # of the affine
        raise ValueError(str(error)) from None
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def encode_brick(case: str, number: int, image: np.ndarray, packed_labels: bytes) -> bytes:
    """Serialise a brick: `image` (x, y, z, channels), of a brick's size, and labels as `pack_labels` leaves them."""
    voxels = np.ascontiguousarray(image, image.dtype.newbyteorder("<")).tobytes()
    return encode_example(
        {"case": case.encode(), "brick": np.array([number]), "image": voxels, "labels": packed_labels}
    )


def decode_brick(content: bytes, head: Head, number: int) -> tuple[np.ndarray, bytes]:
    """Return a brick's image (x, y, z, channels), and its packed labels.

    Raises:
        ValueError: the bytes are no brick of kseg's, or that of another case or place.
    """
    try:
        features: dict[str, Any] = decode_example(content)
        found = (features["case"].decode(), *features["brick"].tolist())
        _check(found == (head.case, number), f"it is {found} where brick {number} of case '{head.case}' should be")
        image = np.frombuffer(features["image"], head.image_dtype).reshape(*head.bricks.size, head.channels)
        return image, bytes(features["labels"])
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _check(sound: bool, message: str) -> None:
    if not sound:
        raise ValueError(message)
