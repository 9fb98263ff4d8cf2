"""`kseg.bench predict`: the forms of a model that are there, on the same windows, each in a process of its own."""

from pathlib import Path

import pytest
from descriptions import described
from printed import last_json

from kseg import bench, export
from kseg.benchmark import predict_worker
from kseg.benchmark.predict import find_sides
from kseg.console.errors import InputError
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.records.manifest import load_manifest
from kseg.runs.run_folder import RunFolder
from kseg.training.start_run import compiled_model


@pytest.fixture
def run(tiny_recipe) -> RunFolder:  # type: ignore[no-untyped-def]
    """A run's folder with a model that nobody has trained."""
    recipe = tiny_recipe("network.implementation=direct")
    manifest = load_manifest(recipe.records_folder)
    description = described(manifest)
    folder = RunFolder(Path("saved_models/tiny"))
    folder.create(dump_recipe(recipe), description)
    compiled_model(recipe, description).save(folder.model)
    return folder


def test_what_is_there_is_measured_on_the_same_windows(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--format", "onnx"]):
        export.main(["tiny", *words])
    capsys.readouterr()
    bench.main(["predict", "tiny", "--shape", "17", "24", "16", "--repeats", "1", "--threads", "1", "--json"])
    out, err = capsys.readouterr()
    report = last_json(out)
    assert set(report["seconds_per_million_voxels"]) == set(report["peak_bytes"]) == {"keras", "savedmodel", "onnx"}
    assert min(report["seconds_per_million_voxels"].values()) > 0
    assert report["windows"] == 2 * 2 * 1  # of 16 voxels, half overlapping, 17 and 24 take two of them
    assert report["peak_bytes"]["onnx"] < 0.6 * report["peak_bytes"]["keras"], "it does without TensorFlow"
    assert (report["shape"], report["patch"], report["threads"]) == ([17, 24, 16], [16, 16, 16], 1)
    assert report["left_out"].keys() == {"engine", "rtx"}
    assert "left out: run 'saved_models/tiny' has no engine" in err


def test_what_belongs_to_another_model_is_left_out(run: RunFolder) -> None:
    export.main(["tiny", "--format", "onnx"])
    assert find_sides(run)[0] == ["keras", "onnx"]
    run.model.write_bytes(run.model.read_bytes() + b"\0")
    sides, missing = find_sides(run)
    assert sides == ["keras"]
    assert "is of another model: python -m kseg.export saved_models/tiny --format onnx" in missing["onnx"]
    assert "has no SavedModel" in missing["savedmodel"]


def test_each_side_segments_in_the_memory_that_the_run_has(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["evaluation.buffer_mb=7", "evaluation.overlap=0.25", "evaluation.batch_size=3"]
    run.recipe.write_text(dump_recipe(load_recipe(run.recipe, changes)), encoding="utf-8")
    told: dict[str, object] = {}
    monkeypatch.setattr(predict_worker, "segment", lambda *_, **options: told.update(options))
    monkeypatch.setitem(predict_worker._LOADERS, "keras", lambda *_: None)
    monkeypatch.setattr("sys.stdin", ["segment\n"])
    predict_worker.serve("keras", run, (16, 16, 16), 1)
    assert (told["buffer_bytes"], told["overlap"], told["batch_size"]) == (7 * 10**6, 0.25, 3)


def test_a_volume_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="--shape, --threads and --repeats must be 1 or more"):
        bench.main(["predict", "tiny", "--shape", "0", "8", "8"])
