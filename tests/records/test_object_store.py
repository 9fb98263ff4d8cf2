"""Datasets in an object store, here fsspec's in memory: the same bytes as on a disk, whole or not there."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from damage import flipped
from upath import UPath

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Recipe
from kseg.records.apache_beam import prepare_and_tell
from kseg.records.destinations import destination
from kseg.records.manifest import MANIFEST, load_manifest
from kseg.records.prepared_case import check_shards, read_cases
from kseg.records.process_pool import run_jobs
from kseg.records.scans import ScanList
from kseg.records.write import write_dataset
from kseg.records.write_case import CaseJob, Outcome, prepare_case
from kseg.storage.locations import location_of
from kseg.storage.ownership import MARKER

Scans = Callable[..., ScanList]


@pytest.fixture
def store() -> Iterator[UPath]:
    folder = UPath("memory://bucket/legs")
    yield folder
    folder.fs.rm("/", recursive=True)


def recipe(folder: UPath | Path) -> Recipe:
    return load_recipe(None, [f"data.records={folder}"])


def contents(folder: UPath | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def killed_after(count: int) -> Callable[[Sequence[CaseJob]], Iterator[Outcome]]:
    """An engine that is killed after so many cases, in the middle of the next."""

    def engine(jobs: Sequence[CaseJob]) -> Iterator[Outcome]:
        yield from run_jobs(jobs[:count])
        (jobs[count].folder / f"{jobs[count].scan.case}.tfrecord").write_bytes(b"half")
        raise KeyboardInterrupt

    return engine


def test_bytes_are_those_of_a_disk_and_nothing_else_is_left(store: UPath, tmp_path: Path, scans: Scans) -> None:
    written = write_dataset(recipe(store), scans())
    write_dataset(recipe(tmp_path / "legs"), scans())
    assert contents(store) == contents(tmp_path / "legs")
    assert [path.name for path in store.parent.iterdir()] == ["legs"]
    assert load_manifest(store) == written
    check_shards(store, written)
    for remote, local in zip(
        read_cases(store, written, "train"), read_cases(tmp_path / "legs", written, "train"), strict=True
    ):
        np.testing.assert_array_equal(remote.image.array, local.image.array)


def test_a_killed_run_is_no_dataset_and_the_next_goes_on(
    store: UPath, tmp_path: Path, scans: Scans, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_dataset(recipe(store), scans(), engine=killed_after(3))
    with pytest.raises(InputError, match="holds no prepared dataset"):
        load_manifest(store)
    write_dataset(recipe(store), scans())
    assert "3 of 8 cases were finished before" in capsys.readouterr().err
    write_dataset(recipe(tmp_path / "legs"), scans())
    assert contents(store) == contents(tmp_path / "legs")


@pytest.mark.parametrize("files", [0, 2])
def test_killed_while_it_publishes_it_ends_with_the_new_dataset(
    files: int, store: UPath, scans: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(recipe(store), scans(train=9))
    copy, left = store.fs.copy, [files]

    def stops(*arguments: str) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        copy(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(type(store.fs), "copy", lambda _, *arguments: stops(*arguments))
        with pytest.raises(KeyboardInterrupt):
            write_dataset(recipe(store), scans(train=4))
    with pytest.raises(InputError, match="holds no prepared dataset"):
        load_manifest(store)
    new = write_dataset(recipe(store), scans(train=4))
    assert load_manifest(store) == new
    assert contents(store).keys() == {MARKER, MANIFEST, *(f"case_{number}.tfrecord" for number in range(5))}
    assert [path.name for path in store.parent.iterdir()] == ["legs"]


def test_what_a_run_leaves_that_is_killed_just_after_it_published_is_cleared_by_the_next(
    store: UPath, scans: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(recipe(store), scans(train=9))

    remove = store.fs.rm

    def killed(path: str, recursive: bool = False) -> None:
        if recursive:
            raise KeyboardInterrupt
        remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(type(store.fs), "rm", lambda _, *arguments, **options: killed(*arguments, **options))
        with pytest.raises(KeyboardInterrupt):
            write_dataset(recipe(store), scans(train=4))
    assert {path.name for path in store.parent.iterdir()} == {"legs", ".partial-legs"}
    destination(store).tidy()
    assert [path.name for path in store.parent.iterdir()] == ["legs"]
    assert contents(store).keys() == {MARKER, MANIFEST, *(f"case_{number}.tfrecord" for number in range(5))}


def test_a_folder_of_something_else_is_not_replaced(store: UPath, scans: Scans) -> None:
    (store / "thesis.tex").write_text("all of it")
    with pytest.raises(InputError, match="'memory://bucket/legs' is not a dataset that kseg made"):
        write_dataset(recipe(store), scans())
    assert contents(store) == {"thesis.tex": b"all of it"}


def test_a_bad_scan_is_told_and_a_store_out_of_reach_is_no_fault_of_the_scans(
    store: UPath, scans: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_dataset(recipe(store), scans(bad=("case_1",)), skip_bad=True)
    assert [case.case for case in manifest.left_out] == ["case_1"]

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(store.fs), "_open", refuse)
    with pytest.raises(InputError, match=r"cannot be reached \(Access Denied\): check its name, network and cred"):
        write_dataset(recipe(store), scans(), skip_bad=True)


def test_a_beam_worker_leaves_its_word_in_the_store(store: UPath, scans: Scans) -> None:
    job = CaseJob(scans().scans[0], location_of(str(store)), 2, "0" * 64)
    prepare_and_tell(job)
    told = Outcome.model_validate_json(job.outcome.read_bytes())
    assert prepare_case(job) == Outcome(case="case_0", shard=told.shard, again=True)
    assert (store / told.shard.file).stat().st_size == told.shard.bytes


def test_shards_that_a_store_has_lost_or_cut_are_named(store: UPath, scans: Scans) -> None:
    manifest = write_dataset(recipe(store), scans())
    shard = store / manifest.cases[2].file
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"case_2.tfrecord' has \d+ bytes, its manifest says"):
        load_manifest(store)
    shard.write_bytes(flipped(whole, -1))
    with pytest.raises(InputError, match=r"case_2.tfrecord' is damaged"):
        check_shards(store, load_manifest(store))
    shard.unlink()
    with pytest.raises(InputError, match=r"case_2.tfrecord' is missing"):
        load_manifest(store)
    with pytest.raises(InputError, match=r"case_2.tfrecord' cannot be opened"):
        list(read_cases(store, manifest, "train"))
