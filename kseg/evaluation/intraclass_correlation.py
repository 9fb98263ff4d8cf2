"""The intraclass correlation of two measurements of the same cases, by pingouin, which is an extra of kseg's."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

EXTRA = "kseg[statistics]"
"""What pip installs for it."""
LEAST_CASES = 5
"""Of which pingouin computes it."""
NAMES = ("ICC(A,1)", "ICC2")
"""Of the row that holds it, by pingouin's version: McGraw and Wong's name, and Shrout and Fleiss's."""
INTERVALS = ("CI95", "CI95%")


class Icc(NamedTuple):
    """The correlation and its 95 % interval; None where that is no number, such as where all pairs agree entirely."""

    value: float
    low: float | None
    high: float | None


def is_available() -> bool:
    """Whether pingouin is installed."""
    try:
        import pingouin  # noqa: F401
    except ImportError:
        return False
    return True


def intraclass_correlation(pairs: Sequence[tuple[float, float]]) -> Icc | None:
    """Return ICC(A,1): two-way, single measurement, absolute agreement (McGraw and Wong, Psychological Methods 1996).

    It is the share of the variance of measurements that lies between cases: 1 where both measurements are the same,
    less where they scatter or where one is larger throughout. It grows with the spread of the cases themselves, and so
    says little of cases that are all alike.

    Args:
        pairs: two measurements, of any unit, of each case.

    Returns:
        None for fewer than `LEAST_CASES` cases, and where all measurements are the same number.

    Raises:
        ImportError: pingouin is not installed (`is_available`).

    Example:
        >>> from kseg.evaluation.intraclass_correlation import intraclass_correlation
        >>> found = intraclass_correlation([(10, 11), (20, 19), (30, 31), (40, 41), (50, 52)])
        >>> round(found.value, 4)
        0.9969
    """
    values = np.array(pairs, float).reshape(-1, 2)
    if len(values) < LEAST_CASES or not np.ptp(values):
        return None
    import pandas
    import pingouin

    cases = np.repeat(np.arange(len(values)), 2)
    ratings = pandas.DataFrame({"case": cases, "source": [0, 1] * len(values), "value": values.ravel()})
    with np.errstate(all="ignore"), _unrounded(pingouin.options):
        table = pingouin.intraclass_corr(ratings, targets="case", raters="source", ratings="value").set_index("Type")
    row = table.loc[next(name for name in NAMES if name in table.index)]
    low, high = row[next(name for name in INTERVALS if name in row.index)]
    if not np.isfinite(row["ICC"]):
        return None
    known = bool(np.isfinite(low) and np.isfinite(high))
    return Icc(float(row["ICC"]), float(low) if known else None, float(high) if known else None)


@contextmanager
def _unrounded(options: dict[str, Any]) -> Iterator[None]:
    """Keep pingouin from rounding intervals to two digits."""
    before = dict(options)
    options.update({f"round.column.{name}": None for name in INTERVALS})
    try:
        yield
    finally:
        options.clear()
        options.update(before)
