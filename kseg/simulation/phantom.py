"""A made-up patient: a calf as freehand ultrasound sees it, for as many subjects and voxels as wanted."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from kseg.console.errors import InputError
from kseg.recipe.types import MAX_MUSCLE_SCALE, MIN_MUSCLE_SCALE
from kseg.simulation.calf import APONEUROSIS_MM, LATERALIS, MEDIALIS, SOLEUS, Leg, Section, bright_line
from kseg.simulation.phantom_shape import FIELD_MM, FULL_SHAPE
from kseg.simulation.ultrasound import bone_echo, draw_sweeps, speckle, view_section
from kseg.volumes.labels import LabelMap
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

LABELS = LabelMap(
    ("background", "soleus", "gastrocnemius_medialis", "gastrocnemius_lateralis"),
    (0, SOLEUS, MEDIALIS, LATERALIS),
)
MIN_AXIS = 16

# Point spread function of a 10 MHz linear probe: standard deviations across, in depth and out of plane.
SPECKLE_MM = (0.40, 0.22, 0.45)
# Bundles of muscle fibres: their lattice of noise (arc, depth, height), its cells, and the fibres' slope.
FIBRE_LATTICE = (40, 96, 30)
FIBRE_MM = (5.0, 1.3, 14.0)
PENNATION = 0.3

DARKEST_DB = -36.0
DYNAMIC_RANGE_DB = 62.0
BONE_DB, SHADOW_DB = 20.0, 26.0


@dataclass(frozen=True)
class Look:
    """What a difficulty stands for."""

    contrast_db: float
    speckle_strength: float  # 1 is fully developed, less is smoothed as by a scanner's compounding
    attenuation_db_mm: float  # left over by the time gain compensation
    gap_mm: float
    variation: float
    fascia_db: float
    fascia_visible_above: float

    @classmethod
    def of(cls, difficulty: float) -> "Look":
        """The look of a difficulty in 0 to 1."""

        def between(easy: float, hard: float) -> float:
            return easy + difficulty * (hard - easy)

        return cls(
            contrast_db=between(16.0, 2.0),
            speckle_strength=between(0.4, 1.0),
            attenuation_db_mm=between(0.03, 0.25),
            gap_mm=between(0.5, 6.0),
            variation=between(0.04, 0.16),
            fascia_db=between(16.0, 11.0),
            fascia_visible_above=between(-4.0, 0.2),
        )


@dataclass(frozen=True)
class Phantom:
    """One subject's leg, filling a grid of `shape` (x, y, z); the arguments determine every voxel.

    At `difficulty` 0 the muscles differ in brightness from each other and from the rest; at 1 weak texture
    and broken fasciae are all there is to go by. Muscles are `muscle_scale` times as long, wide and thick as natural
    ones: their share of the volume goes with its cube. Raises `InputError` for an argument out of its range.
    """

    subject: int
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    difficulty: float = 0.5
    seed: int = 0
    muscle_scale: float = 1.0

    def __post_init__(self) -> None:
        if min(self.shape) < MIN_AXIS:
            raise InputError(
                f"a phantom's shape must be {MIN_AXIS} voxels or more along each axis: received "
                f"{self.shape}; choose a larger one."
            )
        if not all(0 < spacing < np.inf for spacing in self.spacing_mm):
            raise InputError(f"a phantom's spacing must be a length above 0 mm: received {self.spacing_mm}; fix it.")
        if not 0 <= self.difficulty <= 1:
            raise InputError(
                f"a phantom's difficulty must lie between 0, easy, and 1, hard: received {self.difficulty}; "
                "choose one between."
            )
        if not MIN_MUSCLE_SCALE <= self.muscle_scale <= MAX_MUSCLE_SCALE:
            raise InputError(
                f"a phantom's muscle_scale must lie between {MIN_MUSCLE_SCALE:g} and {MAX_MUSCLE_SCALE:g}: received "
                f"{self.muscle_scale}; choose one between."
            )
        if min(self.subject, self.seed) < 0:
            raise InputError(
                f"a phantom's subject and seed must be 0 or more: received {self.subject} and {self.seed}."
            )

    @property
    def affine(self) -> np.ndarray:
        """Voxel index -> RAS mm, 0 in the middle of the volume."""
        affine = np.diag([*self.spacing_mm, 1.0])
        affine[:3, 3] = -0.5 * (np.array(self.shape) - 1) * self.spacing_mm
        return affine

    def slices(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield image and label values of each z, both (x, y) uint8, while only a few slices are held.

        The image is 0 where no sweep came, 1 to 255 elsewhere. Labels go on across gaps, as annotators' do.
        """
        look = Look.of(self.difficulty)
        anatomy, scanner = (np.random.default_rng([self.seed, self.subject, part]) for part in (0, 1))
        leg = Leg.draw(anatomy, look.variation, self.muscle_scale)
        fibres = anatomy.standard_normal(FIBRE_LATTICE, np.float32)
        sweeps = draw_sweeps(scanner, look.gap_mm)
        sigma_voxels = [max(sigma / s, 0.5) for sigma, s in zip(SPECKLE_MM, self.spacing_mm, strict=True)]
        envelopes = speckle(self.shape, sigma_voxels, (self.seed, self.subject, 2))

        pitch_mm = np.divide(FIELD_MM, self.shape)
        x_mm, y_mm, z_mm = (
            (pitch * (np.arange(n) + 0.5)).astype(np.float32) for pitch, n in zip(pitch_mm, self.shape, strict=True)
        )
        x_mm, y_mm = x_mm[:, None] - np.float32(FIELD_MM[0] / 2), y_mm[None, :]
        line_mm = max(APONEUROSIS_MM, 0.7 * float(max(pitch_mm[:2])))  # a thinner one falls between voxels
        for height_mm, envelope in zip(z_mm.tolist(), envelopes, strict=True):
            section = leg.section(x_mm, y_mm, height_mm, line_mm, look.fascia_visible_above)
            view = view_section(sweeps, section, x_mm, y_mm, height_mm)
            surface, shadow = bone_echo(section, view, x_mm, y_mm, 2 * line_mm)
            echo_db = tissue_db(section, bundles(fibres, section, height_mm), look)
            echo_db += look.speckle_strength * 20 * np.log10(envelope + 1e-4)
            echo_db += view.gain_db - look.attenuation_db_mm * view.beam_mm
            echo_db += BONE_DB * surface - SHADOW_DB * shadow
            yield np.where(view.covered, grey(echo_db), 0).astype(np.uint8), section.labels


def tissue_db(section: Section, bundle: np.ndarray, look: Look) -> np.ndarray:
    """Mean echo of each place in dB, (x, y) float32, before speckle, attenuation and bone."""
    tissue = np.full(256, -8.0, np.float32)
    # The heads differ too, so that brightness alone tells the muscles of an easy phantom apart.
    tissue[[SOLEUS, MEDIALIS, LATERALIS]] += look.contrast_db * np.array([0.9, 1.35, 0.5], np.float32)
    weave = np.where(section.labels > 0, np.float32(5.0), np.float32(2.5))
    lines = np.maximum(section.fascia, bright_line(section.depth_mm, 2.4))  # the skin is one as well
    echo: np.ndarray = tissue[section.labels] - np.float32(3) * section.fat + weave * bundle + look.fascia_db * lines
    return echo


def bundles(fibres: np.ndarray, section: Section, height_mm: float) -> np.ndarray:
    """Sheaths between bundles of fibres, (x, y) float32: 1 on a sheath, -1 between them.

    Fibres run along the leg and rise to the skin in gastrocnemius, from it in soleus. `fibres` is a periodic
    lattice of noise (arc, depth, height), read with its depth sheared by the height.
    """
    step, share = divmod(height_mm / FIBRE_MM[2], 1)
    below, above = (fibres[:, :, int(step + rise) % fibres.shape[2]] for rise in (0, 1))
    slope = np.zeros(256, np.float32)
    slope[[SOLEUS, MEDIALIS, LATERALIS]] = -PENNATION, PENNATION, PENNATION
    sheared = section.depth_mm + slope[section.labels] * height_mm
    places = np.stack([section.arc_mm / FIBRE_MM[0], sheared / FIBRE_MM[1]])
    noise = map_coordinates((1 - share) * below + share * above, places, order=1, mode="grid-wrap")
    return 2 * bright_line(noise, 0.7) - 1


def grey(echo_db: np.ndarray) -> np.ndarray:
    """Log-compressed grey values, 1 to 255: `DARKEST_DB` and what lies `DYNAMIC_RANGE_DB` above it."""
    return np.clip(255 * (echo_db - DARKEST_DB) / DYNAMIC_RANGE_DB, 1, 255)


def phantom_volume(phantom: Phantom) -> tuple[Volume, Volume]:
    """Image and label values of a phantom in memory, both (x, y, z) uint8."""
    stored = StoredGeometry(phantom.shape, phantom.affine, ".nii.gz")
    image, labels = (np.empty(phantom.shape, np.uint8) for _ in range(2))
    for z, (image_slice, label_slice) in enumerate(phantom.slices()):
        image[:, :, z] = image_slice
        labels[:, :, z] = label_slice
    return Volume(image, phantom.affine, stored), Volume(labels, phantom.affine, stored)


def phantoms(
    count: int,
    shape: tuple[int, int, int] = FULL_SHAPE,
    spacing_mm: float | None = None,
    difficulty: float = 0.5,
    seed: int = 0,
    muscle_scale: float = 1.0,
) -> Iterator[tuple[str, str, Phantom]]:
    """Yield (case, subject, phantom) of `count` subjects; without `spacing_mm` a leg has its natural size."""
    natural = (length / max(n, 1) for length, n in zip(FIELD_MM, shape, strict=True))
    x, y, z = natural if spacing_mm is None else (spacing_mm,) * 3
    for subject in range(count):
        number = f"{subject + 1:03d}"
        yield f"leg_{number}", f"subject_{number}", Phantom(subject, shape, (x, y, z), difficulty, seed, muscle_scale)
