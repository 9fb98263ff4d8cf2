"""What a run's curves and pictures are called in TensorBoard.

TensorBoard makes a group of all tags that are alike before the slash, sorts groups and tags by their letters, and opens
the first two groups: they are Dice and loss.
"""

DICE, LOSS = "Dice", "Loss"
PENALTIES = "Tversky penalties"
"""The chart that alpha and beta share: each is a run of its own, `logs/alpha` and `logs/beta`, of this one tag."""
TAGS = {
    "dice": DICE,
    "loss": LOSS,
    "precision": "Precision and recall/precision",
    "recall": "Precision and recall/recall",
    "soft_fp": "Soft errors/false positives per foreground voxel",
    "soft_fn": "Soft errors/false negatives per foreground voxel",
    "learning_rate": "Training/learning rate",
    "step_seconds": "Training/seconds of a step",
    "input_wait": "Training/share of a step spent waiting for patches",
}
"""By the name that an epoch's logs have."""
DICE_OF = "dice_"
"""What stands before a class in the name of its Dice in an epoch's logs."""


def curve_tag(name: str) -> str:
    """Return the tag of a value by its name in an epoch's logs, without `val_`."""
    if name.startswith(DICE_OF):
        return f"{DICE}/{name.removeprefix(DICE_OF)}"
    return TAGS.get(name, f"Training/{name}")


def patch_tag(case: str) -> str:
    """Return the tag of the pictures of a validation patch of a case."""
    return f"Validation patches/{case}"


def volume_tag(split: str, measure: str) -> str:
    """Return the tag of the mean of a measure, by its heading in tables, over the whole volumes of a split."""
    return f"Scores of {split} volumes/{measure}"
