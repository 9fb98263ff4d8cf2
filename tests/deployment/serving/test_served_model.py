"""The whole served model beside `kseg.predict`'s own path: the same label maps of volumes of any size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kseg.deployment import saved_model
from kseg.deployment.saved_model import write_saved_model
from kseg.deployment.serving.served_model import VOXEL_TYPES, ServedModel
from kseg.deployment.tensor_names import PATCH, SEGMENT_PROBABILITIES
from kseg.inference.ensemble import ensemble_of
from kseg.inference.segment_volumes import segment_scan, volume_segmenter
from kseg.inference.sliding_window import probability_planes
from kseg.nn.networks import build_network
from kseg.volumes.intensity_normalisation import intensity_statistics, normalise
from kseg.volumes.interpolation import linear
from kseg.volumes.labels import LabelMap
from kseg.volumes.resample import at_spacing, on_grid
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import gather, stream_of_volume

SCANS = [
    ((23, 17, 20), (1.0, 0.8, 1.5)),  # the model's own spacing
    ((9, 29, 15), (1.3, 0.8, 1.1)),
    ((5, 7, 6), (1.0, 0.9, 1.5)),  # smaller than a patch
    ((31, 11, 8), (0.7, 1.6, 2.0)),
]


def scan_of(shape: tuple[int, int, int], spacing_mm: tuple[float, ...], dtype: type) -> Volume:
    """Two channels of soft lumps and noise that fit into every type."""
    rng = np.random.default_rng(sum(shape))
    grid = np.meshgrid(*(np.linspace(0, 7, n) for n in shape), indexing="ij")
    lumps = np.sin(grid[0]) + np.sin(grid[1] + 1) * np.cos(grid[2])
    image = 120 + 40 * np.stack([lumps, lumps**2], -1) + rng.normal(0, 12, (*shape, 2))
    affine = np.diag([*spacing_mm, 1.0])
    return Volume(image.clip(0, 255).astype(dtype), affine, StoredGeometry(shape, affine, ".nii.gz"))


def served(exported, name: str, *scans: Volume) -> dict[str, np.ndarray]:  # type: ignore[no-untyped-def]
    voxels = tf.constant(np.stack([scan.array for scan in scans]))
    spacing_mm = tf.constant([scan.spacing_mm for scan in scans], tf.float32)
    return {
        key: value.numpy() for key, value in exported.signatures[name](voxels=voxels, spacing_mm=spacing_mm).items()
    }


@pytest.fixture(scope="module")
def predicted(exported):  # type: ignore[no-untyped-def]
    """A scan to the label map of `kseg.predict`."""
    segment = volume_segmenter(exported.run, postprocessing=exported.pipeline.postprocessing)

    def predict(scan: Volume) -> np.ndarray:
        indices = segment_scan(stream_of_volume(scan), "scan", segment, exported.pipeline.spacing_mm, iter)
        return exported.pipeline.label_map.to_values(indices)

    return predict


@pytest.mark.parametrize(("shape", "spacing_mm"), SCANS)
@pytest.mark.parametrize("name", VOXEL_TYPES)
def test_label_maps_are_those_of_predict(exported, predicted, name, shape, spacing_mm) -> None:  # type: ignore[no-untyped-def]
    scan = scan_of(shape, spacing_mm, VOXEL_TYPES[name].as_numpy_dtype)
    labels, expected = served(exported, name, scan)["labels"][0], predicted(scan)
    assert labels.dtype == expected.dtype == np.int16
    assert set(np.unique(expected)) == {-100, 0, 300}
    assert np.mean(labels != expected) <= 1e-4


def test_volumes_of_a_batch_are_segmented_each_by_itself(exported, predicted) -> None:  # type: ignore[no-untyped-def]
    first = scan_of((12, 17, 11), (1.0, 0.8, 1.5), np.float32)
    second = replace(scan_of((12, 17, 11), (0.9, 1.4, 1.2), np.float32), array=first.array[::-1] * 3)
    labels = served(exported, "segment", first, second)["labels"]
    for found, scan in zip(labels, (first, second), strict=True):
        np.testing.assert_array_equal(found, predicted(scan))


def test_probabilities_are_blended_and_brought_back_linearly(exported) -> None:  # type: ignore[no-untyped-def]
    scan = scan_of((9, 29, 15), (1.3, 0.8, 1.1), np.float32)
    image = gather(at_spacing(stream_of_volume(scan), exported.pipeline.spacing_mm, linear), "scan")
    models = [member.load_model() for member in exported.run.members]
    predict = ensemble_of([model.predict_on_batch for model in models], exported.pipeline.flip_axes, compared=False)
    statistics = intensity_statistics(image.array)
    blended = np.empty((*image.shape, 3), np.float32)
    for window, plane in probability_planes(
        predict,
        image.array,
        exported.pipeline.patch_size,
        3,
        overlap=exported.pipeline.overlap,
        normalise=lambda tile: normalise(tile, statistics, exported.pipeline.scales),
        buffer_bytes=exported.run.recipe.evaluation.buffer_bytes,
    ):
        blended[window] = plane
    volume = stream_of_volume(replace(image, array=blended))
    expected = gather(on_grid(volume, scan.shape, scan.spacing_mm, linear), "probabilities").array

    found = served(exported, SEGMENT_PROBABILITIES, scan)
    np.testing.assert_allclose(found["probabilities"][0], expected, atol=1e-5)
    np.testing.assert_array_equal(found["labels"], served(exported, "segment", scan)["labels"])


def test_a_patch_is_normalised_by_itself_and_seen_in_one_piece(exported) -> None:  # type: ignore[no-untyped-def]
    volumes = np.stack([scan_of((11, 17, 13), (1, 1, 1), np.float32).array * factor for factor in (1, 5)])
    models = [member.load_model() for member in exported.run.members]
    for name in (PATCH, "serving_default"):
        found = exported.signatures[name](voxels=tf.constant(volumes))["probabilities"].numpy()
        for volume, probabilities in zip(volumes, found, strict=True):
            seen = normalise(volume, intensity_statistics(volume), exported.pipeline.scales)[np.newaxis]
            expected = np.mean([model.network(seen)[0] for model in models], axis=0)
            np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_names_and_types_are_those_that_clients_are_built_on(exported) -> None:  # type: ignore[no-untyped-def]
    for name, dtype in (VOXEL_TYPES | {SEGMENT_PROBABILITIES: tf.float32}).items():
        _, inputs = exported.signatures[name].structured_input_signature
        assert inputs["voxels"].dtype == dtype
        assert inputs["voxels"].shape.as_list() == [None, None, None, None, 2]
        assert inputs["spacing_mm"].dtype == tf.float32
        assert inputs["spacing_mm"].shape.as_list() == [None, 3]
        assert exported.signatures[name].structured_outputs["labels"].dtype == tf.int16
    assert set(exported.signatures) == {*VOXEL_TYPES, SEGMENT_PROBABILITIES, PATCH, "serving_default"}


def test_what_is_compared_at_export_is_larger_than_a_patch(exported) -> None:  # type: ignore[no-untyped-def]
    assert exported.difference.differing_labels <= 1e-4
    assert np.prod(exported.difference.shape) > np.prod(exported.pipeline.patch_size)


def test_a_model_that_segments_otherwise_is_not_kept(exported, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    class Careless(tf.Module):
        """Finds background everywhere."""

        def __init__(self, networks, pipeline) -> None:  # type: ignore[no-untyped-def]
            super().__init__()

        def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
            def function(dtype: tf.DType) -> tf.types.experimental.ConcreteFunction:
                specs = tf.TensorSpec([None] * 4 + [2], dtype, "voxels"), tf.TensorSpec([None, 3], name="spacing_mm")
                return tf.function(
                    lambda voxels, spacing_mm: {"labels": tf.zeros(tf.shape(voxels)[:4], tf.int16)}
                ).get_concrete_function(*specs)

            patch = tf.function(lambda voxels: {"probabilities": tf.zeros([1, *exported.pipeline.patch_size, 3])})
            spec = tf.TensorSpec([None] * 4 + [2], name="voxels")
            named = {name: function(VOXEL_TYPES[name]) for name in saved_model.COMPARED}
            return named | {PATCH: patch.get_concrete_function(spec)}

    monkeypatch.setattr(saved_model, "ServedModel", Careless)
    with pytest.raises(RuntimeError, match=r"not segment as kseg\.predict does .*differing_labels=0\.[1-9].* not kept"):
        write_saved_model(exported.run, exported.pipeline, tmp_path / "1", "abdomen")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_classes", [255, 256, 257])
def test_the_last_of_many_classes_comes_out_with_its_value(exported, num_classes: int) -> None:  # type: ignore[no-untyped-def]
    network = build_network("midl2021", num_classes, 2, filters=(2,), dilation_rates=(1,), pooling=1)
    last = next(layer for layer in reversed(network.layers) if layer.weights)
    kernel, bias = last.get_weights()
    last.set_weights([np.zeros_like(kernel), np.where(np.arange(num_classes) == num_classes - 1, 9, bias)])
    label_map = LabelMap(("background", *map(str, range(1, num_classes))), tuple(range(0, 3 * num_classes, 3)))
    pipeline = replace(exported.pipeline, label_map=label_map, postprocessing=None, flip_axes=())
    scan = scan_of((10, 14, 12), (1.0, 0.9, 1.5), np.uint8)
    for name in ("segment_uint8", SEGMENT_PROBABILITIES):
        signature = ServedModel([network], pipeline).signature(name)
        voxels = tf.constant(scan.array[np.newaxis], VOXEL_TYPES.get(name, tf.float32))
        found = signature(voxels=voxels, spacing_mm=tf.constant([scan.spacing_mm], tf.float32))["labels"].numpy()
        assert found.dtype == label_map.value_dtype
        np.testing.assert_array_equal(found, 3 * (num_classes - 1))


def test_a_constant_volume_and_one_of_a_voxel_are_answered(exported) -> None:  # type: ignore[no-untyped-def]
    flat = replace(scan_of((9, 9, 9), (1.0, 0.8, 1.5), np.uint8), array=np.zeros((9, 9, 9, 2), np.uint8))
    assert served(exported, "segment_uint8", flat)["labels"].shape == (1, 9, 9, 9)
    voxel = scan_of((1, 1, 1), (1.0, 0.8, 1.5), np.uint8)
    assert served(exported, "segment_uint8", voxel)["labels"].shape == (1, 1, 1, 1)
