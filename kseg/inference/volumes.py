"""Whole volumes through a trained model."""

from collections.abc import Callable

import numpy as np

from kseg.inference.sliding_window import Progress, segment
from kseg.nn.segmenter import Segmenter
from kseg.recipe import Recipe
from kseg.records.intensity import intensity_statistics, normalise

Segment = Callable[[np.ndarray, Progress], np.ndarray]


def volume_segmenter(model: Segmenter, recipe: Recipe) -> Segment:
    """Return a function from a volume `(x, y, z, channels)` of any size to its class indices `(x, y, z)`.

    Windows have the training's patch size and are normalised by the volume's own statistics, as in training.
    """
    options = recipe.evaluation

    def of_volume(image: np.ndarray, progress: Progress) -> np.ndarray:
        statistics = intensity_statistics(image)
        return segment(
            model.predict_on_batch,
            image,
            recipe.patches.size,
            len(model.class_names) + 1,
            overlap=options.overlap,
            normalise=lambda tile: normalise(tile, statistics),
            batch_size=options.batch_size,
            progress=progress,
        )

    return of_volume
