"""What the scans were like that a run has seen in training, and in what a new scan is unlike them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat

from kseg.records.plan_warnings import RANGES_DIFFER
from kseg.volumes.intensity_normalisation import HIGH, LOW

if TYPE_CHECKING:
    from kseg.records.fingerprint import Fingerprint
    from kseg.records.manifest import Manifest

LARGER = 1.25  # times: voxels that differ by less are like those in training
BELOW_ZERO = 0.1  # share of its range by which a scan must reach below 0 to be of a kind that has such values

Spacing = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
Range = tuple[FiniteFloat, FiniteFloat]


class SeenScans(BaseModel):
    """The scans that a run has seen in training, its validation included.

    `spacing_mm` are the smallest and the largest along x, y and z, before scans were resampled; empty where a dataset
    of an earlier version does not say. `intensities` are the low and high (the 0.5 and 99.5 percentiles) of each scan,
    for each channel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    spacing_mm: tuple[Spacing, Spacing] | tuple[()] = ()
    intensities: tuple[Annotated[tuple[Range, ...], Field(min_length=1)], ...]

    @classmethod
    def of_manifest(cls, manifest: "Manifest") -> "SeenScans":
        """Return what the scans of a dataset are like, but those to test on."""
        cases = manifest.to_learn_from
        spacings = [case.own_spacing_mm or (() if manifest.spacing_mm else case.spacing_mm) for case in cases]
        extremes = [tuple(map(extreme, zip(*spacings, strict=True))) for extreme in (min, max)] if all(spacings) else ()
        return cls(
            spacing_mm=extremes,
            intensities=tuple(
                tuple(_range_of(case, channel) for case in cases) for channel in range(len(manifest.channels))
            ),
        )

    def differences(self, spacing_mm: Sequence[float], statistics: np.ndarray, names: Sequence[str]) -> list[str]:
        """Say in what a scan is unlike those of the training, a sentence for each.

        Args:
            spacing_mm: its own, along x, y, z.
            statistics: `(channels, 4)`, from `intensity_statistics`.
            names: of the channels.
        """
        found = [_unlike_in_spacing(spacing_mm, *self.spacing_mm)] if self.spacing_mm else []
        found += [
            _unlike_in_intensity(name, (float(row[LOW]), float(row[HIGH])), seen)
            for name, row, seen in zip(names, statistics, self.intensities, strict=True)
        ]
        return [sentence for sentence in found if sentence]


def _range_of(case: "Fingerprint", channel: int) -> Range:
    rows = [side[channel] for side in (case.inside, case.outside, case.everywhere) if side]
    return min(row[LOW] for row in rows), max(row[HIGH] for row in rows)


def _unlike_in_spacing(spacing_mm: Sequence[float], smallest: Spacing, largest: Spacing) -> str:
    if all(low / LARGER <= own <= high * LARGER for own, low, high in zip(spacing_mm, smallest, largest, strict=True)):
        return ""
    own, low, high = (" x ".join(f"{mm:.3g}" for mm in voxel) for voxel in (spacing_mm, smallest, largest))
    return f"voxels of {own} mm, in training {low}{f' to {high}' if high != low else ''} mm"


def _unlike_in_intensity(name: str, own: Range, seen: Sequence[Range]) -> str:
    """A scan has values below 0 where none had, or none where all had; or its range is much wider or narrower."""
    low, high = min(low for low, _ in seen), max(high for _, high in seen)
    widths = [high - low for low, high in seen if high > low]
    signs = {_is_below_zero(*one) for one in seen}
    is_odd = signs == {not _is_below_zero(*own)}
    if widths and not is_odd:
        is_odd = not min(widths) / RANGES_DIFFER <= own[1] - own[0] <= max(widths) * RANGES_DIFFER
    if not is_odd:
        return ""
    shown = " in training ".join(f"from {least:.4g} to {greatest:.4g}," for least, greatest in (own, (low, high)))
    return f"'{name}' {shown} by the 0.5 and 99.5 percentiles"


def _is_below_zero(low: float, high: float) -> bool:
    return low < -BELOW_ZERO * (high - low)
