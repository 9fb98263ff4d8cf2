"""Masks as large as the labels: offsets of the last convolution's biases, found on patches of the training's cases.

Where it is in doubt a network that learned with the Dice loss marks too much: Dice is greatest where a voxel counts as
foreground from half the Dice on, not from a probability of one half (Lipton et al., Optimal Thresholding of Classifiers
to Maximize F1 Measure, ECML PKDD 2014), so that volumes are biased (Bertels et al., Theoretical Analysis and
Experimental Validation of Volume Bias of Soft Dice Optimized Segmentation Maps in the Context of Inherent Uncertainty,
Medical Image Analysis 2021). And patches that are centred on foreground hold more of it than scans do.

So once a run is trained, its kept model segments patches of training cases, drawn anywhere in them and not changed. Of
each class, or region, a number is added to the last bias, so that all masks together have as many voxels as all labels.
It is a part of the model file from then on: whatever the model is exported to has it.
"""

import time
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from kseg.console.messages import say
from kseg.console.termination import Termination
from kseg.console.text import counted
from kseg.nn.segmenter import Segmenter
from kseg.patches.patch_source import PatchSource
from kseg.recipe.sections import Recipe
from kseg.runs.model_file import load_segmenter
from kseg.runs.run import Run
from kseg.storage.files import whole_file
from kseg.training.budget import Budget
from kseg.training.stop_on_signal import Stopped
from kseg.volumes.regions import Structures

PATCHES = 128
"""Of 64 a standard error is some 1 to 4 % (docs/results.md, "Volumes without bias")."""
LEAST_PATCHES = 32
"""Fewer say too little."""
LEAST_WITH_STRUCTURE = 8
"""Patches that must hold a structure: in fewer its standard error means little."""
STANDARD_ERRORS = 2.0
"""An error of less may be chance."""
TRAINED_FOR_EACH = 8
"""Patches that a run has trained on for each of these: a run of a few steps has nothing to be calibrated."""
SHARE_OF_STEP = 0.5
"""Of a training step's time, to segment a patch of it."""
LARGEST_OFFSET = 2.0
ITERATIONS = 40
CLOSE = 0.002
"""A logarithm of a ratio of volumes that is as good as 0."""
ROUNDS = 4
MOST_NUMBERS = 2**25 // PATCHES
"""Of a patch's undecided voxels that are kept, 128 MiB of all patches: where there are more each stands for several."""
TINY = 1e-6


@dataclass(frozen=True)
class StructureCalibration:
    """What a calibration did to a structure: by how much its masks were too large, and its bias's offset (log odds)."""

    volume_error_percent: float
    offset: float


def steps_to_calibrate(recipe: Recipe, devices: int) -> float:
    """Return in how many training steps' time a run is calibrated, on one of the devices that train it."""
    return SHARE_OF_STEP * PATCHES * devices / recipe.patches.batch_size if recipe.calibrates_volumes else 0.0


def calibrate_volumes(
    run: Run, budget: Budget, devices: int, termination: Termination
) -> dict[str, StructureCalibration]:
    """Calibrate a trained run's model file, and return what was done to each structure that was.

    A structure whose error may be chance stays as it is (`VolumeTally.offsets`).

    Args:
        run: its kept model is on disk.
        budget: knows how much was trained, and how much time there is.
        devices: that share a batch in training; one of them does all of this.
        termination: whether the run is asked to end.

    Raises:
        InputError: the model file is damaged.
        Stopped: the run is asked to end.
    """
    options, structures = run.recipe.patches, run.description.label_map.structures
    count = min(PATCHES, budget.steps * options.batch_size // TRAINED_FOR_EACH)
    if not run.recipe.calibrates_volumes or count < LEAST_PATCHES:
        return {}
    count += -count % options.batch_size  # the same patches, however many devices share a batch
    seconds = budget.seconds_afterwards
    with budget.not_counted():
        model = load_segmenter(run.folder.model, run.description, compiled=True)
    try:
        tally = _segment_patches(run, model, count, options.batch_size // devices, seconds, termination)
    except tf.errors.ResourceExhaustedError:
        say("volumes are not calibrated: the memory does not hold the model once more; smaller patches do")
        return {}
    if tally.patches < LEAST_PATCHES:
        say(f"volumes are not calibrated: {counted(tally.patches, 'patch', 'patches')} in the time that is left")
        return {}
    errors, offsets = tally.errors(), tally.offsets()
    if not offsets.any():
        return {}
    bias = model.network.get_layer("output").bias
    bias.assign(bias.value + _of_maps(offsets, structures))
    with whole_file(run.folder.model) as path:
        model.save(path)
    found = {
        name: StructureCalibration(100 * float(np.expm1(error)), float(offset))
        for name, error, offset in zip(model.class_names, errors, offsets, strict=True)
        if offset
    }
    said = ", ".join(f"{name} {one.volume_error_percent:+.1f} %" for name, one in found.items())
    say(f"volumes in {counted(tally.patches, 'patch', 'patches')} of training cases: {said}; the last bias corrects it")
    return found


def _segment_patches(
    run: Run, model: Segmenter, count: int, batch: int, seconds: float, termination: Termination
) -> "VolumeTally":
    recipe, options = run.recipe, {"foreground_oversampling": 0.0, "flip_axes": (), "batch_size": batch}
    anywhere = recipe.patches.model_copy(update=options)
    source = PatchSource(run.records, run.manifest, "train", anywhere, recipe.seed, run.description.scales)
    tally = VolumeTally(run.description.label_map.structures)
    network = model.in_float32().network
    network.predict_on_batch(np.zeros((batch, *recipe.patches.size, network.input_shape[-1]), np.float32))  # compiles
    began = time.monotonic()  # not the workers' common clock, which stands still while they wait for the chief
    for voxels, labels in source.batches(range(count // batch)):
        tally.add(network.predict_on_batch(voxels), labels.numpy())
        if termination.asked:
            raise Stopped("before its volumes were calibrated")
        if time.monotonic() - began > seconds:
            break
    return tally


@dataclass
class VolumeTally:
    """Voxels of masks and of labels, of which those of the masks depend on the offsets that are asked for.

    Only voxels that some offset could change are kept. Voxels that nobody labelled do not count on either side.

    Args:
        structures: of the probabilities' maps.

    Example:
        A mask of three voxels where two are labelled; the third is in doubt. With a lower bias it is background.

        >>> import numpy as np
        >>> from kseg.training.volume_calibration import VolumeTally
        >>> from kseg.volumes.regions import Structures
        >>> muscle = np.array([0.999, 0.999, 0.6, 0.001]).reshape(1, 4, 1, 1)
        >>> tally = VolumeTally(Structures(2))
        >>> tally.add(np.stack([1 - muscle, muscle], axis=-1), np.array([1, 1, 0, 0]).reshape(1, 4, 1, 1))
        >>> tally.errors().round(3).tolist(), tally.volumes(np.zeros(1)).tolist(), tally.volumes(-np.ones(1)).tolist()
        ([0.405], [3.0], [2.0])
    """

    structures: Structures
    patches: int = 0
    _truth: list[np.ndarray] = field(default_factory=list)
    _settled: list[np.ndarray] = field(default_factory=list)
    _undecided: list[tuple[np.ndarray, float]] = field(default_factory=list)

    def add(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Count patches: probabilities `(batch, x, y, z, maps)`, labels `(batch, x, y, z)`."""
        for given, indices in zip(np.asarray(probabilities), labels, strict=True):
            labelled = indices < self.structures.num_classes
            own, maps = indices[labelled], _log_odds(given[labelled], self.structures)
            self.patches += 1
            self._truth.append(self._voxels(own))
            undecided = self._is_undecided(maps)
            self._settled.append(self._count(maps[~undecided]))
            every = max(1, -(-int(undecided.sum()) * maps.shape[-1] // MOST_NUMBERS))
            kept = maps[undecided][::every].copy()
            self._undecided.append((kept, undecided.sum() / max(len(kept), 1)))

    def volumes(self, offsets: np.ndarray) -> np.ndarray:
        """Return the voxels of each structure in the masks, `(structures,)`, with these offsets."""
        return self._by_patch(offsets).sum(axis=0)

    def errors(self, offsets: np.ndarray | None = None) -> np.ndarray:
        """Return the logarithm of each structure's volume in the masks, with these offsets or none, beside the labels.

        What is nowhere counts as one voxel.
        """
        volumes = self.volumes(np.zeros(self.structures.count) if offsets is None else offsets)
        return np.log(np.maximum(volumes, 1) / np.maximum(self._true(), 1))

    def offsets(self) -> np.ndarray:
        """Return the offset of each structure, `(structures,)` float32.

        It is 0 where masks are as large as labels, within what may be chance, and stay so beside those that change; and
        where nothing can be done: of a structure that too few patches hold, or of whose voxels none is in doubt.
        """
        before, none = self.errors(), np.zeros(self.structures.count)
        chance = np.maximum(STANDARD_ERRORS * self._standard_errors(), CLOSE)
        held = (np.asarray(self._truth) > 0).sum(axis=0) >= LEAST_WITH_STRUCTURE
        known = held & (self.volumes(none) > 0)
        wrong = known & (np.abs(before) > chance)
        moved = wrong
        for _ in range(ROUNDS):
            offsets = self._search(moved, before)
            after = np.abs(self.errors(offsets))
            pushed = known & ~wrong & ~moved & (after > chance)  # by its neighbours
            in_vain = moved & wrong & (after >= np.abs(before))
            if not (pushed | in_vain).any():
                return offsets.astype(np.float32)
            moved = (moved | pushed) & ~in_vain
        return none.astype(np.float32)

    def _search(self, moved: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """The offsets of those that are `moved` with which the errors of these, `errors` without, are least."""
        offsets = np.zeros(len(moved))
        steps = np.where(moved, 2.0, 0.0)
        best, least = offsets, float(np.abs(errors[moved]).sum())
        for _ in range(ITERATIONS):
            offsets = np.clip(offsets - steps * errors, -LARGEST_OFFSET, LARGEST_OFFSET)
            found = self.errors(offsets)
            steps = np.where(found * errors < 0, steps / 2, steps)  # it went too far
            errors = found
            left = np.abs(found[moved])
            if left.sum() < least:
                best, least = offsets, float(left.sum())
            if left.max(initial=0.0) < CLOSE:
                break
        return best

    def _true(self) -> np.ndarray:
        return np.sum(self._truth, axis=0)

    def _by_patch(self, offsets: np.ndarray) -> np.ndarray:
        added = _of_maps(offsets, self.structures)
        moved = [weight * self._count(maps + added) for maps, weight in self._undecided]
        return np.asarray(self._settled) + np.asarray(moved)

    def _standard_errors(self) -> np.ndarray:
        """Of `errors`, as those of ratios over the patches (Cochran, Sampling Techniques, 1977, equation 6.13)."""
        masks, truth = self._by_patch(np.zeros(self.structures.count)), np.asarray(self._truth)
        total, patches = masks.sum(axis=0), len(truth)
        residuals = masks - truth * (total / np.maximum(truth.sum(axis=0), 1))
        spread = np.sqrt((residuals**2).sum(axis=0) * patches / max(patches - 1, 1))
        return spread / np.maximum(total, 1)

    def _count(self, maps: np.ndarray) -> np.ndarray:
        """Voxels of each structure in the masks; regions are as they are written, an inner one over outer ones."""
        return self._voxels(self.structures.class_indices(maps > 0 if self.structures.overlap else maps))

    def _voxels(self, indices: np.ndarray) -> np.ndarray:
        """Of each structure, for class indices `(n,)`."""
        of_class = np.bincount(indices, minlength=self.structures.num_classes)
        return np.array([of_class[list(members)].sum() for members in self.structures.members])

    def _is_undecided(self, maps: np.ndarray) -> np.ndarray:
        if self.structures.overlap:
            return (np.abs(maps) <= LARGEST_OFFSET).any(axis=-1)
        highest = np.partition(maps, -2, axis=-1)[:, -2:]
        return highest[:, 1] - highest[:, 0] <= 2 * LARGEST_OFFSET


def _of_maps(offsets: np.ndarray, structures: Structures) -> np.ndarray:
    """What each map's bias gets, float32, by the offsets of structures: that of the background stays."""
    return (offsets if structures.overlap else np.concatenate([[0.0], offsets])).astype(np.float32)


def _log_odds(probabilities: np.ndarray, structures: Structures) -> np.ndarray:
    """What biases are added to: logarithms of classes' probabilities, but for a summand; log odds of regions."""
    scores = np.log(np.maximum(probabilities, TINY))
    return scores - np.log(np.maximum(1 - probabilities, TINY)) if structures.overlap else scores
