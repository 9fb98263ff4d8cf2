"""What runs of tests expect of data: without the plan's normalisation, which few tests are about."""

from kseg.records.manifest import Manifest
from kseg.runs.data_description import DataDescription

MUSCLE = DataDescription(channels=("ultrasound",), labels={"background": 0, "muscle": 100})


def described(manifest: Manifest) -> DataDescription:
    """A dataset's channels and labels."""
    return DataDescription(channels=manifest.channels, labels=manifest.labels)
