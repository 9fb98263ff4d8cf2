"""kseg.phantom replaces phantoms alone."""

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
