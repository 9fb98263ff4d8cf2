"""Names of what an exported model takes and returns, and of a served model's signatures: clients are built on them.

Nothing is imported here.
"""

VOXELS, SPACING = "voxels", "spacing_mm"
"""Inputs; a model of patches, in ONNX's or TensorRT's format or as the signature `patch`, takes no spacing."""
LABELS, PROBABILITIES = "labels", "probabilities"
"""Outputs."""
SEGMENT = "segment"
"""The signature from voxels of float32 to a label map."""
SEGMENT_PROBABILITIES, PATCH = "segment_probabilities", "patch"


def segment_signature(dtype: object) -> str:
    """Return the name of the signature that is `segment` for voxels of another type, which take less on the wire."""
    return f"{SEGMENT}_{dtype}"
