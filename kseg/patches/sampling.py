"""Where a training patch lies: at random in the volume, or about a voxel of a foreground class.

Everything is drawn with stateless random numbers from a seed of two integers: same seed, same patch. These are
tf.data graphs over the head of a case (`kseg.patches.shards.read_head`).
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from kseg.patches.shards import Head, grid_of, read_brick_labels


def draw_start(
    head: Head,
    patch_size: Sequence[int],
    foreground_oversampling: float,
    label_dtype: str,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Return the voxel `(x, y, z)`, int64, at which a patch starts.

    With probability `foreground_oversampling` the patch is centred on a voxel of a foreground class: each class
    that the volume holds is equally likely, and so is each voxel of the class. Else, and in a volume without
    foreground, the patch lies anywhere; where some voxels alone are labelled, about any of these.

    Either lies inside the volume (or the volume inside the patch, where it is smaller), as the windows do in which a
    volume is segmented: near a border a patch is moved inwards, so that it holds its voxel but is not centred on it.
    A patch half of which is padding would teach a network, and its norms, what it never meets again.
    """
    size = tf.constant(patch_size, tf.int64)
    seeds = tf.random.experimental.stateless_split(seed, 3)
    wanted = tf.random.stateless_uniform([], seeds[0]) < foreground_oversampling
    possible = tf.reduce_sum(head["foreground"]) > 0
    room = head["shape"][:3] - size
    first, last = tf.minimum(room, 0), tf.maximum(room, 0)
    about = lambda voxel: move_inside(voxel - size // 2, first, last)  # noqa: E731
    return tf.cond(
        wanted & possible,
        lambda: about(draw_foreground_voxel(head, label_dtype, seeds[1])),
        lambda: tf.cond(
            tf.size(head["labelled"]) > 0,
            lambda: about(draw_labelled_voxel(head, label_dtype, seeds[2])),
            lambda: _draw_between(first, last, seeds[2]),
        ),
    )


def move_inside(start: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Return the place nearest to `start` that is neither before `first` nor behind `last`, each `(x, y, z)`."""
    return tf.clip_by_value(start, first, last)


def draw_foreground_voxel(head: Head, label_dtype: str, seed: tf.Tensor) -> tf.Tensor:
    """Return a voxel `(x, y, z)`, int64: a class at random, then a voxel of it at random.

    The counts of labelled voxels per brick say which brick holds the voxel; only that one is read.
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    voxels = tf.reduce_sum(head["foreground"], axis=1)
    present = tf.where(voxels > 0)[:, 0]
    index = present[tf.random.stateless_uniform([], seeds[0], maxval=tf.size(present), dtype=tf.int32)]
    rank = tf.random.stateless_uniform([], seeds[1], maxval=voxels[index], dtype=tf.int64)
    return _voxel_of_rank(head, label_dtype, rank, head["foreground"][index], lambda labels: labels == index + 1)


def draw_labelled_voxel(head: Head, label_dtype: str, seed: tf.Tensor) -> tf.Tensor:
    """Return a voxel `(x, y, z)`, int64, that somebody labelled, background or not, of a case that is in part."""
    rank = tf.random.stateless_uniform([], seed, maxval=tf.reduce_sum(head["labelled"]), dtype=tf.int64)
    classes = tf.shape(head["foreground"], tf.int64)[0] + 1
    return _voxel_of_rank(head, label_dtype, rank, head["labelled"], lambda labels: labels < classes)


def _voxel_of_rank(
    head: Head,
    label_dtype: str,
    rank: tf.Tensor,
    in_bricks: tf.Tensor,
    wanted: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """The `rank`-th of the voxels whose labels are `wanted`, of which the bricks hold so many."""
    below = tf.cumsum(in_bricks)  # voxels up to and with each brick
    number = tf.searchsorted(below, [rank], side="right", out_type=tf.int64)[0]
    corner = tf.unravel_index(number, grid_of(head)) * head["brick_size"]
    x, y, z = tf.unstack(tf.minimum(head["brick_size"], head["shape"][:3] - corner))  # background fills it up
    labels = tf.cast(read_brick_labels(head, number, label_dtype)[:x, :y, :z], tf.int64)
    return corner + tf.where(wanted(labels))[rank - below[number] + in_bricks[number]]


def _draw_between(first: tf.Tensor, last: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    share = tf.random.stateless_uniform([3], seed, dtype=tf.float64)
    return first + tf.cast(share * tf.cast(last - first + 1, tf.float64), tf.int64)
