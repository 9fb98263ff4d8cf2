"""Networks of each kind that a recipe may ask for, small, with weights of which every one counts."""

import keras
import numpy as np

from kseg import build_network

SMALL = {"filters": (2, 4), "dilation_rates": (1, 2)}

NETWORKS = {
    "midl2021": ("midl2021", {}),
    "kseg": ("kseg", {}),
    "learned kernels": ("midl2021", SMALL | {"share_kernel": False, "skip": "add"}),
    "rates that divide some factors": (
        "midl2021",
        {"filters": (2, 4), "dilation_rates": (1, 2, 4), "share_kernel": False, "pooling": ((2, 3, 1), (1, 2, 2))},
    ),
    "instance norm": ("midl2021", SMALL | {"norm": "instance", "negative_slope": 0.1}),
    "group norm": ("midl2021", SMALL | {"norm": "group", "residual": True}),
    "stem, pooling by axis": ("kseg", {"filters": (3, 4), "stem_stride": (2, 1, 3), "pooling": ((2, 2, 1), (1, 2, 2))}),
    "wide stem, rates by level": ("kseg", {"filters": (3, 4), "stem_stride": 4, "dilation_rates": ((1, 3, 3), (2,))}),
    "no pooling, dropout": ("midl2021", {"filters": (4,), "pooling": 1, "dropout": 0.5}),
    "regions": ("midl2021", SMALL | {"overlap": True}),
}
"""Presets and what differs from them."""


def trained(preset, options, num_classes=3, seed=0):
    """A network whose weights are not those of a beginning: every bias, scale and moving statistic counts."""
    keras.utils.set_random_seed(seed)  # kernels too: of some draws a network says nearly the same everywhere
    network = build_network(preset, num_classes, **options)
    rng = np.random.default_rng(seed)
    for layer in network.layers:
        for weight in layer.weights:
            if "variance" in weight.name:
                weight.assign(rng.uniform(0.5, 2, weight.shape))
            elif "kernel" not in weight.name:
                weight.assign(rng.normal(float(weight.name == "scale"), 0.3, weight.shape))
    return network
