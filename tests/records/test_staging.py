"""Shards copied to a local disk: checked on the way, copied once, continued."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from damage import flip_bits

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records.manifest import Manifest
from kseg.records.prepared_case import read_cases
from kseg.records.scans import ScanList
from kseg.records.staging import stage, staged
from kseg.records.write import write_dataset

Scans = Callable[..., ScanList]


@pytest.fixture
def dataset(tmp_path: Path, scans: Scans) -> tuple[Path, Manifest]:
    folder = tmp_path / "records"
    return folder, write_dataset(load_recipe(None, [f"data.records={folder}"]), scans(train=3, val=2, test=1))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix == ".tfrecord"}


def test_copies_hold_what_shards_held_and_those_to_test_on_stay(dataset: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = dataset
    cache, renamed = stage(folder, manifest, tmp_path / "cache" / "deep")
    assert names(cache) == {f"{case.sha256}.tfrecord" for case in manifest.cases if case.split != "test"}
    for split in ("train", "val"):
        for one, two in zip(read_cases(folder, manifest, split), read_cases(cache, renamed, split), strict=True):
            assert one.case == two.case
            np.testing.assert_array_equal(one.image.array, two.image.array)
            np.testing.assert_array_equal(one.labels, two.labels)


def test_what_is_there_is_not_copied_again(
    dataset: tuple[Path, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, renamed = stage(*dataset, tmp_path / "cache")
    assert "copying 5 shards" in capsys.readouterr().err
    first, second = sorted(names(cache))[:2]
    (cache / first).unlink()
    (cache / second).write_bytes(b"cut")
    assert stage(*dataset, cache) == (cache, renamed)
    assert "copying 2 shards" in capsys.readouterr().err
    shutil.rmtree(dataset[0])
    assert stage(*dataset, cache) == (cache, renamed)
    assert "copying" not in capsys.readouterr().err


def test_a_damaged_shard_is_named_and_leaves_nothing(dataset: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = dataset
    shard = folder / manifest.cases[0].file
    flip_bits(shard, 50)
    with pytest.raises(InputError, match=r"case_0.tfrecord' is damaged \(its checksum differs\): prepare"):
        stage(folder, manifest, tmp_path / "cache")
    assert names(tmp_path / "cache") == set()


def test_a_cache_is_no_folder_of_ksegs(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset
    there = sorted(folder.iterdir())
    for cache in (folder, folder / "cache"):
        with pytest.raises(InputError, match=r"lies in '.*records', which holds other files of kseg's: choose another"):
            stage(folder, manifest, cache)
    assert sorted(folder.iterdir()) == there


def test_a_disk_without_room_is_told_before_anything_is_copied(
    dataset: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(InputError, match=r"train.cache_dir '.*cache' has 0.0 GB free, .* free space, or choose"):
        stage(*dataset, tmp_path / "cache")
    assert names(tmp_path / "cache") == set()


def test_several_at_once_copy_once(
    dataset: tuple[Path, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: stage(*dataset, tmp_path / "cache"), range(4)))
    assert found == [found[0]] * 4
    assert capsys.readouterr().err.count("copying 5 shards") == 1


def test_without_a_cache_shards_are_read_where_they_lie(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset
    recipe = load_recipe(None, [f"data.records={folder}"])
    assert staged(recipe, manifest) == (folder, manifest)
