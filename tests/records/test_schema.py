"""Shards: whole after a round trip, TensorFlow's own format, and one line for whatever is none."""

import json
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.records import bricks
from kseg.records.manifest import CaseEntry
from kseg.records.prepared_case import PreparedCase, read_case
from kseg.records.scans import scan_in_memory
from kseg.records.schema import DTYPES, decode_brick, decode_head
from kseg.records.tf_example import decode_example, encode_example
from kseg.records.tfrecord import RecordReader, RecordWriter
from kseg.records.write_case import CaseJob, prepare_case, write_case
from kseg.volumes.intensity_normalisation import intensity_statistics
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

AFFINE = np.array([[0.3, 0.1, 0, -7], [-0.1, 0.3, 0, 4], [0, 0, 0.7, 2], [0, 0, 0, 1]])
HASH = "0" * 64


def record(
    dtype: str = "uint8", classes: int = 3, shape: tuple[int, ...] = (6, 5, 4, 1), seed: int = 0
) -> PreparedCase:
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 120, shape).astype(dtype)
    labels = rng.integers(0, classes, shape[:3]).astype("uint8" if classes <= 255 else "uint16")
    stored = StoredGeometry(tuple(shape[2::-1]), AFFINE[:, [2, 1, 0, 3]], ".mha", placed=False)
    image, truth = Volume(array, AFFINE, stored), Volume(labels, AFFINE, stored)
    return PreparedCase("scan_1", "subject_1", image, labels, intensity_statistics(array), truth)


def write(folder: Path, original: PreparedCase, classes: int) -> tuple[Path, CaseEntry]:
    scan = scan_in_memory(original.case, original.subject, "", original.image, original.labels)
    shard, _ = write_case(CaseJob(scan, folder, classes, HASH))
    return folder / shard.file, CaseEntry(split="train", **dict(shard))


def there_and_back(folder: Path, original: PreparedCase, classes: int) -> PreparedCase:
    return read_case(*write(folder, original, classes), classes)


def assert_same(found: PreparedCase, expected: PreparedCase) -> None:
    assert (found.case, found.subject) == (expected.case, expected.subject)
    assert found.image.array.dtype == expected.image.array.dtype.newbyteorder("<")
    np.testing.assert_array_equal(found.image.array, expected.image.array)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.truth.array, expected.truth.array)
    np.testing.assert_array_equal(found.image.affine, expected.image.affine)
    np.testing.assert_array_equal(found.statistics, expected.statistics)
    assert found.image.stored.to_json() == expected.image.stored.to_json()


@pytest.mark.parametrize("edge", [64, 3])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_comes_back_to_the_bit(
    dtype: str, order: str, edge: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bricks, "MAX_EDGE", edge)
    original = record(np.dtype(dtype).newbyteorder(order).str)
    assert_same(there_and_back(tmp_path, original, 3), original)


def test_views_several_channels_and_many_classes_come_back(tmp_path: Path) -> None:
    original = record("int16", classes=300, shape=(9, 8, 7, 3))
    image = replace(original.image, array=original.image.array[::-1, :, ::2].transpose(1, 0, 2, 3))
    labels = original.labels[::-1, :, ::2].transpose(1, 0, 2)
    view = PreparedCase("a", "b", image, labels, intensity_statistics(image.array), replace(image, array=labels))
    assert not (image.array.flags.c_contiguous or labels.flags.c_contiguous)
    found = there_and_back(tmp_path, view, 300)
    assert_same(found, view)
    assert found.labels.dtype == np.uint16


def test_tensorflow_reads_the_records_and_writes_the_same(tmp_path: Path) -> None:
    import tensorflow as tf

    path, entry = write(tmp_path, record(), 3)
    found = [one.numpy() for one in tf.data.TFRecordDataset(str(path))]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for content in found:
            writer.write(tf.train.Example.FromString(content).SerializeToString(deterministic=True))
    assert (tmp_path / "theirs").read_bytes() == path.read_bytes()
    head = tf.train.Example.FromString(found[-1]).features.feature
    assert head["case"].bytes_list.value[0] == b"scan_1"
    assert list(head["shape"].int64_list.value) == [6, 5, 4, 1]
    with RecordReader(path) as reader:
        assert reader.read(entry.head) == found[-1]


def test_features_of_every_kind_come_back() -> None:
    features = {"a": b"\x00\xff", "b": np.array([-1, 2**60]), "c": np.array([0.5, -3], np.float32), "d": b""}
    found = decode_example(encode_example(features))
    assert (found["a"], found["d"]) == (b"\x00\xff", b"")
    np.testing.assert_array_equal(found["b"], features["b"])
    np.testing.assert_array_equal(found["c"], features["c"])


def test_bricks_fill_up_little_and_cover_all() -> None:
    for shape, size in (((512, 512, 1443), (64, 64, 63)), ((35, 50, 35), (35, 50, 35)), ((65, 128, 129), (33, 64, 43))):
        cut = bricks.Bricks.of(shape)
        assert cut.size == size
        assert all(0 <= count * edge - n < edge for n, count, edge in zip(shape, cut.grid, size, strict=True))
    seen = np.zeros((65, 128, 129), int)
    for number in range(cut.count):
        seen[cut.box(number)] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("dtype", ["uint8", ">i2", "float32"])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_filled_up_brick_is_numpys_however_its_voxels_lie(
    order: tuple[int, int, int], channels: tuple[int, ...], dtype: str
) -> None:
    shape = (65, 70, 1)
    stored = np.random.default_rng(0).integers(0, 200, (*(shape[axis] for axis in order), *channels)).astype(dtype)
    for flips in (slice(None), slice(None, None, -1)):
        slab = stored[flips, :, flips].transpose(*np.argsort(order), *range(3, stored.ndim))
        cut = bricks.Bricks.of(shape)
        for _, block in cut.cut(2, 0, slab):
            missing = [(0, edge - length) for edge, length in zip(cut.size, block.shape, strict=False)]
            expected = np.pad(block, [*missing, *((0, 0) for _ in channels)])
            found = cut.filled_up(block)
            np.testing.assert_array_equal(found, expected)
            assert found.flags.c_contiguous
            assert found.dtype == dtype


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, 'tests/records'); from pathlib import Path; "
        "from test_schema import record, write; print(write(Path(sys.argv[1]), record(), 3)[1].sha256)"
    )
    root = __file__.rsplit("/tests/", 1)[0]
    (tmp_path / "other").mkdir()
    command = [sys.executable, "-c", program, str(tmp_path / "other")]
    other = subprocess.run(command, cwd=root, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True)
    assert other.stdout.split()[-1] == write(tmp_path, record(), 3)[1].sha256


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None], part: int) -> tuple[Path, CaseEntry]:
    """Write a shard of one brick whose record `part`, 0 the brick, 1 the head, is changed, its framing sound."""
    path, entry = write(folder, record(), 3)
    with RecordReader(path) as reader:
        contents = [decode_example(reader.read(place)) for place in (0, entry.head)]
    change(contents[part])
    path.unlink()
    with RecordWriter(path) as writer:
        places = [writer.write(encode_example(features)) for features in contents]
    return path, entry.model_copy(update={"head": places[1]})


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda features: features.__setitem__(name, value if isinstance(value, bytes) else np.array(value))


def spoil(name: str, place: int, value: float) -> Callable[[dict[str, Any]], None]:
    return lambda features: features[name].__setitem__(place, value)


BAD_HEADS = {
    "a missing part": lambda features: features.pop("places"),
    "a part of another kind": put("shape", b"6 5 4 1"),
    "a smaller shape": put("shape", [6, 5, 3, 1]),
    "a shape of three": put("shape", [6, 5, 4]),
    "an open shape": put("shape", [6, -1, 4, 1]),
    "an empty volume": put("shape", [2**20, 2**20, 0, 1]),
    "a volume beyond all": put("shape", [2**40, 2**40, 2**40, 1]),
    "too many bricks": put("shape", [2**30, 2**30, 4, 1]),
    "an unknown type": put("dtype", [17]),
    "a negative type": put("dtype", [-1]),
    "a wider type": put("dtype", [DTYPES.index("int16")]),
    "another brick": put("brick_size", [6, 5, 2]),
    "a place before the file": put("places", [-1]),
    "two places for one brick": put("places", [0, 0]),
    "counts of other classes": put("foreground", [1, 2, 3]),
    "labels counted otherwise": spoil("foreground", 0, 7),
    "no number as statistics": spoil("statistics", 3, np.nan),
    "a deviation of 0": spoil("statistics", 3, 0),
    "geometry that is no JSON": put("geometry", b"{"),
    "geometry of another kind": put("geometry", b"[1, 2]"),
    "geometry without end": put("geometry", b"[" * 100_000),
    "geometry that is flat": put("geometry", b'{"affine": [1], "stored": {}}'),
    "an affine that spans nothing": put("geometry", json.dumps({"affine": np.zeros((4, 4)).tolist()}).encode()),
    "a name that is no text": put("case", b"\xff"),
    "a name that leaves its folder": put("case", b"../../scan"),
    "another case": put("case", b"scan_2"),
}
BAD_BRICKS = {
    "no image": lambda features: features.pop("image"),
    "a short image": put("image", bytes(119)),
    "another case": put("case", b"scan_2"),
    "another place": put("brick", [1]),
    "no place": put("brick", b"0"),
    "labels that are not compressed": put("labels", b"no zlib"),
    "too few labels": put("labels", zlib.compress(bytes(119))),
    "too many labels": put("labels", zlib.compress(bytes(121))),
    "labels beyond the classes": put("labels", zlib.compress(bytes([3] * 120))),
    "other labels": put("labels", zlib.compress(bytes([1] * 120))),
    "no labels": put("labels", b""),
}


@pytest.mark.parametrize(("part", "kind"), [*((1, kind) for kind in BAD_HEADS), *((0, kind) for kind in BAD_BRICKS)])
def test_contradictions_are_told_in_one_line(part: int, kind: str, tmp_path: Path) -> None:
    path, entry = rewritten(tmp_path, (BAD_HEADS if part else BAD_BRICKS)[kind], part)
    with pytest.raises(
        InputError, match=r"^shard '.*' holds what kseg cannot read \([^\n]+\): prepare the dataset again$"
    ):
        read_case(path, entry, 3)


def test_few_bytes_that_unpack_to_many_are_not_unpacked(tmp_path: Path) -> None:
    path, entry = rewritten(tmp_path, put("labels", zlib.compress(bytes(2**28))), 0)
    tracemalloc.start()
    with pytest.raises(InputError):
        read_case(path, entry, 3)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 99, b"\xff" * 99])
def test_foreign_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path, entry = write(tmp_path, record(), 3)
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged at byte"):
        read_case(path, entry, 3)
    path.unlink()
    with pytest.raises(InputError, match="cannot be opened"):
        read_case(path, entry, 3)


def test_wrong_number_of_classes_is_noticed(tmp_path: Path) -> None:
    path, entry = write(tmp_path, record(classes=3), 3)
    with pytest.raises(InputError, match="cannot read"):
        read_case(path, entry, 2)


def test_a_finished_case_is_written_again_only_when_its_source_or_recipe_changes(tmp_path: Path) -> None:
    original = record()
    scan = scan_in_memory("scan_1", "subject_1", "", original.image, original.labels)
    job = CaseJob(scan, tmp_path, 3, HASH)
    assert prepare_case(job).again is False
    assert prepare_case(job).again is True
    other = scan_in_memory("scan_1", "subject_1", "", original.image, original.labels[::-1])
    assert prepare_case(replace(job, scan=other)).again is False
    assert prepare_case(replace(job, scan=other)).again is True
    assert prepare_case(replace(job, scan=other, recipe="1" * 64)).again is False
    (tmp_path / "scan_1.tfrecord").write_bytes(b"short")
    assert prepare_case(replace(job, scan=other, recipe="1" * 64)).again is False


def test_heads_and_bricks_refuse_each_other(tmp_path: Path) -> None:
    path, entry = write(tmp_path, record(), 3)
    with RecordReader(path) as reader:
        brick, head = reader.read(0), reader.read(entry.head)
    with pytest.raises(ValueError, match="KeyError"):
        decode_head(brick, 3)
    with pytest.raises(ValueError, match="KeyError"):
        decode_brick(head, decode_head(head, 3), 0)
