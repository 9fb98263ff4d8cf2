"""How freehand ultrasound sees a leg's section: speckle, sweeps with gaps between them, bones, shadows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve1d

from kseg.simulation.calf import ARC_RADIUS_MM, Section, bright_line
from kseg.simulation.phantom_shape import FIELD_MM
from kseg.simulation.smooth_noise import SmoothNoise

SWEEPS = 4
STAND_OFF_MM = 16.0  # the gel between the flat face of a probe and a skin that curves away from it


def speckle(shape: Sequence[int], sigma_voxels: Sequence[float], seed: Sequence[int]) -> Iterator[np.ndarray]:
    """Envelope of a band-limited complex Gaussian field of `shape` (x, y, z): yields each z, (x, y) float32.

    Fully developed speckle (Goodman, J. Opt. Soc. Am. 66, 1976): the envelope is Rayleigh distributed, here
    with a mean square of 1. The point spread function is a Gaussian of `sigma_voxels` along x, y and z. Every
    slice of white noise is seeded by `seed` and its index; only those that the kernel reaches are held.
    """
    across, in_depth, along = (unit_energy_kernel(sigma) for sigma in sigma_voxels)
    ring = np.empty((len(along), 2, *shape[:2]), np.float32)
    for k in range(shape[2] + len(along) - 1):
        noise = np.random.default_rng([*seed, k]).standard_normal(ring.shape[1:], np.float32)
        noise = convolve1d(noise, across, axis=1, mode="wrap")
        ring[k % len(ring)] = convolve1d(noise, in_depth, axis=2, mode="wrap")
        if k >= len(along) - 1:
            real, imaginary = np.tensordot(np.roll(along, k + 1), ring, axes=1)
            yield np.sqrt((real**2 + imaginary**2) / 2)


def unit_energy_kernel(sigma: float) -> np.ndarray:
    """Gaussian taps to 2.5 `sigma` whose squares sum to 1: filtered white noise keeps its variance."""
    reach = int(np.ceil(2.5 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return (taps / np.linalg.norm(taps)).astype(np.float32)


@dataclass(frozen=True)
class Sweep:
    """One pass of a linear probe along the leg, in a hand that drifts and trembles."""

    x_mm: float
    half_width_mm: float
    reach_mm: float
    height_mm: tuple[float, float]
    tilt: float  # radians; positive turns the beam towards +x
    gain_db: float
    drift: SmoothNoise
    tremble: SmoothNoise

    @classmethod
    def draw(cls, rng: np.random.Generator, x_mm: float, half_width_mm: float) -> "Sweep":
        """A sweep along `x_mm`, turned a little towards the middle; outer ones begin further up the leg."""
        return cls(
            x_mm=x_mm,
            half_width_mm=half_width_mm,
            reach_mm=rng.uniform(72, 80),
            height_mm=(2.8 * abs(x_mm) * rng.uniform(0.2, 0.7), FIELD_MM[2] * rng.uniform(0.97, 1.01)),
            tilt=-rng.uniform(0.1, 0.3) * x_mm / ARC_RADIUS_MM + rng.normal(0, 0.02),
            gain_db=rng.normal(0, 1),
            drift=SmoothNoise.draw(rng, (60, 300)),
            tremble=SmoothNoise.draw(rng, (1.5, 40)),
        )


def draw_sweeps(rng: np.random.Generator, gap_mm: float) -> tuple[Sweep, ...]:
    """Parallel sweeps side by side over the leg, about `gap_mm` apart."""
    pitch_mm = 0.86 * FIELD_MM[0] / SWEEPS
    middles = (np.arange(SWEEPS) - (SWEEPS - 1) / 2) * pitch_mm + rng.normal(0, 0.8, SWEEPS)
    return tuple(Sweep.draw(rng, x_mm, (pitch_mm - gap_mm) / 2) for x_mm in middles.tolist())


@dataclass(frozen=True)
class View:
    """What sweeps see of a section; every array is (x, y)."""

    covered: np.ndarray  # Boolean
    beam_mm: np.ndarray  # depth along the beam, from the face of the probe
    tilt: np.ndarray
    gain_db: np.ndarray


def view_section(
    sweeps: Sequence[Sweep], section: Section, x_mm: np.ndarray, y_mm: np.ndarray, height_mm: float
) -> View:
    """The view of a section at places `x_mm` (x, 1) and `y_mm` (1, y).

    Where sweeps overlap, the one whose middle is nearest (in half widths) counts.
    """
    off_middle = np.ones(section.labels.shape, np.float32)
    beam, tilt, gain = (np.zeros_like(off_middle) for _ in range(3))
    # Frames lean along the leg, so a transverse section cuts many of them, each a little aside.
    frame_mm = height_mm + 0.25 * y_mm.astype(np.float64)
    for sweep in sweeps:
        if not sweep.height_mm[0] < height_mm < sweep.height_mm[1]:
            continue
        face_y = float(section.skin_y_mm(max(abs(sweep.x_mm) - sweep.half_width_mm, 0)))  # its highest skin
        middle = (sweep.x_mm + 1.2 * sweep.drift(frame_mm)).astype(np.float32)
        half = (sweep.half_width_mm + 0.6 * sweep.tremble(frame_mm)).astype(np.float32)
        along, aside = turn(x_mm - middle, y_mm - face_y, np.float32(sweep.tilt))
        seen = (np.abs(aside) < off_middle * half) & (along < sweep.reach_mm) & (section.depth_mm > 0)
        seen &= section.skin_y_mm(sweep.x_mm + aside) < face_y + STAND_OFF_MM
        off_middle[seen] = (np.abs(aside) / half)[seen]
        beam[seen] = along[seen]
        tilt[seen] = sweep.tilt
        gain[seen] = sweep.gain_db
    return View(off_middle < 1, np.maximum(beam, 0), tilt, gain)


def bone_echo(
    section: Section, view: View, x_mm: np.ndarray, y_mm: np.ndarray, line_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """(surface, shadow), each (x, y), 0 to 1: a bone's side towards the probe, and what lies behind it."""
    surface, shadow = (np.zeros(section.labels.shape, np.float32) for _ in range(2))
    for x, y, radius in section.bones_mm:
        along, aside = turn(x_mm - x, y_mm - y, view.tilt)
        half_chord = np.sqrt(np.clip(radius**2 - aside**2, 0, None))
        behind = along + half_chord
        # The more oblique the surface, the more of its echo misses the probe.
        surface = np.maximum(surface, half_chord / radius * bright_line(behind, line_mm))
        edge = np.clip((radius - np.abs(aside)) / line_mm + 0.5, 0, 1)
        shadow = np.maximum(shadow, edge * np.clip(behind / line_mm, 0, 1))
    return surface, shadow


def turn(x_mm: np.ndarray, y_mm: np.ndarray, tilt: np.ndarray | np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (along, aside) of a beam that is turned by `tilt` from +y towards +x."""
    cos, sin = np.cos(tilt), np.sin(tilt)
    return x_mm * sin + y_mm * cos, x_mm * cos - y_mm * sin
