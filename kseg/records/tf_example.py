"""`tf.train.Example` without TensorFlow: the same protocol buffer, from a description of its own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

Features = Mapping[str, "bytes | np.ndarray"]
"""By name: bytes, or an array of int64 or float32."""


def encode_example(features: Features) -> bytes:
    """Serialise features; the same features give the same bytes.

    Integers of any kind are stored as int64, other numbers as float32.
    """
    example = _EXAMPLE()
    for name, value in features.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif value.dtype.kind in "iu":
            feature.int64_list.value.extend(value.reshape(-1).tolist())
        else:
            feature.float_list.value.extend(value.reshape(-1).tolist())
    return example.SerializeToString(deterministic=True)


def decode_example(content: bytes) -> dict[str, "bytes | np.ndarray"]:
    """Inverse of `encode_example`: numbers come as flat arrays, a feature of several byte strings as its first.

    Raises:
        ValueError: the bytes are no Example.
    """
    example = _EXAMPLE()
    try:
        example.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(str(error) or "no Example") from None
    return {name: _value(feature) for name, feature in example.features.feature.items()}


def _value(feature: Any) -> "bytes | np.ndarray":
    if feature.WhichOneof("kind") == "bytes_list":
        return bytes(feature.bytes_list.value[0]) if feature.bytes_list.value else b""
    if feature.WhichOneof("kind") == "float_list":
        return np.array(feature.float_list.value, np.float32)
    return np.array(feature.int64_list.value, np.int64)


def _example_class() -> type:
    """Make the class of tensorflow/core/example/{example,feature}.proto, field by field.

    Its pool is its own: TensorFlow registers its messages in the common one, where a name can stand but once.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="kseg_example.proto", package="kseg", syntax="proto3")
    lists = {"bytes": field.TYPE_BYTES, "float": field.TYPE_FLOAT, "int64": field.TYPE_INT64}
    for kind, of_type in lists.items():
        message = file.message_type.add(name=f"{kind.title()}List")
        message.field.add(name="value", number=1, type=of_type, label=field.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, kind in enumerate(lists, start=1):
        of_type = f".kseg.{kind.title()}List"
        feature.field.add(
            name=f"{kind}_list",
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=of_type,
            label=field.LABEL_OPTIONAL,
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    message_value = {"type": field.TYPE_MESSAGE, "label": field.LABEL_OPTIONAL}
    entry.field.add(name="value", number=2, type_name=".kseg.Feature", **message_value)
    features.field.add(
        name="feature",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".kseg.Features.FeatureEntry",
        label=field.LABEL_REPEATED,
    )
    example = file.message_type.add(name="Example")
    example.field.add(name="features", number=1, type_name=".kseg.Features", **message_value)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kseg.Example"))


_EXAMPLE = _example_class()
