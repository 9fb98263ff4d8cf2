"""A CSV manifest: a line for each case."""

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.storage.files import whole_file
from kseg.volumes.cases.case import Case, CaseList, path_as_listed

SEPARATORS = (",", ";", "\t")
"""Which of them a spreadsheet writes depends on the country that it is set to."""
NAMES = ("case", "subject")
NEEDED = (*NAMES, "split", "label")
NOTHING = "no file is named"
"""Name of a file that no disk has, where a line leaves one out."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_csv(file: Path, images_only: bool = False) -> CaseList:
    """Return the cases of a CSV manifest (`kseg.volumes.cases.find.find_cases` says what it holds).

    Between its columns are commas, semicolons or tabs. It is UTF-8, UTF-16 with a byte order mark, or, with a note,
    Windows-1252: whatever a spreadsheet writes. Lines without a field that is filled in are passed over. With
    `images_only` the columns case and image are needed, and of others nothing is read.

    Lines that are none of a case are the `faults` of what is returned.

    Raises:
        InputError: it is no CSV, or lacks a column.
    """
    text = _text(file)
    separator = max(SEPARATORS, key=text.partition("\n")[0].count)
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=separator != "\t", strict=True
    )
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        channels = tuple(column for column in columns if column.startswith("image"))
        needed = NEEDED[:1] if images_only else NEEDED
        missing = [name for name in needed if name not in columns]
        if missing or not channels or len(set(columns)) != len(columns):
            wanted = "needs the columns case, subject, split, image (one or more that begin so) and label"
            if images_only:
                wanted = "needs the columns case and image (one or more that begin so)"
            received = ", ".join(columns) or "nothing"
            raise InputError(f"'{file}' {wanted}, each once: received {received}; fix its first line.")
        rows = [
            (reader.line_num, row)
            for row in reader
            if any(field and field.strip() for field in row.values() if isinstance(field, str | None))
        ]
    except csv.Error as error:
        raise InputError(f"'{file}', line {reader.reader.line_num}: {error}; save it as UTF-8 CSV.") from error
    cases, faults = [], []
    for line, row in rows:
        where = f"'{file}', line {line}"
        if fault := _fault(row, needed, where):
            faults.append(fault)
        else:
            cases.append(
                _from_row(_without_labels(row, channels) if images_only else row, channels, where, file.parent)
            )
    return CaseList(file.stem, channels, None, tuple(cases), len(channels) > 1, tuple(faults))


def write_csv(file: Path, rows: Iterable[Sequence[str]], channels: Sequence[str] = ("image",)) -> None:
    """Write a CSV manifest that `read_csv` reads: for each case its name, subject, split, channels and label."""
    with whole_file(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("case", "subject", "split", *channels, "label"))
        table.writerows(rows)


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        if content.startswith(UTF_16):
            return content.decode("utf-16")
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        try:
            text = content.decode("ascii" if content.startswith(codecs.BOM_UTF8) else "cp1252")
        except UnicodeDecodeError:
            raise InputError(f"'{file}', line {line}: {error.reason} in UTF-8; save it as UTF-8 CSV.") from None
        say(f"note: '{file}', line {line}, is not UTF-8: it is read as Windows-1252, as older spreadsheets save it")
        return text


def _fault(row: dict, needed: Sequence[str], where: str) -> str:
    """What makes a line that of no case; empty where it is one, even if a file of it is not named."""
    if None in row or None in row.values():
        given = [field for field in row.values() if isinstance(field, str)] + row.get(None, [])
        columns = len(row) - (None in row)
        return (
            f"{where} must have a field for each column of the first line, {columns}: received {len(given)}, "
            f"{', '.join(given)}; put a field that holds a separator between double quotes."
        )
    empty = next((column for column in NAMES if column in needed and not row[column].strip()), None)
    return f"{where} must fill `{empty}`: received nothing; only the split may be empty." if empty else ""


def _without_labels(row: dict, channels: tuple[str, ...]) -> dict:
    """A line of a case that is to be segmented: a subject of its own, and an image where the label would be."""
    images = {column: row[column] for column in channels}
    return {"case": row["case"], "subject": row["case"], "split": "", **images, "label": images[channels[0]]}


def _from_row(row: dict, channels: tuple[str, ...], where: str, folder: Path) -> Case:
    fields = {column: field.strip() for column, field in row.items()}
    files = [path_as_listed(folder, fields[column] or NOTHING) for column in (*channels, "label")]
    empty = next((column for column in (*channels, "label") if not fields[column]), "")
    fault = f"{where} must fill `{empty}`: case '{fields['case']}' has none; add it, or drop the case."
    names = fields["case"], fields["subject"], fields["split"]
    return Case(*names, tuple(files[:-1]), files[-1], fault if empty else "")
