"""What a served model does to a volume, apart from its networks' weights."""

from dataclasses import dataclass

from kseg.inference.postprocessing_choice import PostProcessing
from kseg.recipe.types import Spacing
from kseg.runs.trained_run import TrainedRun
from kseg.volumes.intensity_normalisation import Scale
from kseg.volumes.labels import LabelMap


@dataclass(frozen=True)
class Pipeline:
    """From raw voxels to a label map: every choice between, as the run and its recipe have it.

    `scales` are those of the channels, none for `"zscore"` throughout; `spacing_mm` is empty where volumes keep theirs.
    """

    channels: tuple[str, ...]
    label_map: LabelMap
    scales: tuple[Scale, ...]
    spacing_mm: Spacing
    patch_size: tuple[int, int, int]
    overlap: float
    flip_axes: tuple[str, ...]
    members: int
    postprocessing: PostProcessing | None

    @classmethod
    def of(cls, run: TrainedRun, postprocessing: PostProcessing | None) -> "Pipeline":
        """Return what `kseg.predict` does with a run."""
        description, options = run.description, run.recipe.evaluation
        return cls(
            description.channels,
            description.label_map,
            description.scales,
            description.spacing_mm,
            run.recipe.patches.size,
            options.overlap,
            options.flip_axes,
            len(run.members),
            postprocessing,
        )
