"""The name that a dataset, and a run, has where the recipe gives none: that of its source."""

import re
import unicodedata
from pathlib import Path

from kseg.recipe.types import WORD

DATASET = "dataset"
LISTS = (".csv", ".json")
"""Ends of the names of lists of cases."""
NAMELESS = (DATASET, "manifest")
"""What lists of cases are called that say nothing of them."""


def source_name(source: str) -> str:
    """Return the name of a dataset's folder, or of its list; that of its folder for a `dataset.json`.

    Example:
        >>> from kseg.recipe.source_name import source_name
        >>> source_name("scans/legs.csv"), source_name("raw/Dataset004_Hippocampus/dataset.json")
        ('legs', 'Dataset004_Hippocampus')
    """
    path = Path(source).absolute()
    if path.suffix.lower() not in LISTS or path.is_dir():
        return path.resolve().name
    return path.parent.resolve().name if path.stem.lower() in NAMELESS else path.stem


def fit_name(text: str) -> str:
    """Return a name that a run may have, as near to `text` as can be: Beinmuskeln_a for Beinmuskeln=ä."""
    if re.fullmatch(WORD, text):
        return text
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-") or DATASET
