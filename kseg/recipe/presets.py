"""Networks by name: what each preset fixes. Plain data, so that a plan knows a network's levels without Keras."""

from typing import Any

from kseg.recipe.sections import Network

PRESETS: dict[str, dict[str, Any]] = {
    # Al Chanti et al., Efficient Strategies for Better Imbalance Image Segmentation, section 2 and figure 1.
    "midl2021": {"filters": (4, 8, 16, 32, 64), "dilation_rates": (1, 2, 3, 4), "pooling": 2, "skip": "none"},
    # Chosen on hippocampi, legs and glands that test nothing else: full resolution, residual, no dilation, few filters
    # where a layer takes longest (docs/results.md, "How the preset kseg was chosen").
    "kseg": {
        "filters": (8, 32, 64, 64),
        "dilation_rates": (1,),
        "pooling": 2,
        "skip": "add",
        "residual": True,
        "finest_residual": False,  # it would take as long as all others together
        "negative_slope": 0.01,
        "norm_momentum": 0.97,  # statistics of some 130 patches, not 40 (docs/results.md, "What made masks too large")
    },
}


def options_of(network: Network) -> dict[str, Any]:
    """Return the arguments of the network that a recipe's section describes: its own, and else its preset's."""
    return PRESETS[network.preset] | network.overrides()


def levels_of(network: Network) -> int:
    """Return how many times a network pools, its stem included."""
    options = options_of(network)
    return len(options["filters"]) + (options.get("stem_stride", 1) != 1)
