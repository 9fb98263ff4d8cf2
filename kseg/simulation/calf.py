"""The anatomy of a calf: where its muscles, fasciae and bones lie in a transverse section.

The leg fills one field of view, whatever the grid it is sampled on. The back of a section is an arc of a
circle; a place in the leg has a depth below that arc and an arc position, where the radius through it meets
the skin. Muscles are layers: the heads of gastrocnemius side by side, the soleus below them, each a lens
across the leg and a spindle along it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from kseg.simulation.phantom_shape import FIELD_MM
from kseg.simulation.smooth_noise import SmoothNoise

BACKGROUND, SOLEUS, MEDIALIS, LATERALIS = 0, 100, 150, 200

# Arc positions are those of the calf's widest section, so that a muscle keeps its share of a thinner one.
ARC_RADIUS_MM = 88.0
RULER_STEP_MM = 0.1
RULER_MM = np.arange(-150.0, 150.0, RULER_STEP_MM)
APONEUROSIS_MM = 1.1


@dataclass(frozen=True)
class Muscle:
    """A belly: it spans `arc_mm` across and `height_mm` (lower end, thickest, upper end) along the leg."""

    thickness_mm: float
    arc_mm: tuple[float, float]
    height_mm: tuple[float, float, float]
    bluntness: float  # 2 for an elliptic lens, more for one that keeps its thickness further out

    def scaled(self, scale: float) -> "Muscle":
        """This belly `scale` times as large, about the middle of its arc and where it is thickest."""
        if scale == 1:  # to the last bit
            return self
        middle, (lower, thickest, upper) = sum(self.arc_mm) / 2, self.height_mm
        return Muscle(
            scale * self.thickness_mm,
            (middle + scale * (self.arc_mm[0] - middle), middle + scale * (self.arc_mm[1] - middle)),
            (thickest + scale * (lower - thickest), thickest, thickest + scale * (upper - thickest)),
            self.bluntness,
        )

    def thickness(self, height_mm: float) -> np.ndarray:
        """Thickness in mm along the ruler, 0 beside the belly."""
        lower, thickest, upper = self.height_mm
        end = lower if height_mm < thickest else upper
        spindle = np.cos(np.pi / 2 * min(1.0, (height_mm - thickest) / (end - thickest)))
        half_mm = (self.arc_mm[1] - self.arc_mm[0]) / 2 * max(spindle, 1e-6) ** 0.3
        across = np.abs(RULER_MM - sum(self.arc_mm) / 2) / half_mm
        lens: np.ndarray = np.sqrt(np.clip(1 - across**self.bluntness, 0, None))
        return self.thickness_mm * spindle * lens


@dataclass(frozen=True)
class Bone:
    """A shaft, round in section: how far off the midline and below the skin at the calf's widest."""

    x_mm: float
    depth_mm: float
    radius_mm: float


@dataclass(frozen=True)
class Layers:
    """Profiles along the ruler at one height: how deep each layer ends, in mm below the skin."""

    fat: np.ndarray
    heads: np.ndarray
    aponeurosis: np.ndarray
    soleus: np.ndarray
    head: np.ndarray  # label value of the head of gastrocnemius that is here
    septum: np.ndarray  # 0 to 1: the fascia between the heads
    visibility: np.ndarray  # of fasciae, unit variance


@dataclass(frozen=True)
class Section:
    """What lies in one transverse section; every array is (x, y)."""

    labels: np.ndarray  # uint8 label values
    depth_mm: np.ndarray  # below the skin, negative outside the leg
    arc_mm: np.ndarray  # medial to lateral
    fat: np.ndarray  # Boolean: above the fascia of the leg
    fascia: np.ndarray  # 0 to 1
    centre_y_mm: float  # of the skin's arc, on the midline
    radius_mm: float
    bones_mm: tuple[tuple[float, float, float], ...]  # (x, y, radius)

    def skin_y_mm(self, x_mm: np.ndarray | float) -> np.ndarray:
        """Where the skin is; beyond the flanks, the level of the arc's centre."""
        chord: np.ndarray = np.sqrt(np.clip(self.radius_mm**2 - np.square(x_mm), 0, None))
        return self.centre_y_mm - chord


@dataclass(frozen=True)
class Leg:
    """One subject's right leg, prone: x medial to lateral, y from the calf's skin forward, z to the head."""

    soleus: Muscle
    medialis: Muscle
    lateralis: Muscle
    bones: tuple[Bone, ...]
    fat_mm: float
    ankle_girth: float
    knee_girth: float
    skin_mm: float
    ripple: SmoothNoise
    drop_out: SmoothNoise

    @classmethod
    def draw(cls, rng: np.random.Generator, variation: float, muscle_scale: float = 1.0) -> "Leg":
        """A leg whose measures vary about the mean by a relative standard deviation of about `variation`.

        Muscles are `muscle_scale` times as long, wide and thick as natural ones, about their middles.
        """

        def about(mean: float, share: float = 1.0) -> float:
            return float(mean * (1 + share * variation * np.clip(rng.standard_normal(), -2, 2)))

        def muscle(
            thickness: float, arc: tuple[float, float], height: tuple[float, float, float], bluntness: float
        ) -> Muscle:
            lower, thickest, upper = np.add(height, variation * rng.uniform(-100, 100, 3)).tolist()
            arcs = about(arc[0], 0.5), about(arc[1], 0.5)
            return Muscle(about(thickness), arcs, (lower, thickest, upper), bluntness).scaled(muscle_scale)

        # Sizes as in the anatomy of adults, then set for mean shares of the field of 4.4, 2.2 and 1.1 %.
        return cls(
            soleus=muscle(29.5, (-56, 58), (35, 225, 405), bluntness=3),
            medialis=muscle(23.8, (-62, 12), (150, 285, 455), bluntness=2),
            lateralis=muscle(17.5, (-6, 54), (185, 295, 450), bluntness=2),
            bones=(
                Bone(about(-13), about(80, 0.4), about(17)),  # tibia
                Bone(about(29), about(64, 0.4), about(7)),  # fibula
            ),
            fat_mm=about(5.0, 2.0),
            ankle_girth=about(0.58, 0.5),
            knee_girth=about(0.88, 0.5),
            skin_mm=about(11.0),
            ripple=SmoothNoise.draw(rng, (30, 120), (40, 200)),
            drop_out=SmoothNoise.draw(rng, (12, 50), (15, 80)),
        )

    def girth(self, height_mm: float) -> float:
        """Size of the section relative to the calf's widest: from the ankle up to 1, down to the knee."""
        widest = 0.7 * FIELD_MM[2]
        end, girth = (0.0, self.ankle_girth) if height_mm < widest else (FIELD_MM[2], self.knee_girth)
        return float(girth + (1 - girth) * np.sin(np.pi / 2 * (height_mm - end) / (widest - end)) ** 2)

    def layers(self, height_mm: float) -> Layers:
        """The layers of the section at `height_mm`."""
        soleus, medialis, lateralis = (
            muscle.thickness(height_mm) for muscle in (self.soleus, self.medialis, self.lateralis)
        )
        ripple = self.ripple(RULER_MM, height_mm)
        fat = np.maximum(self.fat_mm * (1 + 0.1 * ripple), 1.5)
        heads = fat + np.maximum(medialis, lateralis) * (1 + 0.04 * ripple)
        # The aponeurosis bridges the notch between the heads; the soleus evens out most of their relief.
        bridged = np.maximum(heads, gaussian_filter1d(heads, 4.0 / RULER_STEP_MM))
        relief = (bridged - gaussian_filter1d(heads, 14.0 / RULER_STEP_MM)) / self.soleus.thickness_mm
        aponeurosis = bridged + APONEUROSIS_MM + self.tendon_mm(height_mm)
        both = np.minimum(medialis, lateralis) > 0
        return Layers(
            fat=fat,
            heads=heads,
            aponeurosis=aponeurosis,
            soleus=aponeurosis + soleus * (1 - relief) * (1 - 0.05 * ripple),
            head=np.where(medialis >= lateralis, MEDIALIS, LATERALIS),
            septum=both * bright_line(medialis - lateralis, 2 * APONEUROSIS_MM),
            visibility=self.drop_out(RULER_MM, height_mm),
        )

    def tendon_mm(self, height_mm: float) -> np.ndarray:
        """Thickness of the Achilles tendon along the ruler: it gathers below the heads of gastrocnemius."""
        gathered = np.clip((self.medialis.height_mm[0] + 30 - height_mm) / 120, 0, 1)
        lens: np.ndarray = np.sqrt(np.clip(1 - (RULER_MM / 14) ** 2, 0, None))
        return 5 * gathered * lens

    def section(
        self, x_mm: np.ndarray, y_mm: np.ndarray, height_mm: float, line_mm: float, visible_above: float
    ) -> Section:
        """The section at `height_mm`, at places `x_mm` (x, 1), 0 on the midline, and `y_mm` (1, y).

        Fasciae are lines `line_mm` wide that fade where their visibility, of unit variance, is below
        `visible_above`.
        """
        girth = self.girth(height_mm)
        radius = ARC_RADIUS_MM * girth
        skin_y = self.skin_mm + 26 * (1 - girth)  # the calf bulges towards the probe
        centre_y = skin_y + radius
        depth = radius - np.hypot(x_mm, y_mm - centre_y)
        arc = ARC_RADIUS_MM * np.arctan2(x_mm, np.maximum(centre_y - y_mm, 1e-3))

        layers = self.layers(height_mm)
        place = np.clip((arc - RULER_MM[0]) / RULER_STEP_MM, 0, len(RULER_MM) - 1).astype(np.intp)

        def at(profile: np.ndarray) -> np.ndarray:
            return profile.astype(np.float32)[place]

        fat, heads, aponeurosis, soleus = map(at, (layers.fat, layers.heads, layers.aponeurosis, layers.soleus))
        in_heads = (depth > fat) & (depth < heads)
        in_soleus = (depth > aponeurosis) & (depth < soleus)
        labels = np.select([in_heads, in_soleus], [at(layers.head), SOLEUS], BACKGROUND).astype(np.uint8)

        off_aponeurosis = np.maximum(np.maximum(heads - depth, depth - aponeurosis), 0)
        off_fascia = np.minimum(np.minimum(np.abs(depth - fat), np.abs(depth - soleus)), off_aponeurosis)
        fascia = np.maximum(bright_line(off_fascia, line_mm), at(layers.septum) * in_heads)
        visible = 1 / (1 + np.exp((visible_above - layers.visibility) / 0.15))
        return Section(
            labels=labels,
            depth_mm=depth,
            arc_mm=arc,
            fat=depth < fat,
            fascia=fascia * at(visible),
            centre_y_mm=centre_y,
            radius_mm=radius,
            bones_mm=tuple(
                (bone.x_mm * girth, skin_y + bone.depth_mm * girth, bone.radius_mm * (3 + girth) / 4)
                for bone in self.bones
            ),
        )


def bright_line(distance_mm: np.ndarray, width_mm: float) -> np.ndarray:
    """Profile of a line of some width: 1 at distance 0, 1/e at half the width."""
    return np.exp(-np.square(distance_mm * (2 / width_mm)))
