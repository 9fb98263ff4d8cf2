"""The page itself: its text, style and script, NiiVue, and what it is told of a scene."""

import hashlib
import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from kseg import __version__
from kseg.console.errors import InputError
from kseg.console.templates import templates
from kseg.viewer.scene import Scene

SCRIPT, STYLE, NIIVUE = "view.js", "view.css", "niivue/niivue.umd.js"
CHECKSUMS = "niivue/SHA256SUMS"


def page(title: str, **inside: str) -> str:
    """Return the page as HTML.

    Args:
        title: of its tab.
        inside: the texts of style, niivue, script and embedded, for a page in one file; without them it asks its server
            for the first three, and for the scene.
    """
    return (
        templates("kseg.viewer", "assets")
        .get_template("view.html")
        .render(title=title, version=__version__, inside=inside or None)
    )


def asset(name: str) -> bytes:
    """Return a file that comes with the page.

    Raises:
        InputError: NiiVue is not as it was released: what runs in a browser is checked.
    """
    content = _asset(name).read_bytes()
    if name == NIIVUE and hashlib.sha256(content).hexdigest() != _asset(CHECKSUMS).read_text("utf-8").split()[0]:
        raise InputError(f"'{_asset(name)}' is not NiiVue as it was released (its checksum differs): install kseg anew")
    return content


def described(scene: Scene) -> dict[str, Any]:
    """Return what the page is told of a scene, for JSON."""
    return {
        "title": scene.title,
        "notes": list(scene.notes),
        "structures": [
            {"name": one.name, "colour": one.colour, "unlabelled": one.unlabelled} for one in scene.structures
        ],
        "cases": [
            {
                "name": case.name,
                "channels": list(case.channels),
                "masks": list(case.masks),
                "dice": case.dice,
                "expected_dice": case.expected_dice,
                "scores": [list(row) for row in case.scores],
            }
            for case in scene.cases
        ],
    }


def within_script(document: Any) -> str:
    """Return a document as JSON that may stand within a script element, which no text in it can end."""
    return json.dumps(document, allow_nan=False).replace("<", "\\u003c")


def _asset(name: str) -> Traversable:
    return files("kseg.viewer").joinpath(f"assets/{name}")
