"""Images and label maps find each other by their names, as people name them; what is doubtful is left."""

from pathlib import PurePath

from kseg.volumes.cases.pairing import Pairing, pair


def paired(*paths: str) -> Pairing:
    return pair({PurePath(path): PurePath(path).name.split(".")[0] for path in paths})


def found(*paths: str) -> dict[str, tuple[str, list[str], str]]:
    """Subject, images and label map of each case; nothing may be left."""
    pairing = paired(*paths)
    assert not pairing.left, pairing.left
    return {case.case: (case.subject, [*map(str, case.images.values())], str(case.label)) for case in pairing.cases}


def test_a_folder_for_each_subject_as_in_leg_3d_us() -> None:
    assert found("3/x1.mha", "3/masksX1.mha", "3/x2.mha", "3/masksX2.mha", "10/x1.mha", "10/masksX1.mha") == {
        "3_x1": ("3", ["3/x1.mha"], "3/masksX1.mha"),
        "3_x2": ("3", ["3/x2.mha"], "3/masksX2.mha"),
        "10_x1": ("10", ["10/x1.mha"], "10/masksX1.mha"),
    }


def test_a_folder_of_images_and_one_of_labels() -> None:
    expected = {"leg01": ("leg01", ["images/leg01.nii.gz"], "labels/leg01.nii.gz")}
    assert found("images/leg01.nii.gz", "labels/leg01.nii.gz") == expected
    assert list(found("imagesTr/a_1.nii.gz", "labelsTr/a_1.nii.gz", "imagesTr/a_2.nii.gz", "labelsTr/a_2.nii.gz")) == [
        "a_1",
        "a_2",
    ]


def test_files_side_by_side() -> None:
    assert found("p1.nrrd", "p1-label.nrrd", "p2.nrrd", "p2_seg.nrrd") == {
        "p1": ("p1", ["p1.nrrd"], "p1-label.nrrd"),
        "p2": ("p2", ["p2.nrrd"], "p2_seg.nrrd"),
    }
    assert found("brain1_image.nrrd", "brain1_label.nrrd") == {
        "brain1": ("brain1", ["brain1_image.nrrd"], "brain1_label.nrrd")
    }


def test_a_dicom_series_and_its_label_map() -> None:
    assert found("anna/dicom", "anna/mask.nii.gz", "ben/dicom", "ben/mask.nii.gz") == {
        "anna": ("anna", ["anna/dicom"], "anna/mask.nii.gz"),
        "ben": ("ben", ["ben/dicom"], "ben/mask.nii.gz"),
    }


def test_channels_end_alike_in_all_cases() -> None:
    files = [f"{case}/{case}_{kind}.nii" for case in ("b1", "b2") for kind in ("flair", "t1", "seg")]
    pairing = paired(*files)
    assert not pairing.left
    assert [case.case for case in pairing.cases] == ["b1", "b2"]
    assert {name: str(path) for name, path in pairing.cases[0].images.items()} == {
        "image_flair": "b1/b1_flair.nii",
        "image_t1": "b1/b1_t1.nii",
    }
    numbered = paired("imagesTr/hip_0000.nii.gz", "imagesTr/hip_0001.nii.gz", "labelsTr/hip.nii.gz")
    assert list(numbered.cases[0].images) == ["image_0000", "image_0001"]
    one = paired("imagesTr/hip_1_0000.nii.gz", "labelsTr/hip_1.nii.gz")
    assert (one.cases[0].case, list(one.cases[0].images)) == ("hip_1", ["image"])


def test_label_maps_may_have_the_longer_names() -> None:
    assert list(found("a1.nii", "a1_mask_final.nii", "a2.nii", "a2_mask_final.nii")) == ["a1", "a2"]
    assert paired("a1.nii", "a1_mask_ben.nii", "a2.nii", "a2_mask_eva.nii").cases == ()


def test_folders_may_name_the_split() -> None:
    cases = paired("train/images/a.nii", "train/labels/a.nii", "test/images/b.nii", "test/labels/b.nii").cases
    assert [(case.case, case.subject, case.split) for case in cases] == [("a", "a", "train"), ("b", "b", "test")]


def test_what_all_files_have_above_them_says_nothing() -> None:
    assert found("label study/images/a.nii", "label study/masks/a.nii")["a"][1] == ["label study/images/a.nii"]


def test_what_is_doubtful_is_left_with_its_reason() -> None:
    pairing = paired("a.nii", "a_mask.nii", "a_seg.nii", "b.nii", "c_mask.nii", "d.nii", "d_mask.nii")
    assert [case.case for case in pairing.cases] == ["d"]
    reasons = {str(path): reason.split(":")[0] for path, reason in pairing.left.items()}
    assert reasons == {
        "a_mask.nii": "is one of 2 label maps of a case",
        "a_seg.nii": "is one of 2 label maps of a case",
        "a.nii": "has several label maps",
        "b.nii": "has no label map",
        "c_mask.nii": "has no image",
    }
    assert paired("a.nii", "b.nii", "mask.nii").cases == ()
    assert paired("leg_1.nii", "leg_2.nii", "leg_mask.nii").cases == ()
    assert paired("leg1.nii", "leg10.nii", "leg1_mask.nii").left == {PurePath("leg10.nii"): "has no label map"}
    assert paired("x/leg.nii", "x/leg.nrrd", "x/leg_mask.nii").cases == ()


def test_a_case_that_lacks_a_channel_is_left() -> None:
    files = [f"b{n}_{kind}.nii" for n in (1, 2, 3) for kind in ("t1", "t2", "seg")]
    files.remove("b3_t2.nii")
    pairing = paired(*files)
    assert [case.case for case in pairing.cases] == ["b1", "b2"]
    assert {str(path) for path in pairing.left} == {"b3_t1.nii", "b3_seg.nii"}


def test_names_that_fit_alike_are_told_apart() -> None:
    composed, apart = "\u00c41", "A\u03081"  # one letter, written in two ways
    files = [f"{name}{ending}.nii" for name in (composed, apart) for ending in ("", "_mask")]
    assert list(found(*files)) == [composed, f"{composed}-2"]


def test_people_whose_names_no_latin_letter_has_stay_apart() -> None:
    names = ("\u0418\u0432\u0430\u043d\u043e\u0432", "\u5f20\u4f1f_L", "\u674e\u5a1c_L", "\u00c4", "A")
    cases = found(*(f"{name}/{file}.mha" for name in names for file in ("x1", "masksX1")))
    assert [subject for subject, _, _ in cases.values()] == list(names)
    assert len(cases) == len(names)


def test_a_folder_of_all_images_is_no_subject() -> None:
    cases = found("US/leg01.mha", "US_masks/leg01.mha", "US/leg02.mha", "US_masks/leg02.mha")
    assert {case: subject for case, (subject, _, _) in cases.items()} == {"leg01": "leg01", "leg02": "leg02"}
    cases = found("US/a/1.mha", "US_masks/a/1.mha", "US/b/1.mha", "US_masks/b/1.mha")
    assert {case: subject for case, (subject, _, _) in cases.items()} == {"a_1": "a", "b_1": "b"}


def test_a_folder_of_one_subject_who_alone_is_annotated_stays_a_subject() -> None:
    cases = paired("P1/scan1.mha", "P1/scan1_mask.mha", "P1/scan2.mha", "P1/scan2_mask.mha", "P2/scan1.mha").cases
    assert {case.subject for case in cases} == {"P1"}
    both = [f"{kind}/P1/{visit}.mha" for kind in ("images", "labels") for visit in ("a", "b")]
    assert {subject for subject, _, _ in found(*both).values()} == {"P1"}


def test_folders_may_name_split_and_kind_at_once() -> None:
    files = [
        f"{split}_{kind}/{name}.nii" for split, name in (("train", "a"), ("test", "b")) for kind in ("images", "masks")
    ]
    assert [(case.case, case.subject, case.split) for case in paired(*files).cases] == [
        ("a", "a", "train"),
        ("b", "b", "test"),
    ]


def test_two_images_that_differ_by_their_file_type_are_left() -> None:
    for labels in ("mask.mha", "us_final_mask.mha"):
        files = [f"{name}/{file}" for name in ("a", "b") for file in ("us.mha", "us.nii.gz", labels)]
        pairing = paired(*files)
        assert pairing.cases == ()
        assert {str(path) for path in pairing.left} == set(files)
