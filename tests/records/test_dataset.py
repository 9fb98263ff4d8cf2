"""Prepared datasets: whole or not there, equal to their sources, and honest about what is damaged or left out."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Recipe
from kseg.records.intensity import intensity_statistics
from kseg.records.manifest import Manifest, load_manifest, sha256_of
from kseg.records.read import check_shards, read_records
from kseg.records.scans import Scan, ScanList, find_scans
from kseg.records.write import write_dataset
from kseg.volumes.labels import LabelMap
from kseg.volumes.volume import StoredGeometry, Volume

LABELS = LabelMap(("background", "muscle"), (0, 100))
AFFINE = np.diag([0.5, 0.5, 2.0, 1.0])


def volumes(number: int) -> tuple[Volume, np.ndarray]:
    rng = np.random.default_rng(number)
    shape = (5 + number % 3, 4, 3)
    image = rng.integers(0, 200, (*shape, 1)).astype(np.int16)
    return Volume(image, AFFINE, StoredGeometry(shape, AFFINE, ".nii.gz")), rng.integers(0, 2, shape).astype(np.uint8)


def scans(train: int = 7, val: int = 1, test: int = 0, bad: tuple[str, ...] = ()) -> ScanList:
    def loader(case: str, number: int) -> Callable[[], tuple[Volume, np.ndarray]]:
        def load() -> tuple[Volume, np.ndarray]:
            if case in bad:
                raise InputError(f"image of case '{case}' is empty: scan again")
            return volumes(number)

        return load

    splits = ["train"] * train + ["val"] * val + ["test"] * test
    cases = [(f"case_{number}", split) for number, split in enumerate(splits)]
    return ScanList(
        ("mr",), LABELS, tuple(Scan(case, case, split, loader(case, int(case[5:]))) for case, split in cases)
    )


def recipe(folder: Path, *overrides: str) -> Recipe:
    return load_recipe(None, [f"data.records={folder}", "data.shards=3", *overrides])


def shard_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "manifest.json")


def test_shards_hold_what_the_sources_held(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    written = write_dataset(recipe(folder), scans(train=7, val=2, test=1))
    manifest = load_manifest(folder)
    assert manifest == written
    read = {}
    for split in ("train", "val", "test"):
        records = list(read_records(folder, manifest, split))
        for record, case in zip(records, manifest.of_split(split), strict=True):
            assert (record.case, record.subject, split) == (case.case, case.subject, case.split)
            assert (record.image.shape, record.image.spacing_mm) == (case.shape, case.spacing_mm)
            assert tuple(np.bincount(record.labels.ravel(), minlength=2)) == case.class_voxels
        read |= {record.case: record for record in records}
    assert len(read) == 10
    for case, record in read.items():
        image, labels = volumes(int(case[5:]))
        np.testing.assert_array_equal(record.image.array, image.array)
        np.testing.assert_array_equal(record.labels, labels)
        np.testing.assert_array_equal(record.image.affine, AFFINE)
        np.testing.assert_array_equal(record.statistics, intensity_statistics(image.array))
    check_shards(folder, manifest)


def test_shards_are_named_counted_and_summed_and_nothing_else_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    manifest = write_dataset(recipe(folder), scans(train=7, val=2))
    assert shard_names(folder) == [
        "train-00000-of-00003.tfrecord",
        "train-00001-of-00003.tfrecord",
        "train-00002-of-00003.tfrecord",
        "val-00000-of-00002.tfrecord",  # never more shards than cases
        "val-00001-of-00002.tfrecord",
    ]
    assert [shard.records for shard in manifest.shards] == [3, 2, 2, 1, 1]
    for shard in manifest.shards:
        assert shard.bytes == (folder / shard.file).stat().st_size
        assert shard.sha256 == sha256_of(folder / shard.file)
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_dataset(recipe(tmp_path / name), scans())
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_bad_scan_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'case_5' is empty"):
        write_dataset(recipe(tmp_path / "records"), scans(bad=("case_5",)))
    assert list(tmp_path.iterdir()) == []


def test_an_old_dataset_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    old = write_dataset(recipe(folder), scans(train=5))
    with pytest.raises(InputError):
        write_dataset(recipe(folder), scans(bad=("case_6",)))
    assert load_manifest(folder) == old
    check_shards(folder, old)
    new = write_dataset(recipe(folder, "data.shards=1"), scans(train=3))
    assert load_manifest(folder) == new
    assert shard_names(folder) == ["train-00000-of-00001.tfrecord", "val-00000-of-00001.tfrecord"]
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    write_dataset(recipe(folder), scans())  # an empty folder is nobody's
    (folder / "manifest.json").rename(folder / "chapter_1.txt")
    with pytest.raises(InputError, match="something else than a prepared dataset"):
        write_dataset(recipe(folder), scans())
    assert (folder / "chapter_1.txt").is_file()


def test_left_out_scans_are_listed_and_the_shards_renumbered(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    bad = ("case_3", "case_4", "case_6", "case_7")  # all of the second shard, one of the third, all to validate on
    manifest = write_dataset(recipe(folder), scans(bad=bad), skip_bad=True)
    assert shard_names(folder) == ["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]
    assert [case.case for case in manifest.cases] == ["case_0", "case_1", "case_2", "case_5"]
    assert [shard.records for shard in manifest.shards] == [3, 1]
    assert [(out.case, out.reason) for out in manifest.left_out] == [
        (case, f"image of case '{case}' is empty: scan again") for case in bad
    ]
    check_shards(folder, load_manifest(folder))


def test_nothing_to_train_on_after_leaving_out_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no scan of .* is left to train on"):
        write_dataset(recipe(tmp_path / "records"), scans(train=2, bad=("case_0", "case_1")), skip_bad=True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, Manifest]:
    """Flip one bit in the second training shard, in the image of its second record."""
    write_dataset(recipe(tmp_path / "records"), scans())
    path = tmp_path / "records" / "train-00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 8
    path.write_bytes(content)
    return tmp_path / "records", load_manifest(tmp_path / "records")


def test_reading_names_the_damaged_shard_and_record(damaged: tuple[Path, Manifest]) -> None:
    seen = []
    with pytest.raises(InputError, match=r"train-00001-of-00003.tfrecord' is damaged at record 1"):
        seen += [record.case for record in read_records(*damaged, "train")]
    assert [record.case for record in read_records(*damaged, "val")] == ["case_7"]


def test_checking_names_the_damaged_shard(damaged: tuple[Path, Manifest]) -> None:
    with pytest.raises(InputError, match=r"train-00001-of-00003.tfrecord' is damaged \(its checksum differs\)"):
        check_shards(*damaged)


def test_a_truncated_shard_is_named_by_its_size_and_by_its_reader(tmp_path: Path) -> None:
    manifest = write_dataset(recipe(tmp_path / "records"), scans())
    path = tmp_path / "records" / "train-00002-of-00003.tfrecord"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"train-00002-of-00003\.tfrecord' has \d+ bytes, its manifest says"):
        load_manifest(path.parent)
    with pytest.raises(InputError, match=r"train-00002-of-00003\.tfrecord' is damaged at record 1"):
        list(read_records(path.parent, manifest, "train"))


def test_a_shard_with_other_records_than_listed_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    manifest = write_dataset(recipe(folder), scans())
    short = folder / manifest.shards[1].file
    short.write_bytes((folder / manifest.shards[0].file).read_bytes())
    with pytest.raises(InputError, match=f"{short.name}' holds 3 records, its manifest says 2"):
        list(read_records(folder, manifest, "train"))


def test_phantom_subjects_are_split_as_named_and_follow_from_the_seed(tiny_dataset: Path) -> None:
    manifest = load_manifest(tiny_dataset)
    assert {split: len(manifest.of_split(split)) for split in ("train", "val", "test")} == {
        "train": 3,
        "val": 1,
        "test": 1,
    }
    recipe = load_recipe(None, ["phantom.subjects=5", "phantom.shape=[24, 24, 32]"])
    drawn = {scan.case: scan for scan in find_scans(recipe).scans}
    for record in read_records(tiny_dataset, manifest, "train"):
        image, labels = drawn[record.case].load()
        np.testing.assert_array_equal(record.image.array, image.array)
        np.testing.assert_array_equal(record.labels, labels)


def test_a_source_without_label_names_says_how_to_give_them(tmp_path: Path) -> None:
    (tmp_path / "image.nii.gz").touch()
    table = tmp_path / "scans.csv"
    table.write_text("case,subject,split,image,label\na,a,,image.nii.gz,image.nii.gz\n")
    with pytest.raises(InputError, match=r"names no labels.*data\.labels"):
        find_scans(load_recipe(None, [f"data.source={json.dumps(str(table))}"]))
    labels = find_scans(load_recipe(None, [f"data.source={table}", "data.labels={muscle = 5, background = 0}"])).labels
    assert labels == LabelMap(("background", "muscle"), (0, 5))
