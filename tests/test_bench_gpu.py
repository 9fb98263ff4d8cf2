"""The script that measures on a GPU, tried on the processor: what it would write there is whole."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "benchmarks" / "step_on_gpu.py"


def run(out, *arguments):
    command = [sys.executable, SCRIPT, out, "--patch", "16", "--repeats", "1", "--seconds", "3600", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_each_backend_has_its_first_case_measured(tmp_path):
    run(tmp_path / "steps.json", "--minutes", "60", "--sides", "jax", "tensorflow", "--cases", "1")
    report = json.loads((tmp_path / "steps.json").read_text(encoding="utf-8"))
    assert [case["side"] for case in report] == ["jax", "tensorflow"]
    for case in report:
        assert case["implementation"] == "reuse"
        assert case["first_train"] > case["train"] > case["forward"] > 0  # compiled, both ways, one way
        assert case["device"].lower() == "cpu"


def test_a_side_that_cannot_run_is_told_and_the_rest_is_not_lost(tmp_path):
    run(tmp_path / "steps.json", "--minutes", "0", "--sides", "tensorflow", "--cases", "2")
    report = json.loads((tmp_path / "steps.json").read_text(encoding="utf-8"))
    assert [case["error"] for case in report] == ["no time was left for 'train'"] * 2
