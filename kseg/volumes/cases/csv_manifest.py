"""A CSV manifest: a line for each case."""

import csv
import io
import re
from pathlib import Path

from kseg.console.errors import InputError
from kseg.volumes.cases.case import Case, CaseList, path_as_listed

OTHER_SEPARATOR = re.compile(r"[;\t]")


def read_csv(file: Path) -> CaseList:
    """Return the cases of a CSV manifest (`kseg.volumes.cases.find.find_cases` says what it holds).

    Raises:
        InputError: it is no UTF-8 CSV, lacks a column, or a line has not a field for each.
    """
    reader = csv.DictReader(io.StringIO(_text(file), newline=""), skipinitialspace=True, strict=True)
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        channels = tuple(column for column in columns if column.startswith("image"))
        missing = [name for name in ("case", "subject", "split", "label") if name not in columns]
        if missing or not channels or len(set(columns)) != len(columns):
            apart = len(columns) == 1 and OTHER_SEPARATOR.search(columns[0])  # a spreadsheet's, in many countries
            raise InputError(
                f"'{file}' needs the columns case, subject, split, image (one or more that begin so) and "
                f"label, each once: received {', '.join(columns) or 'nothing'}; "
                + ("save it with commas between its columns." if apart else "fix its first line.")
            )
        cases = [_from_row(row, channels, f"'{file}', line {reader.line_num}", file.parent) for row in reader]
    except csv.Error as error:
        raise InputError(f"'{file}', line {reader.reader.line_num}: {error}; save it as UTF-8 CSV.") from error
    return CaseList(file.stem, channels, None, tuple(cases), channels_stated=len(channels) > 1)


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"'{file}', line {line}: {error.reason} in UTF-8; save it as UTF-8 CSV.") from None


def _from_row(row: dict, channels: tuple[str, ...], where: str, folder: Path) -> Case:
    if None in row or None in row.values():
        raise InputError(f"{where} must have a field for each column of the first line: received {row}; fix it.")
    fields = {column: field.strip() for column, field in row.items()}
    if empty := [column for column, field in fields.items() if not field and column != "split"]:
        raise InputError(f"{where} must fill `{empty[0]}`: received nothing; only the split may be empty.")
    images = tuple(path_as_listed(folder, fields[channel]) for channel in channels)
    return Case(fields["case"], fields["subject"], fields["split"], images, path_as_listed(folder, fields["label"]))
