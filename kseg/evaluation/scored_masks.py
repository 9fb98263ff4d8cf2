"""What scores depend on beside the models: kept with them, so that nobody takes them for those of other masks."""

import hashlib
from collections.abc import Sequence
from typing import Any

from kseg.inference.postprocessing_choice import PostProcessing, used_operations
from kseg.recipe.sections import Evaluation
from kseg.records.manifest import CaseEntry


def scored_masks(
    evaluation: Evaluation, postprocessing: PostProcessing | None, cases: Sequence[CaseEntry] | None
) -> dict[str, Any]:
    """Return how masks were made, for JSON, and a hash of the scans and labels that they were scored on.

    Args:
        evaluation: section of the run's recipe.
        postprocessing: of the masks.
        cases: that were scored; None where they are not known, and are left out.
    """
    made: dict[str, Any] = {
        "flip_axes": sorted(evaluation.flip_axes),
        "overlap": evaluation.overlap,
        "postprocessing": {name: list(own) for name, own in used_operations(postprocessing).items()},
    }
    if cases is not None:
        scans = " ".join(sorted(case.origin_hash for case in cases))
        made["scans"] = hashlib.sha256(scans.encode()).hexdigest()
    return made
