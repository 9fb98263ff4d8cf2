"""How large a step's patches may be, by what is known of processors."""

import math

import pytest

from kseg.nn import step_cost
from kseg.nn.step_cost import voxels_of_a_step
from kseg.recipe.presets import PRESETS


def test_more_time_and_cores_mean_more_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cost, "on_tensorflows_cpu", lambda: True)
    monkeypatch.setattr(step_cost, "cores", lambda: 1)
    one = voxels_of_a_step("kseg", "float32", 1.0)
    assert one == 1 / step_cost.SECONDS_PER_VOXEL["kseg", "float32"]
    assert voxels_of_a_step("kseg", "float32", 3.0) == pytest.approx(3 * one)
    assert voxels_of_a_step("kseg", "mixed_bfloat16", 1.0) > one
    monkeypatch.setattr(step_cost, "cores", lambda: 2)
    assert voxels_of_a_step("kseg", "float32", 1.0) == pytest.approx(1.55 * one, rel=0.01)


def test_nothing_is_said_of_what_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {preset for preset, _ in step_cost.SECONDS_PER_VOXEL} == set(PRESETS)
    assert voxels_of_a_step("kseg", "mixed_float16", 1.0) == math.inf
    monkeypatch.setattr(step_cost, "on_tensorflows_cpu", lambda: False)  # a GPU
    assert voxels_of_a_step("kseg", "float32", 1.0) == math.inf
