"""Tensors in TF Serving's JSON, after tensorflow_serving/util/json_tensor.cc: the format of rows, errors included."""

import numpy as np
import orjson
import tensorflow as tf

# AddValueToTensor and AddSingleValueAndAdvance: what they convert.
INTEGERS = frozenset(map(tf.as_dtype, ("int32", "int16", "int8", "uint8", "int64", "uint32", "uint64")))
FLOATS = frozenset((tf.float32, tf.float64))


class InvalidArgument(Exception):
    """The status of most complaints."""


def parse(text: bytes) -> dict:
    """Return the request, an object (ParseJson)."""
    if not text:
        raise InvalidArgument("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"JSON Parse error: Invalid value. at offset: {error.pos}") from None
    if not isinstance(document, dict):
        raise InvalidArgument(f"JSON Value: {document} Is not object")
    return document


def tensors_of(document: dict, inputs: dict[str, tf.DType]) -> dict[str, np.ndarray]:
    """Return the tensors of a request for a signature's inputs (FillTensorMapFromInstancesList)."""
    if "instances" not in document:
        raise InvalidArgument("Missing 'inputs' or 'instances' key")
    instances = document["instances"]
    if not instances or not all(isinstance(instance, dict) for instance in instances):
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    rows: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
    for number, instance in enumerate(instances):
        for name, value in instance.items():
            where = f"Failed to process element: {number} key: {name} of 'instances' list. Error: "
            if name not in inputs:
                raise InvalidArgument(f"{where}INVALID_ARGUMENT: JSON object: does not have named input: {name}")
            rows[name].append(_tensor_of(value, inputs[name], where))
        if set(instance) != set(inputs):
            raise InvalidArgument(
                f"Failed to process element: {number} of 'instances' list. JSON object: ... keys must be equal to: "
                f"{','.join(sorted(inputs))}"
            )
    return {name: np.stack(arrays) for name, arrays in rows.items()}


def _tensor_of(value: list, dtype: tf.DType, where: str) -> np.ndarray:
    """Return nested lists as an array (FillTensorProto)."""
    try:
        array = np.stack([np.array(part) for part in value])
    except ValueError:
        raise InvalidArgument(f"{where}INVALID_ARGUMENT: Encountered list at unexpected size") from None
    shown = f"JSON Value: {array.reshape(-1)[0]}"
    if array.dtype.kind not in "iuf":
        raise InvalidArgument(f"{where}INVALID_ARGUMENT: {shown} Type: String is not of expected type: {dtype.name}")
    if dtype not in INTEGERS | FLOATS:  # whatever it is, the status of a row that cannot be read is INVALID_ARGUMENT
        raise InvalidArgument(f"{where}UNIMPLEMENTED: Conversion of {shown} to type: {dtype.name}")
    if dtype in INTEGERS and array.dtype.kind == "f":
        raise InvalidArgument(f"{where}INVALID_ARGUMENT: {shown} Type: Number is not of expected type: {dtype.name}")
    return array.astype(dtype.as_numpy_dtype)


def answer(outputs: dict[str, np.ndarray]) -> bytes:
    """Return the response (MakeRowFormatJsonFromTensors): the name of a single output is left out."""
    for array in outputs.values():
        if tf.as_dtype(array.dtype) not in INTEGERS | FLOATS:
            raise InvalidArgument(f"Failed to write JSON value for tensor type: {tf.as_dtype(array.dtype).name}")
    rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    if len(outputs) == 1:
        rows = [next(iter(row.values())) for row in rows]
    return orjson.dumps({"predictions": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
