"""A zip that is damaged, in whatever way, is told by one kind of error and in one line."""

import errno
import zipfile
from pathlib import Path

import pytest
from damage import damaged_zips, flipped, zip_of

from kseg.console.errors import InputError
from kseg.storage.zip_files import check_parts, open_zip

PARTS = {"config.json": b'{"name": "legs"}' * 50, "weights": bytes(range(256)) * 20, "none": b""}


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with open_zip(path) as archive:
        check_parts(archive)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_whole_zip_passes(method: int, tmp_path: Path) -> None:
    check(tmp_path / "a.zip", zip_of(PARTS, method))


@pytest.mark.parametrize("damage", damaged_zips(PARTS))
def test_all_damage_is_told_alike_and_in_a_line(damage: str, tmp_path: Path) -> None:
    with pytest.raises(zipfile.BadZipFile, match=r"^[^\n]+$"):
        check(tmp_path / "a.zip", damaged_zips(PARTS)[damage])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_anywhere_is_damage_or_nothing(method: int, tmp_path: Path) -> None:
    whole = zip_of({"config.json": b'{"name": "legs"}' * 5}, method)
    told = 0
    for place in range(len(whole)):
        for bit in (1, 16, 128):
            try:
                check(tmp_path / "a.zip", flipped(whole, place, bit))
            except zipfile.BadZipFile as error:
                assert "\n" not in str(error)
                told += 1
    assert told > len(whole)


def test_what_is_no_damage_stays_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with pytest.raises(FileNotFoundError), open_zip(path):
        pass
    path.write_bytes(zip_of(PARTS))
    for error in (InputError("a line"), OSError(errno.ENOSPC, "No space left on device")):
        with pytest.raises(type(error), match=r"a line|No space"), open_zip(path):
            raise error
