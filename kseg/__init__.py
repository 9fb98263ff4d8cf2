"""kseg: compact 3D segmentation networks on few, badly imbalanced scans.

The public names below load on first use, so that `import kseg` costs nothing and TensorFlow starts only when a
network is made.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kseg.console.errors import InputError as InputError
    from kseg.nn.layers import SharedDilatedConv3D as SharedDilatedConv3D
    from kseg.nn.losses import tversky_index as tversky_index
    from kseg.nn.networks import build_network as build_network
    from kseg.nn.parametric_tversky import ParametricTversky as ParametricTversky
    from kseg.nn.segmentation_loss import SegmentationLoss as SegmentationLoss
    from kseg.nn.segmenter import Segmenter as Segmenter
    from kseg.recipe.load import load_recipe as load_recipe
    from kseg.volumes.read import read_volume as read_volume

__version__ = "0.1.0"

_MODULES = {
    "InputError": "kseg.console.errors",
    "ParametricTversky": "kseg.nn.parametric_tversky",
    "SegmentationLoss": "kseg.nn.segmentation_loss",
    "Segmenter": "kseg.nn.segmenter",
    "SharedDilatedConv3D": "kseg.nn.layers",
    "build_network": "kseg.nn.networks",
    "load_recipe": "kseg.recipe.load",
    "read_volume": "kseg.volumes.read",
    "tversky_index": "kseg.nn.losses",
}

__all__ = sorted(_MODULES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'kseg' has no attribute '{name}'. Public names: {', '.join(__all__)}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
