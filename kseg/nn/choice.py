"""Which implementation of a shared dilated layer is faster where: what `implementation="auto"` goes by."""

from collections.abc import Sequence


def reuse_is_faster(upsample: Sequence[int]) -> bool:
    """Say whether a layer with this up-sampling runs faster with its multiplications reused.

    Up-sampling decides: products at the low resolution are `ux uy uz` times fewer, for each rate. Without it, reuse
    saves a factor of the number of rates at most, and pays with sums that go through memory instead of the caches.
    """
    return max(upsample) > 1
