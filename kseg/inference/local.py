"""A trained run as a source of label maps: loaded here, on this machine's processor or GPU."""

from collections.abc import Sequence

import numpy as np

from kseg.console.command import start_tensorflow
from kseg.inference.source import Showing
from kseg.runs.trained_run import open_trained
from kseg.volumes.channels import check_channels
from kseg.volumes.volume_stream import VolumeStream


class LocalSource:
    """A `Source` that loads a trained run, or the folds of one.

    Args:
        run: its name or its path.
        changes: `evaluation.key=value`, changes to how volumes are segmented.
        engine: run TensorRT's engines instead of the Keras models, and leave TensorFlow, which would take the GPU's
            memory, alone.

    Raises:
        InputError: as `open_trained` does.
    """

    def __init__(self, run: str, changes: Sequence[str] = (), engine: bool = False):
        self._trained = open_trained(run, changes)
        self._engine = engine
        description = self._trained.description
        self.identity = {"run": str(self._trained.folder.path)}
        self.channel_names = description.channels
        self.channels = len(description.channels)
        self.assume_spacing_mm = self._trained.recipe.data.assume_spacing_mm
        self.structures = dict(zip(description.label_map.values[1:], description.label_map.names[1:], strict=True))

    def start(self) -> str:
        """Load the models, or the engines; return what a user should know of how volumes are segmented."""
        if not self._engine:
            start_tensorflow()
        from kseg.inference.volumes import chosen_postprocessing, describe, load_keras, volume_segmenter

        load = load_keras
        if self._engine:
            from kseg.inference.engine import open_engine

            load = open_engine
        chosen = chosen_postprocessing(self._trained)
        self._segment = volume_segmenter(self._trained, postprocessing=chosen, load=load)
        return describe(self._trained, chosen)

    def label_map(self, scan: VolumeStream, name: str, showing: Showing) -> np.ndarray:
        """Segment a scan, window by window; see `Source`."""
        from kseg.inference.volumes import segment_scan

        description = self._trained.description
        check_channels(scan, f"'{name}'", "the model takes", self.channels, self.channel_names)
        return description.label_map.to_values(segment_scan(scan, name, self._segment, description.spacing_mm, showing))
