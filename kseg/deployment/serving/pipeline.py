"""What a served model does to a volume, apart from its networks' weights."""

from dataclasses import dataclass
from typing import Any

from kseg.inference.postprocessing_choice import PostProcessing
from kseg.runs.model_interface import ModelInterface
from kseg.runs.trained_run import TrainedRun


@dataclass(frozen=True)
class Pipeline(ModelInterface):
    """From raw voxels to a label map: every choice between, as the run and its recipe have it."""

    overlap: float
    batch_size: int
    flip_axes: tuple[str, ...]
    members: int
    postprocessing: PostProcessing | None

    @classmethod
    def of(cls, run: TrainedRun, postprocessing: PostProcessing | None) -> "Pipeline":
        """Return what `kseg.predict` does with a run."""
        options = run.recipe.evaluation
        return cls(
            **vars(ModelInterface.of_model(run.recipe, run.description)),
            overlap=options.overlap,
            batch_size=options.batch_size,
            flip_axes=options.flip_axes,
            members=len(run.members),
            postprocessing=postprocessing,
        )

    def facts(self) -> dict[str, Any]:
        """Return all of it by the keys that `kseg.json` has."""
        return super().facts() | {
            "overlap": self.overlap,
            "batch_size": self.batch_size,
            "flip_axes": list(self.flip_axes),
            "members": self.members,
            "postprocessing": self.postprocessing.operations if self.postprocessing else {},
        }
