"""The colours of structures, in pictures and in what viewers are told."""

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
"""Colours that colour-blind readers tell apart (Okabe and Ito 2008); an eighth class reuses the first."""


def colour_of(index: int) -> str:
    """The colour of class `index`, counted from 1."""
    return OKABE_ITO[(index - 1) % len(OKABE_ITO)]
