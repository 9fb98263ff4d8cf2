"""What a DICOM SEG says that it was made by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Algorithm:
    """The name of a run or a served model, and the SHA-256 of its model, or of the list of its models, if known."""

    name: str
    model_sha256: str = ""
