"""What whoever calls a served model must know of it, as JSON beside it."""

import json
from typing import Any

import keras
import tensorflow as tf

from kseg import __version__
from kseg.deployment.serving.pipeline import Pipeline
from kseg.runs.trained_run import TrainedRun

MODEL_INFO = "kseg.json"


def model_info_text(run: TrainedRun, pipeline: Pipeline) -> str:
    """Return `assets.extra/kseg.json` of a run's SavedModel: what goes in, what comes out, what is done between."""
    label_map, chosen = pipeline.label_map, pipeline.postprocessing
    info: dict[str, Any] = {
        "labels": label_map.to_json(),
        "label_dtype": label_map.value_dtype.name,
        "channels": list(pipeline.channels),
        "scales": [scale.model_dump(mode="json") for scale in pipeline.scales],
        "spacing_mm": list(pipeline.spacing_mm),
        "patch_size": list(pipeline.patch_size),
        "overlap": pipeline.overlap,
        "flip_axes": list(pipeline.flip_axes),
        "members": pipeline.members,
        "postprocessing": chosen.operations if chosen else {},
        "models_sha256": run.model_hashes(),
        "versions": versions(),
    }
    return json.dumps(info, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def versions() -> dict[str, str]:
    """Return the versions of what a model is exported with."""
    return {"kseg": __version__, "tensorflow": tf.__version__, "keras": keras.__version__}
