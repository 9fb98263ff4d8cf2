"""A run in one file, to be passed on: a zip of its models, what they take, its recipe and its card, with checksums.

There is no code in it, and nothing that Python would run: models are in Keras' format and load in its safe mode. A
package may come from anybody. So its members must have the names that kseg gives them, lie in it as they are, not
compressed, and be what the checksums say; what else it holds is never read.
"""

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from kseg import __version__
from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import first_line
from kseg.console.validation_errors import first_invalid
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.recipe.sections import SAVED_MODELS
from kseg.recipe.types import WORD, Hash, Word
from kseg.runs.data_description import DataDescription
from kseg.runs.owned_files import (
    CARD,
    DATA_FILE,
    EXPECTED_DICE_FILE,
    FOLD,
    FOLDS,
    MODEL_FILE,
    POSTPROCESSING_FILE,
    RECIPE_FILE,
    RUN,
    unusable,
)
from kseg.storage.files import sha256_of, whole_folder
from kseg.storage.listing import list_files, listed_file
from kseg.storage.locations import local
from kseg.storage.ownership import is_empty, mark
from kseg.storage.zip_files import check_parts, open_zip

VERSION: Final = 1
CONTENTS = "package.json"
OF_A_MODEL = (RECIPE_FILE, DATA_FILE, MODEL_FILE)
OF_A_RUN = (POSTPROCESSING_FILE, EXPECTED_DICE_FILE, CARD)
_MODEL, _RUN = ("|".join(map(re.escape, names)) for names in (OF_A_MODEL, OF_A_RUN))
MEMBER = re.compile(rf"({FOLD}[1-9][0-9]{{0,2}}/)?({_MODEL})|{_RUN}")
MAX_SHOWN = 80
MAX_CONTENTS = 2**20
"""Bytes of the table of contents."""
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
"""Within a model's own archive: what its layers are, and their weights (Keras' format, version 3)."""
MAX_CONFIG, MAX_UNPACKED = 2**26, 2**32
"""Bytes that any part of that archive may come to, and the weights."""
AT_ONCE = 2**20
_open: dict[Path, TemporaryDirectory[str]] = {}
"""Packages that were unpacked for as long as this process lives."""


class Member(BaseModel):
    """A file of a package."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: NonNegativeInt
    sha256: Hash


class Contents(BaseModel):
    """All of `package.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    package_version: Literal[1] = VERSION
    kseg_version: str
    name: Word
    files: dict[str, Member]


def is_package(run: str) -> bool:
    """Whether a run is named by a file, as a package is, and not by the name of a run."""
    return "://" not in run and local(run).is_file() and not run.endswith(".toml") and not (SAVED_MODELS / run).is_dir()


def write_package(folder: Path, name: str, path: Path) -> None:
    """Write the run in a folder, or its folds together, as a package.

    Raises:
        InputError: the disk refuses it, a model is damaged, or the run's name is not one that a folder may have
            everywhere.
    """
    if not re.fullmatch(WORD, name):
        raise InputError(
            f"'{name}' is no name for a package, which may be unpacked anywhere: rename the run's folder, with letters "
            "(a to z), digits, '.', '_' and '-'"
        )
    found = [file.relative_to(folder).as_posix() for file in sorted((*folder.glob("*"), *folder.glob(f"{FOLD}*/*")))]
    if CARD in found and _is_of_earlier_models(folder / CARD, [folder / one for one in found]):
        say(f"note: {CARD} is of a model of before, and left out: export the run, then pack it")
        found.remove(CARD)
    for member in found:
        if member.rpartition("/")[2] == MODEL_FILE and (damage := _damage(folder / member)):
            raise unusable(folder / member, damage)
    contents = {member: (folder / member).read_bytes() for member in found if MEMBER.fullmatch(member)}
    files = {
        member: Member(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for member, content in contents.items()
    }
    table = Contents(kseg_version=__version__, name=name, files=files).model_dump()
    with listed_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(CONTENTS, json.dumps(table, indent=2) + "\n")
        for member, content in contents.items():
            archive.writestr(member, content)


def _is_of_earlier_models(card: Path, files: Sequence[Path]) -> bool:
    """Whether a run was trained further since its model card was written; one of earlier versions does not say."""
    stated = set(re.findall(r"\b[0-9a-f]{64}\b", card.read_text(encoding="utf-8", errors="replace")))
    return bool(stated) and not {sha256_of(file) for file in files if file.name == MODEL_FILE} <= stated


def as_run(run: str) -> str:
    """Return the name of a run; a package becomes one under its own name, in the folder of the runs.

    Args:
        run: name or path of a run, or path of a package.

    Raises:
        InputError: see `unpacked`; or there is a run of that name already.
    """
    if not is_package(run):
        return run
    package = local(run)
    with _archive(package) as archive:
        contents = _contents(package, archive)
    name = contents.name
    folder = SAVED_MODELS / name
    if not is_empty(folder):
        if _is_unpacked_in(folder, contents):
            say(f"'{run}' is unpacked in '{folder}' already")
            return name
        raise InputError(
            f"'{folder}' is there already, and differs: name that run instead of the package '{run}', or move it away "
            "to unpack that"
        )
    kinds = (FOLDS, RUN) if any("/" in member for member in contents.files) else (RUN, FOLDS)
    with whole_folder(folder, *kinds) as partial:
        unpack(package, partial)
        _forget_stores(partial, name)
    say(f"'{run}' is unpacked as the run '{name}', {folder}")
    return name


def _is_unpacked_in(folder: Path, contents: Contents) -> bool:
    """Whether a run is that of a package, but for a recipe that forgot a store, and a card, which is made anew."""
    return all(
        (folder / name).is_file() and sha256_of(folder / name) == member.sha256
        for name, member in contents.files.items()
        if name.rpartition("/")[2] not in (RECIPE_FILE, CARD)
    )


def unpacked(package: Path) -> Path:
    """Return a folder with the run of a package, which goes when this process ends.

    Raises:
        InputError: the file is no package, is damaged, or holds what no package does.
    """
    package = package.resolve()
    if package not in _open:
        place = TemporaryDirectory(prefix="kseg-")
        unpack(package, Path(place.name) / "run")
        _open[package] = place
    return Path(_open[package].name) / "run"


def unpack(package: Path, folder: Path) -> None:
    """Make a folder, new or empty, a run, or the folds of one, by a package; every file of it is checked.

    Raises:
        InputError: see `unpacked`.
    """
    with _archive(package) as archive:
        contents = _contents(package, archive)
        folder.mkdir(parents=True, exist_ok=True)
        for name, member in contents.files.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            with archive.open(name) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, AT_ONCE)
            if sha256_of(target) != member.sha256:
                raise _damaged(package, f"the checksum of '{name}' differs")
            _check_part(package, contents.kseg_version, target)
    if CARD in contents.files:
        list_files(folder, {CARD: folder / CARD})  # an export replaces it
    folds = [path for path in folder.iterdir() if path.is_dir()]
    mark(folder, FOLDS if folds else RUN)
    for fold in folds:
        mark(fold, RUN)


def _forget_stores(folder: Path, name: str) -> None:
    """Let no recipe of a run that comes from elsewhere name a dataset in a store, which commands would ask for it."""
    told = set[str]()
    for file in folder.rglob(RECIPE_FILE):
        recipe = load_recipe(file)
        if "://" in (records := recipe.data.records):
            if records not in told:
                say(f"note: its dataset '{records}' is not asked for: name one with --records")
            told.add(records)
            data = recipe.data.model_copy(update={"records": f"tfrecords/{name}"})
            file.write_text(dump_recipe(recipe.model_copy(update={"data": data})), encoding="utf-8")


@contextmanager
def _archive(package: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with open_zip(package) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise _damaged(package, str(error)) from None


def _contents(package: Path, archive: zipfile.ZipFile) -> Contents:
    """The table of contents, which must be of this version, and name what is in the archive, and that alone."""
    names = _checked_names(package, archive)
    contents = _parsed(package, archive.read(CONTENTS))
    if names - {CONTENTS} != contents.files.keys():
        raise _damaged(package, f"{CONTENTS} lists other files than it holds")
    for name, member in contents.files.items():
        if archive.getinfo(name).file_size != member.bytes:
            raise _damaged(package, f"'{name}' has another size than {CONTENTS} says")
    of_models = [name for name in contents.files if name.rpartition("/")[2] in OF_A_MODEL]
    folders = {name.rpartition("/")[0] for name in of_models}
    numbered = {f"{FOLD}{number}" for number in range(1, len(folders) + 1)}
    if not folders or folders not in ({""}, numbered) or len(of_models) != len(folders) * len(OF_A_MODEL):
        raise _damaged(package, "it lacks a part of a model")
    return contents


def _checked_names(package: Path, archive: zipfile.ZipFile) -> set[str]:
    """Names of all that is in the archive, each of which a package may hold, once, and as it is."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if CONTENTS not in names:
        raise InputError(f"'{package}' is no run, and no package of one (it has no {CONTENTS})")
    for entry in entries:
        known = entry.filename == CONTENTS or MEMBER.fullmatch(entry.filename)
        if not known or names.count(entry.filename) > 1:
            raise _damaged(package, f"it holds {entry.filename[:MAX_SHOWN]!r}, which no package does")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise _damaged(package, f"'{entry.filename}' is compressed or encrypted, which no package's is")
    if sum(entry.file_size for entry in entries) > package.stat().st_size:
        raise _damaged(package, "its parts come to more than it has")
    if archive.getinfo(CONTENTS).file_size > MAX_CONTENTS:
        raise _damaged(package, f"{CONTENTS} is too long")
    return set(names)


def _parsed(package: Path, table: bytes) -> Contents:
    try:
        version = dict(json.loads(table)).get("package_version")
    except (ValueError, TypeError, RecursionError):
        raise _damaged(package, f"{CONTENTS} is no JSON object") from None
    if version != VERSION:
        raise InputError(
            f"'{package}' is a package of another kseg (version {repr(version)[:MAX_SHOWN]} instead of {VERSION}): use "
            "that, or ask for one that this one reads"
        )
    try:
        return Contents.model_validate_json(table)
    except ValidationError as error:
        raise _damaged(package, f"{CONTENTS}: {first_invalid(error)}") from None


def _check_part(package: Path, made_by: str, part: Path) -> None:
    """A recipe, a description or a model of a package must be one that this kseg understands."""
    try:
        if part.name == RECIPE_FILE:
            load_recipe(part)
        elif part.name == DATA_FILE:
            DataDescription.model_validate_json(part.read_bytes())
    except (InputError, ValidationError) as error:
        said = str(error).partition(": ")[2] if isinstance(error, InputError) else str(first_invalid(error))
        what = f"its {part.name}: {first_line(said)}"
        raise InputError(
            f"package '{package}' (made by kseg {made_by[:MAX_SHOWN]}, this is {__version__}) has a part that is "
            f"damaged, or of another version ({what}): use the kseg that made it, or ask for it again"
        ) from None
    if part.name == MODEL_FILE and (damage := _damage(part)):
        raise _damaged(package, f"its model: {damage}")


def _damage(model: Path) -> str:
    """Return what is wrong with a model's file, which is an archive itself; empty where nothing is.

    A few bytes of it must not stand for more than a memory or a disk holds, all must be whole, and none be code.
    """
    try:
        with open_zip(model) as archive:
            for entry in archive.infolist():
                most = MAX_UNPACKED if entry.filename == WEIGHTS else MAX_CONFIG
                if entry.file_size > most:
                    return f"{entry.filename[:MAX_SHOWN]!r} would come to {entry.file_size} bytes"
            check_parts(archive)
            if CONFIG in archive.namelist() and _has_code(archive.read(CONFIG)):
                return "it holds code (a Lambda layer), which is not run"
    except zipfile.BadZipFile as error:
        return str(error)
    return ""


def _has_code(config: bytes) -> bool:
    """Whether the description of a model names a function by its code, as a Lambda layer does."""
    return re.search(rb'"class_name":\s*"(Lambda|__lambda__)"', config) is not None


def _damaged(package: Path, what: str) -> InputError:
    return InputError(f"package '{package}' is damaged, or not one of kseg's ({what}): ask for it again")
