"""Which cases of a test set are drawn: the first few, the best, and the worst few."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kseg.evaluation.scores import ClassScore, mean_dice
from kseg.pictures.png import save_png
from kseg.pictures.three_planes import three_planes
from kseg.runs.run_folder import RunFolder
from kseg.volumes.volume import Volume

FIRST = 5
WORST = 5


class CasePictures:
    """Draws cases as they come: one is drawn if none before was better, or so few were worse.

    Args:
        folder: of the run, which holds the pictures (`RunFolder.picture`).
        split: of the cases.
        class_names: of the structures.
        members: the classes of each, where they are regions (`three_planes`).
        run: name of the run, for the headings.
    """

    def __init__(
        self, folder: RunFolder, split: str, class_names: Sequence[str], run: str, members: Sequence[Sequence[int]] = ()
    ):
        self.folder = folder
        self.split = split
        self.class_names = class_names
        self.members = members
        self.run = run
        self.drawn: list[Path] = []
        self._best = -float("inf")
        self._worst: list[float] = []

    def see(
        self,
        case: str,
        image: Volume,
        truth: np.ndarray,
        prediction: np.ndarray,
        scores: Sequence[ClassScore],
    ) -> None:
        """Draw the case, if it is one of the first, the best so far, or one of the worst so far.

        Args:
            case: its name.
            image: `(x, y, z, channels)`, of which the first is drawn.
            truth: class indices `(x, y, z)`.
            prediction: class indices `(x, y, z)`.
            scores: of its classes.
        """
        dice = mean_dice(scores)
        extreme = dice is not None and self._is_extreme(dice)
        if len(self.drawn) >= FIRST and not extreme:
            return
        title = f"{self.run}: {case}" + ("" if dice is None else f", Dice {dice:.3f}")
        figure = three_planes(
            image.array[..., 0],
            truth,
            prediction,
            spacing_mm=image.spacing_mm,
            class_names=self.class_names,
            members=self.members,
            title=title,
        )
        path = self.folder.picture(self.split, case)
        save_png(figure, path)
        self.drawn.append(path)

    def _is_extreme(self, dice: float) -> bool:
        best = dice > self._best
        self._best = max(self._best, dice)
        self._worst = sorted([*self._worst, dice])[:WORST]
        return best or dice in self._worst
