"""The pages: short enough to be read, and true where that can be checked: links, paths, commands, keys, messages."""

import ast
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

import kseg
from kseg.recipe.keys import recipe_keys

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = {"README.md": 150, "CONTRIBUTING.md": 80}
MAX_COLUMNS = 120
TEMPLATES = "kseg/report/templates/"  # pages that Jinja makes
OTHERS = (".git", "build", ".pytest_cache", "node_modules")
MARKDOWN = MarkdownIt("commonmark").enable("table")
WRITTEN = (  # paths that kseg writes for a user, and what a page makes up: not in the repository
    *("saved_models/", "tfrecords/", "build/", "scans/", "masks/", "legs/", "imagesTr/", "labelsTr/", "assets.extra/"),
    *("checkpoints/", "logs/", "evaluation/", "fold-", "cases.csv", "my.toml", ".venv"),
)
PATHS = re.compile(r"(?:kseg|tests|docs|pipelines|tfrecords|saved_models|\.ci)/[\w./*-]*")
COMMANDS = re.compile(r"(?:python3? -m kseg\.|(?<![.\w])kseg )([a-z_]+)\b")
KEYS = re.compile(
    r"(?<![\w/.])(?:data|phantom|patches|augmentation|network|loss|train|evaluation)\.(?!json|py|toml|key\b)[a-z]\w*"
)
NAME = re.compile(r"kseg\.(\w+)")
COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)


def pages() -> list[str]:
    """Every page of the repository, those that git keeps where there is git."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
        found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    else:
        inside = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
        found = [str(path) for path in inside if not any(part.startswith((".venv", *OTHERS)) for part in path.parts)]
    return sorted(page for page in found if not page.startswith(TEMPLATES) and (ROOT / page).is_file())


PAGES = pages()
OWN = [page for page in PAGES if page == "CONTRIBUTING.md" or page.startswith("docs/")]


@cache
def lines(page: str) -> list[str]:
    return (ROOT / page).read_text(encoding="utf-8").split("\n")


@cache
def tokens(page: str) -> list[Token]:
    return MARKDOWN.parse("\n".join(lines(page)))


def inline(page: str, kind: str) -> Iterator[Token]:
    """Tokens of a kind within paragraphs, headings and tables."""
    for token in tokens(page):
        yield from (child for child in token.children or () if child.type == kind)


def prose(page: str) -> Iterator[tuple[int, str]]:
    """Lines that are neither a table's nor code, with their numbers."""
    left_out = set()
    for token in tokens(page):
        if token.map and token.type in ("fence", "code_block", "table_open", "html_block"):
            left_out.update(range(*token.map))
    return ((number + 1, line) for number, line in enumerate(lines(page)) if number not in left_out)


@cache
def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    seen: dict[str, int] = {}
    found = set()
    for opening, heading in zip(tokens(page), tokens(page)[1:], strict=False):
        if opening.type == "heading_open":
            text = "".join(child.content for child in heading.children or ())
            kept = (c for c in text.lower() if c in "-_ " or unicodedata.category(c)[0] in "LNM")
            slug = "".join(kept).replace(" ", "-")
            count = seen.get(slug, 0)
            seen[slug] = count + 1
            found.add(f"{slug}-{count}" if count else slug)
    return found


def test_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/recipe.md"} <= set(PAGES)


@pytest.mark.parametrize("page", MAX_LINES)
def test_the_first_pages_are_short(page: str) -> None:
    assert len((ROOT / page).read_text(encoding="utf-8").splitlines()) <= MAX_LINES[page]


@pytest.mark.parametrize("page", PAGES)
def test_no_line_of_prose_is_too_long(page: str) -> None:
    long = [f"{page}:{number}: {len(line)}" for number, line in prose(page) if len(line) > MAX_COLUMNS]
    assert not [one for one in long if "://" not in lines(page)[int(one.split(":")[1]) - 1]]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    targets = [str(link.attrs["href"]) for link in inline(page, "link_open")]
    targets += [str(image.attrs["src"]) for image in inline(page, "image")]
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page}: '{target}' is not there"
        assert path.resolve().is_relative_to(ROOT), f"{page}: '{target}' lies outside the repository"
        if anchor:
            assert anchor in anchors(str(path.resolve().relative_to(ROOT))), f"{page}: no heading for '{target}'"


def test_every_guide_is_listed() -> None:
    listed = {str(link.attrs["href"]) for link in inline("docs/README.md", "link_open")}
    assert {Path(page).name for page in PAGES if page.startswith("docs/")} - {"README.md"} <= listed


@pytest.mark.parametrize("page", OWN)
def test_every_path_that_is_named_exists(page: str) -> None:
    missing = []
    for code in inline(page, "code_inline"):
        word = code.content
        if not PATHS.fullmatch(word) or any(word.startswith(written) and word != written for written in WRITTEN):
            continue
        found = any(ROOT.glob(word)) if "*" in word else (ROOT / word).exists()
        missing += [] if found else [word]
    assert not missing, f"{page} names what is not there: {missing}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists(page: str) -> None:
    said = [COMMENT.sub("", token.content) for token in tokens(page) if token.type == "fence" and not token.info]
    said += [code.content for code in inline(page, "code_inline") if re.match(r"python|kseg |[A-Z_]+=", code.content)]
    for text in said:
        for command in COMMANDS.findall(text):
            assert (ROOT / "kseg" / f"{command}.py").is_file(), f"{page}: '{text.strip()}' names no command of kseg"


@pytest.mark.parametrize("page", PAGES)
def test_no_server_is_opened_to_everyone(page: str) -> None:
    code = "\n".join(token.content for token in tokens(page) if token.type == "fence")
    published = re.findall(r"(?:-p |--publish[ =]|\")([\d.:]*:\d+)(?:[ \"\n]|$)", code)
    assert all(port.startswith("127.0.0.1:") for port in published), f"{page}: {published}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])  # which names keys that are gone
def test_every_key_that_is_named_is_a_recipe_s(page: str) -> None:
    known = {key for key, _, _ in recipe_keys()}
    code = [token.content for token in tokens(page) if token.type == "fence"]
    code += [token.content for token in inline(page, "code_inline")]
    named = {match[0] for text in code for match in KEYS.finditer(text)}
    assert not named - known, f"{page} names what is no key of a recipe: {named - known}"


def test_the_page_of_the_library_lists_the_public_names() -> None:
    listed = {word[1] for token in inline("docs/library.md", "code_inline") if (word := NAME.fullmatch(token.content))}
    assert listed == set(kseg.__all__)


@cache
def messages() -> str:
    """All texts in the code, each on a line, a gap where a value is put in."""
    found: list[str] = []
    for path in (ROOT / "kseg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_messages_are_quoted_as_the_code_says_them() -> None:
    for row in (line for line in lines("docs/errors.md") if line.startswith("| `")):
        for quoted in re.findall(r"`([^`]+)`", row.split("|")[1]):
            for part in re.split(r" ?\.\.\.,? ?", quoted):
                assert part in messages(), f"docs/errors.md quotes '{part}', which the code does not say"
