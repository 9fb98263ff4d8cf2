"""The schema of a record: one case, its voxels and all that training and scoring need to know of it.

Image bytes are C order `(x, y, z, channels)` in the volume's own dtype; label indices are C order `(x, y, z)`,
compressed with zlib. Counts of labelled voxels are kept per class and x, so that a voxel of a class can be drawn
by looking at one plane.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseg.console.errors import InputError
from kseg.records.intensity import STD
from kseg.volumes.cases import UNSAFE_NAME
from kseg.volumes.geometry import check_affine
from kseg.volumes.volume import StoredGeometry, Volume

DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32")
COMPRESSION_LEVEL = 6
STATISTICS = 4
MOST_BYTES = 2**31 - 2**20  # a protocol buffer ends at 2 GiB; the labels and the rest need their share of it


@dataclass(frozen=True)
class Record:
    """A case as training and scoring use it.

    `image.array` is `(x, y, z, channels)`, of a dtype in `DTYPES`, which are those of `read_volume`; `labels`
    `(x, y, z)` class indices, uint8 or uint16; `statistics` `(channels, 4)` from `intensity_statistics`.
    """

    case: str
    subject: str
    image: Volume
    labels: np.ndarray
    statistics: np.ndarray

    def class_voxels(self, num_classes: int) -> list[int]:
        """Return how many voxels each class has."""
        return voxels_by_x(self.labels, num_classes).sum(axis=1).tolist()


def voxels_by_x(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the voxels of each class in each plane x of `labels` `(x, y, z)`: `(classes, x)`, int64."""
    # Plane by plane, because bincount widens what it counts to 8 bytes.
    return np.stack([np.bincount(plane.reshape(-1), minlength=num_classes) for plane in labels], axis=1)


def encode(record: Record, num_classes: int) -> bytes:
    """Serialise a record as a `tf.train.Example`.

    Raises:
        InputError: the image and its labels do not fit into one.
    """
    import tensorflow as tf

    image = record.image.array.astype(record.image.array.dtype.newbyteorder("<"), copy=False)
    labels = np.ascontiguousarray(record.labels, label_dtype(num_classes))
    packed_labels = zlib.compress(labels.data, COMPRESSION_LEVEL)
    if image.nbytes + len(packed_labels) > MOST_BYTES:
        raise InputError(
            f"case '{record.case}' of shape {image.shape} and type {image.dtype.name} takes {image.nbytes} bytes, "
            f"a record holds {MOST_BYTES}: crop it, resample it, or save it in a narrower type"
        )
    geometry = {"affine": record.image.affine.tolist(), "stored": record.image.stored.to_json()}

    def of_bytes(value: bytes) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def of_integers(values: Any) -> Any:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=np.ravel(values)))

    features = {
        "case": of_bytes(record.case.encode()),
        "subject": of_bytes(record.subject.encode()),
        "geometry": of_bytes(json.dumps(geometry).encode()),
        "shape": of_integers(image.shape),
        "dtype": of_integers(DTYPES.index(image.dtype.name)),
        "image": of_bytes(image.tobytes()),
        "labels": of_bytes(packed_labels),
        "foreground_by_x": of_integers(voxels_by_x(labels, num_classes)[1:]),
        "statistics": tf.train.Feature(float_list=tf.train.FloatList(value=record.statistics.reshape(-1))),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def parse(serialized: Any) -> dict[str, Any]:
    """Parse an Example into tensors, in a tf.data graph; voxels stay bytes until a patch is cut from them."""
    import tensorflow as tf

    features = {
        "shape": tf.io.FixedLenFeature([4], tf.int64),
        "dtype": tf.io.FixedLenFeature([], tf.int64),
        "image": tf.io.FixedLenFeature([], tf.string),
        "labels": tf.io.FixedLenFeature([], tf.string),
        "foreground_by_x": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
        "statistics": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
    }
    example = tf.io.parse_single_example(serialized, features)
    example["labels"] = tf.io.decode_compressed(example["labels"], "ZLIB")
    example["foreground_by_x"] = tf.reshape(example["foreground_by_x"], [-1, example["shape"][0]])
    example["statistics"] = tf.reshape(example["statistics"], [-1, STATISTICS])
    return example


def decode(serialized: bytes, num_classes: int, where: str) -> Record:
    """Read a record back, and check that its parts agree.

    Raises:
        InputError: the bytes are no record of kseg's, or its parts contradict each other; `where` names the shard.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    example = tf.train.Example()
    try:
        example.ParseFromString(serialized)
        features = example.features.feature
        case, subject = _bytes(features, "case").decode(), _bytes(features, "subject").decode()
        _check(not UNSAFE_NAME.search(case), f"case {case!r} is not fit as a file name")
        geometry = json.loads(_bytes(features, "geometry"))
        stored = StoredGeometry.from_json(geometry["stored"])
        affine = check_affine(np.array(geometry["affine"], np.float64), "its geometry")
        x, y, z, channels = features["shape"].int64_list.value
        _check(min(x, y, z, channels) > 0, f"a volume of shape {(x, y, z, channels)} is empty")
        dtype = np.dtype(DTYPES[features["dtype"].int64_list.value[0]]).newbyteorder("<")
        image = np.frombuffer(_bytes(features, "image"), dtype).reshape(x, y, z, channels)
        labels = _unpack(_bytes(features, "labels"), label_dtype(num_classes), x * y * z).reshape(x, y, z)
        highest = labels.max()
        _check(highest < num_classes, f"labels reach {highest}, the manifest has {num_classes} classes")
        foreground = np.array(features["foreground_by_x"].int64_list.value).reshape(num_classes - 1, x)
        _check(np.array_equal(foreground, voxels_by_x(labels, num_classes)[1:]), "its labels were counted otherwise")
        statistics = np.array(features["statistics"].float_list.value, np.float32).reshape(channels, STATISTICS)
        _check(bool(np.isfinite(statistics).all() and (statistics[:, STD] > 0).all()), "its statistics are no numbers")
    except (DecodeError, ValueError, LookupError, TypeError, RecursionError, zlib.error) as error:
        reason = (str(error).splitlines() or ["no Example"])[0]
        raise InputError(f"{where} holds a record that kseg cannot read ({reason}): prepare again") from None
    return Record(case, subject, Volume(image, affine, stored), labels, statistics)


def label_dtype(num_classes: int) -> np.dtype:
    """Return the dtype in which records of a dataset with `num_classes` classes hold class indices."""
    return np.dtype("uint8" if num_classes <= 255 else "<u2")


def _unpack(packed: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    """Decompress `count` numbers, and never more: a few bytes can stand for more than memory holds."""
    raw = zlib.decompressobj().decompress(packed, count * dtype.itemsize + 1)
    return np.frombuffer(raw, dtype)


def _check(sound: bool, complaint: str) -> None:
    if not sound:
        raise ValueError(complaint)


def _bytes(features: Any, name: str) -> bytes:
    return features[name].bytes_list.value[0]
