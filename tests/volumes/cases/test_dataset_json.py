"""dataset.json as people have it: each description beside the files that go with it, and the cases that it means.

The forms are those of nnU-Net's documentation/dataset_format.md (v1 and v2) and conversion scripts, of the Medical
Segmentation Decathlon's files, and of MONAI's `load_decathlon_datalist`.
"""

import json
from pathlib import Path

import pytest

from kseg.console.errors import InputError
from kseg.volumes.cases.case import CaseList
from kseg.volumes.cases.find import find_cases
from kseg.volumes.labels import LabelMap

LABELS = {"background": 0, "leg": 7}
VALUES = {"0": "background", "7": "leg"}
ONE = "Tr/a_0000 =Tr/a"
V2 = {"channel_names": {"0": "T1"}, "labels": LABELS, "file_ending": ".nii.gz"}
TWO = {"channel_names": {"0": "T1", "1": "T2"}, "labels": LABELS, "file_ending": ".nii.gz"}
V1 = {"name": "x", "tensorImageSize": "3D", "modality": {"0": "T1"}, "labels": VALUES, "numTest": 0, "test": []}


def listing(*names: str) -> list[dict]:
    return [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]


def regions(*values: object, order: object) -> dict:
    """nnU-Net's description of regions r1, r2, ... of these values."""
    named = {f"r{number}": of_region for number, of_region in enumerate(values, start=1)}
    return V2 | {"labels": {"background": 0, **named}, "regions_class_order": order}


def described(folder: Path, content: dict, files: str, name: str = "dataset.json") -> Path:
    """Write a description and empty files; `Tr/a_0000` is short for imagesTr/a_0000.nii.gz, `=Tr/a` for its label."""
    for word in files.split():
        part, _, stem = word.removeprefix("=").partition("/")
        short = part in ("Tr", "Ts")
        file = folder / (f"{'labels' if word[0] == '=' else 'images'}{part}/{stem}.nii.gz" if short else word)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def short(found: CaseList, folder: Path) -> dict[str, str]:
    """Each case with its split, images and label, in the words of `described`."""

    def word(path: Path) -> str:
        text = path.relative_to(folder).as_posix().removesuffix(".nii.gz")
        return text.removeprefix("images") if text.startswith("images") else text.replace("labels", "=")

    return {
        case.case: " ".join([case.split, *map(word, case.images), word(case.label)]).strip() for case in found.cases
    }


READ = {
    "v2": (V2, "Tr/a_0000 =Tr/a Tr/b_0000 =Tr/b", {"a": "Tr/a_0000 =Tr/a", "b": "Tr/b_0000 =Tr/b"}),
    "v2, the ending without its dot": (V2 | {"file_ending": "nii.gz"}, "Tr/a_0000 =Tr/a", {"a": "Tr/a_0000 =Tr/a"}),
    "v2, channels counted from 1": (V2 | {"channel_names": {"1": "T1"}}, "Tr/a_0000 =Tr/a", {"a": "Tr/a_0000 =Tr/a"}),
    "v2, channels in a list": (V2 | {"channel_names": ["T1"]}, "Tr/a_0000 =Tr/a", {"a": "Tr/a_0000 =Tr/a"}),
    "v2, values as texts": (
        V2 | {"labels": {"background": "0", "leg": "7"}}, "Tr/a_0000 =Tr/a", {"a": "Tr/a_0000 =Tr/a"}),
    "v2, labels as v1 has them": (V2 | {"labels": VALUES}, "Tr/a_0000 =Tr/a", {"a": "Tr/a_0000 =Tr/a"}),
    "v2, with v1's list left over": (
        V2 | {"modality": {"0": "T1"}, "training": listing("a")}, "Tr/a_0000 =Tr/a Tr/b_0000 =Tr/b",
        {"a": "Tr/a_0000 =Tr/a", "b": "Tr/b_0000 =Tr/b"}),
    "v2, the left-over list names channel files": (
        V2 | {"training": [{"image": "imagesTr/a_0000.nii.gz", "label": "labelsTr/a.nii.gz"}]}, "Tr/a_0000 =Tr/a",
        {"a": "Tr/a_0000 =Tr/a"}),
    "v2, its files under other names than nnU-Net's": (
        V2 | {"training": [{"image": "imagesTr/img1.nii.gz", "label": "labelsTr/label1.nii.gz"}]}, "Tr/img1 =Tr/label1",
        {"img1": "Tr/img1 =Tr/label1"}),
    "v2, images without a channel's number (AMOS)": (
        V2, "Tr/amos_0001 =Tr/amos_0001 Tr/amos_0004 =Tr/amos_0004",
        {"amos_0001": "Tr/amos_0001 =Tr/amos_0001", "amos_0004": "Tr/amos_0004 =Tr/amos_0004"}),
    "v2, names that are beginnings of others": (
        V2, "Tr/a_0000 =Tr/a Tr/a_1_0000 =Tr/a_1 Tr/a_1_0000_0000 =Tr/a_1_0000",
        {"a": "Tr/a_0000 =Tr/a", "a_1": "Tr/a_1_0000 =Tr/a_1", "a_1_0000": "Tr/a_1_0000_0000 =Tr/a_1_0000"}),
    "v2, copies of another type beside": (V2, "Tr/a_0000 =Tr/a labelsTr/a.nii", {"a": "Tr/a_0000 =Tr/a"}),
    "v2, test cases with labels": (
        TWO, "Tr/a_0000 Tr/a_0001 =Tr/a Ts/b_0000 Ts/b_0001 =Ts/b",
        {"a": "Tr/a_0000 Tr/a_0001 =Tr/a", "b": "test Ts/b_0000 Ts/b_0001 =Ts/b"}),
    "v2, hidden files": (V2, "Tr/a_0000 Tr/._a_0000 =Tr/a =Tr/._a", {"a": "Tr/a_0000 =Tr/a"}),
    "v2, its key `dataset` and files elsewhere": (
        TWO | {"dataset": {"a": {"images": ["x/a_t1.nii.gz", "x/a_t2.nii.gz"], "label": "y/a.nii.gz"}}},
        "x/a_t1.nii.gz x/a_t2.nii.gz y/a.nii.gz", {"a": "x/a_t1 x/a_t2 y/a"}),
    "v2, `dataset` lists fewer cases than lie in the folders": (
        V2 | {"dataset": {"a": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}}},
        "Tr/a_0000 =Tr/a Tr/b_0000 =Tr/b", {"a": "Tr/a_0000 =Tr/a"}),
    "v2, `dataset` lists one channel of two": (
        V2 | {"dataset": {"a": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}}},
        "Tr/a_0000 Tr/a_0001 =Tr/a", {"a": "Tr/a_0000 =Tr/a"}),
    "v2, `dataset` with a variable, and a name that is none": (
        V2 | {"dataset": {"a": {"images": ["${KSEG_TEST}/a_0000.nii.gz"], "label": "labelsTr/$HOME.nii.gz"}}},
        "Tr/a_0000 =Tr/$HOME", {"a": "Tr/a_0000 =Tr/$HOME"}),
    "v1, whose list names no channels": (
        V1 | {"training": listing("a")}, "Tr/a_0000 =Tr/a Tr/b_0000 =Tr/b", {"a": "Tr/a_0000 =Tr/a"}),
    "v1, two channels and labelled test images": (
        V1 | {"modality": {"0": "T1", "1": "T2"}, "training": listing("a"), "test": ["./imagesTs/b.nii.gz"]},
        "Tr/a_0000 Tr/a_0001 =Tr/a Ts/b_0000 Ts/b_0001 =Ts/b",
        {"a": "Tr/a_0000 Tr/a_0001 =Tr/a", "b": "test Ts/b_0000 Ts/b_0001 =Ts/b"}),
    "Decathlon": (
        V1 | {"training": listing("a", "._a"), "test": ["./imagesTs/b.nii.gz"]}, "Tr/a Tr/._a =Tr/a =Tr/._a Ts/b",
        {"a": "Tr/a =Tr/a"}),
    "Decathlon, four digits in the names": (
        V1 | {"training": listing("p_0000", "p_0001")}, "Tr/p_0000 =Tr/p_0000 Tr/p_0001 =Tr/p_0001",
        {"p_0000": "Tr/p_0000 =Tr/p_0000", "p_0001": "Tr/p_0001 =Tr/p_0001"}),
    "Decathlon, the modality a text": (
        V1 | {"modality": "T1", "training": listing("a")}, "Tr/a =Tr/a", {"a": "Tr/a =Tr/a"}),
    "Decathlon, written on Windows": (
        V1 | {"training": [{"image": "imagesTr\\a.nii.gz", "label": "labelsTr\\a.nii.gz"}]}, "Tr/a =Tr/a",
        {"a": "Tr/a =Tr/a"}),
    "Decathlon, a script of Windows'": (
        V1 | {"training": [{"image": ".\\imagesTr\\a.nii.gz", "label": ".\\labelsTr\\a.nii.gz"}]}, "Tr/a =Tr/a",
        {"a": "Tr/a =Tr/a"}),
    "MONAI, with splits": (
        V1 | {"training": listing("a"), "validation": listing("b"),
              "test": [{"image": "imagesTs/c.nii.gz", "label": "labelsTs/c.nii.gz"}, {"image": "imagesTs/d.nii.gz"}]},
        "Tr/a =Tr/a Tr/b =Tr/b Ts/c =Ts/c", {"a": "Tr/a =Tr/a", "b": "val Tr/b =Tr/b", "c": "test Ts/c =Ts/c"}),
    "MONAI, a file a channel, folds": (
        {"labels": VALUES, "modality": {"0": "T1", "1": "T2"}, "training": [
            {"fold": 0, "image": ["B_1/B_1_t1.nii.gz", "B_1/B_1_t2.nii.gz"], "label": "B_1/B_1_seg.nii.gz"}]},
        "B_1/B_1_t1.nii.gz B_1/B_1_t2.nii.gz B_1/B_1_seg.nii.gz", {"B_1": "B_1/B_1_t1 B_1/B_1_t2 B_1/B_1_seg"}),
    "MONAI, a folder a case": (
        {"labels": VALUES, "modality": ["T1", "T2"], "training": [
            {"image": ["p1/flair.nii.gz", "p1/t1.nii.gz"], "label": "p1/seg.nii.gz"}]},
        "p1/flair.nii.gz p1/t1.nii.gz p1/seg.nii.gz", {"p1": "p1/flair p1/t1 p1/seg"}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "files", "tests"),
    [
        (V2, "Tr/a_0000 =Tr/a Ts/b_0000 Ts/c_0000", {"b": ["b_0000"], "c": ["c_0000"]}),
        (TWO, "Tr/a_0000 Tr/a_0001 =Tr/a Ts/b_0000 Ts/b_0001", {"b": ["b_0000", "b_0001"]}),
        (V1 | {"training": listing("a"), "test": ["./imagesTs/b.nii.gz"]}, "Tr/a =Tr/a Ts/b", {"b": ["b"]}),
        (
            V1 | {"training": listing("a"), "test": ["./imagesTs/b.nii.gz"]},
            "Tr/a_0000 =Tr/a Ts/b_0000",
            {"b": ["b_0000"]},
        ),
    ],
    ids=["v2", "v2, two channels", "Decathlon", "v1"],
)
def test_scans_to_be_segmented_are_also_those_without_a_label(content, files, tests, tmp_path):
    folder = described(tmp_path, content, files)
    assert [case.case for case in find_cases(folder, images_only=True).cases] == ["a"]
    found = find_cases(folder, images_only=True, unlabelled=True)
    of_tests = {c.case: [image.name.removesuffix(".nii.gz") for image in c.images] for c in found.cases if c.split}
    assert of_tests == tests
    assert all(image.is_file() for case in found.cases for image in case.images)


def test_what_is_not_there_or_has_a_label_elsewhere_is_not_segmented_again(tmp_path, capsys):
    folder = described(tmp_path, V2, "Tr/a_0000 =Tr/a Ts/a_0000 Ts/b_0000")
    found = find_cases(folder, images_only=True, unlabelled=True)
    assert [(case.case, case.split) for case in found.cases] == [("a", ""), ("b", "test")]
    assert "1 scan to test on of" in capsys.readouterr().err
    content = V1 | {"training": listing("a"), "test": ["./imagesTs/b.nii.gz", "./imagesTs/c.nii.gz"]}
    folder = described(tmp_path / "decathlon", content, "Tr/a =Tr/a Ts/b")
    assert [case.case for case in find_cases(folder, images_only=True, unlabelled=True).cases] == ["a", "b"]


@pytest.mark.parametrize("form", READ)
def test_datasets_are_read_as_their_authors_mean_them(form, tmp_path, monkeypatch):
    monkeypatch.setenv("KSEG_TEST", "imagesTr")
    content, files, cases = READ[form]
    found = find_cases(described(tmp_path, content, files))
    assert short(found, tmp_path) == cases
    assert found.labels == LabelMap(("background", "leg"), (0, 7))
    assert found.channel_names == ("T1", "T2")[: len(found.cases[0].images)]
    assert all(case.subject == case.case for case in found.cases)


def test_a_list_under_another_name_without_classes_and_channels_is_read(tmp_path):
    described(tmp_path, {"training": listing("a")}, "Tr/a =Tr/a", name="folds.json")
    found = find_cases(tmp_path / "folds.json")
    assert (short(found, tmp_path), found.labels) == ({"a": "Tr/a =Tr/a"}, None)
    assert (found.channel_names, found.channels_stated) == (("image",), False)


def test_channels_are_in_the_order_of_their_numbers(tmp_path):
    described(tmp_path, TWO | {"channel_names": {"1": "T2", "0": "T1"}}, "Tr/a_0000 Tr/a_0001 =Tr/a")
    assert find_cases(tmp_path).channel_names == ("T1", "T2")


REFUSED = {
    "ending that fits nothing": (
        V2 | {"file_ending": ".nii"}, "Tr/a_0000 =Tr/a", r"`file_ending` '.nii' fits no file in .* end in .nii.gz;"),
    "labels of another type": (
        V2 | {"file_ending": ".mha"}, "imagesTr/a_0000.mha =Tr/a", "fits no file in '.*labelsTr': files there end"),
    "a case of another type": (
        V2, "Tr/a_0000 =Tr/a imagesTr/b_0000.nii labelsTr/b.nii", "'.*b.nii' is no '.nii.gz', as `file_ending` in "),
    "an ending in capitals": (
        V2, "Tr/a_0000 =Tr/a imagesTr/b_0000.NII.GZ labelsTr/b.NII.GZ", "'.*b.NII.GZ' is no '.nii.gz'"),
    "no folders": (V2, "", "lacks nnU-Net's folders imagesTr and labelsTr"),
    "image without label": (V2, "Tr/a_0000 =Tr/a Tr/b_0000", "label '.*b.nii.gz' of case 'b' is missing"),
    "image without label, a list left over": (
        V2 | {"training": listing("a")}, "Tr/a_0000 =Tr/a Tr/b_0000", "label '.*b.nii.gz' of case 'b' is missing"),
    "label without image": (V2, "Tr/a_0000 =Tr/a =Tr/b", "image '.*b_0000.nii.gz' of case 'b' is missing"),
    "AMOS, a label lost": (
        V2, "Tr/p_0001 =Tr/p_0001 Tr/p_0002 =Tr/p_0002 Tr/p_0003", "'.*p_0003.nii.gz' of case 'p_0003' is missing"),
    "v1, a channel lost": (
        V1 | {"modality": ["T1", "T2"], "training": listing("a", "b")}, "Tr/a_0000 Tr/a_0001 =Tr/a Tr/b_0000 =Tr/b",
        "image '.*b_0001.nii.gz' of case 'b' is missing"),
    "more channels than names": (
        V2, "Tr/a_0000 Tr/a_0001 =Tr/a", r"a_0001.nii.gz' is a channel of case 'a' beyond those .* \(T1\): name it"),
    "no names of channels": (V2 | {"channel_names": None}, "Tr/a_0000 =Tr/a", "names no channels: add `channel_names`"),
    "channels numbered with a gap": (
        TWO | {"channel_names": {"0": "T1", "2": "T2"}}, "Tr/a_0000 =Tr/a", "must number the channels"),
    "two kinds of names": (V2 | {"modality": {"0": "CT"}}, "", "other channels in `channel_names` than in `modality`"),
    "lists of different lengths": (
        {"labels": VALUES, "training": [
            {"image": ["a.nii", "b.nii"], "label": "l.nii"}, {"image": "c.nii", "label": "l.nii"}]},
        "a.nii b.nii c.nii l.nii",
        "case 'c' .* has 1 image file, case .* 2: all"),
    "more files than names": (
        V1 | {"training": [{"image": ["a_1.nii", "a_2.nii"], "label": "l.nii"}]}, "a_1.nii a_2.nii l.nii",
        r"case 'a' .* has 2 image files and names for 1 channel \(T1\)"),
    "paths of another computer": (
        V1 | {"training": [{"image": "C:\\data\\a.nii.gz", "label": "C:\\data\\b.nii.gz"}]}, "",
        "image '.*C:/data/a.nii.gz' of case 'a' is missing"),
    "two label maps": (
        V1 | {"training": [{"image": "a.nii", "label": ["l.nii", "m.nii"]}]}, "", "must be one label map"),
    "regions without an order": (
        V2 | {"labels": {"background": 0, "leg": [1, 2]}}, ONE, "regions need `regions_class_order`.* each of leg"),
    "a short order": (regions([1, 2, 3], [2, 3], order=[1]), ONE, r"each region, 2 \(r1, r2\): received \[1\]"),
    "a long order": (regions([1, 2, 3], [2, 3], order=[1, 2, 3]), ONE, r"a value for each region, 2 .* \[1, 2, 3\]"),
    "an order of no label": (regions([1, 2], [2], order=[1, 7]), ONE, "has 7, which no region has: known are 1, 2"),
    "an order of words": (
        regions([1, 2], [2], order=[1, "r2"]), ONE, "each region is written as, by its value: received"),
    "no list of an order": (regions([1, 2], [2], order=2), ONE, "must list the label that each region is written as"),
    "inner regions first": (
        regions([1, 2, 3], [2, 3], [3], order=[3, 2, 1]), ONE,
        r"with `regions_class_order` \[3, 2, 1\] .*: \[1, 2, 3\] writes each"),
    "an empty region": (regions([1, 2], [], order=[1, 2]), ONE, r"must give 'r2' a whole number, .* received \[\]"),
    "a region of words": (regions([1, "a"], order=[1]), ONE, "must give 'r1' a whole number, or a list of some"),
    "a region twice": (regions([1, 2], [2, 1], order=[1, 2]), ONE, "regions 'r1' and 'r2' have the same labels"),
    "a label twice": (regions([1, 2, 2], 2, order=[1, 2]), ONE, "'r1' names a label twice"),
    "background in a region": (regions([0, 1], 1, order=[1, 1]), ONE, "region 'r1' has the background 'background'"),
    "a label in two that do not lie in each other": (
        regions([1, 2], [2, 3], order=[1, 3]), ONE,
        "'label_2', which is in r1 and r2, .* add a region that has 'label_2'"),
    "what is ignored, as a region": (
        V2 | {"labels": {"background": 0, "leg": [1, 2], "ignore": [2, 3]}, "regions_class_order": [1, 2]}, ONE,
        "'ignore' has the values 2, 3: it must have one"),
    "a background of several values": (
        V2 | {"labels": {"background": [0, 3], "leg": 1}}, ONE, "'background' has the values 0, 3: it must have one"),
    "an order in which a label would come back as another": (
        regions([1, 2, 3], [2, 3], 2, order=[1, 2, 3]), ONE,
        r"with `regions_class_order` \[1, 2, 3\] .*: \[1, 3, 2\] writes each region of r1, r2, r3"),
    "the same with BraTS' values": (
        regions([1, 2, 4], [1, 4], 4, order=[1, 2, 4]), ONE, r"would come back as another: \[2, 1, 4\] writes"),
    "inner regions before outer ones": (
        regions([3], [1, 3], order=[3, 1]), ONE, "write outer regions before inner ones"),
    "no background": (V2 | {"labels": {"leg": 1}}, ONE, r"dataset.json', `labels`: it must name a background"),
    "what is ignored, in a region": (
        V2 | {"labels": {"background": 0, "leg": [1, 2], "ignore": 2}, "regions_class_order": [1]}, ONE,
        "the value 2 of 'ignore' is in a region"),
    "numbers alone": (V2 | {"labels": {"0": 0, "1": 2, "2": 1}}, "", "names cannot be told from values"),
    "a class twice": (V1 | {"labels": {"0": "b", "1": "leg", "2": "leg"}, "training": []}, "", "name each class once"),
    "a value twice": (V2 | {"labels": {"background": 0, "leg": 1, "arm": 1}}, "Tr/a_0000 =Tr/a", "1 stands twice"),
    "a case twice": (V1 | {"training": listing("a", "a")}, "Tr/a =Tr/a", "case 'a' stands twice"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_datasets_that_are_not_whole_are_told_in_a_line(fault, tmp_path):
    content, files, message = REFUSED[fault]
    with pytest.raises(InputError, match=message) as caught:
        find_cases(described(tmp_path, content, files))
    assert "\n" not in str(caught.value)


def test_a_key_that_is_there_twice_is_told(tmp_path):
    described(tmp_path, {}, "")
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "leg": 1, "leg": 2}}', encoding="utf-8")
    with pytest.raises(InputError, match="has `leg` twice, as 1 and 2: keep one"):
        find_cases(tmp_path)


def test_not_a_number_is_itself(tmp_path):
    described(tmp_path, V2 | {"mean": float("nan")}, "Tr/a_0000 =Tr/a")  # as Python writes statistics
    assert [case.case for case in find_cases(tmp_path).cases] == ["a"]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"labels": {"background": 0, "leg": %s}}' % ("2" * 5000)])
def test_json_without_end_is_told_in_a_line(text, tmp_path):
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"dataset.json' cannot be read: .*(depth|digits)"):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("labels", "order", "members", "written"),
    [
        (
            {"whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing": [3]},
            [1, 2, 3],
            [{1, 2, 3}, {2, 3}, {3}],
            [1, 2, 3],
        ),
        ({"kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}, [1, 3, 2], [{1, 2, 3}, {2, 3}, {2}], [1, 3, 2]),
        ({"whole": ["1", 4.0], "core": [4], "ignore": 9}, ["1", 4.0], [{1, 4}, {4}], [1, 4]),
    ],
    ids=["BraTS", "KiTS", "values as converters write them, and ignore"],
)
def test_regions_of_nnunet_are_read_with_what_each_is_written_as(labels, order, members, written, tmp_path):
    content = V2 | {"labels": {"background": 0, **labels}, "regions_class_order": order}
    found = find_cases(described(tmp_path, content, "Tr/a_0000 =Tr/a")).labels
    values = found.to_json()
    assert [region.name for region in found.regions] == [name for name in labels if name != "ignore"]
    assert [{values[name] for name in region.labels} for region in found.regions] == members
    assert [values[region.writes] for region in found.regions] == written
    assert found.ignore == labels.get("ignore")
    assert {name for name in values if not name.startswith("label_")} <= {"background", *labels}


def test_an_order_without_regions_is_passed_over_as_nnunet_does(tmp_path):
    labels = find_cases(described(tmp_path, V2 | {"regions_class_order": [1]}, "Tr/a_0000 =Tr/a")).labels
    assert labels == LabelMap.from_json(LABELS)


def test_lists_of_one_value_are_classes_as_in_nnunet(tmp_path):
    labels = {"labels": {"background": [0], "leg": [7]}}
    found = find_cases(described(tmp_path, V2 | labels, "Tr/a_0000 =Tr/a")).labels
    assert found == LabelMap.from_json(LABELS)
