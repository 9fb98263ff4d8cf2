"""Records: whole after a round trip, the same bytes each time, and one line for whatever is no record."""

import hashlib
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.records import schema
from kseg.records.intensity import intensity_statistics
from kseg.records.schema import DTYPES, Record, decode, encode, parse
from kseg.volumes.volume import StoredGeometry, Volume

AFFINE = np.array([[0.3, 0.1, 0, -7], [-0.1, 0.3, 0, 4], [0, 0, 0.7, 2], [0, 0, 0, 1]])


def record(dtype: str = "uint8", classes: int = 3, shape: tuple[int, ...] = (6, 5, 4, 1), seed: int = 0) -> Record:
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 120, shape).astype(dtype)
    labels = rng.integers(0, classes, shape[:3]).astype("uint8" if classes <= 255 else "uint16")
    stored = StoredGeometry(tuple(shape[2::-1]), AFFINE[:, [2, 1, 0, 3]], ".mha", placed=False)
    return Record("scan_1", "subject_1", Volume(array, AFFINE, stored), labels, intensity_statistics(array))


def assert_same(found: Record, expected: Record) -> None:
    assert (found.case, found.subject) == (expected.case, expected.subject)
    assert found.image.array.dtype == expected.image.array.dtype.newbyteorder("<")
    np.testing.assert_array_equal(found.image.array, expected.image.array)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.image.affine, expected.image.affine)
    np.testing.assert_array_equal(found.statistics, expected.statistics)
    assert found.image.stored.to_json() == expected.image.stored.to_json()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_comes_back_to_the_bit(dtype: str, order: str) -> None:
    original = record(np.dtype(dtype).newbyteorder(order).str)
    assert_same(decode(encode(original, 3), 3, "here"), original)


def test_views_several_channels_and_many_classes_come_back() -> None:
    original = record("int16", classes=300, shape=(9, 8, 7, 3))
    image = replace(original.image, array=original.image.array[::-1, :, ::2].transpose(1, 0, 2, 3))
    labels = original.labels[::-1, :, ::2].transpose(1, 0, 2)
    view = Record("a", "b", image, labels, intensity_statistics(image.array))
    assert not (image.array.flags.c_contiguous or labels.flags.c_contiguous)
    found = decode(encode(view, 300), 300, "here")
    assert_same(found, view)
    assert found.labels.dtype == np.uint16


def test_labels_of_a_wider_type_than_needed_come_back() -> None:
    original = record()
    found = decode(encode(replace(original, labels=original.labels.astype(np.int64)), 3), 3, "here")
    np.testing.assert_array_equal(found.labels, original.labels)


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 1), ("float32", 2)])
def test_tensors_for_training_hold_the_same_voxels(dtype: str, channels: int) -> None:
    original = record(dtype, classes=4, shape=(6, 5, 4, channels))
    example = parse(encode(original, 4))
    assert example["shape"].numpy().tolist() == [6, 5, 4, channels]
    assert example["image"].numpy() == original.image.array.tobytes()
    assert example["labels"].numpy() == original.labels.tobytes()
    np.testing.assert_array_equal(example["statistics"], original.statistics)
    expected = [[np.sum(original.labels[x] == index) for x in range(6)] for index in (1, 2, 3)]
    np.testing.assert_array_equal(example["foreground_by_x"], expected)


def test_class_voxels_are_counted() -> None:
    original = record(classes=5)
    assert original.class_voxels(6) == [int(np.sum(original.labels == index)) for index in range(5)] + [0]


def test_another_process_writes_the_same_bytes() -> None:
    program = (
        "import sys; sys.path.insert(0, 'tests/records'); from test_schema import record, encode; "
        "import hashlib; print(hashlib.sha256(encode(record(), 3)).hexdigest())"
    )
    root = __file__.rsplit("/tests/", 1)[0]
    command = [sys.executable, "-c", program]
    other = subprocess.run(command, cwd=root, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True)
    assert other.stdout.split()[-1] == hashlib.sha256(encode(record(), 3)).hexdigest()


def test_what_no_protocol_buffer_can_hold_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MOST_BYTES", 100)
    with pytest.raises(InputError, match=r"case 'scan_1' of shape \(6, 5, 4, 1\) and type uint8 takes 120 bytes"):
        encode(record(), 3)


def changed(change: Callable[[Any], None]) -> bytes:
    """The record's bytes after `change` of the Example's features."""
    import tensorflow as tf

    example = tf.train.Example.FromString(encode(record(), 3))
    change(example.features.feature)
    return example.SerializeToString()


def set_bytes(name: str, value: bytes) -> Callable[[Any], None]:
    return lambda features: features[name].bytes_list.value.__setitem__(0, value)


def set_integers(name: str, *values: int) -> Callable[[Any], None]:
    def change(features: Any) -> None:
        features[name].int64_list.value[:] = values

    return change


def set_statistic(value: float) -> Callable[[Any], None]:
    return lambda features: features["statistics"].float_list.value.__setitem__(3, value)


BAD_RECORDS = {
    "a missing part": lambda features: features.pop("image"),
    "a part of another kind": lambda features: features["shape"].bytes_list.value.append(b"6 5 4 1"),
    "a smaller shape": set_integers("shape", 6, 5, 3, 1),
    "a shape of three": set_integers("shape", 6, 5, 4),
    "an open shape": set_integers("shape", 6, -1, 4, 1),
    "an empty volume": set_integers("shape", 2**40, 2**40, 0, 1),
    "an unknown type": set_integers("dtype", 17),
    "a wider type": set_integers("dtype", DTYPES.index("int16")),
    "labels that are not compressed": set_bytes("labels", b"no zlib"),
    "too few labels": set_bytes("labels", zlib.compress(bytes(119))),
    "too many labels": set_bytes("labels", zlib.compress(bytes(121))),
    "labels beyond the classes": set_bytes("labels", zlib.compress(bytes([3] * 120))),
    "labels counted otherwise": set_bytes("labels", zlib.compress(bytes([1] * 120))),
    "no number as statistics": set_statistic(float("nan")),
    "a deviation of 0": set_statistic(0.0),
    "geometry that is no JSON": set_bytes("geometry", b"{"),
    "geometry of another kind": set_bytes("geometry", b"[1, 2]"),
    "geometry without end": set_bytes("geometry", b"[" * 100_000),
    "geometry that is flat": set_bytes("geometry", b'{"affine": [1], "stored": {}}'),
    "a name that is no text": set_bytes("case", b"\xff"),
    "a name that leaves its folder": set_bytes("case", b"../../scan"),
}


@pytest.mark.parametrize("kind", BAD_RECORDS)
def test_contradictions_are_told_in_one_line(kind: str) -> None:
    with pytest.raises(InputError, match=r"^shard 'x' holds a record that kseg cannot read \([^\n]+\): prepare again$"):
        decode(changed(BAD_RECORDS[kind]), 3, "shard 'x'")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 99, b"\xff" * 99])
def test_foreign_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="shard 'x' holds a record"):
        decode(content, 3, "shard 'x'")


def test_a_truncated_record_is_refused_wherever_it_ends() -> None:
    whole = encode(record(), 3)
    for length in range(0, len(whole), 7):
        with pytest.raises(InputError, match="here holds a record"):
            decode(whole[:length], 3, "here")


def test_few_bytes_that_unpack_to_many_are_not_unpacked() -> None:
    import tracemalloc

    bomb = changed(set_bytes("labels", zlib.compress(bytes(2**28))))
    tracemalloc.start()
    with pytest.raises(InputError):
        decode(bomb, 3, "shard 'x'")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_no_damage_leads_to_anything_but_a_record_or_one_line() -> None:
    rng = np.random.default_rng(0)
    sound = np.frombuffer(encode(record(shape=(3, 2, 2, 1)), 3), np.uint8)
    refused = 0
    for _ in range(300):
        damaged = sound.copy()
        places = rng.integers(0, len(damaged), int(rng.integers(1, 4)))
        damaged[places] = rng.integers(0, 256, len(places))
        try:
            decode(damaged[: int(rng.integers(len(damaged) // 2, len(damaged) + 1))].tobytes(), 3, "here")
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 150  # the rest: damage to a number or a name, which the shard's checksum finds


def test_wrong_number_of_classes_is_noticed() -> None:
    with pytest.raises(InputError, match="labels reach 2, the manifest has 2 classes"):
        decode(encode(record(classes=3), 3), 2, "here")
