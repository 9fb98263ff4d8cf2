"""The scores of a split as `kseg.evaluate` wrote them, read back."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.evaluation.scores import ClassScore
from kseg.runs.run_folder import RunFolder


@contextmanager
def written_scores(folder: RunFolder, split: str) -> Iterator[Any]:
    """Give what `kseg.evaluation.score_tables.write_scores` wrote; whatever is amiss with it is the user's to fix.

    Raises:
        InputError: the split has not been scored, or the file is damaged.
    """
    path, _, _ = folder.split_scores(split)
    try:
        yield json.loads(path.read_bytes())
    except InputError:  # of whoever reads it
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        command = f"{command_line('evaluate')} {folder.path} --split {split}"
        raise InputError(f"'{path}' is missing or damaged: {command} makes it") from None


def scores_by_case(document: Any) -> dict[str, list[ClassScore]]:
    """Return the scores of each case of such a document."""
    return {case: [ClassScore(**row) for row in rows] for case, rows in document["cases"].items()}
