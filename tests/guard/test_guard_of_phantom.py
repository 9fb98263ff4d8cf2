"""kseg.phantom replaces phantoms alone."""

import errno
from pathlib import Path

import pytest
from refusal import PHANTOM, refused

from kseg import phantom


def test_phantoms_replace_phantoms_alone() -> None:
    phantom.main(PHANTOM)
    phantom.main([*PHANTOM, "--force", "--seed", "1"])
    (made,) = Path("made/images").iterdir()
    made.write_bytes(Path("scans/leg.nii.gz").read_bytes())
    refused(phantom.main, [*PHANTOM, "--force"], f"{made.name}' is there, and is not as kseg.phantom wrote it")
    made.unlink()
    Path("made/manifest.csv").write_text("case,subject\n")
    refused(phantom.main, [*PHANTOM, "--force"], r"manifest\.csv' is there, and is not as kseg\.phantom wrote it")


@pytest.mark.parametrize("out", ["tiny.toml", "tiny.toml/legs", "/proc/kseg"])
def test_phantoms_that_cannot_be_written_are_told_in_one_line(out: str) -> None:
    assert "\n" not in refused(phantom.main, [*PHANTOM, "--out", out], out)


def test_phantoms_whose_disk_is_full_name_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(phantom, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full", "made/leg.mha")))
        refused(phantom.main, PHANTOM, "then run the command again with --force$")
    phantom.main([*PHANTOM, "--force"])
    assert Path("made/manifest.csv").is_file()
