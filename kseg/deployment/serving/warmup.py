"""Requests with which TensorFlow Serving warms a model up before it serves it.

The file is a TFRecord of `PredictionLog` messages (tensorflow.org/tfx/serving/saved_model_warmup). Their description is
our own, of the fields that are used: tensorflow-serving-api would bring gRPC to everyone who exports.
"""

from pathlib import Path

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from kseg.deployment.serving.pipeline import Pipeline
from kseg.deployment.serving.served_model import VOXEL_TYPES
from kseg.deployment.tensor_names import PATCH, SEGMENT_PROBABILITIES, SPACING, VOXELS
from kseg.records.tfrecord import RecordWriter

FILE = "tf_serving_warmup_requests"


def write_warmup(folder: Path, name: str, pipeline: Pipeline) -> None:
    """Write the warm-up file into a SavedModel's `assets.extra`: each signature gets a black volume of one patch.

    Args:
        folder: `assets.extra`.
        name: of the model on the server.
        pipeline: says what the model takes.
    """
    shape = [1, *pipeline.patch_size, len(pipeline.channels)]
    spacing_mm = tf.make_tensor_proto([pipeline.spacing_mm or (1.0, 1.0, 1.0)], tf.float32)
    types = VOXEL_TYPES | {SEGMENT_PROBABILITIES: tf.float32, PATCH: tf.float32}
    with RecordWriter(folder / FILE) as records:
        for signature, dtype in types.items():
            inputs = {VOXELS: tf.make_tensor_proto(0, dtype, shape)}  # one value stands for all: a few bytes
            if signature != PATCH:
                inputs[SPACING] = spacing_mm
            records.write(_prediction_log(name, signature, inputs).SerializeToString(deterministic=True))


def _prediction_log(name: str, signature: str, inputs: dict[str, Message]) -> Message:
    log = _PREDICTION_LOG()
    request = log.predict_log.request
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, tensor in inputs.items():
        request.inputs[key] = tensor.SerializeToString()
    return log


def _prediction_log_class() -> type:
    """Make the class of the messages in tensorflow_serving/apis/{prediction_log,predict,model}.proto.

    A `TensorProto` is a field of bytes here: both are its length and then its content.
    """
    file = descriptor_pb2.FileDescriptorProto(name="kseg_prediction_log.proto", package="kseg", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    optional, repeated = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    fields = {
        "ModelSpec": [("name", 1, field.TYPE_STRING, ""), ("signature_name", 3, field.TYPE_STRING, "")],
        "PredictRequest": [("model_spec", 1, field.TYPE_MESSAGE, "ModelSpec")],
        "PredictLog": [("request", 1, field.TYPE_MESSAGE, "PredictRequest")],
        "PredictionLog": [("predict_log", 6, field.TYPE_MESSAGE, "PredictLog")],
    }
    messages = {name: file.message_type.add(name=name) for name in fields}
    for name, members in fields.items():
        for member, number, kind, of_type in members:
            type_name = {"type_name": f".kseg.{of_type}"} if of_type else {}
            messages[name].field.add(name=member, number=number, type=kind, label=optional, **type_name)
    entry = messages["PredictRequest"].nested_type.add(name="InputsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=optional)
    entry.field.add(name="value", number=2, type=field.TYPE_BYTES, label=optional)
    entry_type = ".kseg.PredictRequest.InputsEntry"
    messages["PredictRequest"].field.add(
        name="inputs", number=2, type=field.TYPE_MESSAGE, type_name=entry_type, label=repeated
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kseg.PredictionLog"))


_PREDICTION_LOG = _prediction_log_class()
