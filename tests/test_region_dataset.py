"""Three regions within each other in nnU-Net's layout, and by name in a recipe: from the files to masks and exports."""

import csv
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import onnxruntime
import pandas
import pytest
import tensorflow as tf
from made_regions import LABELS, NESTED, SHAPE, ball, save, write
from printed import last_json
from recipes import recipe_text

from kseg import evaluate, export, init, measure, predict, prepare, train
from kseg.console.errors import InputError
from kseg.evaluation.scores import score_case
from kseg.inference.postprocessing_choice import ClassChoice, PostProcessing, save_postprocessing
from kseg.records.manifest import load_manifest
from kseg.records.prepared_case import read_cases
from kseg.runs.data_description import DataDescription
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import sha256_of
from kseg.volumes.intensity_normalisation import intensity_statistics, normalise
from kseg.volumes.regions import Structures

NAMES = {"background": 0, "oedema": 1, "active": 2, "necrosis": 3}
SHORT = ("train.epochs=1", "train.steps_per_epoch=2")
"""For trainings whose masks are not looked at."""
BY_NAME = {"enhancing": ["active"], "whole": ["oedema", "necrosis", "active"], "core": ["active", "necrosis"]}


def recipe(name: str, **data: object) -> str:
    return recipe_text(
        name,
        data={"source": name, "records": f"tfrecords/{name}", "val_fraction": 0.6, **data},
        patches={"batch_size": 4},
        network={"filters": [8, 8], "dilation_rates": [1], "skip": "add"},
        loss={"parametric_tversky": 1.0, "cross_entropy": 1.0},
        train={"epochs": 4, "steps_per_epoch": 40, "learning_rate": 1e-2},
        evaluation={"flip_axes": ["z"]},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three prepared datasets: regions by nnU-Net's lists, by name, and with voxels that nobody labelled."""
    folder = tmp_path_factory.mktemp("regions")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write(Path("lists"), LABELS)
        write(Path("partly"), LABELS, partly=True)
        by_name = {"source": "lists", "labels": NAMES, "regions": BY_NAME}
        for name, data in (("lists", {}), ("named", by_name), ("partly", {})):
            Path(f"{name}.toml").write_text(recipe(name, **data), encoding="utf-8")
            prepare.main([f"{name}.toml"])
        train.main(["lists.toml"])
        evaluate.main(["lists", "--split", "val"])
    return folder


@pytest.fixture(autouse=True)
def _in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def masks(run: str, *words: str) -> dict[str, np.ndarray]:
    out = f"masks/{run}{len(words)}"
    predict.main([run, "lists/imagesTs", "--out", out, "--force", *words])
    return {path.name: np.asarray(nib.load(path).dataobj) for path in sorted(Path(out).rglob("*.nii.gz"))}


def test_lists_and_names_are_the_same_regions_of_the_same_labels() -> None:
    lists, named = load_manifest(Path("tfrecords/lists")), load_manifest(Path("tfrecords/named"))
    assert lists.label_map.structures == named.label_map.structures == Structures(4, NESTED, (1, 3, 2))
    assert lists.label_map.structure_names == named.label_map.structure_names == ("whole", "core", "enhancing")
    assert named.labels == NAMES
    assert {region.name: region.writes for region in named.regions} == {
        "whole": "oedema",
        "core": "necrosis",
        "enhancing": "active",
    }
    for case in read_cases(Path("tfrecords/lists"), lists, "test"):
        np.testing.assert_array_equal(case.labels, ball(int(case.case[-1]))[1])


def test_a_folder_that_names_regions_is_taken_as_it_is(capsys: pytest.CaptureFixture) -> None:
    init.main(["lists", "--name", "taken"])
    assert "regions: whole (label_1 + enhancing + label_3, written as label_1), core (" in capsys.readouterr().err


def test_preparing_says_what_the_regions_are(capsys: pytest.CaptureFixture) -> None:
    prepare.main(["named.toml", "data.records=tfrecords/again"])
    assert (
        "core (active + necrosis, written as necrosis), enhancing (active, written as active)"
        in capsys.readouterr().err
    )


def test_a_run_has_a_sigmoid_for_each_region_and_is_validated_by_it() -> None:
    run = RunFolder(Path("saved_models/lists"))
    model, description = run.load_model(), run.load_data_description()
    assert model.network.output_shape[-1] == 3
    assert model.network.get_layer("probabilities").overlap
    assert model.segmentation_loss.regions == NESTED
    assert description.label_map.structures.regions == NESTED
    with run.history.open(encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    dice = [float(last[f"val_dice_{name}"]) for name in ("whole", "core", "enhancing")]
    assert float(last["val_dice"]) == pytest.approx(np.mean(dice), abs=1e-4)
    assert min(dice) > 0.5


def test_scores_are_those_of_the_regions_of_the_masks(capsys: pytest.CaptureFixture) -> None:
    evaluate.main(["lists", "--json"])
    report = last_json(capsys.readouterr().out)
    assert list(report["summary"]["classes"]) == ["whole", "core", "enhancing"]
    scores = json.loads(Path("saved_models/lists/evaluation/test.json").read_text(encoding="utf-8"))["cases"]
    affine, voxel_ml = np.diag([1.0, 1.2, 1.5, 1.0]), 1.8e-3
    for file, mask in masks("lists").items():
        truth = ball(int(file[4]))[1]
        rows = scores[file.removesuffix("_0000.nii.gz")]
        for row, members in zip(rows, NESTED, strict=True):
            true, found = np.isin(truth, members), np.isin(mask, members)
            assert row["dice"] == pytest.approx(2 * (true & found).sum() / (true.sum() + found.sum()))
            assert row["truth_ml"] == pytest.approx(true.sum() * voxel_ml)
            assert row["prediction_ml"] == pytest.approx(found.sum() * voxel_ml)
            (alone,) = score_case(true.astype(np.uint8), found.astype(np.uint8), affine, ["one"], 1.5)
            assert (row["hd95_mm"], row["nsd"]) == (alone.hd95_mm, alone.nsd)
    assert min(report["summary"]["classes"][name]["dice"]["mean"] for name in ("whole", "core", "enhancing")) > 0.5
    page = Path("saved_models/lists/evaluation/test.html").read_text(encoding="utf-8")
    assert "enhancing" in page and "label_3" not in re.sub(r"<img[^>]*>|base64,[^\"]*", "", page)


def test_measures_are_those_of_kseg_measure_and_agree_as_their_differences(capsys: pytest.CaptureFixture) -> None:
    evaluate.main(["lists", "--json"])
    agreement = last_json(capsys.readouterr().out)["measure_agreement"]["structures"]
    written = json.loads(Path("saved_models/lists/evaluation/test.json").read_text(encoding="utf-8"))
    assert written["measure_agreement"]["structures"] == agreement
    masks("lists")
    both = pandas.read_csv("saved_models/lists/evaluation/test_measures.csv").drop(columns="mask")
    tables = {}
    for source, files in (("truth", "lists/labelsTs"), ("prediction", "masks/lists0")):
        out = f"{source}.csv"
        measure.main([files, "--images", "lists/imagesTs", "--run", "lists", "--out", out])
        expected = pandas.read_csv(out).drop(columns="mask")
        expected["case"] = expected["case"].str.removesuffix("_0000")
        found = both[both["source"] == source].drop(columns="source")
        tables[source], found = (table.set_index(["case", "class_name"]).sort_index() for table in (expected, found))
        pandas.testing.assert_frame_equal(found, tables[source], rtol=1e-6)
        assert found["image_mean"].notna().all()
    for name in ("whole", "core", "enhancing"):
        assert (agreement[name]["compared"], agreement[name]["missed"]) == (2, 0)
        for column, told in agreement[name]["measures"].items():
            truth, found = (table.xs(name, level="class_name")[column] for table in tables.values())
            assert told["bias"] == pytest.approx((found - truth).mean(), abs=1e-6), column
            assert told["deviation"] == pytest.approx((found - truth).std(), abs=1e-6)
            assert told["limit_low"] is told["icc"] is None  # of two cases
        assert list(agreement[name]["measures"]) == ["volume_ml", "length_mm", "largest_area_mm2", "image_mean"]
    page = Path("saved_models/lists/evaluation/test.html").read_text(encoding="utf-8")
    assert "Agreement of measures" in page and "they need 10 cases" in page


def test_masks_hold_the_datasets_labels_and_their_volumes_are_of_regions() -> None:
    found = masks("lists", "--uncertainty", "--rank")
    with Path("masks/lists2/volumes.csv").open(encoding="utf-8") as file:
        rows = {(row["mask"], row["class_name"]): row for row in csv.DictReader(file)}
    labels = {file: mask for file, mask in found.items() if (file, "whole") in rows}
    assert len(labels) == 2
    for file, mask in labels.items():
        assert set(np.unique(mask)) == {0, 1, 2, 3}
        volumes = [float(rows[file, name]["prediction_ml"]) for name in ("whole", "core", "enhancing")]
        np.testing.assert_allclose(volumes, [np.isin(mask, members).sum() * 1.8e-3 for members in NESTED])
        assert volumes[0] > volumes[1] > volumes[2]
        assert all(0 < float(rows[file, name]["agreement"]) <= 1 for name in ("whole", "core", "enhancing"))
        assert rows[file, "whole"]["expected_dice"]  # five validation cases said so
    entropies = [mask for file, mask in found.items() if file not in labels]
    assert len(entropies) == 2
    assert all(20 < entropy.max() <= 100 and np.median(entropy) < 20 for entropy in entropies)


def test_an_annotation_is_kept_in_the_datasets_labels() -> None:
    (plain, *_), values = masks("lists").values(), np.zeros(SHAPE, np.uint8)
    values[4:9, 4:9, 11], values[5:7, 5:7, 11] = 1, 3
    save(Path("slices.nii.gz"), values)
    scan = "lists/imagesTs/case8_0000.nii.gz"
    words = ["--annotation", "slices.nii.gz", "data.annotated_slices=z", "--out", "kept", "--force"]
    predict.main(["lists", scan, *words])
    expected = plain.copy()
    expected[..., 11] = values[..., 11]
    np.testing.assert_array_equal(np.asarray(nib.load("kept/case8_0000.nii.gz").dataobj), expected)


def test_a_saved_model_segments_as_predict_does(capsys: pytest.CaptureFixture) -> None:
    expected = masks("lists")
    capsys.readouterr()
    export.main(["lists", "--json"])
    report = last_json(capsys.readouterr().out)
    assert report["differing_labels"] <= 1e-4
    assert report["largest_difference"] <= 1e-4
    served = tf.saved_model.load(report["path"]).signatures
    spacing_mm = tf.constant([[1.0, 1.2, 1.5]])
    for number in (8, 9):
        image, mask = ball(number)[0][np.newaxis, ..., np.newaxis], expected[f"case{number}_0000.nii.gz"]
        labels = served["segment_int16"](voxels=tf.constant(image), spacing_mm=spacing_mm)["labels"].numpy()[0]
        np.testing.assert_array_equal(labels, mask)
        both = served["segment_probabilities"](voxels=tf.constant(image.astype(np.float32)), spacing_mm=spacing_mm)
        np.testing.assert_array_equal(both["labels"].numpy()[0], mask)
        probabilities = both["probabilities"].numpy()[0]
        assert probabilities.shape == (*SHAPE, 3)
        if not json.loads((Path(report["path"]) / "assets.extra/kseg.json").read_text())["postprocessing"]:
            np.testing.assert_array_equal(Structures(4, NESTED, (1, 3, 2)).class_indices(probabilities), mask)
    described = json.loads((Path(report["path"]) / "assets.extra/kseg.json").read_text(encoding="utf-8"))
    assert [(region["name"], region["writes"]) for region in described["regions"]] == [
        ("whole", "label_1"),
        ("core", "label_3"),
        ("enhancing", "enhancing"),
    ]
    card = Path("saved_models/lists/MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Segments whole, core, enhancing in volumes" in card
    assert "whole: label_1 + enhancing + label_3, as label_1; core: enhancing + label_3, as label_3" in card.replace(
        "\\", ""
    )


def test_an_onnx_model_has_the_probabilities_of_the_regions(capsys: pytest.CaptureFixture) -> None:
    export.main(["lists", "--format", "onnx", "--json"])
    (written,) = last_json(capsys.readouterr().out)["written"]
    assert written["largest_difference"] < 1e-4
    session = onnxruntime.InferenceSession(written["path"])
    image = ball(8)[0][4:20, 2:18, 3:19, np.newaxis]
    voxels = normalise(image.astype(np.float32), intensity_statistics(image), ()).astype(np.float32)[np.newaxis]
    (probabilities,) = session.run(None, {"voxels": voxels})
    expected = RunFolder(Path("saved_models/lists")).load_model().predict_on_batch(voxels)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert np.ptp(probabilities.sum(axis=-1)) > 1  # no softmax
    told = json.loads(session.get_modelmeta().custom_metadata_map["regions"])
    assert {region["name"]: region["writes"] for region in told} == {
        "whole": "label_1",
        "core": "label_3",
        "enhancing": "enhancing",
    }


def test_a_package_segments_as_its_run(capsys: pytest.CaptureFixture) -> None:
    export.main(["lists", "--format", "package", "--json"])
    path = last_json(capsys.readouterr().out)["path"]
    expected = masks("lists")
    predict.main([path, "lists/imagesTs", "--out", "unpacked", "--force"])
    for file, mask in expected.items():
        np.testing.assert_array_equal(np.asarray(nib.load(f"unpacked/{file}").dataobj), mask)


def test_regions_that_are_labelled_in_part(capsys: pytest.CaptureFixture) -> None:
    train.main(["partly.toml"])
    loss = RunFolder(Path("saved_models/partly")).load_model().segmentation_loss
    assert loss.partly_labelled and loss.regions == NESTED
    capsys.readouterr()
    evaluate.main(["partly", "--json"])
    classes = last_json(capsys.readouterr().out)["summary"]["classes"]
    assert "hd95_mm" not in classes["core"]
    scores = json.loads(Path("saved_models/partly/evaluation/test.json").read_text(encoding="utf-8"))["cases"]
    for file, mask in masks("partly").items():
        truth, labelled = ball(int(file[4]))[1], np.arange(SHAPE[2]) % 3 != 1
        for row, members in zip(scores[file.removesuffix("_0000.nii.gz")], NESTED, strict=True):
            true, found = np.isin(truth, members) & labelled, np.isin(mask, members) & labelled
            assert row["dice"] == pytest.approx(2 * (true & found).sum() / (true.sum() + found.sum()))
        assert set(np.unique(mask)) <= {0, 1, 2, 3}


def test_masks_at_another_spacing_come_back_on_the_scans_grid(capsys: pytest.CaptureFixture) -> None:
    words = ["lists.toml", "name=coarse", "data.records=tfrecords/coarse", "data.spacing_mm=[1.5, 1.5, 1.5]"]
    prepare.main(words)
    train.main(words)
    for file, mask in masks("coarse").items():
        truth = ball(int(file[4]))[1]
        assert mask.shape == SHAPE
        assert 2 * ((mask > 0) & (truth > 0)).sum() / ((mask > 0).sum() + (truth > 0).sum()) > 0.5
    run = RunFolder(Path("saved_models/coarse"))
    one = ClassChoice(operations=("fill_holes", "largest_component"), dice_before=0.5, dice_after=0.6)
    models, chosen = (sha256_of(run.model),), dict.fromkeys(("whole", "core", "enhancing"), one)
    save_postprocessing(PostProcessing(cases=5, models=models, classes=chosen), run.path)
    capsys.readouterr()
    export.main(["coarse", "--json"])
    written = last_json(capsys.readouterr().out)
    assert written["differing_labels"] <= 1e-4
    described = json.loads((Path(written["path"]) / "assets.extra/kseg.json").read_text(encoding="utf-8"))
    assert described["postprocessing"]["core"] == ["fill_holes", "largest_component"]
    noise = np.random.default_rng(0).normal(150, 50, (1, *SHAPE, 1)).astype(np.int16)
    served = tf.saved_model.load(written["path"]).signatures["segment_int16"]
    labels = served(voxels=tf.constant(noise), spacing_mm=tf.constant([[1.0, 1.2, 1.5]]))["labels"].numpy()[0]
    save(Path("noise.nii.gz"), noise[0, ..., 0])
    predict.main(["coarse", "noise.nii.gz", "--out", "of_noise"])
    np.testing.assert_array_equal(labels, np.asarray(nib.load("of_noise/noise.nii.gz").dataobj))
    predict.main(["coarse", "noise.nii.gz", "--out", "plain_noise", "evaluation.postprocessing=none"])
    assert (labels != np.asarray(nib.load("plain_noise/noise.nii.gz").dataobj)).any()


def test_a_start_from_classes_takes_all_but_the_output(capsys: pytest.CaptureFixture) -> None:
    """Three classes, background among them, have as many maps as three regions."""
    classes = ["lists.toml", "name=classes", "data.records=tfrecords/classes", *SHORT]
    classes += ["data.labels={background=0, a=1, b=2, c=3}", 'data.classes=["a", "b"]']
    prepare.main(classes)
    train.main(classes)
    network = RunFolder(Path("saved_models/classes")).load_model().network
    assert network.output_shape[-1] == 3
    assert not network.get_layer("probabilities").overlap
    capsys.readouterr()
    train.main(["lists.toml", "name=onward", "train.start_from=classes", *SHORT])
    assert "new: output" in capsys.readouterr().err
    train.main(["lists.toml", "name=same", "train.start_from=lists", *SHORT])
    assert "new:" not in capsys.readouterr().err


def test_deep_supervision_learns_regions_too() -> None:
    train.main(["lists.toml", "name=deep", "train.deep_supervision=true", *SHORT])
    model = RunFolder(Path("saved_models/deep")).load_model()
    assert model.network.output_shape[-1] == 3


def test_a_dataset_of_other_regions_is_another(capsys: pytest.CaptureFixture) -> None:
    other = ["named.toml", 'data.regions={whole=["oedema", "necrosis", "active"], core=["necrosis", "active"]}']
    with pytest.raises(InputError, match=r"was prepared otherwise .*regions have changed"):
        prepare.main(other)
    with pytest.raises(
        InputError, match=r"prepared with data.regions = \{whole = \['oedema'.*enhancing = \['active'\]\}"
    ):
        train.main(other)
    again = ["data.records=tfrecords/other"]
    prepare.main([*other, *again])
    assert load_manifest(Path("tfrecords/other")).label_map.structure_names == ("whole", "core")
    named, other = load_manifest(Path("tfrecords/named")), load_manifest(Path("tfrecords/other"))
    described = DataDescription(channels=named.channels, labels=named.labels, regions=named.regions)
    assert described.difference(named) == ""
    assert described.difference(other).startswith(
        "regions 'whole (oedema + necrosis + active, written as oedema), core (necro"
    )
    with pytest.raises(InputError, match="has labels"):
        evaluate.main(["lists", "--records", "tfrecords/other"])


def test_a_run_goes_on_with_its_own_regions_alone() -> None:
    train.main(["named.toml", *SHORT])
    words = [
        "data.records=tfrecords/other",
        'data.regions={core=["necrosis", "active"], all=["oedema", "necrosis", "active"]}',
    ]
    prepare.main(["named.toml", *words, "--force"])
    with pytest.raises(InputError, match="was trained on other channels, labels, annotated slices, regions"):
        train.main(["named.toml", *words, *SHORT, "train.epochs=2", "--resume"])


def test_a_recipe_that_says_no_regions_is_not_trained_on_some() -> None:
    with pytest.raises(InputError, match=r"prepared with data.regions = .*, the recipe says \{\}"):
        train.main(["named.toml", "data.regions={}"])


def test_labels_of_a_recipe_make_classes_of_a_datasets_regions() -> None:
    prepare.main(["named.toml", "data.records=tfrecords/classes_of", "data.regions={}"])
    manifest = load_manifest(Path("tfrecords/classes_of"))
    assert (manifest.regions, manifest.label_map.structure_names) == ((), ("oedema", "active", "necrosis"))


def test_some_labels_alone_can_make_regions() -> None:
    words = ['data.classes=["necrosis", "active"]', 'data.regions={core=["necrosis", "active"], enhancing=["active"]}']
    prepare.main(["named.toml", "data.records=tfrecords/some", *words])
    manifest = load_manifest(Path("tfrecords/some"))
    assert manifest.label_map.structures.num_classes == 3
    for case in read_cases(Path("tfrecords/some"), manifest, "test"):
        truth = ball(int(case.case[-1]))[1]
        np.testing.assert_array_equal(case.labels > 0, truth > 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.regions={whole=[]}"], "data.regions: region 'whole' names no label"),
        (
            ['data.regions={whole=["tumour"]}'],
            "data.regions: region 'whole' has the label 'tumour', which there is not",
        ),
        (['data.regions={core=["active"]}'], "data.regions: label 'oedema' is in no region"),
        (['data.regions={a=["oedema", "active"], b=["active", "necrosis"]}'], "data.regions: label 'active', which is"),
        (['data.regions={a=["oedema", "active", "necrosis"], b=["active", "necrosis", "oedema"]}'], "the same labels"),
        (['data.classes=["active"]'], "region 'whole' has the label 'oedema', which there is not: known are active"),
        (["data.regions={whole=1}"], "data.regions.whole"),
        (["data.regions=3"], "data.regions"),
    ],
)
def test_regions_of_a_recipe_that_are_none_get_one_line(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        prepare.main(["named.toml", "data.records=tfrecords/refused", *words])
    assert "\n" not in str(caught.value)


def test_classes_of_a_dataset_with_regions_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.classes would leave labels out of the regions whole, core, enhancing"):
        prepare.main(["lists.toml", "data.records=tfrecords/refused", 'data.classes=["enhancing"]'])


def test_a_model_of_other_regions_than_its_description_is_refused() -> None:
    run = RunFolder(Path("saved_models/lists"))
    was = run.data_description.read_bytes()
    table = json.loads(was)
    table["regions"] = [table["regions"][0], table["regions"][2], table["regions"][1] | {"labels": ["label_3"]}]
    run.data_description.write_text(json.dumps(table), encoding="utf-8")
    try:
        with pytest.raises(InputError, match=r"has learned other regions than those of the run's data\.json"):
            run.load_model()
    finally:
        run.data_description.write_bytes(was)


def test_a_run_of_before_has_no_regions() -> None:
    table = json.loads(Path("saved_models/lists/data.json").read_text(encoding="utf-8"))
    del table["regions"]
    assert DataDescription.model_validate(table).label_map.structure_names == ("label_1", "enhancing", "label_3")
