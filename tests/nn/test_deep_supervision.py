"""Deep supervision: which labels the lower levels see, and with which weight."""

import keras
import numpy as np
import pytest
from keras import ops

from kseg.nn.deep_supervision import lower_resolution, strides_of, supervised_loss, supervised_network
from kseg.nn.networks import build_network
from kseg.nn.segmentation_loss import SegmentationLoss
from kseg.nn.segmenter import Segmenter

TINY = {"filters": (2, 3, 2), "dilation_rates": (1, 2), "num_classes": 3}


def test_lower_labels_are_those_in_the_middle_of_each_block():
    labels = np.arange(4 * 6 * 2, dtype=np.uint8).reshape(1, 4, 6, 2)
    lower = ops.convert_to_numpy(lower_resolution(labels, np.zeros((1, 2, 2, 2, 5)), (2, 3, 1)))
    np.testing.assert_array_equal(lower[0], labels[0, 1::2, 1::3, :])


def test_beyond_the_volume_lies_background():
    labels = np.ones((1, 5, 4, 4), np.uint8)  # padded to 8 voxels by the network
    lower = ops.convert_to_numpy(lower_resolution(labels, np.zeros((1, 4, 2, 2, 5)), (2, 2, 2)))
    assert lower[0, :, 0, 0].tolist() == [1, 1, 0, 0]


def test_a_network_that_pads_by_more_than_a_block_is_told_of_blocks_of_their_true_size():
    network = build_network("kseg", pooling=[[2, 2, 2], [2, 2, 2], [2, 2, 4]], **TINY)  # of 10 voxels it makes 16
    voxels = np.zeros((1, 10, 10, 10, 1), np.float32)
    outputs, strides = supervised_network(network)(voxels), strides_of(network)
    assert strides == ((1, 1, 1), (2, 2, 2), (4, 4, 4))
    assert strides_of(build_network("kseg", stem_stride=(2, 2, 1), **TINY))[1:] == ((4, 4, 2), (8, 8, 4))
    labels = np.broadcast_to(np.arange(10, dtype=np.uint8), (1, 10, 10, 10))
    found = [
        ops.convert_to_numpy(lower_resolution(labels, output, stride))[0, 0, 0].tolist()
        for output, stride in zip(outputs, strides, strict=True)
    ]
    assert found == [[*range(10)], [1, 3, 5, 7, 9, 0, 0, 0], [2, 6, 0, 0]]


def test_beyond_a_partly_labelled_volume_nobody_labelled():
    labels = np.full((1, 5, 4, 4), 3, np.uint8)  # nobody's, but one slice
    labels[:, :, :, 1] = 1
    lower = ops.convert_to_numpy(lower_resolution(labels, np.zeros((1, 4, 2, 2, 3)), (2, 2, 2), partly_labelled=True))
    assert lower[0, :, 0].tolist() == [[1, 3], [1, 3], [1, 3], [3, 3]]


def test_weights_halve_from_level_to_level():
    losses = iter([3.0, 6.0, 12.0])
    loss = supervised_loss(
        lambda y, p: next(losses), np.zeros((1, 4, 4, 4)), [np.zeros((1, 4, 4, 4, 2))] * 3, [(1, 1, 1)] * 3
    )
    assert loss == pytest.approx((3.0 + 6.0 / 2 + 12.0 / 4) / 1.75)


def test_supervision_trains_the_lower_levels_and_leaves_the_network_as_it_is():
    network = build_network("kseg", stem_stride=2, **TINY)
    outputs = supervised_network(network)(np.zeros((1, 16, 16, 32, 1)))
    assert [tuple(output.shape[1:4]) for output in outputs] == [(16, 16, 32), (4, 4, 8), (2, 2, 4)]
    model = Segmenter(network, SegmentationLoss(dice=1.0), ["a", "b"], deep_supervision=True)
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 32, 1)).astype(np.float32)
    assert len(model(x, training=True)) == 3
    np.testing.assert_allclose(model(x), network(x), rtol=1e-6)
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    assert len(twin(x, training=True)) == 3
    assert twin.count_params() == model.count_params() > network.count_params()


def test_of_a_block_with_some_labelled_voxels_one_of_these_is_taken():
    labels = np.full((1, 8, 8, 12), 2, np.uint8)  # nobody labelled it
    labels[..., 0::6] = np.random.default_rng(0).integers(0, 2, labels[..., 0::6].shape)
    for factor in (2, 4):
        like = np.zeros((1, 8 // factor, 8 // factor, 12 // factor, 2))
        middle = ops.convert_to_numpy(lower_resolution(labels, like, (factor,) * 3))
        lower = ops.convert_to_numpy(lower_resolution(labels, like, (factor,) * 3, partly_labelled=True))
        planes = sorted({z // factor for z in (0, 6)})
        assert (middle == 2).all() or factor == 4  # what the middle alone would leave of them
        for plane in range(12 // factor):
            assert (lower[..., plane] < 2).all() == (plane in planes)
        for plane, z in zip(planes, (0, 6), strict=True):  # in the plane the middle of each block, as ever
            step = slice(factor // 2, None, factor)
            np.testing.assert_array_equal(lower[0, ..., plane], labels[0, step, step, z])


def test_where_all_is_labelled_the_middle_of_each_block_is_taken_either_way():
    labels = np.random.default_rng(1).integers(0, 3, (2, 9, 8, 4)).astype(np.uint8)
    like = np.zeros((2, 3, 2, 4, 3))
    for one, other in zip(
        *(lower_resolution(labels, like, (3, 4, 1), partly) for partly in (False, True)), strict=True
    ):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))
