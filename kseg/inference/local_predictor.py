"""A trained run, loaded here, on this machine's processor or GPU."""

import hashlib
from collections.abc import Sequence

from kseg.console.tensorflow_start import start_tensorflow
from kseg.inference.load_network import LoadNetwork, load_keras
from kseg.inference.predictor import Progress, Segmentation
from kseg.runs.trained_run import open_trained
from kseg.volumes.channels import check_channels
from kseg.volumes.dicom_seg.algorithm import Algorithm
from kseg.volumes.kept_annotation import LabelsOfFiles
from kseg.volumes.volume_stream import VolumeStream


class LocalPredictor:
    """A `Predictor` that loads a trained run, or the folds of one.

    Args:
        run: its name or its path.
        changes: `evaluation.key=value`, changes to how volumes are segmented.
        load: opens the network of a run, or of a fold, without TensorFlow, which would take a GPU's memory
            (`kseg.deployment.engine_file.open_engine`); by default it is the Keras model.

    Raises:
        InputError: as `open_trained` does.
    """

    def __init__(self, run: str, changes: Sequence[str] = (), load: LoadNetwork | None = None):
        self._trained = open_trained(run, changes)
        self._load = load
        description = self._trained.description
        self.identity = {"run": str(self._trained.package or self._trained.folder.path)}
        self.channel_names = description.channels
        self.channels = len(description.channels)
        self.assume_spacing_mm = self._trained.recipe.data.assume_spacing_mm
        self.seen = description.seen
        self.labels_of_files = LabelsOfFiles(description.label_map, description.labels_of_files, description.annotation)
        self.structures = description.label_map.structure_values
        self.codes = self._trained.recipe.data.codes

    @property
    def algorithm(self) -> Algorithm:
        """The run's name, and the hash of its model, or of the hashes of several."""
        hashes = self._trained.model_hashes()
        together = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        return Algorithm(self._trained.recipe.name, together)

    def start(self) -> str:
        """Load the models, or the engines; return what a user should know of how volumes are segmented."""
        if self._load is None:
            start_tensorflow()
        from kseg.inference.expected_dice import load_expected_dice
        from kseg.inference.postprocessing_choice import chosen_postprocessing
        from kseg.inference.segment_volumes import describe_segmentation, volume_segmenter

        chosen = chosen_postprocessing(self._trained)
        self._expected = load_expected_dice(self._trained, chosen)
        self._segment = volume_segmenter(self._trained, postprocessing=chosen, load=self._load or load_keras)
        return describe_segmentation(self._trained, chosen)

    def segment(self, scan: VolumeStream, name: str, progress: Progress, with_entropy: bool = False) -> Segmentation:
        """Segment a scan, window by window; see `Predictor`."""
        from kseg.inference.segment_volumes import segment_scan, uncertainty_of
        from kseg.inference.uncertainty import agreement_of_mask

        description = self._trained.description
        label_map = description.label_map
        check_channels(scan, f"'{name}'", "the model takes", self.channels, self.channel_names)
        uncertainty = uncertainty_of(label_map, with_entropy)
        indices = segment_scan(scan, name, self._segment, description.spacing_mm, progress, uncertainty)
        agreement = agreement_of_mask(indices, label_map.structures.members, uncertainty.agreement())
        return Segmentation(
            label_map.to_values(indices),
            agreement=dict(zip(label_map.structure_names, agreement, strict=True)),
            expected=self._expected.expectations(agreement) if self._expected else {},
            entropy=uncertainty.entropy,
        )
