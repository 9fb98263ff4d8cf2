"""What the newest TensorFlow exports runs in 2.16: it asks for no operation, attribute or type that came later.

A served graph is read as `tf.saved_model.load` and TF Serving read it, operation by operation, and compared with
`operations_of_2_16.json`. `make test-oldest` compares that list with TensorFlow 2.16 itself; `PYTHONPATH=.
.venv-oldest/bin/python tests/deployment/serving/test_operations_of_2_16.py OPERATION...` prints lines to add.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from kseg.deployment.serving.served_model import ServedModel
from kseg.nn.networks import build_network
from kseg.volumes.labels import LabelMap
from kseg.volumes.regions import Region

LIST = Path(__file__).with_name("operations_of_2_16.json")
"""By operation its attributes, with the types of data that one may name; null where it is none of a type of data."""
NESTED = LabelMap(
    ("background", "rim", "core"),
    (0, 1, 2),
    regions=(
        Region(name="whole", labels=("rim", "core"), writes="rim"),
        Region(name="core", labels=("core",), writes="core"),
    ),
)
KINDS = [("midl2021", False), ("kseg", True)]


def nodes_of(graph: graph_pb2.GraphDef) -> Iterator[node_def_pb2.NodeDef]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def later_than_2_16(graph: graph_pb2.GraphDef) -> set[str]:
    """What a graph asks for that the list does not have; attributes that begin with "_" are ignored where unknown."""
    known, found = json.loads(LIST.read_text(encoding="utf-8")), set()
    for node in nodes_of(graph):
        attributes = known.get(node.op)
        if attributes is None:
            found.add(node.op)
            continue
        for name, value in node.attr.items():
            if name not in attributes and not name.startswith("_"):
                found.add(f"{node.op}: {name}")
            elif (types := attributes.get(name)) and tf.as_dtype(value.type).name not in types:
                found.add(f"{node.op}: {name}={tf.as_dtype(value.type).name}")
    return found


def of_this_tensorflow(operation: str) -> dict[str, list[str] | None]:
    """Return what `LIST` has of an operation, as the TensorFlow that runs here defines it."""
    defined = op_def_registry.get(operation)
    return {
        attribute.name: [tf.as_dtype(one).name for one in attribute.allowed_values.list.type] or None
        for attribute in defined.attr
    }


def graph_in(saved_model: Path) -> graph_pb2.GraphDef:
    """The graph that a loader reads; attributes that have their defaults are left out of it, later ones too."""
    model = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    (meta,) = model.meta_graphs
    return meta.graph_def


def test_a_run_that_does_all_that_one_can_do_needs_nothing_later(exported) -> None:  # type: ignore[no-untyped-def]
    graph = graph_in(exported.path)
    assert {"StatelessWhile", "TensorScatterAdd", "RestoreV2"} <= {node.op for node in nodes_of(graph)}
    assert later_than_2_16(graph) == set()


@pytest.mark.parametrize(("preset", "regions"), KINDS)
def test_a_preset_needs_nothing_later(preset: str, regions: bool, exported, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    label_map = NESTED if regions else exported.pipeline.label_map
    pipeline = replace(exported.pipeline, label_map=label_map, postprocessing=None)
    network = build_network(preset, 2 if regions else 3, 2, overlap=regions)
    served = ServedModel([network], pipeline)
    tf.saved_model.save(served, str(tmp_path), signatures={"segment": served.signature("segment")})
    assert later_than_2_16(graph_in(tmp_path)) == set()


def test_what_came_later_is_found() -> None:
    graph = tf.function(tf.nn.relu, autograph=False).get_concrete_function(tf.TensorSpec([2], tf.float32))
    definition = graph.graph.as_graph_def()
    assert later_than_2_16(definition) == set()
    relu = next(node for node in nodes_of(definition) if node.op == "Relu")
    relu.attr["T"].type = tf.string.as_datatype_enum
    relu.attr["rounding"].b = True
    definition.node.add(name="later", op="OperationOfTomorrow")
    assert later_than_2_16(definition) == {"Relu: T=string", "Relu: rounding", "OperationOfTomorrow"}


@pytest.mark.skipif(not tf.__version__.startswith("2.16."), reason="is asked of TensorFlow 2.16 (make test-oldest)")
def test_the_list_is_that_of_tensorflow_2_16() -> None:
    listed = json.loads(LIST.read_text(encoding="utf-8"))
    assert {operation: of_this_tensorflow(operation) for operation in listed} == listed


if __name__ == "__main__":
    print(",\n".join(f'"{name}": {json.dumps(of_this_tensorflow(name))}' for name in sys.argv[1:]))
