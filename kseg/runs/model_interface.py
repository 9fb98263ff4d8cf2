"""What a run's model takes and gives: put together here, and told by `kseg.json`, ONNX metadata, engines and cards."""

from dataclasses import dataclass
from typing import Any

from kseg.recipe.sections import Recipe
from kseg.recipe.types import Spacing
from kseg.runs.data_description import DataDescription
from kseg.volumes.intensity_normalisation import FLOOR_DB, PERCENTILES, UNIT_DB, Scale
from kseg.volumes.labels import LabelMap

CLIPPED = f"clipped to {{the}} {PERCENTILES[0]:g} and {PERCENTILES[1]:g} percentile"


@dataclass(frozen=True)
class ModelInterface:
    """What must be known to give a run's model voxels, and to read what it returns.

    `scales` are those of the channels, none for `"zscore"` throughout; `spacing_mm` is empty where volumes keep theirs.
    """

    channels: tuple[str, ...]
    label_map: LabelMap
    scales: tuple[Scale, ...]
    spacing_mm: Spacing
    patch_size: tuple[int, int, int]

    @classmethod
    def of_model(cls, recipe: Recipe, description: DataDescription) -> "ModelInterface":
        """Return what is known of a model by its run's recipe and `data.json`."""
        return ModelInterface(
            description.channels, description.label_map, description.scales, description.spacing_mm, recipe.patches.size
        )

    def facts(self) -> dict[str, Any]:
        """Return all of it by the keys that files have, as JSON can hold it."""
        regions = [region.model_dump(mode="json") for region in self.label_map.regions]
        return {
            "labels": self.label_map.to_json(),
            **({"regions": regions} if regions else {}),
            "label_dtype": self.label_map.value_dtype.name,
            "channels": list(self.channels),
            "scales": [scale.model_dump(mode="json") for scale in self.scales],
            "spacing_mm": list(self.spacing_mm),
            "patch_size": list(self.patch_size),
        }

    def scales_in_words(self) -> list[str]:
        """Say of each channel how a volume's intensities are brought to the network's scale."""
        return [_in_words(scale) for scale in self.scales or [Scale()] * len(self.channels)]

    def patch_in_words(self) -> str:
        """Say what a program that calls the network itself, patch by patch, gives it."""
        return (
            f"voxels (batch, x, y, z, channels) in RAS+ order, patches of {list(self.patch_size)}; each channel is "
            f"{CLIPPED.format(the='the')} of its whole volume, then less its mean and divided by its standard "
            "deviation there; or as 'scales' says: 'ct' the same by low, high, mean and deviation given there, 'log' "
            f"in decibels, {-FLOOR_DB:g} below the high percentile at least, less those of the mean and divided by "
            f"{UNIT_DB:g}. Without spacing_mm at each scan's own spacing"
        )


def _in_words(scale: Scale) -> str:
    if scale.statistics:
        low, high, mean, std = scale.statistics
        return f"clipped to {low:g} ... {high:g}, as in the dataset's foreground, less {mean:g}, by {std:g}"
    if scale.kind == "log":
        return "echo amplitudes, in decibels from the volume's mean"
    return f"any unit: each volume is {CLIPPED.format(the='its')} and brought to mean 0 and deviation 1"
