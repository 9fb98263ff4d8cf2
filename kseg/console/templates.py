"""Templates of pages: filled in so that nothing of recipes and files becomes markup, and nothing is left out unseen."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from kseg.console.text import markdown_text


@cache
def templates(package: str, folder: str = "templates") -> Environment:
    """Return the templates of a package's folder; a value that one names and that is not given is an error."""
    environment = Environment(
        loader=PackageLoader(package, folder),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markdown_text
    return environment
