"""A report's page: a template filled in, with its pictures inside."""

import base64
from pathlib import Path
from typing import Any

from kseg import __version__
from kseg.console.templates import templates
from kseg.storage.files import whole_file


def write_page(template: str, path: Path, **values: Any) -> None:
    """Fill in a template of this package; all that comes from recipes and files is escaped."""
    page = templates("kseg.report").get_template(template).render(version=__version__, **values)
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def inside(png: bytes) -> str:
    """Return a PNG as an address that holds the picture itself (RFC 2397)."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
