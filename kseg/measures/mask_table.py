"""A table of masks on disk, a CSV: some rows for each mask, and those of other masks stay as they are.

It is UTF-8. Spreadsheets take a CSV for that only if it begins with a mark: a table has one where its names need it.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kseg.console.errors import InputError
from kseg.storage.files import alone_in, whole_file

MARKED, PLAIN = "utf-8-sig", "utf-8"


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, all or not at all, in place of what is there; None is an empty field."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    encoding = PLAIN if text.getvalue().isascii() else MARKED
    with whole_file(path) as partial:
        partial.write_text(text.getvalue(), encoding=encoding, newline="")


class MaskTable:
    """A table that grows as masks come.

    Args:
        path: of the CSV; it need not be there.
        columns: of the table, `mask` among them, by which rows belong to a mask.
        what: it is called in a message: "table of volumes".
        earlier: columns of tables of earlier versions, which are taken up.

    Raises:
        InputError: such a file is there, and is no table of kseg's.
    """

    def __init__(self, path: Path, columns: Sequence[str], what: str, earlier: Sequence[str] = ()) -> None:
        self._path = path
        self._columns = tuple(columns)
        self._what = what
        self._known = (self._columns, tuple(earlier))
        self._rows()

    def put(self, mask: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put the rows of a mask into the table on disk, in place of those that it has of it; None is an empty field.

        Args:
            mask: its path from the table's folder, which is also in the rows.
            rows: by the columns.
        """
        with alone_in(self._path.parent):
            others = [row for row in self._rows() if row["mask"] != mask]
            write_table(self._path, self._columns, [*others, *rows])

    def _rows(self) -> list[dict[str, str]]:
        if not (self._path.is_symlink() or self._path.exists()):
            return []
        try:
            with self._path.open(encoding=MARKED, newline="") as file:
                table = csv.DictReader(file, strict=True)
                rows = list(table)
            ours = not self._path.is_symlink() and tuple(table.fieldnames or ()) in self._known
            ours = ours and not any(None in row or None in row.values() for row in rows)
        except (csv.Error, UnicodeDecodeError, IsADirectoryError):
            ours = False
        if not ours:
            raise InputError(
                f"'{self._path}' is no {self._what} that kseg wrote: move it away, or choose another --out"
            )
        return rows
