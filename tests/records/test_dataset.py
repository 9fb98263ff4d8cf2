"""Prepared datasets: whole or not there, equal to their sources, and honest about what is damaged or left out."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damage import flip_bits

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Recipe
from kseg.records import bricks
from kseg.records.destinations import own_file
from kseg.records.manifest import Manifest, load_manifest
from kseg.records.prepared_case import check_shards, read_case, read_cases
from kseg.records.scans import ScanList, find_scans
from kseg.records.source_changes import find_changes
from kseg.records.write import write_dataset
from kseg.storage.files import sha256_of
from kseg.storage.ownership import MARKER
from kseg.volumes.intensity_normalisation import intensity_statistics
from kseg.volumes.labels import LabelMap
from kseg.volumes.volume_stream import gather

Scans = Callable[..., ScanList]


def recipe(folder: Path, *overrides: str) -> Recipe:
    return load_recipe(None, [f"data.records={folder}", *overrides])


def shard_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in (MARKER, "manifest.json"))


@pytest.mark.parametrize("edge", [64, 2])
def test_shards_hold_what_the_sources_held(
    edge: int, tmp_path: Path, scans: Scans, case_volumes: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bricks, "MAX_EDGE", edge)
    folder = tmp_path / "records"
    written = write_dataset(recipe(folder), scans(train=7, val=2, test=1))
    manifest = load_manifest(folder)
    assert manifest == written
    read = {}
    for split in ("train", "val", "test"):
        cases = list(read_cases(folder, manifest, split))
        for prepared, case in zip(cases, manifest.of_split(split), strict=True):
            assert (prepared.case, prepared.subject, split) == (case.case, case.subject, case.split)
            assert (prepared.image.shape, prepared.image.spacing_mm) == (case.shape, case.spacing_mm)
            assert tuple(np.bincount(prepared.labels.ravel(), minlength=2)) == case.class_voxels
        read |= {prepared.case: prepared for prepared in cases}
    assert len(read) == 10
    for case, prepared in read.items():
        image, labels = case_volumes(int(case[5:]))
        np.testing.assert_array_equal(prepared.image.array, image.array)
        np.testing.assert_array_equal(prepared.labels, labels)
        np.testing.assert_array_equal(prepared.image.affine, image.affine)
        np.testing.assert_array_equal(prepared.statistics, intensity_statistics(image.array))
    check_shards(folder, manifest)


def test_shards_are_named_and_summed_and_nothing_else_is_there(tmp_path: Path, scans: Scans) -> None:
    folder = tmp_path / "records"
    manifest = write_dataset(recipe(folder), scans(train=2, val=1))
    assert shard_names(folder) == ["case_0.tfrecord", "case_1.tfrecord", "case_2.tfrecord"]
    for case in manifest.cases:
        assert case.bytes == (folder / case.file).stat().st_size
        assert case.sha256 == sha256_of(folder / case.file)
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_the_same_sources_give_the_same_bytes(tmp_path: Path, scans: Scans) -> None:
    for name in ("one", "two"):
        write_dataset(recipe(tmp_path / name), scans())
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_bad_scans_alone_leave_nothing_behind(tmp_path: Path, scans: Scans) -> None:
    with pytest.raises(InputError, match=r"'case_0' is empty: scan again$"):
        write_dataset(recipe(tmp_path / "records"), scans(train=1, val=0, bad=("case_0",)))
    with pytest.raises(InputError, match=r"^2 of 2 cases are bad, listed above: correct them$"):
        write_dataset(recipe(tmp_path / "records"), scans(train=1, val=1, bad=("case_0", "case_1")))
    assert list(tmp_path.iterdir()) == []


def test_all_bad_scans_are_told_once_and_the_others_need_not_be_written_again(
    tmp_path: Path, scans: Scans, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = ("case_0", "case_3", "case_7")
    with pytest.raises(InputError, match=r"^3 of 8 cases are bad, listed above: correct .* out with --skip-bad$"):
        write_dataset(recipe(tmp_path / "records"), scans(bad=bad))
    assert capsys.readouterr().err.splitlines() == [
        f"bad case {case}: image of case '{case}' is empty: scan again" for case in bad
    ]
    assert not (tmp_path / "records").exists()
    with pytest.raises(InputError, match=r"^image of case 'case_3' is empty: scan again; or leave the case out with"):
        write_dataset(recipe(tmp_path / "records"), scans(bad=("case_3",)))
    write_dataset(recipe(tmp_path / "records"), scans())
    said = capsys.readouterr().err
    assert "5 of 8 cases were finished before" in said
    assert "7 of 8 cases were finished before" in said
    assert "bad case" not in said


def test_an_old_dataset_stays_until_the_new_one_is_whole(tmp_path: Path, scans: Scans) -> None:
    folder = tmp_path / "records"
    old = write_dataset(recipe(folder), scans(train=5))
    with pytest.raises(InputError):
        write_dataset(recipe(folder), scans(bad=("case_6",)))
    assert load_manifest(folder) == old
    check_shards(folder, old)
    new = write_dataset(recipe(folder), scans(train=3))
    assert load_manifest(folder) == new
    assert shard_names(folder) == [f"case_{number}.tfrecord" for number in range(4)]  # and no left-over of case_4, 5
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path, scans: Scans) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    write_dataset(recipe(folder), scans())  # an empty folder is nobody's
    (folder / "manifest.json").rename(folder / "chapter_1.txt")
    with pytest.raises(InputError, match=r"holds 'chapter_1\.txt', which kseg did not write"):
        write_dataset(recipe(folder), scans())
    assert (folder / "chapter_1.txt").is_file()


def test_left_out_scans_are_listed(tmp_path: Path, scans: Scans) -> None:
    folder = tmp_path / "records"
    bad = ("case_3", "case_4", "case_7")
    manifest = write_dataset(recipe(folder), scans(bad=bad), skip_bad=True)
    assert [case.case for case in manifest.cases] == ["case_0", "case_1", "case_2", "case_5", "case_6"]
    assert [(out.case, out.reason) for out in manifest.left_out] == [
        (case, f"image of case '{case}' is empty: scan again") for case in bad
    ]
    check_shards(folder, load_manifest(folder))


def test_nothing_to_train_on_after_leaving_out_is_an_error(tmp_path: Path, scans: Scans) -> None:
    with pytest.raises(InputError, match=r"no scan of .* is left to train on"):
        write_dataset(recipe(tmp_path / "records"), scans(train=2, bad=("case_0", "case_1")), skip_bad=True)


def test_changes_since_a_dataset_was_prepared_are_named(tmp_path: Path, scans: Scans) -> None:
    options, found = recipe(tmp_path / "records", "data.source=legs"), scans(train=3)
    manifest = write_dataset(options, found)
    assert find_changes(options, found, manifest).phrases == []
    assert find_changes(options, scans(train=2, val=1), manifest).phrases == [
        "case 'case_2' is to be val, was train",
        "case 'case_3' is gone",
    ]
    assert find_changes(options, scans(train=3, val=2), manifest).phrases == ["case 'case_4' is new"]
    other = scans(train=4)
    renamed = [
        *found.scans[:2],
        type(found.scans[2])("case_2", "case_2", "train", other.scans[3].open, other.scans[3].hashes),
        found.scans[3],
    ]
    changed = ScanList(found.channels, found.labels, tuple(renamed))
    assert find_changes(options, changed, manifest).phrases == ["the files of case 'case_2' have changed"]
    labels = LabelMap(("background", "muscle"), (0, 7))
    relabelled = find_changes(options, ScanList(found.channels, labels, found.scans), manifest)
    assert "channels or labels have changed" in relabelled.otherwise


@pytest.fixture
def damaged(tmp_path: Path, scans: Scans) -> tuple[Path, Manifest]:
    """Flip one bit of the image in the second training shard."""
    write_dataset(recipe(tmp_path / "records"), scans())
    flip_bits(tmp_path / "records" / "case_1.tfrecord", 60, 8)
    return tmp_path / "records", load_manifest(tmp_path / "records")


def test_reading_names_the_damaged_shard_and_place(damaged: tuple[Path, Manifest]) -> None:
    seen = []
    with pytest.raises(InputError, match=r"case_1.tfrecord' is damaged at byte 0"):
        seen += [prepared.case for prepared in read_cases(*damaged, "train")]
    assert [prepared.case for prepared in read_cases(*damaged, "val")] == ["case_7"]


def test_checking_names_the_damaged_shard(damaged: tuple[Path, Manifest]) -> None:
    with pytest.raises(InputError, match=r"case_1.tfrecord' is damaged \(its checksum differs\)"):
        check_shards(*damaged)
    check_shards(*damaged, ("val", "test"))  # it trains


def test_a_truncated_shard_is_named_by_its_size_and_by_its_reader(tmp_path: Path, scans: Scans) -> None:
    manifest = write_dataset(recipe(tmp_path / "records"), scans())
    path = tmp_path / "records" / "case_2.tfrecord"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"case_2\.tfrecord' has \d+ bytes, its manifest says"):
        load_manifest(path.parent)
    with pytest.raises(InputError, match=r"case_2\.tfrecord' is damaged at byte \d+"):
        list(read_cases(path.parent, manifest, "train"))


def test_a_shard_of_another_case_is_named(tmp_path: Path, scans: Scans) -> None:
    folder = tmp_path / "records"
    manifest = write_dataset(recipe(folder), scans())
    (folder / "case_4.tfrecord").write_bytes((folder / "case_1.tfrecord").read_bytes())
    entry = manifest.cases[1].model_copy(update={"case": "case_4", "subject": "case_4"})
    with pytest.raises(InputError, match=r"case_4.tfrecord' holds what kseg cannot read \(it holds case 'case_1'"):
        read_case(folder / "case_4.tfrecord", entry, 2)


def test_phantom_subjects_are_split_as_named_and_follow_from_the_seed(tiny_dataset: Path) -> None:
    manifest = load_manifest(tiny_dataset)
    assert {split: len(manifest.of_split(split)) for split in ("train", "val", "test")} == {
        "train": 3,
        "val": 1,
        "test": 1,
    }
    recipe = load_recipe(None, ["phantom.subjects=5", "phantom.shape=[24, 24, 32]"])
    drawn = {scan.case: scan for scan in find_scans(recipe).scans}
    for prepared in read_cases(tiny_dataset, manifest, "train"):
        image, labels = (gather(stream, "it").array for stream in drawn[prepared.case].open())
        np.testing.assert_array_equal(prepared.image.array, image)
        np.testing.assert_array_equal(prepared.labels, labels[..., 0])


def test_a_source_without_label_names_says_how_to_give_them(tmp_path: Path) -> None:
    for name in ("image.nii.gz", "label.nii.gz"):
        (tmp_path / name).touch()
    table = tmp_path / "scans.csv"
    table.write_text("case,subject,split,image,label\na,a,,image.nii.gz,label.nii.gz\n")
    with pytest.raises(InputError, match=r"names no labels.*data\.labels"):
        find_scans(load_recipe(None, [f"data.source={json.dumps(str(table))}"]))
    labels = find_scans(load_recipe(None, [f"data.source={table}", "data.labels={muscle = 5, background = 0}"])).labels
    assert labels == LabelMap(("background", "muscle"), (0, 5))


def test_machines_that_number_their_processes_alike_do_not_write_to_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 7)
    with own_file(tmp_path / "shard") as first, own_file(tmp_path / "shard") as second:
        first.write_text("the bytes")
        second.write_text("the bytes")
        first.write_text("")  # begins anew
        assert second.read_text() == "the bytes"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"shard": ""}
