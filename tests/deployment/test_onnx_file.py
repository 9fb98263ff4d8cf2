"""`kseg.export --format onnx`: what is in the file, on what it is compared, and that nothing else is kept."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import SimpleITK as sitk
from printed import last_json

from kseg import export, phantom, predict
from kseg.console.errors import InputError
from kseg.deployment import onnx_graph
from kseg.deployment.check_patches import draw_check_patches, largest_difference
from kseg.deployment.onnx_file import open_onnx
from kseg.inference.segment_volumes import volume_segmenter
from kseg.records.manifest import load_manifest
from kseg.runs.run_folder import RunFolder
from kseg.runs.trained_run import open_trained
from kseg.storage.files import sha256_of
from kseg.volumes.read import read_image


def report(capsys):
    return last_json(capsys.readouterr().out)


def test_the_model_says_what_it_is_and_agrees_on_patches_of_the_dataset(untrained_run, capsys):
    folder = untrained_run("leg")
    export.main(["leg", "--format", "onnx", "--json"])
    told = report(capsys)
    recipe, description = folder.load_recipe(), folder.load_data_description()
    assert told["compared_on"] == f"4 patches of '{recipe.data.records}'"
    assert told["written"][0]["path"] == str(folder.onnx)
    assert told["written"][0]["largest_difference"] < 1e-5
    held = {prop.key: json.loads(prop.value) for prop in onnx.load(folder.onnx).metadata_props}
    manifest = load_manifest(recipe.records_folder)
    assert held["labels"] == manifest.labels
    assert held["channels"] == list(manifest.channels)
    assert held["patch_size"] == [16, 16, 16]
    assert held["spacing_mm"] == []
    assert held["scales"] == [{"kind": "ct", "statistics": [-100, 200, 10, 50]}]
    assert held["model_sha256"] == sha256_of(folder.model)
    voxels = draw_check_patches(recipe, description).patches[:3, :, :13, 1:]  # another batch, other sizes
    expected = folder.load_model().predict_on_batch(voxels)
    np.testing.assert_allclose(open_onnx(folder.onnx)(voxels), expected, atol=1e-4)


def test_label_maps_are_those_of_predict(untrained_run, tmp_path):
    folder = untrained_run("leg", "network.filters=[4, 8]", "network.dilation_rates=[1, 2, 3, 4]")
    export.main(["leg", "--format", "onnx"])
    phantom.main(["--out", str(tmp_path / "scans"), "--shape", "20", "24", "28", "--format", "mha"])
    scan = tmp_path / "scans" / "images" / "leg_001.mha"
    predict.main(["leg", str(scan), "--out", str(tmp_path / "masks")])
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "masks" / "leg_001.mha"))).T
    run = open_trained("leg")
    segment = volume_segmenter(run, load=lambda member: open_onnx(member.onnx))
    indices = segment(read_image([scan], "leg").array, iter)
    np.testing.assert_array_equal(run.description.label_map.to_values(indices), mask)
    assert len(np.unique(mask)) > 1
    operators = {node.name: node.op_type for node in onnx.load(folder.onnx).graph.node}
    assert "decoder_1/products" in operators, "nothing is reused: the test is too easy"
    assert "Resize" not in operators.values()


def test_a_model_of_fixed_size_takes_no_other(untrained_run, capsys):
    folder = untrained_run("leg")
    export.main(["leg", "--format", "onnx", "--size", "fixed", "--json"])
    assert report(capsys)["size"] == [16, 16, 16]
    assert open_onnx(folder.onnx)(np.zeros((3, 16, 16, 16, 1), np.float32)).shape == (3, 16, 16, 16, 4)
    with pytest.raises(Exception, match="invalid dimensions"):
        open_onnx(folder.onnx)(np.zeros((1, 16, 16, 17, 1), np.float32))


def test_each_fold_gets_a_model_of_its_own(untrained_run):
    folders = [untrained_run(f"legs/fold-{number}", seed=number) for number in (1, 2)]
    export.main(["legs", "--format", "onnx"])
    voxels = np.random.default_rng(0).normal(size=(1, 16, 16, 16, 1)).astype(np.float32)
    for folder in folders:
        expected = folder.load_model().predict_on_batch(voxels)
        np.testing.assert_allclose(open_onnx(folder.onnx)(voxels), expected, atol=1e-4)


def test_without_its_dataset_a_run_is_compared_on_noise_and_says_so(untrained_run, capsys):
    untrained_run("leg", "data.records=nowhere")
    export.main(["leg", "--format", "onnx"])
    assert "compared on noise instead of patches ('nowhere' holds no prepared dataset" in capsys.readouterr().err


def test_a_model_that_disagrees_is_not_kept(untrained_run, monkeypatch):
    folder = untrained_run("leg")
    export.main(["leg", "--format", "onnx"])
    before = folder.onnx.read_bytes()
    monkeypatch.setitem(onnx_graph._WRITERS, onnx_graph.MaxPool3D, _mean)
    with pytest.raises(InputError, match=r"differs from the Keras model by \d.*it is not kept") as caught:
        export.main(["leg", "--format", "onnx"])
    assert "\n" not in str(caught.value)
    assert folder.onnx.read_bytes() == before
    assert not list(folder.path.glob(".partial*"))


def _mean(graph, layer, x):
    size = tuple(layer.pool_size)
    return graph.node("AveragePool", [x], layer.name, kernel_shape=size, strides=size)


def test_a_difference_that_is_no_number_counts_as_one(untrained_run):
    batches = [np.zeros((1, 2, 2, 2, 1), np.float32)] * 2
    expected = [np.full((1, 2, 2, 2, 2), 0.5, np.float32)] * 2
    assert largest_difference(lambda _: expected[0] + np.float32(0.25), batches, expected) == 0.25
    broken = [expected[0].copy(), np.full_like(expected[0], np.nan)]
    answers = iter(broken)
    assert largest_difference(lambda _: next(answers), batches, expected) == np.inf


def test_libraries_that_are_missing_are_one_line(untrained_run, monkeypatch):
    untrained_run("leg")
    for library in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=r"ONNX needs onnx and onnxruntime: pip install 'kseg\[onnx\]'"):
        export.main(["leg", "--format", "onnx"])


def test_a_damaged_model_is_one_line(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"model\.onnx' cannot be loaded .*export it anew") as caught:
        open_onnx(RunFolder(tmp_path).onnx)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words", [["--size", "fixed"], ["--format", "onnx", "--batch", "2"], ["--format", "onnx", "--precision", "fp16"]]
)
def test_an_option_of_another_format_is_refused(words):
    with pytest.raises(
        InputError, match=r"--(size|batch|precision) is an option of --format (onnx|tensorrt) and tensorrt-rtx"
    ):
        export.main(["leg", *words])
