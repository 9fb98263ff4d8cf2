"""The manifest: readable line by line, and trusted only where it agrees with itself and its shards."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kseg.console.errors import InputError
from kseg.records.manifest import MANIFEST, CaseEntry, LeftOut, Manifest, Shard, load_manifest, manifest_text, sha256_of
from kseg.records.plan import make_plan


def entry(case: str, split: str) -> CaseEntry:
    intensities = ((1.0, 9.0, 5.0, 2.0), (0.0, 99.5, 50.0, 20.25))
    return CaseEntry(
        case=case,
        subject=case,
        split=split,
        shape=(6, 5, 4),
        spacing_mm=(0.3, 0.3, 0.7),
        class_voxels=(100, 20, 0),
        inside=intensities,
        outside=intensities,
        components=(2, 0),
        largest_component=(0.75, 0.0),
    )


def shard(number: int, split: str, records: int) -> Shard:
    name = f"{split}-{number:05d}-of-00002.tfrecord"
    return Shard(file=name, split=split, records=records, bytes=10, sha256="0" * 64)


def prepared(folder: Path) -> Manifest:
    """Write a manifest of two shards to train on and one to validate on, and files of their sizes."""
    cases = (entry("a", "train"), entry("b", "train"), entry("c", "train"), entry("d", "val"))
    manifest = Manifest(
        kseg_version="1.0",
        source="somewhere",
        seed=3,
        channels=("T1", "T2"),
        labels={"background": 0, "muscle": 100, "bone": 7},
        plan=make_plan(cases, ("T1", "T2"), ("background", "muscle", "bone"), memory_gb=4),
        shards=(shard(0, "train", 2), shard(1, "train", 1), shard(0, "val", 1)),
        cases=cases,
        left_out=(LeftOut(case="e", reason='it is "empty"\nwith two lines'),),
    )
    (folder / MANIFEST).write_text(manifest_text(manifest))
    for one in manifest.shards:
        (folder / one.file).write_bytes(bytes(10))
    return manifest


def test_it_comes_back_and_knows_its_splits_in_order(tmp_path: Path) -> None:
    manifest = prepared(tmp_path)
    found = load_manifest(tmp_path)
    assert found == manifest
    assert [case.case for case in found.of_split("train")] == ["a", "b", "c"]
    assert [one.records for one in found.shards_of("train")] == [2, 1]
    places = [(place.shard.file[:11], place.before, place.case.case) for place in found.places_of("train")]
    assert places == [("train-00000", 0, "a"), ("train-00000", 1, "b"), ("train-00001", 0, "c")]
    assert found.label_map.values == (0, 100, 7)


def test_other_subjects_validate_where_their_records_are(tmp_path: Path) -> None:
    found = prepared(tmp_path).with_validation({"b"})
    where = {
        split: [(place.case.case, place.shard.file[:11], place.before) for place in found.places_of(split)]
        for split in ("train", "val")
    }
    assert where["val"] == [("b", "train-00000", 1)]
    assert where["train"] == [("a", "train-00000", 0), ("c", "train-00001", 0), ("d", "val-00000-o", 0)]


def test_each_shard_and_each_case_has_a_line_of_its_own(tmp_path: Path) -> None:
    lines = manifest_text(prepared(tmp_path)).splitlines()
    for kind, count in (('{"file"', 3), ('{"case"', 5)):
        found = [line for line in lines if line.strip().startswith(kind)]
        assert len(found) == count
        assert all(json.loads(line.rstrip(",")) for line in found)
    assert max(line.count("{") for line in lines) == 1


def test_the_checksum_is_that_of_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # the example of FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def put(value: Any, *path: Any) -> Callable[[dict], None]:
    def change(table: Any) -> None:
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value

    return change


def swap(one: int, other: int) -> Callable[[dict], None]:
    def change(table: Any) -> None:
        cases = table["cases"]
        cases[one], cases[other] = cases[other], cases[one]

    return change


BAD_MANIFESTS = {
    "the version before": (put(1, "schema_version"), "schema_version.*prepare again"),
    "no plan": (put({}, "plan"), "plan"),
    "cases out of the shards' order": (swap(2, 3), "case 'c' out of the shards' order"),
    "a key too many": (put(2, "extra"), "extra"),
    "a shard elsewhere": (put("../train-00000-of-00002.tfrecord", "shards", 0, "file"), "file"),
    "a shard at an absolute path": (put("/etc/train-00000-of-00002.tfrecord", "shards", 0, "file"), "file"),
    "a shard's name with a line after it": (put("train-00000-of-00002.tfrecord\n", "shards", 0, "file"), "file"),
    "an empty shard": (put(0, "shards", 0, "records"), "records"),
    "no shards": (put([], "shards"), "shards"),
    "no channels": (put([], "channels"), "channels"),
    "a split of another name": (put("holdout", "cases", 0, "split"), "split"),
    "a spacing of 0": (put(0, "cases", 0, "spacing_mm", 1), "spacing_mm"),
    "more records than cases": (put(5, "shards", 0, "records"), "3 train cases, its shards hold 6"),
    "cases without shards": (put("test", "cases", 0, "split"), "2 train cases, its shards hold 3"),
    "one class": (put({"background": 0}, "labels"), "2 to 65535 classes"),
    "no background": (put({"a": 1, "b": 2, "c": 3}, "labels"), "background"),
    "counts of other classes": (put([1, 2], "cases", 3, "class_voxels"), "case 'd' does not count 3 classes"),
    "another size": (put(11, "shards", 2, "bytes"), "val-00000-of-00002.tfrecord' has 10 bytes, its manifest says 11"),
    "a shard that is not there": (put("val-00001-of-00002.tfrecord", "shards", 2, "file"), "val-00001.*is missing"),
}


@pytest.mark.parametrize("kind", BAD_MANIFESTS)
def test_what_is_wrong_is_named(kind: str, tmp_path: Path) -> None:
    prepared(tmp_path)
    change, complaint = BAD_MANIFESTS[kind]
    table = json.loads((tmp_path / MANIFEST).read_text())
    change(table)
    (tmp_path / MANIFEST).write_text(json.dumps(table))
    with pytest.raises(InputError, match=complaint):
        load_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match="is not a manifest of this kseg"):
        load_manifest(tmp_path)


def test_an_unprepared_folder_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(InputError, match=r"no prepared dataset.*kseg\.prepare"):
            load_manifest(folder)
