"""Finding cases: the three layouts, and every way in which somebody's dataset can be wrong."""

import json
import re
from pathlib import Path

import pytest

from kseg.console.errors import InputError
from kseg.volumes.cases.case import Case, CaseList
from kseg.volumes.cases.find import find_cases
from kseg.volumes.labels import LabelMap

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
real_scans = pytest.mark.skipif(not SHARED.is_dir(), reason="real scans absent: ../shared/data")
LABELS = LabelMap(("background", "soleus"), (0, 100))
NNUNET = {
    "name": "Leg",
    "channel_names": {"1": "T2", "0": "T1"},
    "labels": {"soleus": 100, "background": 0},
    "file_ending": ".nii.gz",
}
DECATHLON = {
    "name": "Leg",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "100": "soleus"},
    "training": [
        {"image": "./imagesTr/p1.nii.gz", "label": "./labelsTr/p1.nii.gz"},
        {"image": "./imagesTr/._p1.nii.gz", "label": "./labelsTr/._p1.nii.gz"},
    ],
}
HEADER = "case,subject,split,image_t1,image_t2,label\n"


def dataset(folder: Path, content: dict | str, *files: str) -> Path:
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return touch(folder, *files)


def manifest(folder: Path, text: str, *files: str) -> Path:
    touch(folder, *files)
    (folder / "leg.csv").write_text(text, encoding="utf-8")
    return folder / "leg.csv"


def touch(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def assert_refused(source: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_cases(source)
    assert "\n" not in str(caught.value)


def nnunet_files(case: str, part: str = "Tr") -> list[str]:
    return [f"images{part}/{case}_000{c}.nii.gz" for c in (0, 1)] + [f"labels{part}/{case}.nii.gz"]


def test_nnunet_cases_have_a_file_a_channel_and_test_cases_their_split(tmp_path):
    files = [
        *nnunet_files("p_2"),
        *nnunet_files("p_1"),
        *nnunet_files("p_9", "Ts"),
        "imagesTr/._p_1_0000.nii.gz",
    ]

    def case(name: str, split: str, part: str) -> Case:
        images = tuple(tmp_path / f"images{part}" / f"{name}_000{c}.nii.gz" for c in (0, 1))
        return Case(name, name, split, images, tmp_path / f"labels{part}" / f"{name}.nii.gz")

    cases = (case("p_1", "", "Tr"), case("p_2", "", "Tr"), case("p_9", "test", "Ts"))
    dataset(tmp_path, NNUNET, *files)
    assert find_cases(tmp_path) == CaseList("Leg", ("T1", "T2"), LABELS, cases)
    assert find_cases(tmp_path / "dataset.json") == find_cases(tmp_path)


def test_nnunet_test_images_without_labels_are_left_alone(tmp_path):
    dataset(tmp_path, NNUNET, *nnunet_files("p1"), *nnunet_files("p9", "Ts")[:2])
    assert [case.case for case in find_cases(tmp_path).cases] == ["p1"]


def test_decathlon_pairs_without_the_files_that_macos_adds(tmp_path):
    dataset(tmp_path, DECATHLON, "imagesTr/p1.nii.gz", "labelsTr/p1.nii.gz", "imagesTr/._p1.nii.gz")
    images = (tmp_path / "imagesTr" / "p1.nii.gz",)
    case = Case("p1", "p1", "", images, tmp_path / "labelsTr" / "p1.nii.gz")
    assert find_cases(tmp_path) == CaseList("Leg", ("MRI",), LABELS, (case,))


@real_scans
def test_the_decathlon_hippocampus_is_found_whole():
    found = find_cases(SHARED / "msd_hippocampus")
    assert (found.name, found.channel_names, len(found.cases)) == ("Hippocampus", ("MRI",), 100)
    assert found.labels == LabelMap(("background", "Anterior", "Posterior"), (0, 1, 2))
    listed = {file.name for file in (SHARED / "msd_hippocampus" / "imagesTr").glob("[!.]*.nii.gz")}
    assert {case.images[0].name for case in found.cases} == listed


def test_csv_rows_keep_their_order_paths_are_relative_and_a_folder_is_a_series(tmp_path):
    text = "\ufeff" + HEADER + "b, leg 1, train, b1.mha, series, b_y.mha\n\na,leg 2,,/dev/null,a2.mha,a_y.mha\n"
    source = manifest(tmp_path, text, "b1.mha", "series/1.dcm", "b_y.mha", "a2.mha", "a_y.mha")
    b = Case("b", "leg 1", "train", (tmp_path / "b1.mha", tmp_path / "series"), tmp_path / "b_y.mha")
    a = Case("a", "leg 2", "", (Path("/dev/null"), tmp_path / "a2.mha"), tmp_path / "a_y.mha")
    assert find_cases(source) == CaseList("leg", ("image_t1", "image_t2"), None, (b, a))


def test_an_unknown_layout_is_told_what_was_looked_for(tmp_path):
    assert_refused(tmp_path, "holds no dataset: looked for an nnU-Net folder .* a Decathlon folder .* CSV manifest")
    assert_refused(tmp_path / "absent", "absent' does not exist: correct the path")
    (tmp_path / "legs.csv").touch()
    assert_refused(tmp_path, "CSV manifest .*; a CSV is given itself, as '.*legs.csv'")
    (tmp_path / "legs.csv").unlink()
    assert_refused(dataset(tmp_path, {"name": "x"}), "neither `file_ending` nor `training`.* add one")
    assert_refused(dataset(tmp_path, "[1]"), "must hold a JSON object: received list")


def test_what_a_spreadsheet_wrote_is_told_what_is_wrong_with_it_and_where(tmp_path):
    rows = "p_ä,p,,a.mha,b.mha,c.mha\n"
    assert_refused(manifest(tmp_path, HEADER.replace("split", "part") + rows), r"; fix its first line\.$")
    (tmp_path / "leg.csv").write_bytes(("\ufeff" + HEADER).encode() + rows.encode("cp1252"))
    assert_refused(tmp_path / "leg.csv", r"leg\.csv', line 2: .* in UTF-8; save it as UTF-8 CSV")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_is_read_as_spreadsheets_write_it(tmp_path, capsys, separator, encoding, end):
    lines = [
        HEADER.strip().replace(",", separator),
        separator.join(
            ("p_ä", ' "Müller, B. ; 2"' if separator != "\t" else "Müller, B. ; 2", "", "a.mha", "b.mha", " c.mha ")
        ),
        separator * 5,
        "",
    ]
    for name in "abc":
        (tmp_path / f"{name}.mha").touch()
    (tmp_path / "leg.csv").write_bytes((end.join(lines) + end).encode(encoding))
    (case,) = find_cases(tmp_path / "leg.csv").cases
    assert (case.case, case.subject, case.split) == ("p_ä", "Müller, B. ; 2", "")
    assert (*case.images, case.label) == tuple(tmp_path / f"{name}.mha" for name in "abc")
    assert ("line 2, is not UTF-8" in capsys.readouterr().err) == (encoding == "cp1252")


def test_malformed_json_is_told_with_its_line(tmp_path):
    assert_refused(dataset(tmp_path, '{\n"name": "x",\n"labels": }'), "is no JSON: .* in line 3, column 11")
    (tmp_path / "dataset.json").write_bytes(b'{"name": "\xe9"}')
    assert_refused(tmp_path, "is no UTF-8 text")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"background": 0, "leg": [1, 2]}}, "regions need `regions_class_order` beside them"),
        ({"labels": {"leg": 1}}, "must name a background|2 to 65535"),
        ({"labels": {"background": 0, "leg": "one"}}, "`labels`: .*'leg' has 'one'"),
        ({"channel_names": {}}, "`channel_names`"),
        ({"file_ending": ".png"}, "`file_ending` .* received '.png'"),
    ],
)
def test_nnunet_descriptions_that_cannot_be_used_are_refused(change, message, tmp_path):
    assert_refused(dataset(tmp_path, NNUNET | change, *nnunet_files("p1")), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": [{"image": "a.nii"}]}, r"`training\.0\.label`: Field required; fix it"),
        ({"training": []}, "lists no case"),
        ({"modality": 5}, "`modality`: must name each channel: received 5"),
        ({"labels": {"0": "background", "1": "leg", "2": "leg"}}, "must name each class once"),
        ({"labels": {"zero": "background"}}, "`labels"),
    ],
)
def test_decathlon_descriptions_that_cannot_be_used_are_refused(change, message, tmp_path):
    assert_refused(dataset(tmp_path, DECATHLON | change), message)


@pytest.mark.parametrize("lost", range(3))
def test_a_missing_channel_or_label_names_its_case(lost, tmp_path):
    files = nnunet_files("p1")
    del files[lost]
    kind = "label" if lost == 2 else "image"
    assert_refused(dataset(tmp_path, NNUNET, *files), f"^{kind} '.*{nnunet_files('p1')[lost]}' of case 'p1' is missing")


def test_all_faults_of_a_manifest_are_told_at_once(tmp_path, capsys):
    rows = "a,s,,x,x,x\na,s,,x,x,x\nb,t,tests,x,x,x\nc,,,x,x,x\nd,u\ne,v,,x,x,gone\nf,w,,x,,x\n"
    assert_refused(manifest(tmp_path, HEADER + rows, "x"), "has 6 faults, listed above: correct them")
    told = capsys.readouterr().err.splitlines()
    words = ["line 5 must fill `subject`", "line 6 must have a field", "'a' stands twice", "split of case 'b'"]
    words += ["of case 'e' is missing", "line 8 must fill `image_t2`: case 'f' has none"]
    assert len(told) == len(words)
    assert all(word in line for word, line in zip(words, told, strict=True))
    mended = "".join(f"{case},{case},,{case}1,{case}2,{case}3\n" for case in "abcef").replace("f2", "")
    there = [f"{case}{number}" for case in "abcef" for number in (1, 2, 3) if case + str(number) not in ("e3", "f2")]
    found = find_cases(manifest(tmp_path, HEADER + mended, *there), missing_ok=True)
    assert [bool(case.lacking) for case in found.cases] == [False, False, False, True, True]


def test_a_column_of_the_user_s_own_may_be_empty(tmp_path):
    text = "case,subject,split,image,label,notes\na,s,,x,y,\nb,s,,x,y,moved\n"
    assert [case.case for case in find_cases(manifest(tmp_path, text, "x", "y")).cases] == ["a", "b"]


def test_a_folder_without_any_case_is_refused(tmp_path):
    assert_refused(dataset(tmp_path, NNUNET), "lacks nnU-Net's folders imagesTr and labelsTr")


def test_a_case_in_training_and_in_test_is_refused(tmp_path):
    assert_refused(dataset(tmp_path, NNUNET, *nnunet_files("p1"), *nnunet_files("p1", "Ts")), "case 'p1' stands twice")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the columns .* received nothing"),
        ("case,subject,image,label\n", "needs the columns .* received case, subject, image, label;"),
        ("case,subject,split,label\n", "needs the columns"),
        ("case,subject,split,image,image,label\n", "needs the columns .* each once"),
        (HEADER, "lists no case"),
        (HEADER + "a,s,,x,x,x\na,s,,x,x,x\n", "case 'a' stands twice"),
        (HEADER + "Leg,s,,x,x,x\nleg,s,,x,x,x\n", "case 'leg' stands twice"),
        (
            HEADER + "a,s,train,x,x,x\nb,s,test,x,x,x\n",
            "subject 's' .* received 'train' and 'test' .case 'b'",
        ),
        (HEADER + "a,s,,x,x,x\nb,s,val,x,x,x\n", "subject 's' .* must be in one split"),
        (HEADER + "a,s,tests,x,x,x\n", "split of case 'a' .* received 'tests'"),
        (HEADER + "a,s,,x,x\n", "line 2 must have a field for each column"),
        (HEADER + "a,s,,x,x,x,x\n", "line 2 must have a field for each column"),
        (HEADER + "a,,,x,x,x\n", "line 2 must fill `subject`"),
        (HEADER + "a,s,,x,,x\n", "line 2 must fill `image_t2`"),
        (HEADER + "a,s,,x,gone,x\n", "image '.*gone' of case 'a' is missing"),
        (HEADER + "a,s,,x,x,gone\n", "label '.*gone' of case 'a' is missing"),
        (HEADER + 'a,s,,x,x,"x\n', "line 2: unexpected end of data"),
    ],
)
def test_manifests_that_cannot_be_used_are_refused(text, message, tmp_path):
    assert_refused(manifest(tmp_path, text, "x"), message)


@pytest.mark.parametrize("name", ["..", ".", "../up", "a/b", "a\\b", ".hidden", "a\x07b"])
def test_case_names_that_are_no_safe_file_names_are_refused(name, tmp_path):
    source = manifest(tmp_path, HEADER + f"{name},s,,x,x,x\n", "x")
    assert_refused(source, re.escape(f"case {name!r} in") + ".*must be fit as a file name")


def test_a_manifest_may_name_files_of_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    source = manifest(tmp_path, "case,subject,split,image,label\na,s,,~/scans/a.mha,~/a_label.mha\n",
                      "scans/a.mha", "a_label.mha")  # fmt: skip
    (case,) = find_cases(source).cases
    assert (case.images, case.label) == ((tmp_path / "scans/a.mha",), tmp_path / "a_label.mha")


def test_a_manifest_may_be_written_on_windows(tmp_path):
    source = manifest(tmp_path, "case,subject,split,image,label\na,s,,scans\\a.mha,.\\labels\\a.mha\n",
                      "scans/a.mha", "labels/a.mha")  # fmt: skip
    (case,) = find_cases(source).cases
    assert (case.images, case.label) == ((tmp_path / "scans/a.mha",), tmp_path / "labels/a.mha")


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        ("a,s,,x,y,z\nb,t,,x,y,v\n", "the scan of case 'b', subject 't', is that of case 'a', subject 's': one may be"),
        ("a,s,,x,y,z\nb,t,,linked,y,v\n", "is that of case 'a'.*or, if they are one person, list the cases in a CSV"),
        ("a,s,,x,y,x\n", "'.*x' is both image_t1 and label of case 'a': correct the list"),
    ],
)
def test_a_scan_that_is_of_two_subjects_or_image_and_label_is_refused(rows, refused, tmp_path):
    touch(tmp_path, *"xyzwv")
    (tmp_path / "linked").symlink_to("x")
    assert_refused(manifest(tmp_path, HEADER + rows), refused)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("a,s,,x,x,z\n", "'.*x' is both image_t1 and image_t2 of case 'a'"),
        ("a,s,,x,y,z\nb,t,,w,y,v\n", "image_t2 '.*y' is of two subjects, 's' .case 'a'. and 't' .case 'b'."),  # blank
        ("a,s,,x,y,z\nb,t,,w,v,z\n", "label '.*z' is of two subjects"),  # of two visits, in a list without subjects
        ("a,s,,x,y,z\nb,t,,z,w,v\n", "image_t1 '.*z' is of two subjects"),  # there a label
        ("a,s,,x,y,z\nb,s,,x,y,z\nc,t,,w,v,empty\n", None),
    ],
)
def test_any_other_file_that_is_two_things_is_told(rows, told, tmp_path, capsys):
    touch(tmp_path, *"xyzwv")
    (tmp_path / "empty").symlink_to("z")  # a store of files keeps one of labels that are alike
    find_cases(manifest(tmp_path, HEADER + rows))
    said = capsys.readouterr().err
    assert re.search(rf"^note: in '.*leg.csv', {told}.*: correct it if that is a mistake$", said) if told else not said
