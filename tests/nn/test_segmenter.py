"""The model that owns its loss: penalties are trained, saved, loaded; scores are counted; replicas agree."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from kseg import SegmentationLoss, Segmenter, build_network
from kseg.nn.metrics import SegmentationScores

SMALL = {"filters": (2, 3), "dilation_rates": (1, 2)}


def batch(classes=3, size=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (2, size, size, size)).astype(np.uint8)
    voxels = (labels[..., None] + rng.normal(size=(*labels.shape, 1))).astype(np.float32)
    return voxels, labels


def segmenter(optimizer, classes=3):
    keras.utils.set_random_seed(0)
    names = [f"class_{index}" for index in range(1, classes)]
    model = Segmenter(build_network("midl2021", num_classes=classes, **SMALL), SegmentationLoss(), names)
    model.compile(optimizer)
    return model


def test_alpha_moves_in_one_step_of_fit_by_the_gradient_on_paper():
    voxels, labels = batch(classes=2)
    model = segmenter(keras.optimizers.SGD(1.0), classes=2)
    predicted = ops.convert_to_numpy(model(voxels, training=True))[..., 1]
    truth = labels == 1
    tp, fp, fn = (truth * predicted).sum(), (~truth * predicted).sum(), (truth * (1 - predicted)).sum()
    slope = tp * (fp - fn) / (tp + 0.5 * fp + 0.5 * fn) ** 2
    model.fit(voxels, labels, batch_size=2, epochs=1, verbose=0)
    logits = ops.convert_to_numpy(model.segmentation_loss.learned.logits)
    np.testing.assert_allclose(logits, [-0.25 * slope, 0.25 * slope], rtol=1e-3)  # dalpha/dlogit = alpha beta = 1/4
    assert float(model.segmentation_loss.learned.alpha) != 0.5


def test_penalties_and_optimiser_survive_save_and_load(tmp_path):
    voxels, labels = batch()
    model = segmenter(keras.optimizers.Adam(0.1))
    model.fit(voxels, labels, batch_size=2, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert float(loaded.segmentation_loss.learned.alpha) == float(model.segmentation_loss.learned.alpha)
    assert int(loaded.optimizer.iterations) == 2
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(voxels)), ops.convert_to_numpy(model(voxels)))
    for twin in (model, loaded):
        twin.fit(voxels, labels, batch_size=2, epochs=1, verbose=0)
    for after, resumed in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(after, resumed)


def test_it_learns_what_can_be_learned():
    rng = np.random.default_rng(0)
    labels = np.zeros((2, 12, 12, 12), np.uint8)
    labels[:, 3:8, 3:8, 3:8] = 1
    labels[:, 8:11, 2:6, 8:11] = 2
    voxels = (labels[..., None] + 0.1 * rng.normal(size=(*labels.shape, 1))).astype(np.float32)
    model = segmenter(keras.optimizers.Adam(0.02))
    history = model.fit(voxels, labels, batch_size=2, epochs=60, verbose=0).history
    assert history["dice"][-1] > 0.9
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_scores_count_over_batches_and_leave_unseen_classes_out():
    scores = SegmentationScores(["a", "b"])
    sure = np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0]], np.float32)  # background, class a
    # Class a over both batches: TP 2, FP 1, FN 1; class b is never there.
    scores.update_state(np.array([1, 1, 0]).reshape(1, 3, 1, 1), sure[[1, 0, 0]].reshape(1, 3, 1, 1, 3))
    scores.update_state(np.array([1, 0, 0]).reshape(1, 3, 1, 1), sure[[1, 1, 0]].reshape(1, 3, 1, 1, 3))
    result = {name: float(value) for name, value in scores.result().items()}
    third = 2 / 3
    # Three voxels of a: soft FN 0.3 + 0.8 + 0.3; soft FP on the other three 0.2 + 0.7 + 0.2.
    soft = {"soft_fn": 1.4 / 3, "soft_fp": 1.1 / 3}
    assert result == pytest.approx(
        {"dice": third, "precision": third, "recall": third, **soft, "dice_a": third, "dice_b": 0.0}, abs=1e-6
    )


def test_a_voxel_of_a_class_that_no_truth_holds_costs_precision_and_not_the_dice_that_chooses():
    scores = SegmentationScores(["a", "b"])
    sure = np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0], [0.3, 0.2, 0.5]], np.float32)  # background, a, b
    scores.update_state(np.array([1, 1, 0]).reshape(1, 3, 1, 1), sure[[1, 1, 2]].reshape(1, 3, 1, 1, 3))
    result = {name: float(value) for name, value in scores.result().items()}
    assert (result["dice"], result["recall"], result["precision"]) == pytest.approx((1, 1, 0.5))
    assert (result["dice_a"], result["dice_b"]) == pytest.approx((1, 0))


REPLICAS = """
import sys
import keras, numpy as np, tensorflow as tf

devices = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
from kseg import Segmenter, SegmentationLoss, build_network

names = [f"/cpu:{number}" for number in range(devices)]
strategy = {
    "none": tf.distribute.get_strategy,
    "mirrored": lambda: tf.distribute.MirroredStrategy(names),
    # That of several workers, on the devices of one.
    "collective": lambda: tf.distribute.MultiWorkerMirroredStrategy._from_local_devices(names),
}[sys.argv[3]]()
assert strategy.num_replicas_in_sync == devices


def train(labelled):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (6, 8, 8, 8)).astype(np.uint8)
    labels[::2][labels[::2] == 2] = 1  # class 2 is in every other volume: a replica alone would see another loss
    partly_labelled = labelled != "wholly"
    regions = ((1, 2), (2,)) if labelled == "partly, regions" else ()
    if partly_labelled:
        labels[::2, :3] = 3  # and so it would where one has fewer labelled voxels
    voxels = (labels[..., None] + rng.normal(size=(*labels.shape, 1))).astype(np.float32)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        options = {"num_classes": 2 if regions else 3, "overlap": bool(regions), "implementation": "reuse"}
        network = build_network("midl2021", filters=(2, 3), dilation_rates=(1, 2), dropout=0.0, **options)
        kind = {"partly_labelled": partly_labelled, "regions": regions}
        loss = SegmentationLoss(parametric_tversky=1.0, cross_entropy=0.5, **kind)
        model = Segmenter(network, loss, ["a", "b"])
        model.compile(keras.optimizers.SGD(0.5))
    start = np.concatenate([w.ravel() for w in model.get_weights()])
    data = tf.data.Dataset.from_tensor_slices((voxels, labels)).batch(2)
    history = model.fit(data, epochs=1, shuffle=False, verbose=0).history  # three steps
    weights = np.concatenate([w.ravel() for w in model.get_weights()])
    step = tf.function(lambda batches: strategy.run(model.train_step, args=(next(batches),)))
    graph = step.get_concrete_function(iter(strategy.experimental_distribute_dataset(data))).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    compiled = [node for node in nodes if node.attr["_XlaMustCompile"].b]
    scores = {name: history[name] for name in ("loss", "dice", "alpha")}
    np.savez(f"{sys.argv[2]}/{labelled}.npz", compiled=len(compiled), start=start, weights=weights, **scores)


for labelled in sys.argv[4:]:
    train(labelled)
"""


LABELLED = ("wholly", "partly", "partly, regions")


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """Folders of what each strategy has made of the same batches; the first has one device, the others two."""
    folders = []
    # Two workers are also trained by tests/training/test_workers.py: here they have what is hardest to share.
    for devices, strategy, labelled in (
        (1, "none", LABELLED),
        (2, "mirrored", LABELLED),
        (2, "collective", LABELLED[-1:]),
    ):
        folders.append(tmp_path_factory.mktemp(strategy))
        run_replicas(str(devices), str(folders[-1]), strategy, *labelled)
    return folders


@pytest.mark.parametrize("labelled", LABELLED)
def test_two_replicas_of_batch_one_equal_one_of_batch_two(labelled, replicas):
    # SGD, because the bias before a norm has rounding noise for a gradient, which Adam would blow up.
    one, *others = (np.load(file) for folder in replicas if (file := folder / f"{labelled}.npz").exists())
    assert len(others) == (2 if labelled == LABELLED[-1] else 1)
    for two in others:
        assert_equal_replicas(one, two)


def run_replicas(*words):
    """Run the program above, and again where it has fallen asleep.

    Condition variables of glibc before 2.41 may lose a wake-up (sourceware bug 25847), for which the threads of an
    iterator that TensorFlow gives up then wait for ever: seen once, on a machine under load.
    """
    for last in (False, True):
        try:
            subprocess.run([sys.executable, "-c", REPLICAS, *words], check=True, capture_output=True, timeout=300)
            return
        except subprocess.TimeoutExpired:
            if last:
                raise


def assert_equal_replicas(one, two):
    # Keras switches its own XLA off under a strategy; what the layers compile stays compiled, in each replica.
    assert two["compiled"] == 2 * one["compiled"] > 0
    np.testing.assert_array_equal(one["start"], two["start"])
    moved = np.abs(one["weights"] - one["start"]).max()
    assert moved > 0.01
    np.testing.assert_allclose(two["weights"], one["weights"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(two["alpha"], one["alpha"], rtol=1e-6)
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5)
    np.testing.assert_allclose(two["dice"], one["dice"], rtol=1e-5)


def test_a_model_of_mixed_precision_has_a_float32_twin_with_its_weights():
    voxels, labels = batch()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = segmenter(keras.optimizers.Adam(0.1))
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.fit(voxels, labels, batch_size=2, epochs=2, verbose=0)
    plain = mixed.in_float32()
    assert {layer.compute_dtype for layer in plain.network.layers} == {"float32"}
    for of_mixed, of_plain in zip(mixed.network.get_weights(), plain.network.get_weights(), strict=True):
        np.testing.assert_array_equal(of_plain, of_mixed)
    rounded, exact = ops.convert_to_numpy(mixed(voxels)), ops.convert_to_numpy(plain(voxels))
    assert 0 < np.abs(rounded - exact).mean() < 0.01  # eight bits of mantissa in each layer
    assert plain.in_float32() is plain
    assert float(plain.segmentation_loss.learned.alpha) == float(mixed.segmentation_loss.learned.alpha)
