"""The section that says how training patches are changed."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from kseg.recipe.types import PLANNED, Amounts, Degrees, Factor, Factors, Positives, Section, ZeroToOne, ZeroToOneRange

MAX_PUSH = 0.4
"""Share of the spacing of its control points by which a cubic B-spline may push them without folding: a little below
1 / 2.48 (Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, Graphical Models 2000)."""


PROBABILITIES = (
    "affine",
    "elastic",
    "speckle",
    "depth_gain",
    "shadow",
    "blur",
    "low_resolution",
    "noise",
    "brightness",
    "contrast",
    "gamma",
)
"""Keys of the section that switch a transform on."""


class Augmentation(Section):
    """How training patches are changed: each transform has its probability per patch, 0 for never, and its strength."""

    affine: ZeroToOne = Field(0.0, description="probability of rotation and scaling", json_schema_extra=PLANNED)
    rotation_degrees: tuple[Degrees, Degrees, Degrees] = Field(
        (15.0, 15.0, 15.0),
        description="greatest angles about x, y, z, in degrees; planned: 15, for flat patches in their plane alone",
        json_schema_extra=PLANNED,
    )
    scaling: Positives = Field((0.87, 1.15), description="least and greatest factor by which anatomy grows")
    stretch: Factor = Field(1.1, description="greatest factor by which an axis is stretched, or squeezed, besides")
    elastic: ZeroToOne = Field(0.0, description="probability of an elastic deformation")
    elastic_spacing: PositiveInt = Field(16, description="voxels between the points that are pushed")
    elastic_displacement: NonNegativeFloat = Field(
        4.0, description="greatest push along an axis, in voxels; 0.4 elastic_spacing at most, or tissue would fold"
    )
    speckle: ZeroToOne = Field(
        0.0, description="probability of multiplicative noise, as in ultrasound", json_schema_extra=PLANNED
    )
    speckle_std: Amounts = Field((0.05, 0.3), description="its deviation, as a share of the echo")
    depth_gain: ZeroToOne = Field(
        0.0, description="probability of a gain that varies smoothly with depth", json_schema_extra=PLANNED
    )
    depth_gain_factor: Factor = Field(1.5, description="greatest gain; its inverse is the least")
    shadow: ZeroToOne = Field(0.0, description="probability of a shadow along the depth")
    shadow_darkness: ZeroToOneRange = Field((0.3, 0.8), description="share of the echo that is missing in its middle")
    shadow_width: Positives = Field((0.05, 0.2), description="its deviation from the middle, as a share of the patch")
    depth_axis: Literal["x", "y", "z"] = Field("y", description="axis of the ultrasound's depth")
    blur: ZeroToOne = Field(0.0, description="probability of Gaussian blur")
    blur_sigma: Positives = Field((0.5, 1.0), description="its standard deviation, in voxels")
    low_resolution: ZeroToOne = Field(0.0, description="probability of coarser voxels")
    low_resolution_factor: Factors = Field((1.0, 2.0), description="how many times longer they are")
    noise: ZeroToOne = Field(0.0, description="probability of Gaussian noise", json_schema_extra=PLANNED)
    noise_std: Amounts = Field((0.0, 0.2), description="its standard deviation; the volume's is 1")
    brightness: ZeroToOne = Field(0.0, description="probability of a constant added")
    brightness_shift: NonNegativeFloat = Field(0.3, description="its greatest size; the volume's deviation is 1")
    contrast: ZeroToOne = Field(0.0, description="probability of a stretch about the mean, within the patch's range")
    contrast_range: Positives = Field((0.75, 1.33), description="its least and greatest factor")
    gamma: ZeroToOne = Field(
        0.0, description="probability of a power of the grey values; mean and deviation stay", json_schema_extra=PLANNED
    )
    gamma_range: Positives = Field((0.7, 1.5), description="its least and greatest exponent")

    @model_validator(mode="after")
    def _no_fold(self) -> "Augmentation":
        most = MAX_PUSH * self.elastic_spacing
        if self.elastic_displacement > most:
            raise ValueError(
                f"elastic_displacement must be at most {MAX_PUSH} elastic_spacing, here {most:g} voxels, or tissue "
                f"would fold (it is {self.elastic_displacement:g})"
            )
        return self
