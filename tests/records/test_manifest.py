"""The manifest: readable line by line, and trusted only where it agrees with itself and its shards."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kseg.console.errors import InputError
from kseg.records.manifest import MANIFEST, CaseEntry, LeftOut, Manifest, load_manifest, manifest_text
from kseg.records.plan import make_plan
from kseg.storage.files import sha256_of


def entry(case: str, split: str) -> CaseEntry:
    intensities = ((1.0, 9.0, 5.0, 2.0), (0.0, 99.5, 50.0, 20.25))
    return CaseEntry(
        case=case,
        subject=case,
        split=split,
        file=f"{case}.tfrecord",
        head=4,
        bytes=10,
        sha256="0" * 64,
        source="1" * 64,
        recipe="2" * 64,
        shape=(6, 5, 4),
        spacing_mm=(0.3, 0.3, 0.7),
        class_voxels=(100, 20, 0),
        inside=intensities,
        outside=intensities,
        components=(2, 0),
        largest_component=(0.75, 0.0),
    )


def prepared(folder: Path) -> Manifest:
    """Write a manifest of three cases to train on and one to validate on, and files of their sizes."""
    cases = (entry("a", "train"), entry("b", "train"), entry("c", "train"), entry("d", "val"))
    manifest = Manifest(
        kseg_version="1.0",
        source="somewhere",
        seed=3,
        channels=("T1", "T2"),
        labels={"background": 0, "muscle": 100, "bone": 7},
        plan=make_plan(cases, ("T1", "T2"), ("background", "muscle", "bone"), memory_gb=4),
        cases=cases,
        left_out=(LeftOut(case="e", reason='it is "empty"\nwith two lines'),),
    )
    (folder / MANIFEST).write_text(manifest_text(manifest))
    for one in cases:
        (folder / one.file).write_bytes(bytes(10))
    return manifest


def test_it_comes_back_and_knows_its_splits_in_order(tmp_path: Path) -> None:
    manifest = prepared(tmp_path)
    found = load_manifest(tmp_path)
    assert found == manifest
    assert [case.case for case in found.of_split("train")] == ["a", "b", "c"]
    assert found.label_map.values == (0, 100, 7)


def test_other_subjects_validate_in_their_shards(tmp_path: Path) -> None:
    found = prepared(tmp_path).with_validation({"b"})
    assert [case.file for case in found.of_split("val")] == ["b.tfrecord"]
    assert [case.file for case in found.of_split("train")] == ["a.tfrecord", "c.tfrecord", "d.tfrecord"]


def test_each_case_has_a_line_of_its_own(tmp_path: Path) -> None:
    lines = manifest_text(prepared(tmp_path)).splitlines()
    found = [json.loads(line.strip().rstrip(",")) for line in lines if '"case": ' in line]
    assert [line["case"] for line in found] == ["a", "b", "c", "d", "e"]
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


BAD_MANIFESTS = {
    "the version before": (put(2, "schema_version"), "schema_version.*prepare the dataset again"),
    "no plan": (put({}, "plan"), "plan"),
    "a key too many": (put(2, "extra"), "extra"),
    "a shard elsewhere": (put("../a.tfrecord", "cases", 0, "file"), "file"),
    "a shard at an absolute path": (put("/etc/a.tfrecord", "cases", 0, "file"), "file"),
    "a shard's name with a line after it": (put("a.tfrecord\n", "cases", 0, "file"), "file"),
    "a shard of two cases": (put("A.tfrecord", "cases", 1, "file"), "the shard 'a.tfrecord' for 2 cases"),
    "an empty shard": (put(0, "cases", 0, "bytes"), "bytes"),
    "a head before its shard": (put(-1, "cases", 0, "head"), "head"),
    "no hash": (put("abc", "cases", 0, "sha256"), "sha256"),
    "no channels": (put([], "channels"), "channels"),
    "no cases": (put([], "cases"), "cases"),
    "a split of another name": (put("holdout", "cases", 0, "split"), "split"),
    "a spacing of 0": (put(0, "cases", 0, "spacing_mm", 1), "spacing_mm"),
    "one class": (put({"background": 0}, "labels"), "2 to 65535 classes"),
    "a label of two classes": (
        put({"bone": 1}, "other_labels"),
        "json' is not a manifest .*label name 'bone' stands twice",
    ),
    "empty slices with a class's value": (
        put({"across": "z", "empty_value": 7}, "annotation"),
        "data.empty_slices = 7 is the value of 'bone'",
    ),
    "empty slices of whole label maps": (
        put({"across": "none", "empty_value": 9}, "annotation"),
        "annotation.*an empty_value without the axis",
    ),
    "no background": (put({"a": 1, "b": 2, "c": 3}, "labels"), "background"),
    "counts of other classes": (put([1, 2], "cases", 3, "class_voxels"), "case 'd' does not count 3 classes"),
    "another size": (put(11, "cases", 2, "bytes"), "c.tfrecord' has 10 bytes, its manifest says 11"),
    "a shard that is not there": (put("e.tfrecord", "cases", 2, "file"), "e.tfrecord' is missing"),
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
