"""The script that measures on a GPU, tried on the processor: what it would write there is whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "benchmarks" / "step_on_gpu.py"


def run(out, *arguments):
    command = [sys.executable, SCRIPT, out, "--patch", "16", "--repeats", "1", "--seconds", "3600", *arguments]
    command += ["--filters", "2", "3"]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("side", ["jax", "tensorflow"])
def test_each_backend_has_its_first_case_measured(side, tmp_path):
    pytest.importorskip(side)
    run(tmp_path / "steps.json", "--minutes", "60", "--sides", side, "--cases", "1")
    (case,) = json.loads((tmp_path / "steps.json").read_text(encoding="utf-8"))
    assert (case["side"], case["implementation"]) == (side, "reuse")
    assert min(case[job] for job in ("first_train", "train", "first_forward", "forward")) > 0
    assert isinstance(case["device"], str)


def test_a_side_that_cannot_run_is_told_and_the_rest_is_not_lost(tmp_path):
    run(tmp_path / "steps.json", "--minutes", "0", "--sides", "tensorflow", "--cases", "2")
    report = json.loads((tmp_path / "steps.json").read_text(encoding="utf-8"))
    assert [case["error"] for case in report] == ["no time was left for 'train'"] * 2
