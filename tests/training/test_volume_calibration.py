"""Offsets that make masks as large as the labels: counted beside NumPy, and in the model file of a trained run."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseg.console.termination import Termination
from kseg.patches.patch_source import PatchSource
from kseg.recipe.sections import Loss, Recipe, Train
from kseg.records.manifest import load_manifest
from kseg.runs.run_folder import RunFolder
from kseg.training import fit, volume_calibration
from kseg.training.stop_on_signal import Stopped
from kseg.training.volume_calibration import VolumeTally, calibrate_volumes
from kseg.volumes.regions import Structures

REGIONS = Structures(num_classes=3, regions=((1, 2), (2,)), written=(1, 2))
NOBODY = 9
CALIBRATED = (
    "loss.dice=1",
    "loss.cross_entropy=1",
    "loss.parametric_tversky=0",
    "patches.batch_size=8",
    "patches.foreground_oversampling=1",
    "train.steps_per_epoch=16",
    "train.epochs=2",
    "augmentation.noise=1",
    'patches.flip_axes=["x"]',
)
"""256 patches are trained on, as many as 32 that calibrate ask for: these are neither changed nor about foreground."""


@pytest.fixture
def calibrated(tiny_recipe: Callable[..., Recipe], smallest: tuple[str, ...]) -> Callable[..., Recipe]:
    """Make the recipe of a small run that is calibrated, from changes to it."""
    return lambda *changes: tiny_recipe(*smallest, *CALIBRATED, *changes)


def softmax(maps: np.ndarray) -> np.ndarray:
    exponents = np.exp(maps - maps.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def in_doubt(structures: Structures, patches: int, too_much: list[float], seed: int = 1) -> tuple[Any, Any]:
    """Maps before the softmax, or the sigmoids, of what a network thinks that marks `too_much`; and the labels."""
    draw = np.random.default_rng(seed)
    evidence = draw.normal(size=(patches, 6, 6, 6, structures.num_maps))
    if structures.overlap:
        maps = evidence + draw.normal(size=evidence.shape) + too_much
        evidence[..., 1] = np.minimum(evidence[..., 1], evidence[..., 0])  # what is inner lies within
    else:
        maps = 2 * evidence + draw.normal(size=evidence.shape) + [0.0, *too_much]
    return maps.astype(np.float32), structures.class_indices(evidence + (0.5 if structures.overlap else 0.0))


def tallied(structures: Structures, maps: np.ndarray, labels: np.ndarray) -> VolumeTally:
    tally = VolumeTally(structures)
    probabilities = 1 / (1 + np.exp(-maps)) if structures.overlap else softmax(maps)
    for first in range(0, len(maps), 4):
        tally.add(probabilities[first : first + 4], labels[first : first + 4])
    return tally


def voxels(structures: Structures, maps: np.ndarray) -> np.ndarray:
    """Of each structure in the masks, as they are written, counted without the tally."""
    indices = maps.argmax(axis=-1)
    if structures.overlap:
        outer, inner = maps[..., 0] > 0, maps[..., 1] > 0
        indices = np.where(inner, 2, np.where(outer, 1, 0))
    return np.array([np.isin(indices, members).sum() for members in structures.members])


@pytest.mark.parametrize(
    ("structures", "too_much"), [(Structures(2), [0.7]), (Structures(4), [0.8, -0.6, 0.3]), (REGIONS, [0.4, -0.5])]
)
def test_offsets_make_masks_as_large_as_the_labels(structures: Structures, too_much: list[float]) -> None:
    maps, labels = in_doubt(structures, 60, too_much)
    tally = tallied(structures, maps, labels)
    truth = np.array([np.isin(labels, members).sum() for members in structures.members])
    assert tally.patches == 60
    assert tally.volumes(np.zeros(structures.count)).tolist() == voxels(structures, maps).tolist()
    assert tally.errors() == pytest.approx(np.log(voxels(structures, maps) / truth))
    offsets = tally.offsets()
    assert (np.sign(offsets) == -np.sign(tally.errors())).all()
    moved = maps + (offsets if structures.overlap else np.concatenate([[0.0], offsets])).astype(np.float32)
    assert voxels(structures, moved) == pytest.approx(truth, rel=0.004)


def test_voxels_that_nobody_labelled_count_on_neither_side() -> None:
    structures = Structures(4)
    maps, labels = in_doubt(structures, 40, [0.8, -0.6, 0.3])
    alone = tallied(structures, maps[..., :3, :], labels[..., :3])
    labels[..., 3:] = NOBODY
    in_part = tallied(structures, maps, labels)
    assert in_part.offsets().tolist() == alone.offsets().tolist()
    assert in_part.errors().tolist() == alone.errors().tolist()


def test_a_structure_is_not_erased_by_its_offset() -> None:
    structures = Structures(2)
    maps, labels = in_doubt(structures, 60, [0.9])
    maps[..., 1] = np.minimum(maps[..., 1] - maps[..., 0], 1.0)  # nothing is sure
    maps[..., 0] = 0.0
    tally = tallied(structures, maps, labels)
    assert tally.errors() > 0.1
    assert tally.volumes(tally.offsets()) > 0.5 * (labels == 1).sum()


def test_a_structure_of_few_patches_is_left() -> None:
    structures = Structures(3)
    maps, labels = in_doubt(structures, 60, [0.8, 0.8])
    maps[7:, ..., 2] -= 50
    labels[7:][labels[7:] == 2] = 0
    first, second = tallied(structures, maps, labels).offsets()
    assert first < 0 == second


def test_a_structure_of_which_nothing_is_in_doubt_holds_no_other_back() -> None:
    structures = Structures(3)
    maps, labels = in_doubt(structures, 60, [0.8, 0.0])
    maps[..., 2] = np.where(labels == 2, 50.0, -50.0)
    maps[:, :2, ..., 2] = -50  # a third of it is missing
    first, second = tallied(structures, maps, labels).offsets()
    assert first < 0 == second


def test_a_neighbour_that_would_grow_gets_an_offset_too() -> None:
    structures = Structures(3)
    draw = np.random.default_rng(5)
    evidence = 2 * draw.normal(size=(60, 6, 6, 6, 3))
    evidence[..., 0] -= 1.0
    maps = evidence + draw.normal(size=evidence.shape) + [0.0, 0.5, 0.0]
    labels = evidence.argmax(axis=-1)
    grown = (maps.argmax(axis=-1) == 2).sum() / (labels == 2).sum()
    maps[..., 2] -= 1.2 * np.log(grown)
    tally = tallied(structures, maps.astype(np.float32), labels)
    assert np.abs(tally.errors(tally.offsets())).max() < 0.004


def test_more_voxels_in_doubt_than_fit_stand_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    structures = Structures(4)
    maps, labels = in_doubt(structures, 60, [0.8, -0.6, 0.3])
    all_of_them = tallied(structures, maps, labels)
    monkeypatch.setattr(volume_calibration, "MOST_NUMBERS", 300)  # a third of them
    some = tallied(structures, maps, labels)
    for offsets in (np.zeros(3), all_of_them.offsets()):
        assert some.volumes(offsets) == pytest.approx(all_of_them.volumes(offsets), rel=0.06)


def test_an_error_within_its_standard_error_is_left() -> None:
    structures = Structures(2)
    draw = np.random.default_rng(3)
    labels = np.zeros((40, 10, 1, 1), int)
    labels[:, :5] = 1
    too_many = draw.permutation(np.repeat([3, -3], 20))
    too_many[0] += 2  # in all 2 of 200 voxels too many, and as good as nothing is known
    masks = np.arange(10) < 5 + too_many[:, np.newaxis]
    maps = np.zeros((40, 10, 1, 1, 2), np.float32)
    maps[..., 1] = np.where(masks, 1.0, -1.0)[:, :, np.newaxis, np.newaxis]
    tally = tallied(structures, maps, labels)
    assert 100 * np.expm1(tally.errors()) == pytest.approx([1.0])
    assert tally.offsets().tolist() == [0.0]


@pytest.mark.parametrize("labelled", [True, False])
def test_a_structure_that_is_missing_in_labels_or_masks_is_left(labelled: bool) -> None:
    structures = Structures(3)
    maps, labels = in_doubt(structures, 40, [0.8, 0.3])
    if labelled:
        maps[..., 2] -= 50
    else:
        labels[labels == 2] = 0
    tally = tallied(structures, maps, labels)
    first, second = tally.offsets()
    assert first < 0 == second


def test_an_offset_has_a_bound() -> None:
    structures = Structures(2)
    maps, labels = in_doubt(structures, 40, [6.0])
    assert tallied(structures, maps, labels).offsets().tolist() == [-2.0]


@pytest.mark.parametrize(
    ("loss", "wanted", "calibrated"),
    [
        ({}, "auto", True),
        ({"dice": 1.0}, "auto", True),
        ({"parametric_tversky": 1.0}, "auto", False),
        ({"tversky": 1.0, "alpha": 0.3}, "auto", False),
        ({"focal_tversky": 1.0, "cross_entropy": 1.0}, "auto", False),
        ({"parametric_tversky": 1.0}, "always", True),
        ({}, "never", False),
    ],
)
def test_penalties_say_themselves_how_large_masks_are_to_be(loss: Any, wanted: Any, calibrated: bool) -> None:
    recipe = Recipe(loss=Loss(**loss), train=Train(volume_calibration=wanted))
    assert recipe.calibrates_volumes == calibrated


def test_the_model_file_of_a_trained_run_is_calibrated(
    calibrated: Callable[..., Recipe],
    train: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = calibrated("name=plain", "train.volume_calibration=never")
    before = train(plain)
    assert (before["volume_calibration"], "volumes in" in capsys.readouterr().err) == ({}, False)
    recipe = calibrated("name=calibrated")
    found = train(recipe)["volume_calibration"]
    assert "volumes in 32 patches of training cases: soleus" in capsys.readouterr().err
    weights, other = ({one.path: one.numpy() for one in model_of(name).weights} for name in (plain, recipe))
    (path,) = (path for path in weights if "output" in path and path.endswith("bias"))
    offsets = [0.0] + [found.get(name, {"offset": 0.0})["offset"] for name in names_of(recipe)]
    assert any(offsets)
    assert other[path] - weights[path] == pytest.approx(offsets, abs=1e-6)
    for place, value in weights.items():
        if place != path:
            assert (other[place] == value).all(), place
    masks, truth = masks_and_labels(recipe)
    of_plain, _ = masks_and_labels(plain)
    for index, name in enumerate(names_of(recipe), start=1):
        if name in found:
            error = 100 * ((of_plain == index).sum() / (truth == index).sum() - 1)
            assert found[name]["volume_error_percent"] == pytest.approx(error, abs=1e-3)
            assert (masks == index).sum() == pytest.approx((truth == index).sum(), rel=0.02)
    assert train(recipe, resume=True)["volume_calibration"] == {}  # as where a run is killed before its report
    for place, value in zip(other.values(), model_of(recipe).weights, strict=True):
        assert (place == value.numpy()).all()


def test_a_device_of_several_finds_what_one_alone_finds(
    calibrated: Callable[..., Recipe],
    train: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twelve = "patches.batch_size=12"  # 384 patches, so that 48 calibrate
    alone = train(calibrated(twelve, "name=alone"))["volume_calibration"]

    def of_three(run: Any, budget: Any, devices: int, termination: Any) -> Any:
        assert devices == 1
        return calibrate_volumes(run, budget, 3, termination)

    monkeypatch.setattr(fit, "calibrate_volumes", of_three)
    shared = train(calibrated(twelve, "name=shared"))["volume_calibration"]
    assert alone
    assert shared.keys() == alone.keys()
    for name, found in alone.items():
        assert shared[name] == pytest.approx(found, rel=1e-3)


def test_a_run_that_is_asked_to_end_while_it_is_calibrated_goes_on(
    calibrated: Callable[..., Recipe],
    train: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, asked = calibrated(), Termination()

    def calibrate(*arguments: Any) -> Any:
        asked.asked = True
        return calibrate_volumes(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "calibrate_volumes", calibrate)
        with pytest.raises(Stopped, match="before its volumes were calibrated"):
            train(recipe, termination=asked)
    assert train(recipe, resume=True)["volume_calibration"]


def test_memory_that_is_too_small_leaves_the_model_as_it_is(
    calibrated: Callable[..., Recipe],
    train: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: Any) -> Any:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(volume_calibration, "_segment_patches", full)
    assert train(calibrated())["volume_calibration"] == {}
    assert "volumes are not calibrated: the memory does not hold the model once more" in capsys.readouterr().err


def test_a_run_of_few_steps_has_nothing_to_be_calibrated(
    calibrated: Callable[..., Recipe], train: Callable[..., dict[str, Any]]
) -> None:
    few = "train.epochs=1"  # 128 patches
    assert train(calibrated(few))["volume_calibration"] == {}


def names_of(recipe: Recipe) -> tuple[str, ...]:
    return load_manifest(recipe.records_folder).label_map.structure_names


def model_of(recipe: Recipe) -> keras.Model:
    return RunFolder(recipe.run_folder).load_model().network


def masks_and_labels(recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Of the patches that calibrate: anywhere in the training's cases, unchanged."""
    options = recipe.patches.model_copy(update={"foreground_oversampling": 0.0, "flip_axes": ()})
    scales = RunFolder(recipe.run_folder).load_data_description().scales
    source = PatchSource(
        recipe.records_folder, load_manifest(recipe.records_folder), "train", options, recipe.seed, scales
    )
    batches = [(image.numpy(), labels.numpy()) for image, labels in source.batches(range(4))]
    model = model_of(recipe)
    masks = [model.predict_on_batch(image).argmax(axis=-1) for image, _ in batches]
    return np.concatenate(masks), np.concatenate([labels for _, labels in batches])
