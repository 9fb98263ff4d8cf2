"""Smooth random functions of a place, which can be evaluated anywhere in any order."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SmoothNoise:
    """A sum of sinusoids of unit variance.

    `frequencies` is (places, waves) in radians a mm, `phases` (waves,).
    """

    frequencies: np.ndarray
    phases: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, *wavelengths_mm: tuple[float, float], waves: int = 8) -> "SmoothNoise":
        """A function of as many places in mm as there are ranges of wavelengths (shortest, longest)."""
        drawn = [np.exp(rng.uniform(np.log(short), np.log(long), waves)) for short, long in wavelengths_mm]
        signs = rng.choice((-1.0, 1.0), (len(drawn), waves))
        return cls(2 * np.pi * signs / drawn, rng.uniform(0, 2 * np.pi, waves))

    def __call__(self, *places_mm: np.ndarray | float) -> np.ndarray:
        """The function at places that broadcast against each other."""
        places = np.stack(np.broadcast_arrays(*places_mm))
        angles = np.tensordot(places, self.frequencies, axes=(0, 0)) + self.phases
        values: np.ndarray = np.sqrt(2 / len(self.phases)) * np.sin(angles).sum(axis=-1)
        return values
