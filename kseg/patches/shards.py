"""Shards as tf.data graphs read them: the head of a case, and of its bricks those that a box touches.

Each record is read at its place, so that neither a volume nor what precedes a brick is ever read. TensorFlow checks a
record's checksum; that it is the right brick of the right case is checked here.
"""

from collections.abc import Callable

import tensorflow as tf

from kseg.records.schema import DTYPES, STATISTICS

HEAD = {
    "case": tf.io.FixedLenFeature([], tf.string),
    "shape": tf.io.FixedLenFeature([4], tf.int64),
    "brick_size": tf.io.FixedLenFeature([3], tf.int64),
    "dtype": tf.io.FixedLenFeature([], tf.int64),
    "places": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    "foreground": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    "labelled": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    "statistics": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
}
BRICK = {
    "case": tf.io.FixedLenFeature([], tf.string),
    "brick": tf.io.FixedLenFeature([], tf.int64),
    "image": tf.io.FixedLenFeature([], tf.string),
    "labels": tf.io.FixedLenFeature([], tf.string),
}

Head = dict[str, tf.Tensor]
"""A case.

`file`, `case`, `shape` (x, y, z, channels), `brick_size` (x, y, z), `dtype`, an index into `DTYPES`, `places`
(bricks,), `foreground` (classes - 1, bricks), `labelled` (bricks,), empty where all voxels are, `statistics` (channels,
4) and `spacing_mm` (3,)."""


def read_head(file: tf.Tensor, place: tf.Tensor, spacing_mm: tf.Tensor) -> Head:
    """Read the head of the case in `file`, whose record begins at byte `place`."""
    head = tf.io.parse_example(_records(file, place[tf.newaxis]), HEAD)
    head = {name: feature[0] for name, feature in head.items()}
    head["foreground"] = tf.reshape(head["foreground"], [-1, tf.size(head["places"])])
    head["statistics"] = tf.reshape(head["statistics"], [-1, STATISTICS])
    return head | {"file": file, "spacing_mm": spacing_mm}


def read_box(head: Head, low: tf.Tensor, high: tf.Tensor, label_dtype: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the image `(x, y, z, channels)`, float32, and the labels `(x, y, z)` of a box within the volume.

    The box holds the voxels from `low` on and ends before `high`; it may be empty.
    """
    size = head["brick_size"]
    first = tf.minimum(low, head["shape"][:3] - 1) // size
    grid = tf.maximum((high - 1) // size, first) - first + 1
    places = tf.meshgrid(*[tf.range(first[axis], first[axis] + grid[axis]) for axis in range(3)], indexing="ij")
    numbers = tf.reshape(number_of(head, tf.stack(places, axis=-1)), [-1])
    bricks = _read_bricks(head, numbers)
    channels = head["shape"][3]

    def decode_as(dtype: str) -> Callable[[], tf.Tensor]:
        return lambda: tf.cast(cut(tf.io.decode_raw(bricks["image"], tf.as_dtype(dtype)), channels), tf.float32)

    def cut(voxels: tf.Tensor, channels: tf.Tensor) -> tf.Tensor:
        """Put bricks `(bricks, voxels)` side by side, and cut the box out of them before anything is widened."""
        voxels = tf.reshape(voxels, tf.concat([grid, size, [channels]], axis=0))
        voxels = tf.transpose(voxels, [0, 3, 1, 4, 2, 5, 6])
        voxels = tf.reshape(voxels, tf.concat([grid * size, [channels]], axis=0))
        x, y, z = tf.unstack(low - first * size)
        end_x, end_y, end_z = tf.unstack(high - first * size)
        return voxels[x:end_x, y:end_y, z:end_z]

    image = tf.switch_case(tf.cast(head["dtype"], tf.int32), [decode_as(dtype) for dtype in DTYPES])
    labels = cut(_unpack(bricks["labels"], size, label_dtype), tf.constant(1, tf.int64))
    return image, labels[..., 0]


def read_brick_labels(head: Head, number: tf.Tensor, label_dtype: str) -> tf.Tensor:
    """Return the labels of a brick, `(x, y, z)`; background fills it up where the volume ends."""
    bricks = _read_bricks(head, number[tf.newaxis])
    return tf.reshape(_unpack(bricks["labels"], head["brick_size"], label_dtype), head["brick_size"])


def number_of(head: Head, places: tf.Tensor) -> tf.Tensor:
    """Return the numbers of bricks at `places` `(..., 3)` of the grid."""
    grid = grid_of(head)
    return (places[..., 0] * grid[1] + places[..., 1]) * grid[2] + places[..., 2]


def grid_of(head: Head) -> tf.Tensor:
    """Return how many bricks lie along x, y and z."""
    return -(-head["shape"][:3] // head["brick_size"])


def _read_bricks(head: Head, numbers: tf.Tensor) -> dict[str, tf.Tensor]:
    bricks = tf.io.parse_example(_records(head["file"], tf.gather(head["places"], numbers)), BRICK)
    right = tf.reduce_all((bricks["case"] == head["case"]) & (bricks["brick"] == numbers))
    with tf.control_dependencies([tf.debugging.Assert(right, ["a brick of another case or place in", head["file"]])]):
        return {name: tf.identity(bricks[name]) for name in ("image", "labels")}


def _unpack(packed: tf.Tensor, size: tf.Tensor, dtype: str) -> tf.Tensor:
    """Inflate labels `(bricks,)` to `(bricks, voxels)`; no bytes stand for background."""
    voxels = tf.reduce_prod(size)

    def inflate(one: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            one == "",
            lambda: tf.zeros([voxels], dtype),
            lambda: tf.io.decode_raw(tf.io.decode_compressed(one, "ZLIB"), tf.as_dtype(dtype)),
        )

    return tf.map_fn(inflate, packed, fn_output_signature=tf.TensorSpec([None], dtype))


def _records(file: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Return the records of a file at `places`, serialised, in their order."""

    def record(place: tf.Tensor) -> tf.data.Dataset:
        # tf.data.TFRecordDataset hides the offsets of its own operation. Without a buffer only the record is read.
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=[file], compression_type="", buffer_size=tf.constant(0, tf.int64), byte_offsets=[place]
        )
        return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string)).take(1)

    records = tf.data.Dataset.from_tensor_slices(places).flat_map(record)
    return records.batch(tf.size(places, tf.int64)).get_single_element()
