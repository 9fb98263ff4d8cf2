"""The splits of a dataset, in the order in which they are stored and listed."""

from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
EVALUATED: tuple[Split, ...] = ("val", "test")
"""Those whose cases no network learns from."""
