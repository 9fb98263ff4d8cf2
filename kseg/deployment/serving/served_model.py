"""The signatures of a served model: from raw voxels to label map or probabilities, by TensorFlow's own operations.

Names and types of inputs and outputs are what clients are built on.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from kseg.deployment.serving.graph_components import graph_postprocess
from kseg.deployment.serving.graph_loops import for_each
from kseg.deployment.serving.graph_resampling import GraphGrid, grid_at_spacing, resample, resample_labels
from kseg.deployment.serving.graph_statistics import graph_statistics
from kseg.deployment.serving.graph_windows import batch_shape, mean_over_flips_and_members, sweep
from kseg.deployment.serving.pipeline import Pipeline
from kseg.deployment.tensor_names import (
    LABELS,
    PATCH,
    PROBABILITIES,
    SEGMENT,
    SEGMENT_PROBABILITIES,
    SPACING,
    VOXELS,
    segment_signature,
)
from kseg.nn.implementation_choice import PLAIN
from kseg.nn.networks import with_options
from kseg.volumes.intensity_normalisation import normalise
from kseg.volumes.labels import index_dtype

DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
VOXEL_TYPES = {
    SEGMENT: tf.float32,
    **{segment_signature(dtype.name): dtype for dtype in (tf.uint8, tf.int16, tf.uint16)},
}
"""The signatures from a volume to its label map, and the type of voxels that each takes."""
GRID = GraphGrid(tf.TensorSpec([3], tf.int32), tf.TensorSpec([3], tf.float64))


class ServedModel(tf.Module):
    """A pipeline with its networks, as `tf.saved_model.save` takes it.

    `segment`, `segment_uint8` and so on take `voxels` `(batch, x, y, z, channels)`, raw intensities of whole volumes of
    any size in RAS+ order, and `spacing_mm` float32 `(batch, 3)`; `labels` `(batch, x, y, z)` are the dataset's values,
    on the volume's own grid. They differ in the type of the voxels. An integer type is counted, and rounded after
    resampling, as `kseg.predict` does with a file of that type; what comes as float32 is treated as a file of float32.

    `segment_probabilities` also returns `probabilities` `(batch, x, y, z, classes)` float32, blended, before
    post-processing; of regions, where the pipeline has some, instead of classes. Where volumes are resampled, these are
    brought back linearly; `labels` are those of `segment`, so that near a border between classes they need not be the
    most probable ones.

    `patch`, which is `serving_default` too, takes `voxels` float32 alone, normalises each volume by itself and gives
    the network it in one piece: memory bounds its size. It returns `probabilities`, without resampling, windows, flips
    or post-processing; of several members, their mean.

    Args:
        networks: the members' networks, float32.
        pipeline: all else.
    """

    def __init__(self, networks: Sequence[keras.Model], pipeline: Pipeline) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._structures = pipeline.label_map.structures
        plain = [with_options(network, implementation=PLAIN) for network in networks]  # a server may lack XLA
        # Weights alone, no Keras objects: whoever loads the model need not know what Keras is.
        self.weights = [variable.value for network in plain for variable in network.variables]
        # What signatures share is a function of its own: it is traced, and stored, once.
        self._members = [_function_of(network) for network in plain]
        predict = mean_over_flips_and_members(self._members, pipeline.flip_axes)
        batched = batch_shape(pipeline.batch_size, pipeline.patch_size, len(pipeline.channels))
        self._predict = _function(predict, tf.TensorSpec(batched, tf.float32))
        indices = tf.TensorSpec([None, None, None], self._index_dtype)
        self._values = _function(self._values_of, indices, GRID.shape, GRID.spacing_mm, GRID.shape, GRID.spacing_mm)
        self._statistics = tf.function(graph_statistics, autograph=False, reduce_retracing=True)

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Return all signatures by name."""
        traced = {name: self.signature(name) for name in (*VOXEL_TYPES, SEGMENT_PROBABILITIES, PATCH)}
        return traced | {DEFAULT: traced[PATCH]}

    def signature(self, name: str) -> tf.types.experimental.ConcreteFunction:
        """Trace one of the signatures."""
        functions = {SEGMENT_PROBABILITIES: self._segment_with_probabilities, PATCH: self._patch}
        dtype = VOXEL_TYPES.get(name, tf.float32)
        specs = [tf.TensorSpec((None, None, None, None, len(self._pipeline.channels)), dtype, name=VOXELS)]
        if name != PATCH:
            specs.append(tf.TensorSpec((None, 3), tf.float32, name=SPACING))
        function = tf.function(functions.get(name, self._segment), autograph=False)
        return function.get_concrete_function(*specs)

    def _segment(self, voxels: tf.Tensor, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
        def of_volume(volume: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            image, own, used = self._resampled(*volume)
            return self._values(self._sweep(image, self._class_indices, self._index_dtype), *own, *used)

        return {LABELS: _each_volume(of_volume, (voxels, spacing_mm), self._value_dtype)}

    def _segment_with_probabilities(self, voxels: tf.Tensor, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
        def of_volume(volume: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            image, own, used = self._resampled(*volume)
            probabilities = self._sweep(image, tf.identity, tf.float32)
            planes = tf.shape(probabilities)[0]
            indices = for_each(
                planes, lambda x: tf.cast(self._class_indices(probabilities[x]), self._index_dtype), self._index_dtype
            )
            if self._pipeline.spacing_mm:
                probabilities = resample(probabilities, used, own)
            return self._values(indices, *own, *used), probabilities

        dtypes = self._value_dtype, tf.float32
        labels, probabilities = _each_volume(of_volume, (voxels, spacing_mm), dtypes)
        return {LABELS: labels, PROBABILITIES: probabilities}

    def _patch(self, voxels: tf.Tensor) -> dict[str, tf.Tensor]:
        normalised = _each_volume(lambda volume: self._normalised(volume, self._statistics(volume)), voxels, tf.float32)
        normalised = tf.ensure_shape(normalised, voxels.shape)
        total = self._members[0](normalised)
        for member in self._members[1:]:
            with tf.control_dependencies([total]):  # one after another: side by side they need more memory
                total += member(tf.identity(normalised))
        return {PROBABILITIES: total / len(self._members)}

    def _resampled(self, voxels: tf.Tensor, spacing_mm: tf.Tensor) -> tuple[tf.Tensor, GraphGrid, GraphGrid]:
        """The volume that windows travel over, the grid that it came on, and that which it is on."""
        own = GraphGrid(tf.shape(voxels)[:3], tf.cast(spacing_mm, tf.float64))
        if not self._pipeline.spacing_mm:
            return voxels, own, own
        used = grid_at_spacing(own, self._pipeline.spacing_mm)
        image = tf.ensure_shape(resample(voxels, own, used), voxels.shape)
        return image, own, used

    def _sweep(self, image: tf.Tensor, finish: Callable[[tf.Tensor], tf.Tensor], dtype: tf.DType) -> tf.Tensor:
        pipeline = self._pipeline
        statistics = self._statistics(image)
        return sweep(
            self._predict,
            image,
            pipeline.patch_size,
            self._structures.num_maps,
            overlap=pipeline.overlap,
            batch_size=pipeline.batch_size,
            normalise=lambda window: self._normalised(window, statistics),
            finish=lambda plane: tf.cast(finish(plane), dtype),
            dtype=dtype,
        )

    def _values_of(self, indices: tf.Tensor, *grids: tf.Tensor) -> tf.Tensor:
        """The dataset's values on the volume's own grid, of class indices as windows made them on the one in use."""
        own, used = GraphGrid(*grids[:2]), GraphGrid(*grids[2:])
        label_map = self._pipeline.label_map
        if self._pipeline.postprocessing:
            operations = list(self._pipeline.postprocessing.operations.values())
            indices = graph_postprocess(indices, operations, self._structures)
        if self._pipeline.spacing_mm:
            indices = resample_labels(indices, label_map.num_classes, used, own)
        values = np.array(label_map.values, label_map.value_dtype)

        def of_plane(x: tf.Tensor) -> tf.Tensor:
            return tf.gather(values, tf.cast(indices[x], tf.int32))

        return for_each(tf.shape(indices)[0], of_plane, self._value_dtype)

    def _class_indices(self, probabilities: tf.Tensor) -> tf.Tensor:
        return self._structures.class_indices(probabilities, tf)

    def _normalised(self, voxels: tf.Tensor, statistics: tf.Tensor) -> tf.Tensor:
        return normalise(voxels, statistics, self._pipeline.scales, tf)

    @property
    def _index_dtype(self) -> tf.DType:
        return tf.as_dtype(index_dtype(self._pipeline.label_map.num_classes))

    @property
    def _value_dtype(self) -> tf.DType:
        return tf.as_dtype(self._pipeline.label_map.value_dtype)


def _function(function: Callable[..., tf.Tensor], *specs: tf.TensorSpec) -> Callable[..., tf.Tensor]:
    return tf.function(function, autograph=False, input_signature=specs)


def _function_of(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    return tf.function(lambda voxels: network(voxels, training=False), autograph=False)


def _each_volume(function: Callable[..., object], volumes: object, dtypes: object) -> tf.Tensor:
    return tf.map_fn(function, volumes, fn_output_signature=dtypes, parallel_iterations=1)
