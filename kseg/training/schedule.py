"""The learning rate over a run."""

import math

from kseg.recipe.sections import Train


def learning_rate(options: Train, progress: float) -> float:
    """Return the learning rate after `progress` of the run, a share in [0, 1].

    It rises linearly during the warm-up, then stays (`constant`), follows half a cosine to 0 (`cosine`), or falls as
    `(1 - progress)^0.9` (`polynomial`, the "poly" schedule of DeepLab and nnU-Net).
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < options.warmup:
        return options.learning_rate * max(progress / options.warmup, 0.01)
    rest = (progress - options.warmup) / (1.0 - options.warmup)
    decay = {
        "constant": 1.0,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * rest)),
        "polynomial": (1.0 - rest) ** 0.9,
    }
    return options.learning_rate * decay[options.schedule]
