"""A report's page: a template filled in, with its pictures inside."""

import base64
from pathlib import Path
from typing import Any

from kseg import __version__
from kseg.console.templates import templates
from kseg.storage.files import whole_file
from kseg.storage.listing import listed_file


def write_page(template: str, path: Path, listed: bool = False, **values: Any) -> None:
    """Fill in a template of this package; all that comes from recipes and files is escaped.

    Args:
        template: its name.
        path: of the page.
        listed: whether the page is to be listed in its folder as kseg's (`kseg.storage.listing`).
        **values: for the template.
    """
    page = templates("kseg.report").get_template(template).render(version=__version__, **values)
    with (listed_file if listed else whole_file)(path) as partial:
        partial.write_text(page, encoding="utf-8")


def inside(png: bytes) -> str:
    """Return a PNG as an address that holds the picture itself (RFC 2397)."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
