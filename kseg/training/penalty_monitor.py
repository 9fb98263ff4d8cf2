"""A watch over the learned penalties: says when one of them hardly counts any more."""

import keras

from kseg.console.messages import say

MIN_PENALTY = 0.05
"""A penalty below it, the other then above 0.95, is worth a word."""


class PenaltyMonitor(keras.callbacks.Callback):
    """Warns when alpha leaves [0.05, 0.95], once each time that it does."""

    def __init__(self) -> None:
        super().__init__()
        self._outside = False

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the epoch's last alpha; a loss without learned penalties has none."""
        alpha = (logs or {}).get("alpha", 0.5)
        outside = not MIN_PENALTY <= alpha <= 1 - MIN_PENALTY
        if outside and not self._outside:
            name, errors, sign = ("alpha", "positives", "much") if alpha < 0.5 else ("beta", "negatives", "little")
            say(
                f"epoch {epoch + 1}: the learned penalty {name} is down to {min(alpha, 1 - alpha):.3f}: false {errors} "
                f"hardly count any more, and the network may predict too {sign} foreground. loss.min_weight=0.1 bounds "
                "the penalties, loss.prior=0.1 pulls them to 0.5, loss.mode=adversarial turns them against the larger "
                "error"
            )
        self._outside = outside
