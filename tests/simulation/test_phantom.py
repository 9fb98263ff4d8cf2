"""The phantom is the leg, the physics and the file that it claims to be."""

import csv
import shlex
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from kseg import phantom as command
from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.simulation.calf import LATERALIS, MEDIALIS, SOLEUS, Leg
from kseg.simulation.phantom import DYNAMIC_RANGE_DB, LABELS, Look, Phantom, phantom_volume, phantoms
from kseg.simulation.phantom_shape import FIELD_MM, FULL_SHAPE, VOXEL_MM
from kseg.simulation.ultrasound import bone_echo, draw_sweeps, speckle, view_section
from kseg.volumes.cases.find import find_cases

SMALL = (40, 40, 48)
MUSCLES = (SOLEUS, MEDIALIS, LATERALIS)


def natural(shape: tuple[int, int, int], difficulty: float = 0.5, subject: int = 0, seed: int = 0) -> Phantom:
    x, y, z = np.divide(FIELD_MM, shape).tolist()
    return Phantom(subject, shape, (x, y, z), difficulty, seed)


@cache
def arrays(phantom: Phantom) -> tuple[np.ndarray, np.ndarray]:
    image, labels = phantom_volume(phantom)
    return image.array, labels.array


def fractions(labels: np.ndarray) -> np.ndarray:
    return np.array([np.mean(labels == value) for value in MUSCLES])


# The leg


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_muscles_fill_about_the_shares_of_leg_3d_us(difficulty: float) -> None:
    shares = [fractions(arrays(natural(SMALL, difficulty, subject))[1]) for subject in range(8)]
    ratio = np.mean(shares, axis=0) / (0.044, 0.022, 0.011)
    assert np.all((ratio > 1 / 1.3) & (ratio < 1.3)), ratio


def test_shares_hardly_depend_on_the_shape_or_the_spacing() -> None:
    reference = fractions(arrays(natural((64, 64, 80)))[1])
    for shape in (SMALL, (48, 96, 32)):
        np.testing.assert_allclose(fractions(arrays(natural(shape))[1]), reference, rtol=0.08)
    other_spacing = replace(natural(SMALL), spacing_mm=(1.0, 1.0, 1.0))
    np.testing.assert_array_equal(arrays(other_spacing)[1], arrays(natural(SMALL))[1])


def test_muscles_lie_as_in_a_right_calf_scanned_from_behind() -> None:
    _, labels = arrays(natural((64, 64, 80)))
    centre = {value: np.argwhere(labels == value).mean(axis=0) for value in MUSCLES}
    assert centre[MEDIALIS][0] < 32 < centre[LATERALIS][0], "RAS: the medial head of a right leg is on its left"
    assert max(centre[MEDIALIS][1], centre[LATERALIS][1]) < centre[SOLEUS][1], "soleus lies deeper"
    lowest = {value: np.argwhere(labels == value)[:, 2].min() for value in MUSCLES}
    assert lowest[SOLEUS] < lowest[MEDIALIS] < lowest[LATERALIS], "soleus reaches nearest to the heel"


def test_muscles_taper_towards_their_lower_ends() -> None:
    _, labels = arrays(natural((64, 64, 80), difficulty=0.0))
    for value in MUSCLES:
        areas = (labels == value).sum(axis=(0, 1))
        low, thickest = np.flatnonzero(areas)[0], areas.argmax()
        lower, upper = (
            areas[low : (low + thickest) // 2].mean(),
            areas[(low + thickest) // 2 : thickest].mean(),
        )
        assert areas[low] < 0.3 * areas[thickest] and lower < 0.8 * upper


def test_subjects_and_seeds_give_different_legs() -> None:
    legs = [arrays(natural(SMALL, 0.5, subject, seed))[1] for subject, seed in ((0, 0), (1, 0), (0, 1))]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        muscle = (legs[first] > 0) | (legs[second] > 0)
        assert np.mean(legs[first][muscle] != legs[second][muscle]) > 0.05


def test_subjects_vary_more_the_harder_the_phantom() -> None:
    def spread(difficulty: float) -> float:
        sizes = [(arrays(natural(SMALL, difficulty, subject))[1] > 0).mean() for subject in range(8)]
        return float(np.std(sizes) / np.mean(sizes))

    assert spread(1.0) > 2 * spread(0.0) > 0


# The same arguments, the same voxels


def test_a_phantom_depends_on_its_arguments_alone() -> None:
    in_order = [phantom_volume(phantom) for *_, phantom in phantoms(3, SMALL)]
    last = list(phantoms(5, SMALL))[2][2]
    np.random.default_rng(0).random(7)
    for volume, again in zip(in_order[2], phantom_volume(last), strict=True):
        np.testing.assert_array_equal(volume.array, again.array)


def test_streams_may_be_interleaved_and_equal_the_volume_in_memory() -> None:
    first, second = natural(SMALL), natural(SMALL, subject=1)
    for z, ((image, labels), (other, _)) in enumerate(zip(first.slices(), second.slices(), strict=True)):
        np.testing.assert_array_equal(image, arrays(first)[0][:, :, z])
        np.testing.assert_array_equal(labels, arrays(first)[1][:, :, z])
        np.testing.assert_array_equal(other, arrays(second)[0][:, :, z])


def test_streaming_holds_a_few_slices_however_long_the_leg() -> None:
    phantom = Phantom(0, (64, 64, 256), (2.0, 2.0, 1.6))
    tracemalloc.start()
    for _ in phantom.slices():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 * 64 * 64 * 4 / 2


# Physics


def test_speckle_is_rayleigh_distributed_and_fully_developed() -> None:
    envelope = np.stack(list(speckle((96, 96, 60), (1.2, 0.7, 1.4), (3,))), axis=-1).astype(np.float64)
    assert np.mean(envelope**2) == pytest.approx(1, rel=0.03)
    assert envelope.mean() / envelope.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.02)
    # Rayleigh of unit mean square: P(envelope > t) = exp(-t^2)
    for level in (0.3, 1.0, 1.8):
        assert np.mean(envelope > level) == pytest.approx(np.exp(-(level**2)), rel=0.06)


def test_speckle_equals_filtering_the_whole_noise_at_once() -> None:
    shape, sigma, seed = (20, 18, 16), (1.2, 0.8, 2.0), (5, 1)
    reach = 5  # 2.5 sigma along z
    noise = np.stack(
        [
            np.random.default_rng([*seed, k]).standard_normal((2, *shape[:2]), np.float32)
            for k in range(shape[2] + 2 * reach)
        ],
        axis=-1,
    )
    field = [gaussian_filter(part, sigma, mode="wrap", radius=(3, 2, 5))[:, :, reach:-reach] for part in noise]
    whole = np.hypot(*field)
    streamed = np.stack(list(speckle(shape, sigma, seed)), axis=-1)
    # SciPy's kernel sums to 1, the speckle's squares do: the same up to one factor.
    ratio = streamed / whole
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=2e-3)


def section_at(height_mm: float, difficulty: float = 0.0) -> tuple:
    x_mm = np.linspace(-70, 70, 141, dtype=np.float32)[:, None]
    y_mm = np.linspace(0, 140, 141, dtype=np.float32)[None]
    section = Leg.draw(np.random.default_rng(0), 0.0).section(x_mm, y_mm, height_mm, 1.0, -4.0)
    sweeps = draw_sweeps(np.random.default_rng(1), Look.of(difficulty).gap_mm)
    view = view_section(sweeps, section, x_mm, y_mm, height_mm)
    return x_mm, y_mm, section, view


def flank_db(difficulty: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth in mm and grey value in dB of voxels medial to the tibia, below the soleus: one tissue alone."""
    image, labels = (array[20:34, 48:62, 20:40] for array in arrays(natural((128, 128, 64), difficulty)))
    depth_mm = np.broadcast_to(np.arange(48, 62)[:, None] * FIELD_MM[1] / 128, image.shape)
    tissue = (labels == 0) & (image > 1)
    assert tissue.sum() > 1000
    return depth_mm[tissue], image[tissue] * DYNAMIC_RANGE_DB / 255


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_echo_weakens_with_depth_by_the_attenuation(difficulty: float) -> None:
    slope = np.polyfit(*flank_db(difficulty), 1)[0]
    assert -slope == pytest.approx(Look.of(difficulty).attenuation_db_mm, abs=0.06)


def test_log_compressed_speckle_of_the_hardest_phantom_varies_as_rayleigh_envelopes_do() -> None:
    depth_mm, echo_db = flank_db(1.0)
    residual = echo_db - np.polyval(np.polyfit(depth_mm, echo_db, 1), depth_mm)
    # In dB a Rayleigh envelope of any level has a standard deviation of 20 / ln 10 * pi / sqrt(24) = 5.57.
    assert residual.std() == pytest.approx(20 / np.log(10) * np.pi / np.sqrt(24), rel=0.1)


def test_bone_is_bright_towards_the_probe_and_dark_behind() -> None:
    x_mm, y_mm, section, view = section_at(160.0)
    surface, shadow = bone_echo(section, view, x_mm, y_mm, 2.0)
    for x, y, radius in section.bones_mm:
        column = round(x) + 70
        front = round(y - radius)
        assert surface[column, front - 2 : front + 3].max() > 0.8
        assert shadow[column, : front - 2].max() < 0.1
        assert shadow[column, front + 3 : front + 12].min() == 1


def test_shadow_of_a_bone_is_darker_than_tissue_beside_it_at_the_same_depth() -> None:
    image, _ = arrays(natural((128, 128, 64), difficulty=0.2))
    heights = image[:, :, 8:20].astype(float)
    tibia = heights[46:58, 56:70]
    beside = heights[70:78, 40:50]
    assert (tibia[tibia > 0] < 20).mean() > 0.6 > (beside[beside > 0] < 20).mean()


def test_gaps_are_zero_and_grow_with_difficulty_and_vary_along_the_leg() -> None:
    def voids(difficulty: float) -> np.ndarray:
        image, labels = arrays(natural((128, 128, 64), difficulty))
        return np.array([np.mean(image[:, :, z][labels[:, :, z] > 0] == 0) for z in range(25, 58)])

    easy, hard = voids(0.0), voids(1.0)
    assert 0 < easy.mean() < 0.08 < hard.mean() < 0.3
    assert hard.std() > 0.005


def test_nothing_is_seen_outside_the_leg_and_everything_seen_is_above_zero() -> None:
    image, _ = arrays(natural((64, 64, 80)))
    assert not image[:, :3].any() and not image[:2].any() and not image[-2:].any()
    _, _, section, view = section_at(250.0)
    assert not np.any(view.covered & (section.depth_mm < 0))


def test_contrast_of_the_muscles_falls_with_difficulty() -> None:
    def contrast(difficulty: float) -> float:
        image, labels = (a.astype(float) for a in arrays(natural((64, 64, 80), difficulty)))
        seen = image > 0
        muscle, rest = image[seen & (labels > 0)], image[seen & (labels == 0) & (image > 30)]
        return float((muscle.mean() - rest.mean()) / np.hypot(muscle.std(), rest.std()))

    easy, middle, hard = map(contrast, (0.0, 0.5, 1.0))
    assert easy > middle > hard > 0
    assert easy > 1.0


def test_brightness_alone_finds_the_muscles_of_the_easiest_phantom() -> None:
    image, labels = arrays(natural((64, 64, 80), 0.0))
    found, truth = gaussian_filter(image.astype(float), 0.7) > 125, labels > 0
    assert 2 * np.sum(found & truth) / (found.sum() + truth.sum()) > 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (15, 40, 40)}, "shape"),
        ({"difficulty": 1.01}, "difficulty"),
        ({"difficulty": float("nan")}, "difficulty"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "spacing"),
        ({"seed": -1}, "seed"),
        ({"subject": -1}, "subject"),
    ],
)
def test_arguments_out_of_range_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(natural(SMALL), **change)


# The command


@pytest.mark.parametrize("extension", ["nii.gz", "nii", "mha"])
def test_command_writes_what_the_generator_yields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extension: str
) -> None:
    out = tmp_path / "legs"
    command.main(
        [
            "--out",
            str(out),
            "--subjects",
            "2",
            "--shape",
            "20",
            "24",
            "28",
            "--seed",
            "4",
            "--format",
            extension,
        ]
    )
    with (out / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = list(phantoms(2, (20, 24, 28), seed=4))
    assert [(row["case"], row["subject"], row["split"]) for row in rows] == [(c, s, "") for c, s, _ in expected]
    for row, (*_, phantom) in zip(rows, expected, strict=True):
        for column, array in zip(("image", "label"), arrays(phantom), strict=True):
            read = sitk.ReadImage(str(out / row[column]))
            np.testing.assert_array_equal(sitk.GetArrayFromImage(read).T, array)
            np.testing.assert_allclose(read.GetSpacing(), phantom.spacing_mm, rtol=1e-5)
            if extension != "mha":
                image = nib.Nifti1Image.from_filename(out / row[column])
                np.testing.assert_array_equal(np.asarray(image.dataobj), array)
                np.testing.assert_allclose(image.affine, phantom.affine, rtol=1e-5)
    assert [case.case for case in find_cases(out / "manifest.csv").cases] == [row["case"] for row in rows]
    *_, table, override = shlex.split(capsys.readouterr().out.splitlines()[-1])  # as a shell takes it
    assert Path(table) == out / "manifest.csv"
    assert load_recipe(None, [override]).data.labels == LABELS.to_json()


def test_spacing_option_sets_the_voxel_edge(tmp_path: Path) -> None:
    command.main(["--out", str(tmp_path), "--shape", "16", "16", "16", "--spacing-mm", "0.7", "--format", "mha"])
    assert sitk.ReadImage(str(tmp_path / "images/leg_001.mha")).GetSpacing() == pytest.approx((0.7, 0.7, 0.7))


def test_force_writes_over_what_is_there(tmp_path: Path) -> None:
    small = ["--out", str(tmp_path), "--shape", "16", "16", "16"]
    command.main(small)
    first = (tmp_path / "images/leg_001.nii.gz").read_bytes()
    with pytest.raises(InputError, match="--force"):
        command.main(small)
    command.main([*small, "--force"])
    assert (tmp_path / "images/leg_001.nii.gz").read_bytes() == first
    command.main([*small, "--force", "--seed", "1"])
    assert (tmp_path / "images/leg_001.nii.gz").read_bytes() != first


@pytest.mark.parametrize(
    "mistake",
    [
        ["--difficulty", "2"],
        ["--shape", "0", "16", "16"],
        ["--subjects", "0"],
        ["--spacing-mm", "-1"],
        ["--format", "png"],
        ["--seed", "-3"],
    ],
)
def test_a_bad_argument_writes_nothing(tmp_path: Path, mistake: list[str]) -> None:
    with pytest.raises(InputError):
        command.main(["--out", str(tmp_path / "legs"), *mistake])
    assert not (tmp_path / "legs").exists()


def test_a_bad_argument_ends_the_process_with_status_2_and_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kseg.phantom", "--out", str(tmp_path / "legs"), "--shape", "16", "16", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("kseg.phantom: ") and "(16, 16, 3)" in done.stderr


def test_smaller_muscles_fill_the_cube_of_their_scale() -> None:
    natural, small = (next(phantoms(1, (64, 64, 96), difficulty=0.0, muscle_scale=scale))[2] for scale in (1.0, 0.5))
    counts = [np.bincount(phantom_volume(phantom)[1].array.ravel(), minlength=201) for phantom in (natural, small)]
    for value in (100, 150, 200):
        # The soleus' ends, beyond the field at natural size, come into it; the leg's narrowing does the rest.
        assert counts[1][value] / counts[0][value] == pytest.approx(0.5**3, rel=0.35)


def test_the_full_shape_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What the command offers, and the field of view that every phantom fills."""
    assert command.parse(["--out", "made"]).shape == FULL_SHAPE == (512, 512, 1443)
    assert FIELD_MM == (141.8, 141.8, 399.7)
    np.testing.assert_allclose(np.divide(FIELD_MM, FULL_SHAPE), VOXEL_MM, rtol=1e-3)
    with pytest.raises(SystemExit):
        command.parse(["--help"])
    assert "voxels (default 512 512 1443)" in " ".join(capsys.readouterr().out.split())
