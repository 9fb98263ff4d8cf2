"""Which signature a scan is sent to, and what is said of models that are none of kseg's."""

import numpy as np
import pytest

from kseg.client.grpc import GrpcConnection
from kseg.client.rest import RestConnection
from kseg.client.signatures import DTYPES, Signature, choose_signature, signatures_of
from kseg.console.errors import InputError

NARROW = {"segment": "f4", "segment_uint8": "u1", "segment_int16": "i2", "segment_uint16": "u2"}


def signatures(**dtypes: str) -> list[Signature]:
    return [Signature(name, np.dtype(dtype), 1, np.dtype("u1")) for name, dtype in dtypes.items()]


@pytest.mark.parametrize(
    ("dtype", "by_grpc", "by_rest"),
    [
        ("u1", "segment_uint8", "segment_uint8"),
        ("i1", "segment_int16", "segment_int16"),
        ("i2", "segment_int16", "segment_int16"),
        ("u2", "segment_uint16", "segment"),  # TF Serving's JSON has no uint16; float32 holds it exactly
        ("i4", "segment", "segment"),
        ("f4", "segment", "segment"),
    ],
)
def test_the_narrowest_signature_that_holds_a_type_exactly(dtype: str, by_grpc: str, by_rest: str) -> None:
    assert choose_signature(signatures(**NARROW), np.dtype(dtype), GrpcConnection.types).name == by_grpc
    assert choose_signature(signatures(**NARROW), np.dtype(dtype), RestConnection.types).name == by_rest


def test_the_type_that_is_described_counts_not_that_in_the_name() -> None:
    odd = signatures(segment="f4", segment_uint8="f8")
    assert choose_signature(odd, np.dtype("u1"), GrpcConnection.types).name == "segment"


def test_a_model_without_the_plain_signature_takes_what_its_types_hold() -> None:
    assert (
        choose_signature(signatures(segment_int16="i2"), np.dtype("u1"), GrpcConnection.types).name == "segment_int16"
    )
    with pytest.raises(InputError, match=r"no signature of the model suits voxels of type float32"):
        choose_signature(signatures(segment_int16="i2"), np.dtype("f4"), GrpcConnection.types)


def tensor(dtype: str, *axes: int) -> dict:
    return {"dtype": dtype, "tensor_shape": {"dim": [{"size": str(axis)} for axis in axes]}}


def described(**changes: dict) -> dict:
    """A good signature, with changes."""
    good = {
        "voxels": tensor("DT_FLOAT", -1, -1, -1, -1, 2),
        "spacing_mm": tensor("DT_FLOAT", -1, 3),
        "labels": tensor("DT_INT16", -1, -1, -1, -1),
    } | changes
    return {"inputs": {name: good[name] for name in ("voxels", "spacing_mm")}, "outputs": {"labels": good["labels"]}}


def test_types_and_channels_are_read_from_the_description() -> None:
    (one,) = signatures_of({"segment": described(), "serving_default": {}, "segment_probabilities": {}}, "leg")
    assert one == Signature("segment", np.dtype("f4"), 2, np.dtype("i2"))
    any_rank = {"dtype": "DT_FLOAT", "tensor_shape": {"unknown_rank": True}}
    assert signatures_of({"segment": described(voxels=any_rank)}, "leg")[0].channels is None
    open_end = tensor("DT_FLOAT", -1, -1, -1, -1, -1)
    assert signatures_of({"segment": described(voxels=open_end)}, "leg")[0].channels is None


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (
            {"serving_default": {}, "__saved_model_init_op": {}},
            r"has no signature 'segment' \(it has serving_default\)",
        ),
        ({"segment": {"inputs": {"images": tensor("DT_FLOAT")}}}, "maps images to , where kseg's models map voxels"),
        ({"segment": described(voxels=tensor("DT_FLOAT", -1, -1, -1, 1))}, "has voxels of 4 axes"),
        ({"segment": described(labels=tensor("DT_INT16", -1, -1, -1))}, "has labels of 3 axes"),
        ({"segment": described(labels=tensor("DT_FLOAT", -1, -1, -1, -1))}, "returns labels of type float32"),
        ({"segment": described(voxels=tensor("DT_STRING", -1))}, "has a tensor of type DT_STRING"),
    ],
)
def test_a_model_that_is_none_of_ksegs_is_told(model: dict, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        signatures_of(model, "leg")


def test_types_are_those_of_tensorflow() -> None:
    import tensorflow as tf
    from tensorflow.core.framework import types_pb2

    for name, dtype in DTYPES.items():
        assert tf.as_dtype(types_pb2.DataType.Value(name)) == tf.as_dtype(dtype)
