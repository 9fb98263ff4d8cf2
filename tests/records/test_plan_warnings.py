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


def test_what_looks_like_ct_and_is_not_named_so_is_said() -> None:
    plan = plan_of(fingerprint(), channels=("image",))
    assert plan.normalisation == ("zscore",)
    (warning,) = plan.warnings
    assert "'image' looks like CT in Hounsfield units" in warning
    assert 'train with data.normalisation=["ct"]' in warning
    two = plan_of(
        fingerprint(
            inside=((-100.0, 300.0, 80.0, 40.0),) * 2,
            outside=((0.0, 900.0, 300.0, 99.0), (-1000.0, 1000.0, 0.0, 300.0)),
        ),
        channels=("image_1", "image_2"),
    )
    assert 'data.normalisation=["zscore", "ct"]' in two.warnings[0]
    for other in (fingerprint(outside=((0.0, 1000.0, 0.0, 300.0),)), fingerprint(outside=((-1000.0, 20.0, 0.0, 9.0),))):
        assert plan_of(other, channels=("image",)).warnings == ()
    assert plan_of(fingerprint(), channels=("image_t1",)).warnings == ()


def test_a_channel_that_its_percentiles_make_constant_is_said() -> None:
    flat = fingerprint(outside=((0.0, 0.0, 0.0, 1.0),))
    (warning,) = plan_of(fingerprint(), fingerprint(), flat).warnings
    assert "'MRI' has the same value in 99 % of the voxels of 1 of 3 cases" in warning


def test_a_patch_that_sees_next_to_nothing_of_a_volume_is_said_with_a_spacing() -> None:
    leg = fingerprint(
        shape=(512, 512, 1443), spacing_mm=(0.28, 0.28, 0.28), class_voxels=(512 * 512 * 1443 - 10**7, 10**7)
    )
    (warning,) = plan_of(leg).warnings
    assert "a patch of 96 x 96 x 96 voxels sees 27 x 27 x 27 mm, 0.2% of a volume" in warning
    assert "set data.spacing_mm = [0.57, 0.57, 0.57] and prepare again with --force" in warning
    assert "cut into 9 times fewer windows" in warning
    coarser = fingerprint(
        shape=(252, 252, 709), spacing_mm=(0.57, 0.57, 0.57), class_voxels=(252 * 252 * 709 - 10**6, 10**6)
    )
    assert plan_of(coarser).warnings == ()
