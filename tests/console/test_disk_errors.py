"""A disk's refusal is one line and exit status 2, whichever library it comes through; other errors pass."""

import errno
import os
import pickle
from pathlib import Path

import pytest

from kseg.console import command
from kseg.console.disk_errors import REMEDIES, naming, refusal, refusals_told
from kseg.console.errors import InputError
from kseg.storage.disk import check_writable

FULL = os.strerror(errno.ENOSPC)


def error_of(code: int, *files: str) -> OSError:
    return OSError(code, os.strerror(code), *files)


@pytest.mark.parametrize("code", REMEDIES)
def test_a_refusal_names_file_reason_and_remedy(code: int, monkeypatch, capsys) -> None:
    def main(_: object) -> None:
        raise error_of(code, "out/leg.nii.gz")

    monkeypatch.setattr(main, "__module__", "kseg.anything")
    with pytest.raises(SystemExit) as stop:
        command.run(main)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    wanted = f"'out/leg.nii.gz': {os.strerror(code)}: {REMEDIES[code]}, then run the command again"
    assert line == f"kseg.anything: {wanted}"


@pytest.mark.parametrize(
    "told",
    [
        OSError(f"[Errno 28] Can't write data (file write failed: errno = 28, error message = '{FULL}')"),  # h5py
        RuntimeError(f"ITK ERROR: MetaImageIO(0x55): File cannot be written: leg.mha\nReason: {FULL}"),
        RuntimeError(f"OSError: [Errno 28] {FULL} [while running 'Map(prepare_and_tell)-ptransform-28']"),  # Beam
    ],
)
def test_libraries_that_pass_on_words_alone_are_understood(told: Exception) -> None:
    line = refusal(told, "go on with --resume")
    assert line is not None
    assert "\n" not in line
    assert FULL in line
    assert line.endswith(": free space on that disk, then go on with --resume")


def test_tensorflows_words_are_understood() -> None:
    errors = pytest.importorskip("tensorflow").errors
    told = errors.ResourceExhaustedError(None, None, f"{{{{function_node __wrapped__}}}} logs/events.out; {FULL}")
    assert refusal(told) == f"logs/events.out; {FULL}: free space on that disk, then run the command again"
    assert refusal(errors.InvalidArgumentError(None, None, "shapes differ")) is None


@pytest.mark.parametrize(
    "other",
    [
        *(ConnectionRefusedError(111, "Connection refused"), BrokenPipeError(32, "Broken pipe"), OSError("strange")),
        *(ValueError(FULL), KeyError("a"), RuntimeError("shapes differ")),
    ],
)
def test_other_errors_pass_as_they_are(other: Exception) -> None:
    assert refusal(other) is None
    with pytest.raises(type(other)), refusals_told():
        raise other


def test_a_worker_s_refusal_keeps_its_file() -> None:
    sent = pickle.loads(pickle.dumps(error_of(errno.EDQUOT, "shard")))
    assert refusal(sent) == f"'shard': {os.strerror(errno.EDQUOT)}: free space on that disk, then run the command again"


def test_a_file_is_named_where_a_library_does_not() -> None:
    with pytest.raises(InputError, match=f"^'a': {FULL}"), refusals_told(), naming(Path("b")), naming(Path("a")):
        raise error_of(errno.ENOSPC)
    with pytest.raises(InputError, match=f"^'c': {FULL}"), refusals_told(), naming(Path("a")):
        raise error_of(errno.ENOSPC, "c")


def test_a_folder_that_takes_no_file_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in ("file", "file/below"):
        with pytest.raises(
            InputError, match=f"^'.*{place}': Not a directory: a file stands where a folder should be: "
        ):
            check_writable(tmp_path / place)
    with pytest.raises(InputError, match="'/proc/kseg': "):
        check_writable(Path("/proc/kseg"))
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_link_to_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises((OSError, RuntimeError)) as caught:
        (tmp_path / "loop").resolve(strict=True)
    line = refusal(caught.value)
    assert line is not None
    assert f"{tmp_path / 'loop'}'" in line
    assert line.endswith(": fix its links, then run the command again")
