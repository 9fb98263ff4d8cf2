"""`kseg.bench prepare`: measured on files, and leaves none behind."""

import subprocess
import sys
from pathlib import Path

import pytest
from printed import last_json

from kseg import bench, phantom
from kseg.console.errors import InputError


def test_preparing_is_measured_beside_reading_and_writing(tmp_path: Path) -> None:
    phantom.main(["--out", str(tmp_path / "scans"), "--subjects", "2", "--shape", "24", "24", "32"])
    labels = "data.labels={background=0, soleus=100, gm=150, gl=200}"
    words = [f"data.source={tmp_path / 'scans' / 'manifest.csv'}", labels, f"data.records={tmp_path / 'new' / 'r'}"]
    arguments = ["prepare", *words, "--repeats", "1", "--cases", "2", "--json"]
    alone = f"import sys; from kseg import bench; bench.main({arguments}); assert 'tensorflow' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", alone], check=True, capture_output=True, text=True)
    report = last_json(done.stdout)
    assert report["machine"]["numpy"]
    assert report["cases"] == 2
    assert report["shard_mb"] > 2 * 24 * 24 * 32 / 1e6
    assert report["ratio"] == pytest.approx(report["seconds"]["prepare"] / report["seconds"]["read_and_write"])
    assert list((tmp_path / "new").iterdir()) == []


def test_what_is_not_on_disk_cannot_be_measured() -> None:
    with pytest.raises(InputError, match=r"kseg\.phantom writes made-up ones"):
        bench.main(["prepare"])
    with pytest.raises(InputError, match="--repeats and --cases must be 1 or more"):
        bench.main(["prepare", "--cases", "0"])
