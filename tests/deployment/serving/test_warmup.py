"""Warm-up requests: read by an independent reader of the wire format and by the server's own classes, and answered."""

from collections import defaultdict

import numpy as np
import pytest
import tensorflow as tf

from kseg.deployment.serving.served_model import VOXEL_TYPES
from kseg.deployment.tensor_names import PATCH, SEGMENT_PROBABILITIES

WARMUP = "assets.extra/tf_serving_warmup_requests"
NAMES = (*VOXEL_TYPES, SEGMENT_PROBABILITIES, PATCH)
TENSOR = type(tf.make_tensor_proto(0))


def fields_of(message: bytes) -> dict[int, list[bytes]]:
    """The fields of a message that holds texts, bytes and messages alone, by number."""
    fields = defaultdict(list)
    place = 0

    def varint() -> int:
        nonlocal place
        value, shift = 0, 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        tag = varint()
        assert tag & 7 == 2, "of a length"
        length = varint()
        fields[tag >> 3].append(message[place : place + length])
        place += length
    assert place == len(message)
    return fields


@pytest.fixture(scope="module")
def records(exported) -> list[bytes]:  # type: ignore[no-untyped-def]
    return [record.numpy() for record in tf.data.TFRecordDataset(str(exported.path / WARMUP))]


def test_each_signature_is_asked_for_a_patch_of_its_type(records: list[bytes], exported) -> None:  # type: ignore[no-untyped-def]
    assert len(records) == len(NAMES)
    for name, record in zip(NAMES, records, strict=True):
        (log,) = fields_of(record)[6]  # predict_log
        (request,) = fields_of(log)[1]
        (model_spec,) = fields_of(request)[1]
        assert fields_of(model_spec) == {1: [b"abdomen"], 3: [name.encode()]}
        entries = (fields_of(entry) for entry in fields_of(request)[2])
        inputs = {entry[1][0].decode(): tf.make_ndarray(TENSOR.FromString(entry[2][0])) for entry in entries}
        assert inputs["voxels"].shape == (1, *exported.pipeline.patch_size, 2)
        assert inputs["voxels"].dtype == VOXEL_TYPES.get(name, tf.float32).as_numpy_dtype
        if name != PATCH:
            np.testing.assert_allclose(inputs["spacing_mm"], [exported.pipeline.spacing_mm])
        answer = exported.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        assert all(np.isfinite(values).all() for values in answer.values())


def test_the_servers_own_classes_read_the_same(records: list[bytes]) -> None:
    pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason="needs kseg[serving]")
    for name, record in zip(NAMES, records, strict=True):
        log = pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == ("abdomen", name)
        assert set(request.inputs) == ({"voxels"} if name == PATCH else {"voxels", "spacing_mm"})
        assert log.SerializeToString(deterministic=True) == record
