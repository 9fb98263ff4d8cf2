"""The moving average of the weights, and Keras' optimisers from a recipe."""

import keras
import numpy as np
import pytest

from kseg.recipe.sections import Train
from kseg.training.averaged_weights import ValidateAveragedWeights, averaged_weights
from kseg.training.optimizer import build_optimizer


class Recorder(keras.callbacks.Callback):
    """Keeps the weight after each step, and the one that is validated."""

    def __init__(self):
        super().__init__()
        self.steps, self.validated = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(float(self.model.layers[0].kernel.numpy()[0, 0]))

    def on_epoch_end(self, epoch, logs=None):
        self.after = float(self.model.layers[0].kernel.numpy()[0, 0])

    def on_test_batch_end(self, batch, logs=None):
        self.validated.append(float(self.model.layers[0].kernel.numpy()[0, 0]))


def trained(**options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    options = {"ema": 0.0} | options
    model.compile(build_optimizer(Train(optimizer="sgd", learning_rate=0.1, **options)), "mse")
    x = np.ones((5, 1), np.float32)
    recorder = Recorder()
    model.fit(
        x,
        3 * x,
        batch_size=1,
        validation_data=(x[:1], x[:1]),
        callbacks=[ValidateAveragedWeights(), recorder],
        verbose=0,
    )
    return model, recorder


def test_the_average_is_validated_and_training_goes_on_with_the_weights():
    model, recorder = trained(ema=0.3)
    average = recorder.steps[0]
    for weight, momentum in zip(recorder.steps[1:], (2 / 11, 3 / 12, 0.3, 0.3), strict=True):
        average = momentum * average + (1 - momentum) * weight
    assert recorder.validated == pytest.approx([average], rel=1e-5)
    assert average != pytest.approx(recorder.steps[-1], rel=1e-3)
    assert recorder.after == recorder.steps[-1]
    kernel = model.layers[0].kernel
    kernel.assign([[7.0]])
    with averaged_weights(model):
        assert float(kernel.numpy()[0, 0]) == pytest.approx(average, rel=1e-5)
    assert float(kernel.numpy()[0, 0]) == 7.0


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_an_average_leaves_the_first_steps_behind_whatever_the_optimiser(name):
    optimizer = build_optimizer(Train(optimizer=name, ema=0.999))
    weight = keras.Variable([0.0])
    optimizer.build([weight])
    for step in range(1, 101):
        weight.assign([float(step)])
        optimizer.apply([keras.ops.zeros(1)])
    optimizer.finalize_variable_values([weight])
    assert 85 < float(weight.numpy()[0]) < 95  # with 0.999 throughout it were 5
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert (type(again), again.get_config()) == (type(optimizer), optimizer.get_config())
    assert optimizer.get_config()["ema_momentum"] == 0.999


def test_without_an_average_the_weights_are_validated():
    _, recorder = trained()
    assert recorder.validated == recorder.steps[-1:]


def test_clipping_bounds_the_step():
    _, free = trained()
    _, clipped = trained(clip_norm=0.01)
    first = [recorder.steps[1] - recorder.steps[0] for recorder in (free, clipped)]
    # Nesterov: the second step moves by (1 + 0.9 + 0.81) times the clipped gradient and the learning rate, at most.
    assert abs(first[0]) > 0.01
    assert abs(first[1]) == pytest.approx(0.1 * 0.01 * (1 + 0.9 + 0.81), rel=1e-3)


def test_weight_decay_is_adamws():
    kernels = []
    for decay in (0.0, 0.5):
        optimizer = build_optimizer(Train(optimizer="adamw", learning_rate=0.1, weight_decay=decay))
        kernel = keras.Variable([2.0])
        optimizer.build([kernel])
        optimizer.apply([keras.ops.zeros(1)])
        kernels.append(float(kernel.numpy()[0]))
    assert kernels == pytest.approx([2.0, 2.0 * (1 - 0.1 * 0.5)])
