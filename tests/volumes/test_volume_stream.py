"""Volumes slab by slab: the same voxels as SimpleITK reads whole, aligned slabs, and little in memory."""

import tracemalloc
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from damage import flipped

from kseg.console.errors import InputError
from kseg.volumes.labels import LabelMap
from kseg.volumes.read import open_image, open_labels, read_image
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import gather, stream_of_volume

EXTENSIONS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")
DIRECTIONS = {
    "RAS": (-1, 0, 0, 0, -1, 0, 0, 0, 1),
    "head first": (1, 0, 0, 0, 1, 0, 0, 0, -1),
    "sagittal": (0, 0, 1, 1, 0, 0, 0, 1, 0),
    "coronal, backwards": (1, 0, 0, 0, 0, -1, 0, -1, 0),
}


def image_of(array: np.ndarray, direction: str) -> sitk.Image:
    """ITK's image of an array (i, j, k) or (i, j, k, channels)."""
    vectors = array.ndim == 4
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0, *([3] if vectors else [])), isVector=vectors)
    image.SetSpacing((0.5, 0.8, 1.7))
    image.SetOrigin((-81.3, 40.7, 212.9))
    image.SetDirection(DIRECTIONS[direction])
    return image


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_slabs_are_aligned_and_together_the_volume_that_simpleitk_orders(extension, direction, compress, tmp_path):
    array = np.random.default_rng(0).integers(-99, 99, (7, 8, 9)).astype(np.int16)
    path = tmp_path / f"scan{extension}"
    sitk.WriteImage(image_of(array, direction), str(path), compress)
    oriented = sitk.DICOMOrient(image_of(array, direction), "LPS")  # ITK's name for the order whose axes run to L, P, S
    expected = sitk.GetArrayFromImage(oriented).T[::-1, ::-1]
    stream = open_image([path], "a")
    assert (stream.shape, stream.channels, stream.dtype) == (expected.shape, 1, np.int16)
    for thickness in (1, 4, 9, 64):
        found, seen = np.zeros_like(expected), []
        for first, slab in stream.read(thickness):
            assert first % thickness == 0
            place = [slice(None)] * 3
            place[stream.axis] = slice(first, first + thickness)
            found[tuple(place)] = slab[..., 0]
            seen.append(first)
        np.testing.assert_array_equal(found, expected)
        assert seen == sorted(seen, reverse=stream.downwards)


@pytest.mark.parametrize("name", ["four.nii.gz", "four.nii", "vector.mha", "vector_packed.mha", "vector.nrrd"])
def test_the_channels_of_a_file_come_side_by_side(name, tmp_path):
    array = np.random.default_rng(1).integers(0, 99, (4, 5, 6, 3)).astype(np.uint16)
    if ".nii" in name:
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / name)
    else:
        sitk.WriteImage(image_of(array, "RAS"), str(tmp_path / name), "packed" in name)
    stream = open_image([tmp_path / name], "a")
    slabs = [slab for _, slab in stream.read(4)]
    assert [slab.shape for slab in slabs] == [(4, 5, 4, 3), (4, 5, 2, 3)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=2), array)


def test_channels_that_run_another_way_through_their_files_are_brought_into_step(tmp_path):
    array = np.random.default_rng(2).integers(0, 99, (7, 8, 9)).astype(np.uint8)
    first = image_of(array, "RAS")
    second = sitk.DICOMOrient(first + 100, "ASR")
    for image, name in ((first, "a.mha"), (second, "b.nii.gz")):
        sitk.WriteImage(image, str(tmp_path / name))
    stream = open_image([tmp_path / "a.mha", tmp_path / "b.nii.gz"], "p")
    slabs = [slab for _, slab in stream.read(4)]
    assert len(slabs) == 3
    np.testing.assert_array_equal(np.concatenate(slabs, axis=2), np.stack([array, array + 100], axis=-1))


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "raw.mha", "packed.mha"])
def test_memory_is_that_of_a_slab(name, tmp_path):
    array = np.tile(np.arange(100, dtype=np.uint8), (200, 4, 1)).transpose(1, 2, 0).reshape(200, 200, -1)
    array = np.repeat(array, 200 // array.shape[2] + 1, axis=2)
    sitk.WriteImage(image_of(array, "head first"), str(tmp_path / name), name in ("scan.nii.gz", "packed.mha"))
    stream = open_image([tmp_path / name], "a")
    tracemalloc.start()
    for _ in stream.read(8):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert array.nbytes > 8e6
    assert peak < 2.5e6  # slabs of 0.32 MB, the inflated one and what it is made of


@pytest.mark.parametrize("name", ["scan.nii.gz", "packed.mha"])
def test_damage_near_the_end_is_told_after_the_slabs_before_it(name, tmp_path):
    array = np.random.default_rng(3).integers(0, 256, (40, 40, 400)).astype(np.uint8)
    path = tmp_path / name
    sitk.WriteImage(image_of(array, "RAS"), str(path), True)
    content = path.read_bytes()
    for damaged in (content[:-9000], flipped(content, -2)):
        path.write_bytes(damaged)
        seen = 0
        with pytest.raises(InputError, match=name):
            for _ in open_image([path], "a").read(64):
                seen += 1
        assert seen >= 6


def test_labels_come_as_class_indices(tmp_path):
    values = np.random.default_rng(4).choice([0, 100, 200], (7, 8, 9)).astype(np.int16)
    sitk.WriteImage(image_of(values, "head first"), str(tmp_path / "labels.mha"))
    sitk.WriteImage(image_of(values, "head first"), str(tmp_path / "image.nii.gz"))
    image = read_image([tmp_path / "image.nii.gz"], "a")
    labels = open_labels(tmp_path / "labels.mha", LabelMap(("background", "a", "b"), (0, 100, 200)), image, "a")
    whole = gather(labels, "labels")
    assert whole.array.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(whole.array * 100, image.array)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("downwards", [False, True])
def test_a_volume_in_memory_streams_along_any_axis(axis, downwards):
    array = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    volume = Volume(array, np.eye(4), StoredGeometry((5, 6, 7), np.eye(4), ".nii"))
    stream = stream_of_volume(volume, axis, downwards)
    np.testing.assert_array_equal(gather(stream, "it").array[..., 0], array)
    assert [first for first, _ in stream.read(4)] == ([4, 0] if downwards else [0, 4])


def test_a_volume_that_memory_cannot_hold_is_one_line():
    volume = Volume(np.zeros((2, 2, 2)), np.eye(4), StoredGeometry((2, 2, 2), np.eye(4), ".nii"))
    with pytest.raises(InputError, match=r"it of shape .* does not fit into memory: crop it"):
        gather(replace(stream_of_volume(volume), shape=(2**20, 2**20, 2**20)), "it")
