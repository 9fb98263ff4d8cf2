"""A model as `model.onnx`: normalised patches in, class probabilities out, for ONNX Runtime and others."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg.console.errors import InputError
from kseg.console.text import first_line
from kseg.deployment.tolerances import MAX_DIFFERENCE
from kseg.inference.ensemble import Predict
from kseg.runs.model_interface import ModelInterface
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import sha256_of
from kseg.storage.listing import listed_file

if TYPE_CHECKING:
    from kseg.deployment.check_patches import CheckPatches

LIBRARIES = ("onnx", "onnxruntime")
MODEL_HASH = "model_sha256"


def require_onnx() -> None:
    """Raise `InputError` where the libraries of ONNX are not installed."""
    if missing := [library for library in LIBRARIES if find_spec(library) is None]:
        raise InputError(f"ONNX needs {' and '.join(missing)}: pip install 'kseg[onnx]'")


def write_onnx(member: RunFolder, check: "CheckPatches", size: Sequence[int] | None = None) -> float:
    """Write a run's model to its `model.onnx`.

    Args:
        member: the run.
        check: patches on which ONNX Runtime and the Keras model are compared.
        size: x, y, z of the only patches that it takes; None for any.

    Returns:
        The largest difference in a probability.

    Raises:
        InputError: the two differ by more than 1e-4, and nothing is kept; or the model cannot be loaded.
    """
    import onnx

    from kseg.deployment.check_patches import expected_probabilities, largest_difference
    from kseg.deployment.onnx_graph import onnx_model

    model = member.load_model()
    batches = check.batches(any_size=size is None)
    with listed_file(member.onnx) as path:
        onnx.save(onnx_model(model.network, size, metadata=describe_model(member)), path)
        difference = largest_difference(open_onnx(path), batches, expected_probabilities(model, batches))
        if not difference <= MAX_DIFFERENCE:
            raise InputError(
                f"the ONNX model of '{member.path}' differs from the Keras model by {difference:.1e} in a probability: "
                "it is not kept; try other versions of onnx and onnxruntime"
            )
    return difference


def open_onnx(model: Path | bytes, threads: int = 0) -> Predict:
    """Return a model, a file or what is in one, as ONNX Runtime runs it on the processor.

    `threads` 0 leaves their number to it.

    Raises:
        InputError: the file is damaged.
    """
    session = _session(model, threads)
    (voxels,) = session.get_inputs()

    def predict(patches: np.ndarray) -> np.ndarray:
        (probabilities,) = session.run(None, {voxels.name: patches})
        return probabilities

    return predict


def keras_model_hash(path: Path) -> str | None:
    """Return the SHA-256 of the Keras model that an ONNX model says it was made of.

    Raises:
        InputError: the file is damaged.
    """
    held = _session(path).get_modelmeta().custom_metadata_map.get(MODEL_HASH)
    return None if held is None else json.loads(held)


def describe_model(member: RunFolder) -> dict[str, str]:
    """Return what a program must know to use a run's ONNX model, by key; values are JSON."""
    recipe = member.load_recipe()
    interface = ModelInterface.of_model(recipe, member.load_data_description())
    facts = interface.facts()
    told = ("labels", *(["regions"] if "regions" in facts else []), "channels", "patch_size", "spacing_mm")
    info = {
        "name": recipe.name,
        **{key: facts[key] for key in told},
        "scales": [{key: value for key, value in scale.items() if value is not None} for scale in facts["scales"]],
        "input": interface.patch_in_words(),
        MODEL_HASH: sha256_of(member.model),
    }
    return {key: json.dumps(value) for key, value in info.items()}


def _session(model: Path | bytes, threads: int = 0) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what is wrong is raised, too
    try:
        held = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(held, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own have no type in common
        what = "the ONNX model" if isinstance(model, bytes) else f"'{model}'"
        raise InputError(f"{what} cannot be loaded ({first_line(error)}): export it anew") from None
