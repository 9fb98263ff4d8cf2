"""Three sentences at the top of a report: how good the masks are, where they fail, whether training had time enough."""

from collections.abc import Mapping, Sequence

from kseg.console.text import counted, some_of
from kseg.evaluation.scores import ClassScore, Statistic, mean_dice
from kseg.training.advice import advice

WORST_NAMED = 3
"""Cases that have a class which the network missed are named up to so many."""


def how_good(foreground: Mapping[str, Statistic], scores: Mapping[str, Sequence[ClassScore]]) -> str:
    """Return the mean Dice with its range over cases, the mean HD95, and how far volumes are off; of how many cases."""
    found = [dice for dice in map(mean_dice, scores.values()) if dice is not None]
    if not found:
        return f"None of {counted(len(scores), 'case')} could be scored: neither truth nor prediction has a structure."
    said = f"The mean Dice of {counted(len(found), 'case')} is {foreground['dice'].mean:.3f}"
    if len(found) > 1:
        said += f", by case from {min(found):.3f} to {max(found):.3f}"
    of_whole = []
    if "hd95_mm" in foreground:
        of_whole.append(f"HD95 is {foreground['hd95_mm'].mean:.1f} mm")
    if "absolute_volume_error_percent" in foreground:
        signed, absolute = (foreground[f"{kind}volume_error_percent"].mean for kind in ("", "absolute_"))
        of_whole.append(f"volumes are off by {absolute:.1f} %, on average {_too(signed)}")
    whole = sum(not any(score.partly_labelled for score in of_case) for of_case in scores.values())
    if of_whole and whole < len(scores):
        of_whole[0] = f"of {counted(whole, 'case')} labelled as a whole {of_whole[0]}"
    return f"{'; '.join([said, *of_whole])}."


def where_it_fails(classes: Mapping[str, Mapping[str, Statistic]], scores: Mapping[str, Sequence[ClassScore]]) -> str:
    """Return the worst class, the worst case with its class, and the cases in which a class was missed."""
    dice = {name: found["dice"].mean for name, found in classes.items() if "dice" in found}
    each = [(score.dice, case, score.class_name) for case, of in scores.items() for score in of]
    if not dice:
        return ""
    worst_class = min(dice, key=lambda name: dice[name])
    worst, case, name = min((value, case, name) for value, case, name in each if value is not None)
    parts = [f"the hardest structure is {worst_class} ({dice[worst_class]:.3f})"] if len(dice) > 1 else []
    if len(scores) > 1:
        mask = f"{name} in {case}" if len(dice) > 1 else case
        parts.append(f"the worst mask is that of {mask} ({worst:.3f})")
    missed = [case for case, of in scores.items() if any(score.recall == 0.0 for score in of)]
    if missed:
        parts.append(f"a structure is missed altogether in {some_of(missed, WORST_NAMED)}")
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def had_time(history: Mapping[str, Sequence[float]], steps: int | None) -> str:
    """Return what the curve says of the time that training was given; empty where it says nothing.

    Args:
        history: see `kseg.training.advice`.
        steps: that the run made; None where its report does not say.
    """
    found = advice(history, steps) if steps is not None else None
    return f"{found.line[:1].upper()}{found.line[1:]}." if found else ""


def _too(percent: float) -> str:
    if abs(percent) < 0.05:
        return "neither too large nor too small"
    return f"{abs(percent):.1f} % too {'large' if percent > 0 else 'small'}"
