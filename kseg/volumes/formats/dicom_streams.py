"""Compressed frames of a DICOM file: where they are, whether all of each is there, and whether they fit its tags.

GDCM writes past its memory where a stream is smaller than the tags say: the process dies. So streams are asked first.
"""

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kseg.volumes.formats.header import damaged_file

ITEM, ITEMS_END = 0xFFFEE000, 0xFFFEE0DD
JPEG_BEGIN, JPEG_2000_BEGIN = b"\xff\xd8", b"\xff\x4f\xff\x51"
FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # of JPEG and, last, JPEG-LS
STREAM_END, PADDING = b"\xff\xd9", b"\0\xff"  # the last marker of all of them, and what may follow it
SEARCHED = 256  # bytes in which a JPEG 2000 stream begins, for some lie in boxes


class Stream(NamedTuple):
    """What the header of a JPEG, JPEG-LS or JPEG 2000 stream says."""

    rows: int
    columns: int
    samples: int
    bits: int


def find_fragments(path: Path, file: BinaryIO) -> list[tuple[int, int]]:
    """Return the first byte and the length of each fragment of the compressed pixel data that begins here.

    Raises:
        InputError: one of them is not whole. The mark of their end may be missing.
    """
    items: list[tuple[int, int]] = []
    size = os.fstat(file.fileno()).st_size
    while True:
        begin = file.read(8)
        tag = int.from_bytes(begin[:2], "little") << 16 | int.from_bytes(begin[2:4], "little")
        if len(begin) < 8 or tag == ITEMS_END:
            return items[1:]  # the first is a table of frames
        at, length = file.tell(), int.from_bytes(begin[4:], "little")
        if tag != ITEM or length > size - at:
            raise damaged_file(path, "its compressed pixel data ends early")
        items.append((at, length))
        file.seek(length, os.SEEK_CUR)


def check_streams(path: Path, file: BinaryIO, fragments: list[tuple[int, int]], wanted: list[Stream]) -> None:
    """Compare the streams in these fragments with those that are wanted, one a frame; each may have several fragments.

    Raises:
        InputError: there are more or fewer of them, one does not end, or has another size, or more bits.
    """
    streams: list[Stream] = []
    for place in fragments:
        if stream := _read_header(file, *place):
            streams.append(stream)
    if len(streams) != len(wanted):
        raise damaged_file(path, f"expected {len(wanted)} compressed frames, got {len(streams)}")
    for found, stated in zip(streams, wanted, strict=True):
        if found[:3] != stated[:3] or found.bits > stated.bits:
            raise damaged_file(path, f"a compressed frame is of {_text(found)}, its tags say {_text(stated)}")
    for at, length in fragments if len(fragments) == len(streams) else fragments[-1:]:
        file.seek(at + max(0, length - 64))
        if not file.read(min(length, 64)).rstrip(PADDING).endswith(STREAM_END):
            raise damaged_file(path, "a compressed frame ends early")


def _text(stream: Stream) -> str:
    return f"{stream.columns} x {stream.rows} pixels of {stream.samples} x {stream.bits} bits"


def _read_header(file: BinaryIO, at: int, length: int) -> Stream | None:
    """Return what the stream says that begins in this fragment; None where none does."""
    file.seek(at)
    begin = file.read(min(length, SEARCHED))
    if begin.startswith(JPEG_BEGIN):
        return _read_jpeg(file, at + 2, at + length)
    start = begin.find(JPEG_2000_BEGIN)
    if start < 0:
        return None
    file.seek(at + start + 8)
    right, bottom, left, top = (int.from_bytes(file.read(4), "big") for _ in range(4))
    file.seek(16, os.SEEK_CUR)  # its tiles
    samples = int.from_bytes(file.read(2), "big")
    return Stream(bottom - top, right - left, samples, (int.from_bytes(file.read(1), "big") & 127) + 1)


def _read_jpeg(file: BinaryIO, at: int, end: int) -> Stream | None:
    while at < end:
        file.seek(at)
        segment = file.read(10)
        if len(segment) < 10 or segment[0] != 0xFF:
            return None
        if segment[1] in FRAME_HEADERS:
            rows, columns = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big")
            return Stream(rows, columns, segment[9], segment[4])
        at += 1 if segment[1] == 0xFF else 2 + int.from_bytes(segment[2:4], "big")
    return None
