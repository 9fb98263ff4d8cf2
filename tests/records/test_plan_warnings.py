"""What a plan tells the user about a dataset, and what it then does not rely on."""

from made_plans import fingerprint, plan_of


def test_differing_spacings_are_said_with_what_to_do() -> None:
    (warning,) = plan_of(fingerprint(), fingerprint(), fingerprint(spacing_mm=(1.0, 1.0, 1.2))).warnings
    assert "1 x 1 x 1.2 mm" in warning
    assert "set data.spacing_mm = [1, 1, 1] and prepare again" in warning
    assert plan_of(fingerprint(), fingerprint(spacing_mm=(1.0, 1.0, 1.08))).warnings == ()


def test_a_class_that_nobody_has_is_named() -> None:
    (warning,) = plan_of(fingerprint(class_voxels=(63_000, 0), inside=(), components=(0,))).warnings
    assert "'muscle'" in warning


def test_a_background_that_nobody_labelled_is_told_of_in_other_words() -> None:
    (warning,) = plan_of(fingerprint(class_voxels=(0, 1_000), outside=())).warnings
    assert "a network learns that everything is foreground" in warning
    assert "leave it out" not in warning


def test_ranges_that_differ_wildly_are_said_and_are_not_ct() -> None:
    wild = fingerprint(outside=((0.0, 1e6, 5e5, 1e5),))
    plan = plan_of(fingerprint(), wild, channels=("CT",))
    assert plan.normalisation == ("zscore",)
    assert "500 times" in plan.warnings[0]
    assert "is it really CT?" in plan.warnings[0]


def test_ct_that_some_files_keep_with_another_zero_point_is_said_and_is_not_ct() -> None:
    shifted = fingerprint(inside=((924.0, 1324.0, 1104.0, 40.0),), outside=((24.0, 2024.0, 1024.0, 300.0),))
    cases = (fingerprint(), fingerprint(), shifted)
    plan = plan_of(*cases, channels=("CT",))
    assert plan.normalisation == ("zscore",)
    assert "'CT' lie 1024 from the others' in some cases: are all in Hounsfield units?" in plan.warnings[0]
    assert plan_of(*cases, channels=("MRI",)).warnings == ()


def test_a_channel_that_its_percentiles_make_constant_is_said() -> None:
    flat = fingerprint(outside=((0.0, 0.0, 0.0, 1.0),), class_voxels=(62_700, 300))  # what differs are 0.5 % of it
    (warning,) = plan_of(fingerprint(), fingerprint(), flat).warnings
    assert "'MRI' has the same value in 99 % of the voxels of 1 of 3 cases" in warning
    masked = fingerprint(outside=((0.0, 0.0, 0.0, 1.0),), class_voxels=(42_000, 21_000))  # a brain without its skull
    assert plan_of(masked).warnings == ()
    nothing = fingerprint(
        outside=((0.0, 0.0, 0.0, 1.0),), inside=((0.0, 0.0, 0.0, 1.0),), class_voxels=(42_000, 21_000)
    )
    assert len(plan_of(nothing).warnings) == 1
