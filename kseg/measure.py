"""`python -m kseg.measure`: volumes, lengths, cross-sectional areas and intensities of masks, whoever made them."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kseg.console.command import add_json_option, command_parser, run
from kseg.console.command_names import command_line
from kseg.console.disk_errors import refusals_told
from kseg.console.errors import InputError
from kseg.console.messages import print_json, say
from kseg.console.outcomes import Outcomes
from kseg.recipe.load import ASSUMED_SPACING, files_and_spacing, load_recipe
from kseg.recipe.types import AXES
from kseg.storage.disk import check_writable
from kseg.storage.locations import local

if TYPE_CHECKING:
    from kseg.measures.mask_files import MaskFile
    from kseg.measures.mask_table import MaskTable
    from kseg.measures.measure_file import MeasuredFile

CUT_OFF = "cut off at the border of the scan"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every mask; a bad one does not stop the others, but is the exit status's business at the end."""
    arguments = _parse(argv)
    out = _out(arguments.out)
    assumed = load_recipe(None, arguments.spacing).data.assume_spacing_mm

    from kseg.measures.mask_files import find_masks, with_images
    from kseg.measures.measure_file import measure_file
    from kseg.measures.named_structures import named_structures

    structures, background = named_structures(arguments.labels, arguments.run)
    found = find_masks([local(word) for word in arguments.files])
    done = _Done(len(found.masks) + len(found.refused))
    masks, without_image = found.masks, dict[Path, str]()
    if arguments.images is not None:
        masks, without_image = with_images(masks, local(arguments.images))
    check_writable(out.parent)
    files = _Outputs(out, AXES.index(arguments.axis), arguments.profile, arguments.plot)
    for path, reason in found.skipped.items():
        done.skip(path, reason)
    for path, reason in (found.refused | without_image).items():
        done.fail(path, reason)
    for mask in masks:
        try:
            with refusals_told():
                files.check(mask)
                measured = measure_file(mask, structures, files.axis, assumed, background)
                done.measures += files.write(mask, measured)
        except InputError as error:
            done.fail(mask.path, str(error))
        else:
            done.tell(mask.path, measured)
    if arguments.json:
        print_json(
            {"measured": done.measured, "measures": done.measures, "failed": [*done.failed], "skipped": done.skipped}
        )
    done.conclude(out)


@dataclass
class _Done(Outcomes):
    """What became of the masks, with the measures of each."""

    command = "measure"
    kind = "masks"

    measured: list[str] = field(default_factory=list)
    measures: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, path: Path, measured: "MeasuredFile") -> None:
        self.measured.append(str(path))
        for note in measured.notes:
            say(f"note: '{path}': {note}")
        told = (
            f"{name} {found.volume_ml:.1f} ml{f' ({CUT_OFF})' if found.touches_border else ''}"
            for name, found in measured.measures.items()
        )
        say(f"{path}: {', '.join(told) or 'no structure'}")

    def conclude(self, out: Path) -> None:
        """Say where the table is; raise `InputError` where a mask failed."""
        if self.measured:
            say(f"measures: {out}")
        self.raise_failed()


class _Outputs:
    """The files of the measures: tables that grow, and a picture for each mask in a folder of their own.

    Raises:
        InputError: in the place of a table is something else.
    """

    def __init__(self, out: Path, axis: int, profile: bool, plot: bool) -> None:
        from kseg.measures.tables import measures_table, profile_table

        self.axis = axis
        self._out = out
        self._plot = plot
        self._measures = measures_table(out)
        self._profile: MaskTable | None = None
        if profile:
            self._profile = profile_table(out.with_name(f"{out.stem}_profile.csv"))

    def check(self, mask: "MaskFile") -> None:
        """Raise `InputError` where the picture of a mask would take the place of something that kseg did not write."""
        from kseg.storage.listing import is_listed

        path = self._out.parent / self._picture(mask)
        if self._plot and os.path.lexists(path) and not is_listed(self._out.parent, self._picture(mask)):
            raise InputError(f"'{path}' is there, and is not as kseg wrote it: move it away, or choose another --out")

    def write(self, mask: "MaskFile", measured: "MeasuredFile") -> list[dict[str, Any]]:
        """Write the measures of a mask, and return its rows."""
        from kseg.measures.tables import measures_rows, profile_rows

        name = Path(os.path.relpath(mask.path, self._out.parent)).as_posix()
        of_mask = mask.case, name, self.axis, measured.stored, measured.measures
        rows = measures_rows(*of_mask)
        self._measures.put(name, rows)
        if self._profile:
            self._profile.put(name, profile_rows(*of_mask))
        if self._plot:
            self._draw(mask, measured)
        return rows

    def _draw(self, mask: "MaskFile", measured: "MeasuredFile") -> None:
        from kseg.pictures.area_curves import area_curves
        from kseg.pictures.png import png_bytes
        from kseg.storage.files import whole_file
        from kseg.storage.listing import list_files

        profiles = {name: found.profile for name, found in measured.measures.items()}
        curves = {
            name: (profile.first * profile.slice_mm + profile.places_mm, profile.areas_mm2)
            for name, profile in profiles.items()
        }
        with whole_file(self._out.parent / self._picture(mask)) as path:
            path.write_bytes(png_bytes(area_curves(curves, AXES[self.axis], mask.case)))
            list_files(self._out.parent, {self._picture(mask): path})

    def _picture(self, mask: "MaskFile") -> str:
        return f"{self._out.stem}_plots/{mask.case}.png"


def _out(typed: str) -> Path:
    out = local(typed)
    if out.suffix.lower() != ".csv":
        raise InputError(f"--out '{out}' is the table of measures: give it a name that ends in .csv")
    return out


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("measure")
    parser.add_argument(
        "words",
        nargs="*",
        default=[],
        metavar="MASK|KEY=VALUE",
        help="mask, or folder with masks in it or below; or "
        f"{ASSUMED_SPACING}=[i, j, k] for those that do not state it",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="CSV",
        help="table of the measures, with a row for each mask and structure; rows that it has of other masks stay",
    )
    parser.add_argument(
        "--images", metavar="DIR", help="folder of the scans, by the names of their masks; or the scan of one mask"
    )
    parser.add_argument("--axis", choices=AXES, default="z", help="along which lengths and areas are measured (z)")
    parser.add_argument(
        "--labels", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
        help="names of the label values; others are not measured. By default each value but 0 is",
    )  # fmt: skip
    parser.add_argument("--run", metavar="RUN", help="name, folder or package of a run that has the names")
    parser.add_argument("--profile", action="store_true", help="write the areas slice by slice into CSV_profile.csv")
    parser.add_argument(
        "--plot", action="store_true", help="draw the areas along the axis, a PNG for each mask, into CSV_plots/"
    )
    add_json_option(parser)
    arguments = parser.parse(argv)
    arguments.files, arguments.spacing = files_and_spacing(arguments.words, "mask")
    if not arguments.files:
        raise InputError(f"no mask is named: give files or folders. See {command_line('measure')} --help")
    return arguments


if __name__ == "__main__":
    run(main)
