"""Bytes that a disk or a transfer has changed."""

from pathlib import Path
from typing import Any


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
