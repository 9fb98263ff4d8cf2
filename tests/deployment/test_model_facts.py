"""What a model takes and gives is told alike by kseg.json, by ONNX metadata and by the model card."""

import json
from pathlib import Path

import pytest

from kseg.deployment.onnx_file import describe_model
from kseg.deployment.saved_model import Difference
from kseg.deployment.serving.model_info import model_info_text
from kseg.deployment.serving.pipeline import Pipeline
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.report.model_card import write_model_card
from kseg.runs.data_description import DataDescription
from kseg.runs.model_interface import ModelInterface
from kseg.runs.run_folder import RunFolder
from kseg.runs.trained_run import TrainedRun, open_trained
from kseg.volumes.intensity_normalisation import Scale

CT = Scale(kind="ct", statistics=(-150.0, 250.0, 40.0, 120.0))
WORDS = {
    "zscore": "any unit: each volume is clipped to its 0.5 and 99.5 percentile and brought to mean 0 and deviation 1",
    "ct": "clipped to -150 ... 250, as in the dataset's foreground, less 40, by 120",
    "log": "echo amplitudes, in decibels from the volume's mean",
}


def run_of(folder: Path, scales: tuple[Scale, ...], spacing_mm: tuple[float, ...]) -> TrainedRun:
    labels = {"background": 0, "organ": -100, "vessel": 300}
    run = RunFolder(folder / "run")
    description = DataDescription(channels=("CT", "US"), labels=labels, scales=scales, spacing_mm=spacing_mm)
    run.create(dump_recipe(load_recipe(None, ["name=run", "patches.size=[8, 12, 10]"])), description)
    run.model.write_bytes(b"a model")
    return open_trained(str(run.path))


@pytest.mark.parametrize(
    ("scales", "spacing_mm"), [((), ()), ((CT, Scale(kind="log")), (1.0, 0.8, 1.5)), ((Scale(), CT), ())]
)
def test_files_tell_the_same_facts(scales: tuple[Scale, ...], spacing_mm: tuple[float, ...], tmp_path: Path) -> None:
    run = run_of(tmp_path, scales, spacing_mm)
    pipeline = Pipeline.of(run, None)
    facts = ModelInterface.of_model(run.recipe, run.description).facts()
    assert facts == {
        "labels": {"background": 0, "organ": -100, "vessel": 300},
        "label_dtype": "int16",
        "channels": ["CT", "US"],
        "scales": [scale.model_dump(mode="json") for scale in scales],
        "spacing_mm": list(spacing_mm),
        "patch_size": [8, 12, 10],
    }

    info = json.loads(model_info_text(run, pipeline))
    assert {key: info[key] for key in facts} == facts
    added = ["overlap", "batch_size", "flip_axes", "members", "postprocessing", "models_sha256", "versions"]
    assert list(info) == [*facts, *added]

    metadata = {key: json.loads(value) for key, value in describe_model(run.folder).items()}
    assert list(metadata) == [
        *("name", "labels", "channels", "patch_size", "spacing_mm", "scales", "input", "model_sha256")
    ]
    assert {**facts, **metadata, "scales": facts["scales"]} == {**metadata, **facts}
    assert [Scale.model_validate(scale) for scale in metadata["scales"]] == list(scales)
    assert "patches of [8, 12, 10]" in metadata["input"]
    assert "40 below the high percentile" in metadata["input"]

    card = write_model_card(run, pipeline, tmp_path / "1", "run", Difference((3, 4, 5), 0.0, 0.0), None).read_text()
    kinds = [scale.kind for scale in scales] or ["zscore"] * 2
    assert f"CT: {WORDS[kinds[0]]}; US: {WORDS[kinds[1]]} |" in card
    assert "| 8 x 12 x 10 voxels" in card
    assert "`int16`: 0 background, -100 organ, 300 vessel" in card
