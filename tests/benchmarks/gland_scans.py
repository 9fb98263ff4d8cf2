"""Made-up 3D ultrasound of a gland, small and whole: scans that resemble neither the leg nor a hippocampus.

Usage: python tests/benchmarks/gland_scans.py FOLDER [--subjects 108] [--seed 1]

Each scan has 47 x 63 x 44 voxels of 1.5 mm. One gland fills about 13 % of it: a deformed ellipsoid whose border is
blurred, and lost where the beam runs along it. Contrast, gain, shadows, speckle and the tissue around it differ from
scan to scan, and so does the hand that drew the label. FOLDER is laid out as the Decathlon's are.
"""

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

SHAPE, SPACING_MM = (47, 63, 44), 1.5
SHARE = 0.13
"""Of the voxels that the gland fills, in the mean."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", type=int, default=108)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1])
    pairs = []
    for number in range(options.subjects):
        image, label = scan(np.random.default_rng([options.seed, number]))
        pair = {key: f"./{key}sTr/gland_{number:03d}.nii.gz" for key in ("image", "label")}
        for path, voxels in zip(pair.values(), (image, label), strict=True):
            (options.folder / path).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(voxels, affine), options.folder / path)
        pairs.append(pair)
    dataset = {"modality": {"0": "ultrasound"}, "labels": {"0": "background", "1": "gland"}, "training": pairs}
    (options.folder / "dataset.json").write_text(json.dumps(dataset, indent=1), encoding="utf-8")


def scan(rng):
    """One scan and its label, uint8 (x, y, z)."""
    distance, drawn = gland(rng)
    return image_of(distance, rng), (drawn < 0).astype(np.uint8)


def gland(rng):
    """Signed distance to the gland's border in voxels, about, negative inside; and the one that the label follows."""
    centre = np.array(SHAPE) * (0.5 + 0.06 * rng.standard_normal(3))
    axes = np.array([1.15, 1.0, 0.9]) * np.exp(0.12 * rng.standard_normal(3))
    volume = SHARE * np.prod(SHAPE) * np.exp(0.3 * rng.standard_normal())
    axes *= (volume / (4 / 3 * np.pi * np.prod(axes))) ** (1 / 3)
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) - centre
    places = places @ Rotation.from_euler("XYZ", 0.25 * rng.standard_normal(3) * (1, -1, 1)).as_matrix()
    distance = (np.linalg.norm(places / axes, axis=-1) - 1) * axes.mean()
    distance += 1.6 * smooth(rng, 7) + 0.7 * smooth(rng, 4)
    return distance, distance + 0.5 * smooth(rng, 5) + 0.2 * rng.standard_normal()


def image_of(distance, rng):
    """What the probe, below the first row of y, makes of a gland; the dynamic range is that of 8 bits."""
    around = 0.65 + 0.12 * smooth(rng, 9) + 0.12 * smooth(rng, 4)
    within = 0.3 + 0.06 * rng.standard_normal() + 0.08 * smooth(rng, 6) + 0.06 * smooth(rng, 3)
    sharpness = rng.uniform(1.0, 2.5) * np.exp(0.4 * smooth(rng, 8))
    share = 1 / (1 + np.exp(distance / sharpness))
    echo = share * within + (1 - share) * around
    along_beam = np.abs(np.gradient(distance, axis=1))  # a border along the beam sends nothing back
    capsule = np.exp(-0.5 * (distance / 1.2) ** 2) * along_beam * np.clip(0.5 + 0.6 * smooth(rng, 6), 0, None)
    echo = echo + rng.uniform(0.1, 0.35) * capsule
    depth = np.linspace(0, 1, SHAPE[1])[None, :, None]
    echo = echo - rng.uniform(0.0, 0.45) * depth
    for _ in range(rng.integers(0, 4)):  # of gas and bone: all that lies deeper is dark
        at, width = rng.uniform(0, SHAPE[0]), rng.uniform(1.5, 4)
        x = np.arange(SHAPE[0])[:, None, None]
        from_z = rng.uniform(-10, SHAPE[2])
        z = np.arange(SHAPE[2])[None, None, :]
        beam = np.exp(-0.5 * ((x - at) / width) ** 2) * np.exp(-0.5 * ((z - from_z) / 8) ** 2)
        echo = echo - rng.uniform(0.1, 0.4) * beam * (depth > rng.uniform(0, 0.5))
    amplitude = np.exp(2.2 * echo)
    speckle = [gaussian_filter(rng.standard_normal(SHAPE), (1.1, 0.6, 0.8)) for _ in range(2)]
    speckle = np.hypot(*(part / part.std() for part in speckle)) / np.sqrt(2)
    picture = np.log(amplitude * speckle + 0.15)
    low, high = np.percentile(picture, [1, 99.5])
    picture = np.clip((picture - low) / (high - low), 0, 1) ** rng.uniform(0.8, 1.4)
    return (picture * rng.uniform(150, 255)).astype(np.uint8)


def smooth(rng, sigma):
    """Noise of unit variance, smooth over `sigma` voxels."""
    noise = gaussian_filter(rng.standard_normal(SHAPE), sigma, mode="wrap")
    return noise / noise.std()


if __name__ == "__main__":
    main()
