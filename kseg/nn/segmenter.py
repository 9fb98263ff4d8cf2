"""The model that is trained and saved: a network, the loss with its learned penalties, and the scores."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import KerasTensor

import kseg.nn.layers  # registers, as the next does, what a saved network is made of
import kseg.nn.size_layers  # noqa: F401
from kseg.nn.deep_supervision import strides_of, supervised_loss, supervised_network
from kseg.nn.metrics import SegmentationScores
from kseg.nn.networks import with_options
from kseg.nn.replicas import for_keras_to_reduce, replica_count
from kseg.nn.segmentation_loss import SegmentationLoss


@keras.saving.register_keras_serializable("kseg")
class Segmenter(keras.Model):
    """Trains `network` through `fit`; owns the loss, so that its penalties are trained, saved and loaded too.

    Args:
        network: maps voxels `(batch, x, y, z, channels)` to probabilities `(batch, x, y, z, classes)`.
        loss: a layer called with labels `(batch, x, y, z)` and probabilities.
        class_names: names of the foreground classes, index 1 first; or of the regions, where the loss has some.
        deep_supervision: the loss also sees what the decoder's lower levels would predict (`kseg.nn.deep_supervision`).

    It is compiled with an optimiser alone, and its metrics are `loss`, `dice`, `precision`, `recall`, `dice_<class>` of
    each class, `soft_fp` and `soft_fn` (`kseg.nn.metrics`), and `alpha` and `beta` where they are learned.

    Example:
        One step on two random patches; whole runs are made by `kseg.train`.

        >>> import keras
        >>> import kseg
        >>> import numpy as np
        >>> keras.utils.set_random_seed(1)
        >>> voxels = np.random.normal(size=(2, 8, 8, 8, 1)).astype("float32")
        >>> labels = (voxels[..., 0] > 1).astype("uint8")
        >>> network = kseg.build_network("midl2021", num_classes=2, filters=(2, 4), dilation_rates=(1, 2))
        >>> model = kseg.Segmenter(network, kseg.SegmentationLoss(), class_names=["muscle"])
        >>> model.compile(optimizer="adam")
        >>> history = model.fit(voxels, labels, batch_size=2, verbose=0).history
        >>> len(history["loss"]), "dice_muscle" in history, 0 < history["alpha"][0] < 1
        (1, True, True)
        >>> model.predict(voxels, verbose=0).shape
        (2, 8, 8, 8, 2)
    """

    def __init__(
        self,
        network: keras.Model,
        loss: SegmentationLoss,
        class_names: Sequence[str],
        deep_supervision: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.network = network
        self.supervised = supervised_network(network) if deep_supervision else None
        self.strides = strides_of(network) if deep_supervision else ((1, 1, 1),)
        self.segmentation_loss = loss
        self.class_names = tuple(class_names)
        self.scores = SegmentationScores(self.class_names, loss.partly_labelled, loss.regions)
        if not loss.built:
            loss.build()
        self.build(network.input_shape)

    def build(self, input_shape: Any) -> None:
        """Nothing is left to make: network and loss have their weights already."""

    def call(self, voxels: KerasTensor, training: bool = False) -> KerasTensor:
        """Return class probabilities `(batch, x, y, z, classes)`; with deep supervision, in training, all levels'."""
        network = self.supervised if training and self.supervised is not None else self.network
        return network(voxels, training=training)

    def compute_loss(
        self,
        x: KerasTensor = None,
        y: KerasTensor = None,
        y_pred: KerasTensor = None,
        sample_weight: KerasTensor = None,
        training: bool = True,
    ) -> KerasTensor:
        """Return this replica's share of the loss; the shares add up to the loss of the global batch."""
        loss = self.segmentation_loss
        levels = _levels(y_pred)
        strides = self.strides[: len(levels)]  # the finest alone where it is not trained
        return supervised_loss(loss, y, levels, strides, loss.partly_labelled, loss.regions) / replica_count()

    def train_step(self, *args: Any) -> Any:
        """Make Keras' training step."""
        return for_keras_to_reduce(super().train_step(*args))

    def test_step(self, *args: Any) -> Any:
        """Make Keras' validation step."""
        return for_keras_to_reduce(super().test_step(*args))

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Build the optimiser where several replicas train; all else is built already.

        Keras would draw a batch for it, and average that over the replicas, which several workers cannot.
        """
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync > 1 and self.optimizer is not None and not self.optimizer.built:
            with strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def in_float32(self) -> "Segmenter":
        """Return this model, or its float32 twin where it was trained in mixed precision: the same masks anywhere."""
        if all(layer.compute_dtype == "float32" for layer in self.network.layers):
            return self
        return Segmenter(with_options(self.network, dtype="float32"), self.segmentation_loss, self.class_names)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running loss and scores, reset by Keras at each epoch."""
        return [metric for metric in [getattr(self, "_loss_tracker", None), self.scores] if metric is not None]

    def compute_metrics(
        self, x: KerasTensor, y: KerasTensor, y_pred: KerasTensor, sample_weight: KerasTensor = None
    ) -> dict[str, KerasTensor]:
        """Count the batch, and return `results`."""
        self.scores.update_state(y, _levels(y_pred)[0])
        return self.results()

    def results(self) -> dict[str, KerasTensor]:
        """Return the loss and the scores of all that is counted since the last reset, and the learned penalties."""
        learned = self.segmentation_loss.learned
        penalties = {} if learned is None else {"alpha": learned.alpha, "beta": learned.beta}
        return self.get_metrics_result() | penalties

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, serialised."""
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
            "loss": keras.saving.serialize_keras_object(self.segmentation_loss),
            "class_names": self.class_names,
            "deep_supervision": self.supervised is not None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Segmenter":
        """Rebuild a model from `get_config`."""
        parts = {key: keras.saving.deserialize_keras_object(config[key]) for key in ("network", "loss")}
        return cls(**{**config, **parts})


def _levels(outputs: KerasTensor | Sequence[KerasTensor]) -> Sequence[KerasTensor]:
    """Return what the model gave level by level, the finest first, whether it was asked for one or for all."""
    return outputs if isinstance(outputs, list | tuple) else [outputs]
