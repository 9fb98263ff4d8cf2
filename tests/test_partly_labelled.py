"""Label maps of which some slices alone are annotated, from the files to scores and masks, by the commands."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from printed import last_json
from recipes import recipe_text

from kseg import evaluate, export, phantom, predict, prepare, train
from kseg.console.errors import InputError
from kseg.inference import segment_volumes
from kseg.records.manifest import Manifest, load_manifest
from kseg.records.prepared_case import PreparedCase, read_cases
from kseg.runs.run_folder import RunFolder
from kseg.runs.trained_run import TrainedRun

LABELS = {"background": 0, "soleus": 100, "gastrocnemius_medialis": 150, "gastrocnemius_lateralis": 200}
IGNORE = 255
EVERY = 6
ANNOTATED = {"source": "leg/manifest.csv", "annotated_slices": "z", "labels": LABELS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four legs with every sixth slice annotated, as two datasets: those slices alone drawn in, and by `ignore`."""
    folder = tmp_path_factory.mktemp("partly")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shape = ["--shape", "24", "24", "32"]
        phantom.main(["--out", "leg", "--subjects", "4", *shape, "--seed", "3", "--format", "nii.gz"])
        for kind in ("imagesTr", "labelsTr"):
            Path("nnunet", kind).mkdir(parents=True)
        for image in sorted(Path("leg/images").iterdir()):
            name = image.name.removesuffix(".nii.gz")
            shutil.copy(image, f"nnunet/imagesTr/{name}_0000.nii.gz")
            whole = nib.load(f"leg/labels/{image.name}")
            values = np.asarray(whole.dataobj)
            foreground = np.flatnonzero((values > 0).any(axis=(0, 1)))[::EVERY]
            for other, path in ((0, f"leg/labels/{image.name}"), (IGNORE, f"nnunet/labelsTr/{name}.nii.gz")):
                drawn = np.full_like(values, other)
                drawn[..., foreground] = values[..., foreground]
                nib.save(nib.Nifti1Image(drawn, whole.affine), path)
        described = {
            "channel_names": {"0": "ultrasound"},
            "labels": {**LABELS, "ignore": IGNORE},
            "numTraining": 4,
            "file_ending": ".nii.gz",
        }
        Path("nnunet/dataset.json").write_text(json.dumps(described), encoding="utf-8")
        for name, data in (("annotated", ANNOTATED), ("ignored", {"source": "nnunet"})):
            text = recipe_text(name, data={**data, "records": f"tfrecords/{name}", "val_fraction": 0.25})
            Path(f"{name}.toml").write_text(text, encoding="utf-8")
            prepare.main([f"{name}.toml"])
    return folder


@pytest.fixture(autouse=True)
def _in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def labels_of(name: str) -> dict[str, np.ndarray]:
    records = Path("tfrecords") / name
    manifest = load_manifest(records)
    splits = ("train", "val", "test")
    return {case.case: case.labels for split in splits for case in read_cases(records, manifest, split)}


def test_both_ways_of_saying_what_is_annotated_give_the_same_labels() -> None:
    annotated, ignored = labels_of("annotated"), labels_of("ignored")
    assert annotated.keys() == ignored.keys()
    for case, indices in annotated.items():
        np.testing.assert_array_equal(indices, ignored[case])
        slices = (indices < len(LABELS)).any(axis=(0, 1))
        assert 2 <= slices.sum() <= 6
        assert ((indices > 0) & (indices < len(LABELS))).any(axis=(0, 1))[slices].all()


def test_preparing_says_what_is_labelled(capsys: pytest.CaptureFixture) -> None:
    prepare.main(["annotated.toml", "data.records=tfrecords/again"])
    said = capsys.readouterr().err
    assert "of 32 slices across z are annotated" in said
    assert "labelled in part: 4 of 4 cases, " in said


def test_slices_that_look_as_if_they_alone_were_annotated_are_told_of(capsys: pytest.CaptureFixture) -> None:
    prepare.main(["annotated.toml", "data.annotated_slices=none", "name=whole", "data.records=tfrecords/whole"])
    said = capsys.readouterr().err
    assert said.count("prepare with data.annotated_slices=z") == 1  # for all cases together
    assert "labelled in part" not in said


def test_a_run_learns_from_and_is_scored_on_what_is_labelled(capsys: pytest.CaptureFixture) -> None:
    train.main(["annotated.toml"])
    model = RunFolder(Path("saved_models/annotated")).load_model()
    assert model.segmentation_loss.partly_labelled
    capsys.readouterr()
    evaluate.main(["annotated"])
    said = capsys.readouterr().out
    assert "1 of 1 case labelled in part" in " ".join(said.split())
    scores = json.loads(Path("saved_models/annotated/evaluation/test.json").read_text(encoding="utf-8"))
    (rows,) = scores["cases"].values()
    assert all(row["partly_labelled"] and row["hd95_mm"] is None and row["truth_ml"] is None for row in rows)
    assert scores["measure_agreement"] == {"structures": {}, "lacks_pingouin": False}
    table = RunFolder(Path("saved_models/annotated")).measures("test").read_text(encoding="utf-8")
    assert table.startswith("case,class_name,source,mask,") and table.count("\n") == 1  # nobody knows how large it is
    _, _, page = RunFolder(Path("saved_models/annotated")).split_scores("test")
    assert "1 of 1 case labelled in part" in page.read_text(encoding="utf-8")
    predict.main(["annotated", "leg/images", "--out", "masks"])
    for mask in Path("masks").rglob("*.nii.gz"):
        assert set(np.unique(np.asarray(nib.load(mask).dataobj)).tolist()) <= set(LABELS.values())


def test_an_empty_mask_of_a_case_labelled_in_part_has_no_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    train.main(["annotated.toml", "name=empty"])

    def all_background(
        _run: TrainedRun, records: Path, manifest: Manifest, split: str, _chosen: object
    ) -> Iterator[tuple[PreparedCase, np.ndarray, list[float | None]]]:
        for case in read_cases(records, manifest, split):
            yield case, np.zeros(case.labels.shape, np.uint8), [0.9] * (len(LABELS) - 1)

    monkeypatch.setattr(segment_volumes, "segment_cases", all_background)
    evaluate.main(["empty"])
    scores = json.loads(Path("saved_models/empty/evaluation/test.json").read_text(encoding="utf-8"))
    (rows,) = scores["cases"].values()
    assert [row["agreement"] for row in rows] == [None] * (len(LABELS) - 1)
    assert all(row["partly_labelled"] for row in rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.empty_slices=7"], "empty_slices needs annotated_slices"),
        (["data.annotated_slices=y", "data.empty_slices=100"], "data.empty_slices = 100 is the value of .leg."),
        (["data.annotated_slices=w"], "data.annotated_slices.*it must be"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(changes: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare.main(["leg/manifest.csv", 'data.labels={background=0, leg=100, "m"=150, "l"=200}', *changes])


@pytest.mark.parametrize("key", ["data.annotated_slices=none", "data.annotated_slices=x"])
def test_a_recipe_that_says_another_axis_is_not_trained(key: str) -> None:
    with pytest.raises(InputError, match=r"annotated_slices = 'z', the recipe says '[nx]"):
        train.main(["annotated.toml", "name=other", key])


def test_a_dataset_of_other_slices_is_not_the_same_dataset() -> None:
    with pytest.raises(InputError, match="was prepared otherwise"):
        prepare.main(["annotated.toml", "data.annotated_slices=none"])


def test_a_run_that_learned_from_whole_label_maps_does_not_go_on_with_some_slices() -> None:
    words = ["annotated.toml", "name=changed", "data.records=tfrecords/changed"]
    prepare.main([*words, "data.annotated_slices=none"])
    train.main([*words, "data.annotated_slices=none"])
    prepare.main([*words, "--force"])
    with pytest.raises(InputError, match=r"trained on other channels, labels, annotated slices|began with other scans"):
        train.main([*words, "--resume", "train.epochs=3"])


def test_slices_of_the_phantom_without_muscle_can_be_left_out() -> None:
    shape = "phantom.shape=[24, 24, 32]"
    prepare.main(["data.annotated_slices=x", "name=drawn", "data.records=tfrecords/drawn", shape, "phantom.subjects=3"])
    for indices in labels_of("drawn").values():
        labelled = indices < len(LABELS)
        np.testing.assert_array_equal(labelled, np.broadcast_to(labelled[:, :1, :1], labelled.shape))
        assert 0 < labelled.mean() < 1


@pytest.fixture(scope="module")
def scan(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a scan of the run `legs`, with a label map in another voxel order, annotated in two slices across z."""
    made = tmp_path_factory.mktemp("scan")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train.main(["annotated.toml", "name=legs"])
    image = nib.load(sorted((folder / "leg/images").iterdir())[0])
    nib.save(image, made / "leg.nii.gz")
    values = np.zeros(image.shape, np.uint8)
    values[2:9, 3:7, 5], values[4:6, 4:6, 20] = 100, 200
    flipped = nib.Nifti1Image(values, image.affine).as_reoriented([[0, -1], [2, 1], [1, 1]])
    nib.save(flipped, made / "slices.nii.gz")
    nib.save(nib.Nifti1Image(np.where(values, values, IGNORE).astype(np.uint8), image.affine), made / "ignored.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros_like(values), image.affine), made / "empty.nii.gz")
    return made


def masks(made: Path, *words: str) -> np.ndarray:
    predict.main(["legs", str(made / "leg.nii.gz"), "--out", str(made / "masks"), "--force", *words])
    return np.asarray(nib.load(made / "masks/leg.nii.gz").dataobj)


def test_what_is_annotated_in_a_scan_is_kept_and_the_rest_filled_in(scan: Path, capsys: pytest.CaptureFixture) -> None:
    plain = masks(scan)
    kept = masks(scan, "--annotation", str(scan / "slices.nii.gz"))
    assert "2 of 32 slices across z are annotated" in capsys.readouterr().err
    expected = plain.copy()
    expected[..., [5, 20]] = 0
    expected[2:9, 3:7, 5], expected[4:6, 4:6, 20] = 100, 200
    np.testing.assert_array_equal(kept, expected)


def test_classes_that_a_run_did_not_learn_may_be_annotated_and_are_background(scan: Path) -> None:
    one = ["annotated.toml", "name=one", "data.records=tfrecords/one", 'data.classes=["soleus"]']
    prepare.main(one)
    train.main(one)
    shared = ["one", str(scan / "leg.nii.gz"), "--out", str(scan / "one"), "--force"]
    predict.main(shared)
    expected = np.array(nib.load(scan / "one/leg.nii.gz").dataobj)
    predict.main([*shared, "--annotation", str(scan / "slices.nii.gz")])
    expected[..., [5, 20]] = 0
    expected[2:9, 3:7, 5] = 100  # and the lateralis of slice 20 is left out, as in training
    np.testing.assert_array_equal(np.asarray(nib.load(scan / "one/leg.nii.gz").dataobj), expected)


@pytest.mark.parametrize(
    ("file", "words", "message"),
    [
        ("slices.nii.gz", ["data.annotated_slices=none"], "says of every voxel what it is"),
        ("ignored.nii.gz", [], r"holds 255, which is no label of the run \(known: 0 background, .*data.empty_slices"),
        ("gone.nii.gz", [], "gone.nii.gz. does not exist"),
        ("leg.nii.gz", [], "which is no label of the run"),
        ("empty.nii.gz", [], "has nothing annotated: give the label map with what was drawn"),
        ("slices.nii.gz", ["--server", "127.0.0.1:1"], "leave it out with --server"),
    ],
)
def test_an_annotation_that_cannot_be_kept_is_refused(file: str, words: list[str], message: str, scan: Path) -> None:
    with pytest.raises(InputError, match=message):
        masks(scan, "--annotation", str(scan / file), *words)


def test_an_annotation_is_of_one_scan(scan: Path) -> None:
    with pytest.raises(InputError, match="--annotation is of one scan, and 2 are named"):
        masks(scan, str(scan / "slices.nii.gz"), "--annotation", str(scan / "slices.nii.gz"))


@pytest.mark.parametrize("form", ["savedmodel", "onnx"])
def test_exports_of_such_a_run_know_its_classes_alone(form: str, capsys: pytest.CaptureFixture) -> None:
    if not Path("saved_models/ignored").is_dir():
        train.main(["ignored.toml"])
    capsys.readouterr()
    export.main(["ignored", "--format", form, "--json"])
    report = last_json(capsys.readouterr().out)
    if form == "onnx":
        (written,) = report["written"]
        assert written["largest_difference"] < 1e-4
        return
    assert report["differing_labels"] <= 1e-4
    described = json.loads((Path(report["path"]) / "assets.extra" / "kseg.json").read_text(encoding="utf-8"))
    assert described["labels"] == LABELS
