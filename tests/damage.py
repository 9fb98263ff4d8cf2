"""Bytes that a disk or a transfer has changed."""

import struct
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

FLAGS, METHOD = 8, 10
"""Places in the entry of a zip's table; those in the header of a part are two less."""


def flipped(content: bytes, place: int, bits: int = 1) -> bytes:
    """Return `content` with `bits` of the byte at `place` flipped; a negative place counts from the end."""
    changed = bytearray(content)
    changed[place] ^= bits
    return bytes(changed)


def flip_bits(path: Any, place: int | None = None, bits: int = 1) -> None:
    """Flip bits of a file, here or in a store: of the byte at `place`, or of the one in the middle."""
    path = Path(path) if isinstance(path, str) else path
    content = path.read_bytes()
    path.write_bytes(flipped(content, len(content) // 2 if place is None else place, bits))


def zip_of(parts: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip of parts, all compressed by one method."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def parts_of(path: Path) -> dict[str, bytes]:
    """Return what a zip holds, by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_marked_parts(archive: bytes, place: int, value: int) -> bytes:
    """Return a zip whose parts all have `value` at a place: `FLAGS` or `METHOD`."""
    changed = bytearray(archive)
    for signature, where in ((b"PK\x01\x02", place), (b"PK\x03\x04", place - 2)):
        start = archive.find(signature)
        while start >= 0:
            struct.pack_into("<H", changed, start + where, value)
            start = archive.find(signature, start + 1)
    return bytes(changed)


def with_misplaced_table(archive: bytes, further: int) -> bytes:
    """Return a zip that says its table is `further` on than it is, so that no part is where it should be."""
    changed = bytearray(archive)
    place = archive.rindex(b"PK\x05\x06") + 16
    struct.pack_into("<I", changed, place, struct.unpack_from("<I", changed, place)[0] + further)
    return bytes(changed)


def damaged_zips(parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return zips of parts, each damaged in another way; whoever reads one must say so."""
    stored, deflated = zip_of(parts), zip_of(parts, zipfile.ZIP_DEFLATED)
    first = 30 + len(next(iter(parts)))
    return {
        "encrypted": with_marked_parts(stored, FLAGS, 1),
        "strongly encrypted": with_marked_parts(stored, FLAGS, 1 << 6),
        "patched": with_marked_parts(stored, FLAGS, 1 << 5),
        "an unknown method": with_marked_parts(stored, METHOD, 99),
        "bzip2": zip_of(parts, zipfile.ZIP_BZIP2),
        "broken bzip2": with_marked_parts(stored, METHOD, zipfile.ZIP_BZIP2),
        "broken LZMA": with_marked_parts(stored, METHOD, zipfile.ZIP_LZMA),
        "not deflated": with_marked_parts(stored, METHOD, zipfile.ZIP_DEFLATED),
        "a broken stream": deflated[:first] + b"\xff" * 4 + deflated[first + 4 :],
        "a stream that goes on": deflated[:first] + b"\x00" + deflated[first + 1 :],
        "a table elsewhere": with_misplaced_table(stored, 2**20),
        "cut short": stored[:-10],
        "empty": b"",
    }
