"""Which cases of a test set are drawn: the first few, and the best and the worst."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kseg.evaluation.scores import ClassScore, mean_dice
from kseg.pictures.png import save_png
from kseg.pictures.three_planes import three_planes
from kseg.runs.run_folder import RunFolder
from kseg.volumes.volume import Volume

FIRST = 5


class CasePictures:
    """Draws cases as they come: a case is kept for the picture of the best only if it is better than all before.

    Args:
        folder: of the run, which holds the pictures (`RunFolder.picture`).
        split: of the cases.
        class_names: of the foreground.
        run: name of the run, for the headings.
    """

    def __init__(self, folder: RunFolder, split: str, class_names: Sequence[str], run: str):
        self.folder = folder
        self.split = split
        self.class_names = class_names
        self.run = run
        self.drawn: list[Path] = []
        self._bounds = (float("inf"), -float("inf"))

    def see(
        self,
        case: str,
        image: Volume,
        truth: np.ndarray,
        prediction: np.ndarray,
        scores: Sequence[ClassScore],
    ) -> None:
        """Draw the case, if it is one of the first, or the best or worst so far.

        Args:
            case: its name.
            image: `(x, y, z, channels)`, of which the first is drawn.
            truth: class indices `(x, y, z)`.
            prediction: class indices `(x, y, z)`.
            scores: of its classes.
        """
        dice = mean_dice(scores)
        worst, best = self._bounds
        extreme = dice is not None and not worst <= dice <= best
        if dice is not None:
            self._bounds = min(worst, dice), max(best, dice)
        if len(self.drawn) >= FIRST and not extreme:
            return
        title = f"{self.run}: {case}" + ("" if dice is None else f", Dice {dice:.3f}")
        figure = three_planes(
            image.array[..., 0],
            truth,
            prediction,
            spacing_mm=image.spacing_mm,
            class_names=self.class_names,
            title=title,
        )
        path = self.folder.picture(self.split, case)
        save_png(figure, path)
        self.drawn.append(path)
