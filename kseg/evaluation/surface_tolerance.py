"""The tolerance of the normalised surface Dice: as asked for, or the largest edge of a scan's voxels.

Choose it as the disagreement between observers (Nikolov et al., Journal of Medical Internet Research 2021). Where
nobody measured that, the voxel is what there is: a label map knows its surface to a voxel and no better, so that a
smaller tolerance counts masks as wrong that no observer could tell from the truth.
"""

from collections.abc import Mapping, Sequence

from kseg.console.text import counted


def largest_edge_mm(spacing_mm: Sequence[float]) -> float:
    """Return the largest edge of a voxel, in mm, to six digits: headers round, too."""
    return float(f"{max(spacing_mm):.6g}")


def tolerance_of(asked_mm: float, spacing_mm: Sequence[float]) -> float:
    """Return the tolerance for a scan, in mm.

    Args:
        asked_mm: `evaluation.surface_tolerance_mm`; 0 for the largest edge of the scan's voxels.
        spacing_mm: voxel size of the scan along x, y, z.
    """
    return asked_mm or largest_edge_mm(spacing_mm)


def warning_below_voxel(asked_mm: float, spacings_mm: Mapping[str, Sequence[float]]) -> str | None:
    """Return a sentence for the user where the tolerance asked for is smaller than a voxel, else None.

    Args:
        asked_mm: `evaluation.surface_tolerance_mm`; 0 asks for none.
        spacings_mm: voxel size along x, y, z by case.
    """
    edges_mm = {case: largest_edge_mm(spacing_mm) for case, spacing_mm in spacings_mm.items()}
    coarser = {case: edge_mm for case, edge_mm in edges_mm.items() if edge_mm > asked_mm > 0}
    if not coarser:
        return None
    largest = max(coarser, key=lambda case: coarser[case])
    cases = counted(len(coarser), "case")
    return (
        f"warning: evaluation.surface_tolerance_mm = {asked_mm:g} is less than a voxel of {cases} "
        f"(up to {coarser[largest]:.3g} mm, '{largest}'): NSD then counts a mask that is off by one voxel as wrong; "
        "evaluation.surface_tolerance_mm=0 takes the largest edge of each scan's voxels"
    )
