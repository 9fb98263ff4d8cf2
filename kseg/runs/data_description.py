"""What a volume must have to be segmented by a run's model, and what comes out: `data.json` in the run's folder."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from kseg.recipe.types import Spacing
from kseg.volumes.intensity_normalisation import Scale
from kseg.volumes.labels import LabelMap

if TYPE_CHECKING:
    from kseg.records.manifest import Manifest


class DataDescription(BaseModel):
    """`data.json`: what a volume must have to be segmented by this run's model, and what comes out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, int]
    scales: tuple[Scale, ...] = ()
    """How each channel is normalised; empty for `"zscore"` throughout."""
    spacing_mm: Spacing = ()
    """To which a volume is resampled first; empty where it keeps its own."""
    val_subjects: tuple[str, ...] = ()
    """Subjects on whom a fold validated, instead of the dataset's own; empty where the run is no fold."""

    @property
    def label_map(self) -> LabelMap:
        """Names and original values of the classes, background first."""
        return LabelMap(tuple(self.labels), tuple(self.labels.values()))

    def difference(self, manifest: "Manifest") -> str:
        """Say in what a prepared dataset's channels, labels or spacing are not the run's; empty where they are."""
        theirs, ours = (
            {
                "channels": ", ".join(one.channels),
                "labels": ", ".join(f"{value} {name}" for name, value in one.label_map.to_json().items()),
                "data.spacing_mm": str(list(one.spacing_mm)),
            }
            for one in (manifest, self)
        )
        differing = (f"{key} '{theirs[key]}' instead of '{ours[key]}'" for key in ours if theirs[key] != ours[key])
        return next(differing, "")
