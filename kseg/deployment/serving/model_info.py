"""What whoever calls a served model must know of it, as JSON beside it."""

import json

import keras
import tensorflow as tf

from kseg import __version__
from kseg.deployment.serving.pipeline import Pipeline
from kseg.runs.trained_run import TrainedRun

MODEL_INFO = "kseg.json"


def model_info_text(run: TrainedRun, pipeline: Pipeline) -> str:
    """Return `assets.extra/kseg.json` of a run's SavedModel: what goes in, what comes out, what is done between."""
    info = pipeline.facts() | {"models_sha256": run.model_hashes(), "versions": versions()}
    return json.dumps(info, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def versions() -> dict[str, str]:
    """Return the versions of what a model is exported with."""
    return {"kseg": __version__, "tensorflow": tf.__version__, "keras": keras.__version__}
