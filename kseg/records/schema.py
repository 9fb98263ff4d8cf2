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
from kseg.volumes.volume import StoredGeometry, Volume

DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32")
COMPRESSION_LEVEL = 6
STATISTICS = 4


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
        return np.bincount(self.labels.reshape(-1), minlength=num_classes).tolist()


def encode(record: Record, num_classes: int) -> bytes:
    """Serialise a record as a `tf.train.Example`."""
    import tensorflow as tf

    image = record.image.array.astype(record.image.array.dtype.newbyteorder("<"), copy=False)
    geometry = {"affine": record.image.affine.tolist(), "stored": record.image.stored.to_json()}
    foreground = [np.count_nonzero(record.labels == index, axis=(1, 2)) for index in range(1, num_classes)]

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
        "image": of_bytes(np.ascontiguousarray(image).tobytes()),
        "labels": of_bytes(zlib.compress(np.ascontiguousarray(record.labels).tobytes(), COMPRESSION_LEVEL)),
        "foreground_by_x": of_integers(foreground),
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
        case = _bytes(features, "case").decode()
        geometry = json.loads(_bytes(features, "geometry"))
        stored = StoredGeometry.from_json(geometry["stored"])
        affine = np.array(geometry["affine"], np.float64).reshape(4, 4)
        x, y, z, channels = features["shape"].int64_list.value
        dtype = np.dtype(DTYPES[features["dtype"].int64_list.value[0]]).newbyteorder("<")
        image = np.frombuffer(_bytes(features, "image"), dtype).reshape(x, y, z, channels)
        raw_labels = zlib.decompress(_bytes(features, "labels"), bufsize=x * y * z)
        labels = np.frombuffer(raw_labels, label_dtype(num_classes)).reshape(x, y, z)
        statistics = np.array(features["statistics"].float_list.value, np.float32).reshape(channels, STATISTICS)
        if labels.size == 0 or labels.max() >= num_classes:
            raise ValueError(f"labels reach {labels.max(initial=0)}, the manifest has {num_classes} classes")
    except (DecodeError, ValueError, KeyError, IndexError, TypeError, zlib.error) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{where} holds a record that kseg cannot read ({reason}): prepare the dataset again"
        ) from None
    return Record(case, _bytes(features, "subject").decode(), Volume(image, affine, stored), labels, statistics)


def label_dtype(num_classes: int) -> np.dtype:
    """Return the dtype in which records of a dataset with `num_classes` classes hold class indices."""
    return np.dtype("uint8" if num_classes <= 255 else "<u2")


def _bytes(features: Any, name: str) -> bytes:
    return features[name].bytes_list.value[0]
