"""Resampling beside SimpleITK's and SciPy's of whole volumes, and what must not depend on how a file is stored."""

import tracemalloc
from functools import partial
from itertools import product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from damage import flip_bits
from scipy.ndimage import map_coordinates

from kseg.console.errors import InputError
from kseg.volumes.annotated_slices import Annotation
from kseg.volumes.geometry import corners_mm
from kseg.volumes.interpolation import by_label, linear, moved_to, places_of
from kseg.volumes.read import open_image
from kseg.volumes.resample import at_spacing, on_grid
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import gather, stream_of_volume

SPACING_MM = (0.5, 0.8, 1.7)
TARGETS_MM = [(1.0, 1.0, 1.0), (0.3, 0.4, 0.9), (0.71, 1.9, 5.3), (0.5, 0.8, 0.43)]


def affine_of(spacing_mm=SPACING_MM):
    """A rotation about z, the spacing, and an origin off 0."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:2, :2] = np.array([[0.96, -0.28], [0.28, 0.96]]) * spacing_mm[:2]
    affine[:3, 3] = (-31.5, 12.25, 87.0)
    return affine


def volume_of(array):
    return Volume(array, affine_of(), StoredGeometry(array.shape[:3], affine_of(), ".nii.gz"))


def image_array(shape=(40, 30, 90), dtype=np.int16):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def labels_array(shape=(40, 30, 90)):
    """Balls of three classes that overlap, and grains."""
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    labels = np.zeros(shape, np.uint8)
    for label, centre in enumerate(([15, 10, 20], [20, 20, 40], [25, 15, 60]), start=1):
        labels[((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(axis=0) < 150] = label
    labels[rng.random(shape) < 0.01] = 3
    return labels


def coordinates(stream, like):
    """Voxel coordinates in `like` of every voxel of `stream`, by way of their places in space, (3, x, y, z)."""
    matrix = np.linalg.inv(like.affine) @ stream.affine
    indices = np.stack(np.meshgrid(*map(np.arange, stream.shape), indexing="ij"))
    return np.tensordot(matrix[:3, :3], indices, 1) + matrix[:3, 3].reshape(3, 1, 1, 1)


@pytest.mark.parametrize("target_mm", TARGETS_MM)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_intensities_are_what_scipy_interpolates_at_the_same_places(target_mm, dtype):
    array = image_array(dtype=dtype)
    stream = at_spacing(stream_of_volume(volume_of(array), axis=2), target_mm, linear)
    found = gather(stream, "it")
    np.testing.assert_allclose(found.spacing_mm, target_mm)
    places = coordinates(stream, volume_of(array))
    expected = map_coordinates(array.astype(np.float64), places, order=1, mode="nearest")
    assert found.array.dtype == dtype
    rounded = 0 if dtype == np.float32 else 0.5
    # Places are rounded by 2^-17 of a voxel at most, along three axes.
    np.testing.assert_allclose(found.array[..., 0], expected, atol=rounded + 3 * 200 / 2**17)


@pytest.mark.parametrize("target_mm", TARGETS_MM)
def test_labels_are_those_whose_interpolated_indicator_is_largest(target_mm):
    labels = labels_array()
    stream = at_spacing(stream_of_volume(volume_of(labels), axis=2), target_mm, by_label)
    places = coordinates(stream, volume_of(labels))
    shares = [map_coordinates((labels == n).astype(float), places, order=1, mode="nearest") for n in range(4)]
    chosen = np.take_along_axis(np.stack(shares), gather(stream, "it").array[..., 0][np.newaxis].astype(int), axis=0)[0]
    np.testing.assert_allclose(chosen, np.max(shares, axis=0), atol=1e-6)


@pytest.mark.parametrize(("interpolation", "array"), [(linear, image_array()), (by_label, labels_array())])
@pytest.mark.parametrize("target_mm", TARGETS_MM)
def test_the_result_does_not_depend_on_the_files_order_nor_on_how_it_is_cut(interpolation, array, target_mm):
    expected = gather(at_spacing(stream_of_volume(volume_of(array)), target_mm, interpolation), "it")
    for axis, downwards in product(range(3), (False, True)):
        stream = at_spacing(stream_of_volume(volume_of(array), axis, downwards), target_mm, interpolation)
        for thickness in (5, 64):
            found = np.full(expected.array.shape, 99, array.dtype)
            firsts = []
            for first, slab in stream.read(thickness):
                np.moveaxis(found, axis, 0)[first : first + thickness] = np.moveaxis(slab, axis, 0)
                firsts.append(first)
            np.testing.assert_array_equal(found, expected.array)
            assert firsts == sorted(range(0, stream.shape[axis], thickness), reverse=downwards)


@pytest.mark.parametrize("direction", ["RAS", "LPS", "SAR", "PIL"])
def test_a_file_in_any_order_gives_the_same_resampled_volume(direction, tmp_path):
    image = sitk.GetImageFromArray(image_array((9, 8, 33)).T)
    image.SetSpacing(SPACING_MM)
    found = []
    for name, order in (("a.nii.gz", "LPS"), ("b.nii.gz", direction)):
        sitk.WriteImage(sitk.DICOMOrient(image, order), str(tmp_path / name))
        found.append(gather(at_spacing(open_image([tmp_path / name], "a"), (1, 1, 1), linear), "it"))
    np.testing.assert_array_equal(found[0].array, found[1].array)
    np.testing.assert_allclose(found[0].affine, found[1].affine, atol=1e-5)


def test_channels_are_resampled_one_by_one():
    two = np.stack([image_array(), image_array()[::-1]], axis=-1)
    both = gather(at_spacing(stream_of_volume(volume_of(two), axis=2), (1, 1, 1), linear), "it").array
    for channel in range(2):
        alone = volume_of(two[..., channel])
        np.testing.assert_array_equal(
            both[..., channel],
            gather(at_spacing(stream_of_volume(alone, axis=2), (1, 1, 1), linear), "it").array[..., 0],
        )


def test_the_new_grid_has_the_old_ones_centre_and_nearly_its_size():
    old = stream_of_volume(volume_of(image_array()))
    new = at_spacing(old, (1.1, 0.7, 4.0), linear)
    assert new.shape == (round(40 * 0.5 / 1.1), round(30 * 0.8 / 0.7), round(90 * 1.7 / 4.0))
    centres = [corners_mm(grid.shape, grid.affine).mean(axis=0) for grid in (old, new)]
    np.testing.assert_allclose(centres[0], centres[1])
    np.testing.assert_allclose(new.affine[:3, :3] / new.spacing_mm, old.affine[:3, :3] / old.spacing_mm)


def test_a_mask_that_goes_to_a_finer_grid_comes_back_as_it_was():
    labels = labels_array()
    there = at_spacing(stream_of_volume(volume_of(labels)), np.divide(SPACING_MM, 3), by_label)
    back = on_grid(there, labels.shape, SPACING_MM, by_label)
    np.testing.assert_allclose(back.affine, affine_of(), atol=1e-9)
    np.testing.assert_array_equal(gather(back, "it").array[..., 0], labels)


def test_a_spacing_that_is_the_volumes_own_but_for_rounding_leaves_it_alone():
    stream = stream_of_volume(volume_of(image_array()))
    assert at_spacing(stream, (0.5, 0.8, 1.7000001), linear) is stream
    assert at_spacing(stream, (0.5, 0.8, 1.71), linear) is not stream


@pytest.mark.parametrize("mm", [(0.5, 0.8, 1e-6), (1e-9, 1e-9, 1e-9)])
def test_a_spacing_that_would_fill_the_disk_is_refused(mm):
    with pytest.raises(InputError, match=r"`spacing_mm` .* makes .* voxels of a volume of shape \(40, 30, 90\)"):
        at_spacing(stream_of_volume(volume_of(image_array())), mm, linear)


def test_a_spacing_longer_than_the_volume_leaves_one_voxel():
    array = np.arange(4 * 5 * 3, dtype=np.float32).reshape(4, 5, 3)
    one = gather(at_spacing(stream_of_volume(volume_of(array)), (1e3, 1e3, 1e3), linear), "it").array
    assert one.ravel().tolist() == [array.mean()]  # the middle of a linear volume is its mean


def test_places_of_half_as_many_voxels_lie_between_two():
    assert places_of(4, 2, 2.0).tolist() == [0.5, 2.5]
    assert places_of(2, 4, 0.5).tolist() == [0, 0.25, 0.75, 1]  # the outermost would lie a quarter outside


def test_ties_go_to_the_lowest_class():
    row = np.array([2, 1, 0, 2], np.uint8).reshape(4, 1, 1)
    middle = [np.array([0.25, 0.5, 1.5, 2.5]), np.zeros(1), np.zeros(1)]
    assert by_label(row, middle).ravel().tolist() == [2, 1, 0, 0]


def test_two_small_shares_do_not_outvote_a_larger_one():
    square = np.array([[1, 0], [2, 0]], np.uint8)[..., np.newaxis]  # 0 has 0.45 of the place, 1 and 2 have 0.275 each
    assert by_label(square, [np.array([0.5]), np.array([0.45]), np.zeros(1)]).item() == 0


@pytest.mark.parametrize("target_mm", TARGETS_MM)
def test_labels_are_those_of_simpleitk_but_for_ties(target_mm):
    labels = labels_array()
    found = gather(at_spacing(stream_of_volume(volume_of(labels)), target_mm, by_label), "it").array[..., 0]
    image = sitk.GetImageFromArray(labels.T)
    ratios = np.divide(target_mm, SPACING_MM)
    origin = [(old - 1) / 2 - (new - 1) / 2 * r for old, new, r in zip(labels.shape, found.shape, ratios, strict=True)]
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(found.shape)
    resampler.SetOutputSpacing(ratios.tolist())
    resampler.SetOutputOrigin(origin)
    resampler.SetInterpolator(sitk.sitkLabelLinear)
    resampler.UseNearestNeighborExtrapolatorOn()
    expected = sitk.GetArrayFromImage(resampler.Execute(image)).T
    assert (found != expected).mean() < 1e-3


@pytest.mark.parametrize("across", [0, 1, 2])
@pytest.mark.parametrize(("along", "downwards"), [(0, False), (1, True), (2, False), (2, True)])
@pytest.mark.parametrize("ratio", [1.3, 2.0, 3.6])
def test_a_coarser_grid_passes_over_no_annotated_slice(across, along, downwards, ratio):
    shape, spacing_mm, nobody = [6, 7, 8], list(SPACING_MM), 250
    shape[across], spacing_mm[across] = 61, ratio * SPACING_MM[across]
    annotated = np.arange(3, 61, 7)
    labels = np.full(shape, nobody, np.uint8)
    np.moveaxis(labels, across, 0)[annotated] = np.arange(1, 10).reshape(-1, 1, 1)  # each of a class of its own
    stream = stream_of_volume(volume_of(labels), along, downwards)
    kept = Annotation(across="xyz"[across]).planes_to_keep(stream, nobody)
    found = gather(at_spacing(stream, spacing_mm, partial(by_label, ignored=nobody), kept), "it").array[..., 0]
    planes = np.moveaxis(found, across, 0).reshape(found.shape[across], -1)
    np.testing.assert_array_equal(planes, np.broadcast_to(planes[:, :1], planes.shape))
    labelled = np.flatnonzero(planes[:, 0] != nobody)
    assert planes[labelled, 0].tolist() == list(range(1, 10))
    moved_by = np.abs(places_of(61, len(planes), ratio)[labelled] - annotated)
    assert moved_by.max() <= ratio / 2 + 1e-4


def test_of_slices_in_one_new_voxel_the_nearest_counts_and_whole_label_maps_are_interpolated():
    places = places_of(12, 3, 4.0)
    assert places.tolist() == [1.5, 5.5, 9.5]
    assert moved_to(np.isin(np.arange(12), (0, 3, 6, 7)), places).tolist() in ([0, 6, 9.5], [3, 6, 9.5])
    assert moved_to(np.isin(np.arange(12), (0, 2, 11)), places).tolist() == [2, 5.5, 11]
    np.testing.assert_array_equal(moved_to(np.ones(12, bool), places), places)
    np.testing.assert_array_equal(moved_to(np.zeros(12, bool), places), places)


def test_damage_after_the_last_plane_that_is_needed_is_told(tmp_path):
    array = image_array((30, 30, 400), np.uint8)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "scan.nii.gz")
    flip_bits(tmp_path / "scan.nii.gz", -6)  # gzip's checksum
    with pytest.raises(InputError, match=r"scan\.nii\.gz"):
        gather(at_spacing(open_image([tmp_path / "scan.nii.gz"], "a"), (2, 2, 50), linear), "it")


def test_memory_is_that_of_slabs():
    shape = (100, 100, 1600)
    flat = volume_of(np.broadcast_to(np.arange(shape[2], dtype=np.int16) % 99, shape))
    stream = at_spacing(stream_of_volume(flat, axis=2), (*SPACING_MM[:2], 0.9), linear)
    tracemalloc.start()
    for _ in stream.read(16):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 2 * np.prod(stream.shape) > 60e6
    assert peak < 8e6
