"""Batches: the same for the same seed, from whatever epoch; all cases in turn; what is in them is in the shards."""

import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kseg.patches.patch_source import PatchSource, WorkerShare
from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Patches
from kseg.records import bricks
from kseg.records.manifest import Manifest
from kseg.records.prepared_case import read_cases
from kseg.records.scans import Scan, ScanList, scan_in_memory
from kseg.records.write import write_dataset
from kseg.volumes.intensity_normalisation import normalise
from kseg.volumes.labels import LabelMap
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

Batches = list[tuple[np.ndarray, np.ndarray]]
CASES = 7
SHAPE = (10, 9, 8)


def scan(number: int) -> Scan:
    """Case `number` is of class `number + 1` throughout, which tells where a patch comes from."""
    image = np.random.default_rng(number).integers(0, 250, (*SHAPE, 2)).astype(np.uint8)
    volume = Volume(image, np.eye(4), StoredGeometry(SHAPE, np.eye(4), ".nii.gz"))
    split = "val" if number == CASES else "train"
    return scan_in_memory(f"case_{number}", f"case_{number}", split, volume, np.full(SHAPE, number + 1, np.uint8))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Seven cases to train on, one to validate on."""
    folder = tmp_path_factory.mktemp("pipeline") / "records"
    scans = tuple(scan(number) for number in range(CASES + 1))
    labels = LabelMap(tuple(f"class_{value}" for value in range(CASES + 2)), tuple(range(CASES + 2)))
    recipe = load_recipe(None, [f"data.records={folder}"])
    return folder, write_dataset(recipe, ScanList(("a", "b"), labels, scans))


def source(prepared: tuple[Path, Manifest], seed: int = 1, split: str = "train", **options: Any) -> PatchSource:
    defaults: dict[str, Any] = {"size": (4, 5, 6), "batch_size": 2}
    return PatchSource(*prepared, split, Patches(**(defaults | options)), seed)


def batches(source: PatchSource, epochs: Sequence[int], steps: int) -> Batches:
    whole = range(epochs[0] * steps, (epochs[-1] + 1) * steps)
    return [(image.numpy(), labels.numpy()) for image, labels in source.batches(whole)]


def equal(one: Batches, other: Batches) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


def cases_of(found: Batches) -> list[int]:
    return [int(patch.max()) - 1 for _, labels in found for patch in labels]


@pytest.fixture(scope="module")
def undisturbed(prepared: tuple[Path, Manifest]) -> Batches:
    """Four epochs of four steps."""
    return batches(source(prepared), range(4), 4)


def test_the_same_seed_gives_the_same_batches_another_seed_others(
    prepared: tuple[Path, Manifest], undisturbed: Batches
) -> None:
    assert equal(batches(source(prepared), range(4), 4), undisturbed)
    assert not equal(batches(source(prepared, seed=2), range(4), 4), undisturbed)


def test_nothing_is_tuned_in_the_background(prepared: tuple[Path, Manifest]) -> None:
    # TensorFlow's tuner sleeps up to a minute between two looks, and a process waits for it before it ends.
    assert source(prepared).batches(range(1)).options().autotune.enabled is False


def test_from_whatever_epoch_a_run_sees_what_an_undisturbed_one_sees(
    prepared: tuple[Path, Manifest], undisturbed: Batches
) -> None:
    for epoch in (1, 3):
        assert equal(batches(source(prepared), range(epoch, 4), 4), undisturbed[epoch * 4 :])


@pytest.mark.parametrize(("workers", "devices"), [(1, 2), (3, 1), (3, 2)])
def test_the_shares_of_all_workers_are_the_batch_of_one(
    workers: int, devices: int, prepared: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = source(prepared, batch_size=6)
    whole = [patch for image, _ in patches.batches(range(5, 8)) for patch in image.numpy()]
    cut: list[int] = []
    original = PatchSource._patch

    def counted(self: PatchSource, number: tf.Tensor) -> Any:
        with tf.control_dependencies([tf.py_function(lambda drawn: cut.append(int(drawn)), [number], [])]):
            return original(self, tf.identity(number))

    monkeypatch.setattr(PatchSource, "_patch", counted)
    shares = []
    for index in range(workers):
        batches = [image.numpy() for image, _ in patches.batches(range(5, 8), WorkerShare(index, workers, devices))]
        assert [len(batch) for batch in batches] == 3 * devices * [6 // workers // devices]
        shares.append(np.concatenate(batches).reshape(3, 6 // workers, *whole[0].shape))
    assert sorted(cut) == list(range(30, 48))  # no worker cuts what another does
    together = np.concatenate(shares, axis=1).reshape(18, *whole[0].shape)
    np.testing.assert_array_equal(together, whole)


def test_no_two_patches_are_alike_and_so_no_epochs(prepared: tuple[Path, Manifest]) -> None:
    found = batches(source(prepared, foreground_oversampling=0, flip_axes=("x", "y", "z")), range(3), 4)
    patches = [patch.tobytes() for image, _ in found for patch in image]
    assert len(set(patches)) == len(patches) == 24


def test_cases_take_turns_so_that_short_epochs_leave_none_out(prepared: tuple[Path, Manifest]) -> None:
    # An epoch of one patch reads one case: seven epochs are a turn over the seven cases, and so are the next seven.
    found = cases_of(batches(source(prepared, batch_size=1), range(2 * CASES), 1))
    assert sorted(found[:CASES]) == sorted(found[CASES:]) == list(range(CASES))
    assert found[:CASES] != found[CASES:]


def test_a_long_epoch_takes_as_many_patches_of_each_case(prepared: tuple[Path, Manifest]) -> None:
    found = Counter(cases_of(batches(source(prepared), [0], 3 * CASES)))
    assert found == dict.fromkeys(range(CASES), 6)


def test_the_case_of_a_patch_is_known_by_its_number(prepared: tuple[Path, Manifest]) -> None:
    patches = source(prepared, seed=5)
    names = [f"case_{number}" for number in cases_of(batches(patches, range(1), 10))]
    assert [patches.case_of(number) for number in range(20)] == names


def test_a_batch_mixes_volumes(prepared: tuple[Path, Manifest]) -> None:
    found = cases_of(batches(source(prepared, batch_size=CASES), [0], 4))
    assert all(len(set(found[step : step + CASES])) == CASES for step in range(0, 4 * CASES, CASES))


def test_patches_are_pieces_of_their_case_normalised_by_its_statistics(prepared: tuple[Path, Manifest]) -> None:
    cases = {case.case: case for case in read_cases(*prepared, "train")}
    found = batches(source(prepared, flip_axes=(), foreground_oversampling=0), [0], 4)
    for image, case in zip(np.concatenate([image for image, _ in found]), cases_of(found), strict=True):
        cut_from = cases[f"case_{case}"]
        whole = normalise(cut_from.image.array.astype(np.float32), cut_from.statistics)
        windows = np.lib.stride_tricks.sliding_window_view(whole, image.shape).reshape(-1, *image.shape)
        assert np.isclose(windows, image, atol=1e-5).all(axis=(1, 2, 3, 4)).any()


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"batch_size": 11}, 2),
        ({"size": (16, 16, 16)}, 3),
    ],
)
def test_each_epoch_has_its_steps_whatever_the_sizes(
    options: dict[str, Any], steps: int, prepared: tuple[Path, Manifest]
) -> None:
    patches = source(prepared, **options)
    found = batches(patches, range(2), steps)
    assert len(found) == 2 * steps == patches.batches(range(2 * steps)).cardinality()
    size, batch = patches.options.size, patches.options.batch_size
    assert {(image.shape, labels.shape) for image, labels in found} == {((batch, *size, 2), (batch, *size))}


def test_patches_of_bricks_are_those_of_whole_volumes(
    prepared: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bricks, "MAX_EDGE", 3)
    scans = ScanList(("a", "b"), prepared[1].label_map, tuple(scan(number) for number in range(CASES + 1)))
    cut = tmp_path / "records", write_dataset(load_recipe(None, [f"data.records={tmp_path / 'records'}"]), scans)
    assert all(case.bytes > whole.bytes for case, whole in zip(cut[1].cases, prepared[1].cases, strict=True))
    anywhere = {"foreground_oversampling": 0, "size": (6, 7, 5)}
    assert equal(batches(source(prepared, **anywhere), [0], 20), batches(source(cut, **anywhere), [0], 20))
    # Centred on foreground, which fills these volumes, voxels are drawn brick by brick: other ones, as often.
    means = [
        np.mean([image for image, _ in batches(source(which, foreground_oversampling=1), [0], 800)], axis=(0, 1))
        for which in (prepared, cut)
    ]
    np.testing.assert_allclose(*means, atol=0.2)


def test_one_case_is_enough(prepared: tuple[Path, Manifest]) -> None:
    assert set(cases_of(batches(source(prepared, split="val"), range(2), 3))) == {CASES}


def test_tensorflows_global_seed_has_no_part_in_it(prepared: tuple[Path, Manifest], undisturbed: Batches) -> None:
    tf.random.set_seed(77)
    assert equal(batches(source(prepared), [0], 4), undisturbed[:4])


def test_another_process_sees_the_same_patches(prepared: tuple[Path, Manifest], undisturbed: Batches) -> None:
    program = (
        "import sys, zlib; from pathlib import Path; from kseg.patches.patch_source import PatchSource; "
        "from kseg.recipe.sections import Patches; from kseg.records.manifest import load_manifest; "
        "folder = Path(sys.argv[1]); options = Patches(size=(4, 5, 6), batch_size=2); "
        "found = PatchSource(folder, load_manifest(folder), 'train', options, 1).batches(range(8, 12)); "
        "print(*(zlib.crc32(image.numpy().tobytes()) for image, _ in found))"
    )
    command = [sys.executable, "-c", program, str(prepared[0])]
    root = Path(__file__).resolve().parents[2]
    other = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    ours = [zlib.crc32(image.tobytes()) for image, _ in undisturbed[8:12]]
    assert [int(word) for word in other.stdout.split()] == ours
