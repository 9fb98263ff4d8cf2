"""Two thousand mutated shards and manifests: each is refused in one line that names it, or read correctly."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damage import flipped

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records import bricks
from kseg.records.manifest import MANIFEST, Manifest, load_manifest
from kseg.records.prepared_case import read_cases
from kseg.records.scans import at_one_spacing
from kseg.records.write import write_dataset

MUTANTS = 1000


@pytest.fixture
def dataset(scans: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cases of four to eight bricks each, resampled, so that the truth on their own grid is there too."""
    monkeypatch.setattr(bricks, "MAX_EDGE", 3)
    resampled = at_one_spacing(scans(train=2, val=0), (0.5, 0.5, 1.0))
    write_dataset(load_recipe(None, [f"data.records={tmp_path / 'records'}"]), resampled)
    return tmp_path / "records"


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Flip a bit; cut the end off; zero, lose, repeat or replace a piece; swap halves; or be something else."""
    place, length = draw.randrange(len(content)), draw.randrange(1, 40)
    before, piece, after = content[:place], content[place : place + length], content[place + length :]
    return draw.choice(
        (
            flipped(content, place, 1 << draw.randrange(8)),
            before,
            before + bytes(len(piece)) + after,
            before + after,
            before + piece + piece + after,
            before + draw.randbytes(len(piece)) + after,
            after + before,
            draw.randbytes(length),
        )
    )


def voxels(folder: Path, manifest: Manifest) -> dict[str, tuple[bytes, ...]]:
    return {
        case.case: (case.image.array.tobytes(), case.labels.tobytes(), case.truth.array.tobytes())
        for split in ("train", "val", "test")
        for case in read_cases(folder, manifest, split)
    }


def test_no_mutated_shard_is_read_wrongly(dataset: Path) -> None:
    manifest, draw = load_manifest(dataset), random.Random(1)
    expected = voxels(dataset, manifest)
    shard = dataset / manifest.cases[0].file
    sound, refused = shard.read_bytes(), 0
    for _ in range(MUTANTS):
        shard.write_bytes(mutated(sound, draw))
        try:
            assert voxels(dataset, manifest) == expected
        except InputError as error:
            assert str(shard) in str(error)
            assert "\n" not in str(error)
            refused += 1
    assert refused > 0.95 * MUTANTS  # the rest: a mutation that changes nothing, or bytes behind the head


def test_no_mutated_manifest_is_believed(dataset: Path) -> None:
    path, draw = dataset / MANIFEST, random.Random(2)
    expected = voxels(dataset, load_manifest(dataset))
    sound, refused = path.read_bytes(), 0
    for _ in range(MUTANTS):
        path.write_bytes(mutated(sound, draw))
        try:
            manifest = load_manifest(dataset)
            found = voxels(dataset, manifest)
        except InputError as error:
            assert str(dataset) in str(error) or "data.labels" in str(error)
            assert "\n" not in str(error)
            refused += 1
        else:
            # A changed number of the plan, a name of the source: what is read is what was prepared.
            assert found.items() <= expected.items()
            assert len(found) == len(manifest.cases)
    assert refused > 0.5 * MUTANTS


def test_the_graph_refuses_what_is_damaged(dataset: Path) -> None:
    import tensorflow as tf

    from kseg.patches.patch_source import PatchSource
    from kseg.recipe.sections import Patches

    manifest, draw = load_manifest(dataset), random.Random(3)
    options = Patches(size=(8, 8, 8), batch_size=1, foreground_oversampling=0)  # every patch holds the whole volume
    sound = shutil.copytree(dataset, dataset.with_name("sound"))

    def batches_of(folder: Path) -> tf.data.Dataset:
        return PatchSource(folder, manifest, "train", options, 1).batches(range(len(manifest.cases)))

    def patches(batches: tf.data.Dataset) -> list[np.ndarray]:
        return [part.numpy() for batch in batches for part in batch]

    expected, shard = patches(batches_of(sound)), dataset / manifest.cases[0].file
    batches = batches_of(dataset)  # one graph, run anew for each mutant
    content, refused = shard.read_bytes(), 0
    for _ in range(30):
        shard.write_bytes(mutated(content, draw))
        try:
            for found, wanted in zip(patches(batches), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
        except tf.errors.OpError:
            refused += 1
    assert refused >= 25
