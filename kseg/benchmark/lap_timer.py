"""Where the time of a training goes: each moment of it belongs to one row, so that the rows add up to the whole."""

import time
from collections import defaultdict

IMPORTS, DATASET, MODEL, FIRST_STEP, STEPS = "imports", "dataset", "model", "first_step", "steps"
FIRST_VALIDATION, VALIDATIONS, PICTURES = "first_validation", "validations", "pictures"
CHECKPOINTS, LOGS, CALLBACKS, END, EXIT, REST = "checkpoints", "logs", "callbacks", "end", "exit", "rest"

ROWS = {
    IMPORTS: "interpreter and imports",
    DATASET: "dataset: its manifest, copies of shards",
    MODEL: "model, first checkpoint, graph of the input",
    FIRST_STEP: "first step, beyond the median: graph, XLA, first patches",
    STEPS: "training steps",
    FIRST_VALIDATION: "first validation, beyond the median",
    VALIDATIONS: "validations",
    PICTURES: "pictures and curves of the validation patches",
    CHECKPOINTS: "checkpoints and best models",
    LOGS: "logs",
    CALLBACKS: "other callbacks",
    END: "end: calibration of volumes, report, clearing Keras",
    EXIT: "leaving Python",
    REST: "rest: Keras between the above",
}
"""What a training's time is spent on, in order, and how a table says it."""


class LapTimer:
    """Adds up seconds by row: a lap puts what has passed since the last one down to a row.

    Args:
        began: `time.monotonic()` when the first lap began, in this process or in the one that started it.
    """

    def __init__(self, began: float):
        self.seconds: dict[str, float] = defaultdict(float)
        self.last = began

    def lap(self, row: str) -> float:
        """End a lap and return its seconds."""
        now = time.monotonic()
        passed, self.last = now - self.last, now
        self.seconds[row] += passed
        return passed
