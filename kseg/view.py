"""`python -m kseg.view`: a page to look at scans and masks in, served to a browser on this machine."""

import argparse
import os
import signal
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kseg.console.command import add_json_option, command_parser, run
from kseg.console.errors import InputError
from kseg.console.messages import print_json, say
from kseg.recipe.load import ASSUMED_SPACING, files_and_spacing, load_recipe
from kseg.recipe.types import SPLITS
from kseg.storage.locations import local, location_of

if TYPE_CHECKING:
    from kseg.viewer.scene import Scene


def main(argv: Sequence[str] | None = None) -> None:
    """Check what is to be seen, and serve it until the user ends it."""
    arguments = _parse(argv)
    scene_maker = _scene_maker(arguments)

    from kseg.viewer.page import NIIVUE, asset
    from kseg.viewer.server import ViewServer

    asset(NIIVUE)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ViewServer(scene_maker, arguments.port) as server, ExitStack() as until_ended:
        for note in server.scene.notes:
            say(f"note: {note}")
        say(f"the page is {server.address} (for this machine alone; Ctrl+C ends it)")
        if arguments.json:
            print_json({"address": server.address, "cases": [case.name for case in server.scene.cases]})
        if not arguments.no_browser:
            webbrowser.open(until_ended.enter_context(_doorway(server.address)))
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("ended")


@contextmanager
def _doorway(address: str) -> Iterator[str]:
    """Give a page that leads to an address, which only this user may read.

    What a browser is started with, every user of the machine can see. The folder is not hidden: browsers that are snaps
    may not look into hidden ones.
    """
    with TemporaryDirectory(
        prefix="kseg-view-", dir=Path.home() if os.access(Path.home(), os.W_OK) else None
    ) as folder:
        path = Path(folder, "open.html")
        path.write_text(f'<meta http-equiv="refresh" content="0; url={address}">', encoding="utf-8")
        yield path.as_uri()


def _scene_maker(arguments: argparse.Namespace) -> "Callable[[], Scene]":
    """Return what makes the scene, from files as they are by then."""
    from kseg.recipe.sections import SAVED_MODELS
    from kseg.runs.owned_files import PACKAGE

    assumed = load_recipe(None, arguments.spacing).data.assume_spacing_mm
    first, *masks = arguments.files
    if _is_run(first):
        named = {"--labels": arguments.labels, "--run": arguments.run, ASSUMED_SPACING: assumed}
        if others := [*masks, *(name for name, value in named.items() if value)]:
            raise InputError(f"'{first}' is a run, whose own masks are shown: leave {others[0]} out, or name a scan")
        return partial(_scene_of_run, arguments, first)
    if first.endswith(PACKAGE):
        raise InputError(f"'{first}' is a package, which holds no cases: name a run, or a scan with --run {first}")
    for option in ("split", "records"):
        if getattr(arguments, option):
            raise InputError(f"--{option} is of a run, and '{first}' is none: leave it out, or name a run")
    if not local(first).exists():
        raise InputError(f"'{first}' is neither a file, nor a folder, nor a run in {SAVED_MODELS}: correct it")
    from kseg.measures.named_structures import named_structures
    from kseg.viewer.scene_of_files import scene_of_files

    structures, background = named_structures(arguments.labels, arguments.run)
    return partial(scene_of_files, local(first), [local(mask) for mask in masks], structures, background, assumed)


def _scene_of_run(arguments: argparse.Namespace, named: str) -> "Scene":
    from kseg.records.manifest import load_manifest
    from kseg.runs.trained_run import open_trained
    from kseg.viewer.scene_of_run import scene_of_run

    trained = open_trained(named)
    records = location_of(arguments.records) if arguments.records else trained.recipe.records_folder
    return scene_of_run(trained, records, load_manifest(records), arguments.split or "test")


def _is_run(word: str) -> bool:
    """Whether a word names a run, by a folder that has a recipe, rather than a scan; one that is neither is a scan."""
    from kseg.recipe.sections import SAVED_MODELS
    from kseg.runs.owned_files import FOLD, RECIPE_FILE

    folders = (local(word), SAVED_MODELS / word) if "://" not in word else ()
    return any((folder / RECIPE_FILE).is_file() or (folder / f"{FOLD}1" / RECIPE_FILE).is_file() for folder in folders)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("view")
    parser.add_argument(
        "words",
        nargs="+",
        metavar="SCAN|MASK|RUN",
        help="scan (a file, or the folder of a DICOM series) and masks on its grid; or a run that has been evaluated; "
        f"{ASSUMED_SPACING}=[i, j, k] for files that do not state it",
    )
    parser.add_argument("--split", choices=SPLITS, help="which cases of the run (test)")
    parser.add_argument("--records", metavar="DIR", help="prepared dataset with the run's cases, if it was moved")
    parser.add_argument(
        "--labels",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="names of the masks' label values",
    )
    parser.add_argument("--run", metavar="RUN", help="name, folder or package of a run that has the names")
    parser.add_argument("--port", type=int, default=0, help="to listen on (any that is free)")
    parser.add_argument("--no-browser", action="store_true", help="open no browser, only say where the page is")
    add_json_option(parser)
    arguments = parser.parse(argv)
    arguments.files, arguments.spacing = files_and_spacing(arguments.words, "file")
    if not arguments.files:
        parser.error("name a scan, or a run")
    return arguments


if __name__ == "__main__":
    run(main)
