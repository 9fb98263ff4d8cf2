"""Outlines lie on the label boundary, in the class's colour, on the right side of the patient."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from scipy import ndimage

from kseg.pictures.png import save_png
from kseg.pictures.three_planes import outline, three_planes
from kseg.volumes.structure_colours import colour_of

NAMES = ("soleus", "gastrocnemius")
SHAPE, SPACING = (24, 30, 14), (1.0, 0.8, 3.0)


def draw(path: Path, image: np.ndarray, truth: np.ndarray | None, prediction: np.ndarray | None) -> np.ndarray:
    """The picture as (row, column, RGB) in 0..1."""
    figure = three_planes(image, truth, prediction, spacing_mm=SPACING, class_names=NAMES, title="a case")
    save_png(figure, path / "case.png")
    return imread(path / "case.png")[..., :3]


def coloured(picture: np.ndarray, index: int) -> np.ndarray:
    return np.abs(picture - to_rgb(colour_of(index))).max(axis=-1) < 0.1


def closed_lines(mask: np.ndarray) -> list[np.ndarray]:
    """The insides of all closed lines in a picture: a legend's stroke has none."""
    insides, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    return [insides == i for i in range(1, count + 1) if (insides == i).sum() > 100]


def cuboid(start: tuple[int, ...], stop: tuple[int, ...], index: int = 1) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = index
    return labels


def test_outline_of_one_voxel_and_of_a_ring() -> None:
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    sides = {tuple(map(tuple, segment)) for segment in outline(mask).tolist()}
    assert sides == {((2, 3), (2, 4)), ((3, 3), (3, 4)), ((2, 3), (3, 3)), ((2, 4), (3, 4))}
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    assert len(outline(ring)) == 12 + 4
    assert len(outline(np.zeros((3, 3), bool))) == 0


def test_outlines_enclose_exactly_the_labelled_voxels(tmp_path: Path) -> None:
    """Labelled voxels are mid-grey, all others black or white: inside a line all is grey, outside nothing."""
    truth = cuboid((5, 8, 3), (15, 20, 9))
    truth[5:8, 8:12] = 0
    image = np.where(truth, 0.5, np.random.default_rng(0).integers(0, 2, SHAPE))
    picture = draw(tmp_path, image, truth, None)
    grey = np.abs(picture - 0.5).max(axis=-1) < 0.01
    line = coloured(picture, 1)
    regions = closed_lines(line)
    assert len(regions) == 3
    for inside in regions:
        core = ndimage.binary_erosion(inside, iterations=3)
        # 1.2 points at 150 dots an inch are 2.5 pixels: 6 pixels from the inside is beyond the line.
        rim = ndimage.binary_dilation(inside, iterations=8) & ~ndimage.binary_dilation(inside, iterations=6)
        assert grey[core].mean() > 0.99
        assert grey[rim].mean() < 0.01


@pytest.mark.parametrize("corner", ["right front head", "left back foot"])
def test_radiological_convention(tmp_path: Path, corner: str) -> None:
    """High x, y, z (right, front, head) is at the left and top of every panel, low at right and bottom."""
    high = corner == "right front head"
    truth = cuboid((18, 22, 10), (22, 28, 13)) if high else cuboid((2, 2, 1), (6, 8, 4))
    picture = draw(tmp_path, np.zeros(SHAPE), truth, None)
    line = coloured(picture, 1)
    panels, count = ndimage.label((picture.max(axis=-1) < 0.05) | line)
    areas = ndimage.sum_labels(np.ones_like(panels), panels, range(1, count + 1))
    largest = 1 + np.argsort(areas)[-3:]
    for place in (ndimage.find_objects(panels)[i - 1] for i in largest):
        row, column = (np.mean(axis) for axis in np.nonzero(line[place]))
        height, width = line[place].shape
        assert (row < height / 2) == high
        assert (column < width / 2) == high


def test_each_class_has_its_colour_and_an_absent_one_only_its_legend(tmp_path: Path) -> None:
    both = cuboid((4, 4, 2), (12, 20, 12)) + cuboid((14, 4, 2), (20, 20, 12), index=2)
    only_first = np.where(both == 1, both, 0).astype(np.uint8)
    picture = draw(tmp_path, np.zeros(SHAPE), both, only_first)
    rows = len(picture) // 2
    truth, prediction = picture[:rows], picture[rows:]
    assert len(closed_lines(coloured(truth, 1))) == len(closed_lines(coloured(prediction, 1))) >= 2
    assert closed_lines(coloured(truth, 2))
    assert not closed_lines(coloured(prediction, 2))
    assert coloured(prediction, 2).any(), "the legend still names it"


def test_a_region_is_outlined_with_what_lies_within_it() -> None:
    whole, tumour = cuboid((4, 4, 2), (16, 20, 12)), cuboid((4, 4, 2), (16, 20, 12))
    tumour[4:10] = np.where(tumour[4:10], 2, 0)  # its core

    def outlines(labels: np.ndarray, **names: Any) -> list[list[list[list[float]]]]:
        figure = three_planes(np.zeros(SHAPE), labels, None, spacing_mm=SPACING, title="a", **names)
        return [[line.tolist() for line in lines.get_segments()] for lines in figure.axes[0].collections]

    as_regions = outlines(tumour, class_names=("whole", "core"), members=((1, 2), (2,)))
    assert as_regions[0] == outlines(whole, class_names=("whole",))[0]
    assert as_regions[1] == outlines(tumour, class_names=("rest", "core"))[1]


def test_words_keep_their_size_in_a_smaller_picture() -> None:
    small, large = (
        three_planes(
            np.zeros(SHAPE),
            cuboid((4, 4, 2), (12, 20, 12)),
            None,
            spacing_mm=SPACING,
            class_names=NAMES,
            title="a",
            row_inches=inches,
        )
        for inches in (1.5, 3.0)
    )
    assert small.get_figwidth() == pytest.approx(large.get_figwidth() / 2)
    sizes = [[text.get_fontsize() for text in figure.legends[0].get_texts()] for figure in (small, large)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("names", "inches"), [(NAMES, 3.2), (("gastrocnemius_lateralis",) * 3, 1.5), (("x",) * 9, 1.5)]
)
def test_a_legend_fits_into_its_picture(names: tuple[str, ...], inches: float) -> None:
    figure = three_planes(
        np.zeros(SHAPE),
        None,
        cuboid((4, 4, 2), (12, 20, 12)),
        spacing_mm=SPACING,
        class_names=names,
        title="a",
        row_inches=inches,
    )
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width
    assert legend.y0 >= 0


def test_without_truth_the_prediction_chooses_the_slices_and_without_both_nothing_is_outlined(
    tmp_path: Path,
) -> None:
    small = cuboid((3, 3, 1), (9, 9, 4))
    assert len(closed_lines(coloured(draw(tmp_path, np.zeros(SHAPE), None, small), 1))) == 3
    assert len(closed_lines(coloured(draw(tmp_path, np.zeros(SHAPE), np.zeros_like(small), small), 1))) == 3
    assert not closed_lines(coloured(draw(tmp_path, np.zeros(SHAPE), None, None), 1))


def test_panels_keep_the_proportions_of_the_patient(tmp_path: Path) -> None:
    """A cuboid of equal edges in mm is square in every panel, whatever the voxels are."""
    truth = cuboid((3, 5, 3), (15, 20, 7))  # 12 x 12 x 12 mm
    regions = closed_lines(coloured(draw(tmp_path, np.zeros(SHAPE), truth, None), 1))
    assert len(regions) == 3
    for inside in regions:
        rows, columns = (np.ptp(axis) for axis in np.nonzero(inside))
        assert rows == pytest.approx(columns, abs=2)


def test_what_nobody_labelled_is_lighter_and_named(tmp_path: Path) -> None:
    image, truth = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    image[0, 0, 0], truth[3:9, 4:12, 4:10] = 1, 1
    whole = draw(tmp_path, image, truth, truth)
    partly = np.where(np.arange(SHAPE[2]) % 7, len(NAMES) + 1, truth).astype(np.uint8)
    partly[..., 7] = truth[..., 7]
    veiled = draw(tmp_path, image, partly, truth)

    def black(picture: np.ndarray) -> int:
        return int((picture.max(axis=-1) < 0.05).sum())

    def grey(picture: np.ndarray) -> int:
        return int((np.abs(picture - 0.4).max(axis=-1) < 0.02).sum())

    rows = slice(0, len(veiled) // 2)  # the truth's
    ends = [np.flatnonzero(coloured(of[rows], 1).any(axis=0))[[0, -1]] for of in (whole, veiled)]
    assert np.abs(ends[0] - ends[1]).max() <= 2  # of the axial and the sagittal plane: on the same side
    assert grey(veiled) > 0.2 * black(whole) > 20 * grey(whole)
    assert black(veiled) > 0.4 * black(whole)  # the prediction's row, and the labelled slices
