"""Whole volumes through a trained run."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Protocol

import numpy as np

from kseg.console.command_names import command_line
from kseg.inference.ensemble import ensemble_of
from kseg.inference.load_network import KerasNetwork, LoadNetwork, load_keras
from kseg.inference.postprocessing_choice import PostProcessing
from kseg.inference.predictor import Progress
from kseg.inference.sliding_window import segment
from kseg.inference.uncertainty import Uncertainty
from kseg.inference.windows import windows
from kseg.recipe.types import Spacing
from kseg.records.manifest import Manifest
from kseg.records.prepared_case import PreparedCase, read_cases
from kseg.runs.run_folder import RunFolder
from kseg.runs.trained_run import TrainedRun
from kseg.storage.locations import Location
from kseg.volumes.intensity_normalisation import intensity_statistics, normalise
from kseg.volumes.interpolation import by_label, linear
from kseg.volumes.labels import LabelMap
from kseg.volumes.resample import Interpolation, at_spacing, on_grid
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import VolumeStream, gather, stream_of_volume


class Segment(Protocol):
    """Segments volumes of any size."""

    def __call__(self, image: np.ndarray, progress: Progress, uncertainty: Uncertainty | None = None) -> np.ndarray:
        """Return the class indices `(x, y, z)` of a volume `(x, y, z, channels)`; `uncertainty` listens."""


def volume_segmenter(
    run: TrainedRun,
    members: Sequence[RunFolder] | None = None,
    postprocessing: PostProcessing | None = None,
    load: LoadNetwork = load_keras,
) -> Segment:
    """Return a function from a volume `(x, y, z, channels)` of any size to its class indices `(x, y, z)`.

    Windows have the training's patch size and are normalised as in training. The recipe's section 'evaluation' says how
    they overlap, and over which flips their probabilities are averaged, beside the members.

    Args:
        run: the run.
        members: those of its members that are asked; None for all.
        postprocessing: applied at the end.
        load: `kseg.deployment.engine_file.open_engine` for engines instead of the Keras models.
    """
    options, description = run.recipe.evaluation, run.description
    networks = [load(member) for member in members or run.members]
    structures = description.label_map.structures
    predict = ensemble_of(networks, options.flip_axes, not run.is_cross_validation, structures.overlap)

    def of_volume(image: np.ndarray, progress: Progress, uncertainty: Uncertainty | None = None) -> np.ndarray:
        statistics = intensity_statistics(image)
        count = len(windows(image.shape[:3], run.recipe.patches.size, options.overlap)) << len({*options.flip_axes})
        for network in networks:
            if isinstance(network, KerasNetwork):
                network.expect(count * prod(run.recipe.patches.size))
        labels = segment(
            predict,
            image,
            run.recipe.patches.size,
            structures,
            overlap=options.overlap,
            normalise=lambda window: normalise(window, statistics, description.scales),
            batch_size=options.batch_size,
            buffer_bytes=options.buffer_bytes,
            progress=progress,
            uncertainty=uncertainty,
        )
        if postprocessing:
            postprocessing.apply(labels, structures)
        return labels

    return of_volume


def segment_scan(
    scan: VolumeStream,
    name: str,
    segment_volume: Segment,
    spacing_mm: Spacing,
    progress: Progress,
    uncertainty: Uncertainty | None = None,
) -> np.ndarray:
    """Segment a scan at the spacing of the training, and return class indices `(x, y, z)` on its own grid.

    Args:
        scan: not read yet.
        name: stands for it in messages.
        segment_volume: from `volume_segmenter`.
        spacing_mm: the run's; empty where its scans kept their own.
        progress: wraps the list of windows.
        uncertainty: listens; its entropy is brought to the scan's own grid too.

    Raises:
        InputError: the scan is damaged, or does not fit into memory.
    """
    if not spacing_mm:
        return segment_volume(gather(scan, f"image '{name}'").array, progress, uncertainty)
    image = gather(at_spacing(scan, spacing_mm, linear), f"image '{name}' at {spacing_mm} mm")
    indices = segment_volume(image.array, progress, uncertainty)
    if uncertainty and uncertainty.entropy is not None:
        uncertainty.entropy = brought_back(uncertainty.entropy, image, scan, linear)
    return brought_back(indices, image, scan)


def brought_back(
    voxels: np.ndarray, image: Volume, own: Volume | VolumeStream, interpolation: Interpolation = by_label
) -> np.ndarray:
    """Return `(x, y, z)` of a resampled image on the scan's own grid; they themselves where it is that.

    Args:
        voxels: class indices, or others with another `interpolation`.
        image: their grid.
        own: the scan's.
        interpolation: between voxels.

    Raises:
        InputError: they do not fit into memory.
    """
    there = stream_of_volume(replace(image, array=voxels))
    here = on_grid(there, own.shape, own.spacing_mm, interpolation)
    return voxels if here is there else gather(here, "a label map").array[..., 0]


def segment_cases(
    run: TrainedRun, records: Location, manifest: Manifest, split: str, postprocessing: PostProcessing | None = None
) -> Iterator[tuple[PreparedCase, np.ndarray, list[float | None]]]:
    """Yield each case of a prepared dataset's split with its segmentation, class indices `(x, y, z)`.

    And with its agreement, of each foreground class, or region (`Uncertainty.agreement`).

    A fold of a cross-validation segments its own validation cases (`TrainedRun.share_out`).

    Raises:
        InputError: a shard or a model is damaged.
    """
    for members, cases in run.share_out(manifest, split):
        if cases.of_split(split):
            segment_volume = volume_segmenter(run, members, postprocessing)
            for case in read_cases(records, cases, split):
                uncertainty = uncertainty_of(run.description.label_map)
                yield case, segment_volume(case.image.array, iter, uncertainty), uncertainty.agreement()


def uncertainty_of(label_map: LabelMap, with_entropy: bool = False) -> Uncertainty:
    """Return what listens to the segmentation of a volume into classes or regions."""
    return Uncertainty(label_map.num_classes, with_entropy, len(label_map.regions))


def describe_segmentation(run: TrainedRun, postprocessing: PostProcessing | None) -> str:
    """Say in a line what a user should know of how volumes are segmented."""
    kind = "folds" if run.is_cross_validation else "runs"
    how = f"mean of {len(run.members)} {kind}; " if len(run.members) > 1 else ""
    if under_way := [member for member in run.members if member.is_under_way]:
        recipe = f"RECIPE --folds {len(run.members)}" if run.is_cross_validation else str(under_way[0].recipe)
        go_on = f"{command_line('train')} {recipe} --resume"
        how += f"by the best model so far, its training has not ended ({go_on} goes on); "
    if spacing_mm := run.description.spacing_mm:
        how += f"at {' x '.join(f'{mm:g}' for mm in spacing_mm)} mm, to which scans are resampled; "
    if postprocessing:
        return f"{how}post-processing: {postprocessing}"
    if run.recipe.evaluation.postprocessing == "none":
        return f"{how}no post-processing, as evaluation.postprocessing says"
    if run.package:
        return f"{how}no post-processing: none had been chosen for it when it was packed"
    command = f"{command_line('evaluate')} {run.folder.path} --split val"
    return f"{how}no post-processing: none was chosen for this model yet, which {command} does"
