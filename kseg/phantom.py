"""`python -m kseg.phantom`: made-up freehand-ultrasound calves and their labels, to try kseg on."""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kseg.console.command import command_parser, run
from kseg.console.command_names import command_line, command_name
from kseg.console.disk_errors import refusals_told
from kseg.console.errors import InputError
from kseg.simulation.phantom_shape import FULL_SHAPE
from kseg.storage.disk import check_writable
from kseg.storage.listing import is_listed, list_files
from kseg.storage.locations import local

if TYPE_CHECKING:
    from kseg.simulation.phantom import Phantom

MANIFEST = "manifest.csv"
FORMATS = ("nii.gz", "nii", "mha")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked as far as it can be without a library."""
    parser = command_parser(
        "phantom", epilog=f"It writes images/, labels/ and manifest.csv, which {command_name('prepare')} reads."
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write, created if absent")
    parser.add_argument("--subjects", type=int, default=1, metavar="N", help="how many legs (default 1)")
    full, axes = " ".join(map(str, FULL_SHAPE)), ("X", "Y", "Z")
    parser.add_argument("--shape", type=int, nargs=3, default=FULL_SHAPE, metavar=axes, help=f"voxels (default {full})")
    parser.add_argument("--spacing-mm", type=float, metavar="S", help="voxel edge (default: a leg of natural size)")
    parser.add_argument("--difficulty", type=float, default=0.5, metavar="D", help="0 easy to 1 hard (default 0.5)")
    parser.add_argument("--muscle-scale", type=float, default=1.0, metavar="S", help="size of the muscles (default 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other legs (default 0)")
    parser.add_argument("--format", choices=FORMATS, default="nii.gz", help="file format (default nii.gz)")
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into a folder that holds files; those of earlier phantoms are replaced",
    )
    options = parser.parse(arguments)
    options.shape = tuple(options.shape)
    if options.subjects < 1:
        raise InputError(f"--subjects must be 1 or more: received {options.subjects}; ask for at least one.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the phantoms that the command line asks for."""
    options = parse(arguments)
    out = local(options.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out '{out}' is a file: name a folder.")
    if out.is_dir() and any(out.iterdir()) and not options.force:
        raise InputError(f"--out '{out}' holds files already: name another folder, or add --force to replace phantoms.")

    from kseg.simulation.phantom import LABELS, phantoms

    look = {"difficulty": options.difficulty, "muscle_scale": options.muscle_scale}
    cases = list(phantoms(options.subjects, options.shape, options.spacing_mm, seed=options.seed, **look))
    names = [(f"images/{case}.{options.format}", f"labels/{case}.{options.format}") for case, _, _ in cases]
    _check_targets(out, [MANIFEST, *(name for pair in names for name in pair)])
    manifest = out / MANIFEST
    with refusals_told("run the command again with --force"):
        _write_all(cases, names, out)
    values = ", ".join(f"{name} = {value}" for name, value in LABELS.to_json().items())
    labels = f"data.labels={{{values}}}"
    print(f"{manifest}\nnext: {command_line('prepare')} {shlex.quote(str(manifest))} {shlex.quote(labels)}")


def _write_all(cases: "Sequence[tuple[str, str, Phantom]]", names: Sequence[tuple[str, str]], out: Path) -> None:
    """Write images, labels and, when it can list them all, the manifest."""
    from kseg.volumes.cases.csv_manifest import write_csv

    manifest = out / MANIFEST
    manifest.unlink(missing_ok=True)
    rows = []
    for (case, subject, phantom), (image, label) in zip(cases, names, strict=True):
        write(phantom, out / image, out / label, case)
        list_files(out, {name: out / name for name in (image, label)})
        rows.append((case, subject, "", image, label))
    write_csv(manifest, rows)
    list_files(out, {MANIFEST: manifest})


def _check_targets(out: Path, names: Sequence[str]) -> None:
    """What is in the place of a file must be an earlier phantom's, as it was written; and the disk takes more."""
    for folder in (out, out / "images", out / "labels"):
        check_writable(folder)
    for name in names:
        if os.path.lexists(out / name) and not is_listed(out, name):
            raise InputError(
                f"'{out / name}' is there, and is not as {command_name('phantom')} wrote it: "
                "move it away, or name another --out."
            )


def write(phantom: "Phantom", image_path: Path, label_path: Path, case: str) -> None:
    """Write the image and the labels of one phantom side by side, a slice at a time."""
    from kseg.console.terminal import progress
    from kseg.volumes.slice_writer import SliceWriter

    with (
        SliceWriter(image_path, phantom.shape, phantom.affine) as image_file,
        SliceWriter(label_path, phantom.shape, phantom.affine) as label_file,
    ):
        for image, labels in progress(phantom.slices(), case, total=phantom.shape[2]):
            image_file.write(image)
            label_file.write(labels)


if __name__ == "__main__":
    run(main)
