"""Which masks to trust: what is said of a mask, and the order in which people should look at them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from rich.table import Table

from kseg.inference.predictor import Segmentation


@dataclass(frozen=True)
class Trust:
    """Means over the structures of a mask; None where nothing is known of any."""

    expected_dice: float | None
    agreement: float | None

    @property
    def order(self) -> tuple[float, float]:
        """What sorts masks, the least trusted first: by expected Dice, where there is none by agreement."""
        unknown = -1.0  # a mask of which nothing is known, for example an empty one, is looked at first
        return (
            unknown if self.expected_dice is None else self.expected_dice,
            unknown if self.agreement is None else self.agreement,
        )


def trust_of(found: Segmentation) -> Trust:
    """Return how far a mask is to be trusted."""
    agreement = [value for value in found.agreement.values() if value is not None]
    expected = [one.dice for one in found.expected.values()]
    return Trust(fmean(expected) if expected else None, fmean(agreement) if agreement else None)


def expected_words(found: Segmentation) -> str:
    """Say what Dice is to be expected of a mask, as the end of a line on it; empty where nothing is."""
    if not found.expected:
        return ""
    return f"; expected Dice {', '.join(f'{name} {one}' for name, one in found.expected.items())}"


def doubts(found: Segmentation) -> list[str]:
    """Return a warning for the structures of which less is to be expected than validation cases had."""
    missed = [name for name in found.expected if found.agreement.get(name) is None]
    doubtful = [f"{name} {one}" for name, one in found.expected.items() if one.doubtful and name not in missed]
    warnings = []
    if missed:
        warnings.append(f"has no {' and no '.join(missed)}, which all validation cases have")
    if doubtful:
        less = "opinions agree less, or less is expected, than on nearly all validation cases"
        warnings.append(f"may be badly segmented: expected Dice {', '.join(doubtful)}; {less}")
    return warnings


def ranked(trust: Mapping[str, Trust]) -> list[dict[str, Any]]:
    """Return masks, the least trusted first, with what is known of each."""
    return [{"mask": mask, **asdict(trust[mask])} for mask in sorted(trust, key=lambda mask: (trust[mask].order, mask))]


def trust_table(trust: Mapping[str, Trust]) -> Table:
    """Return the same as a table."""
    table = Table(title="Masks, the least trusted first")
    table.add_column("mask", overflow="fold")
    for heading in ("expected Dice", "agreement"):
        table.add_column(heading, justify="right")
    for row in ranked(trust):
        table.add_row(row["mask"], *(_number(row[key]) for key in ("expected_dice", "agreement")))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
