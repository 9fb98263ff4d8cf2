"""Label maps against a plain loop over the voxels."""

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.volumes.labels import LabelMap, index_dtype

LEG = LabelMap(("background", "soleus", "gm", "gl"), (0, 100, 150, 200))
SIGNED = LabelMap(("background", "lesion", "organ"), (-1, 5, -100))
INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i2", ">u4")


def holds(dtype: str, value: int) -> bool:
    return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


@pytest.mark.parametrize("dtype", [*INTEGERS, "f4", "f8"])
@pytest.mark.parametrize("label_map", [LEG, SIGNED], ids=["leg", "signed"])
def test_indices_equal_a_plain_loop_for_every_type_and_memory_order(label_map, dtype):
    values = [value for value in label_map.values if dtype[-2] == "f" or holds(dtype, value)]
    array = np.random.default_rng(0).choice(np.array(values, dtype), (4, 5, 6))
    for view in (array, np.asfortranarray(array), array[::-1, :, ::-1].transpose(2, 0, 1), array[:0]):
        expected = [label_map.values.index(int(value)) for value in view.flat]
        indices = label_map.to_indices(view, "label")
        assert indices.dtype == np.uint8
        assert indices.shape == view.shape
        assert list(indices.flat) == expected


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
def test_of_large_arrays_a_lone_value_is_found_within_the_background_and_a_foreign_one_that_fills_them(dtype):
    values = np.zeros((3, 200, 300), dtype)
    expected = np.zeros(values.shape, np.uint8)
    for place, index in (((0, 0, 0), 1), ((1, 77, 123), 3), ((2, 199, 299), 2)):
        values[place], expected[place] = LEG.values[index], index
    for view in (slice(None), slice(None, None, -1)):
        np.testing.assert_array_equal(LEG.to_indices(values[view, :, view], "label"), expected[view, :, view])
    with pytest.raises(InputError, match="holds the values 7, which"):
        LEG.to_indices(np.full_like(values, 7), "label")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_a_value_of_no_class_is_named_with_the_known_ones(dtype):
    array = np.array([[[0, 100, 3, 100, 4, 3]]], dtype)
    with pytest.raises(InputError) as caught:
        LEG.to_indices(array, "label 'y.nii' of case 'p07'")
    assert str(caught.value) == (
        "label 'y.nii' of case 'p07' holds the values 3, 4, which no class has: known are 0 background, "
        "100 soleus, 150 gm, 200 gl; name each value in the recipe's `data.labels`."
    )


@pytest.mark.parametrize(
    ("dtype", "alias"), [("u1", 255), ("u2", 65535), ("u4", 2**32 - 1), ("u8", 2**64 - 1), ("i1", -56)]
)
def test_a_value_is_not_taken_for_one_that_shares_its_bits(dtype, alias):
    label_map = SIGNED if alias > 0 else LEG  # -1 and 2^n - 1, -56 and 200 share their bits
    with pytest.raises(InputError, match=f"holds the values {alias},"):
        label_map.to_indices(np.array([alias], dtype), "label")


def test_boolean_masks_are_zero_and_one():
    label_map = LabelMap(("background", "muscle"), (0, 1))
    mask = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(label_map.to_indices(mask, "label"), mask)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.0, 100.5, 0.25], "0.25, 100.5"),
        ([np.nan, 100.0], "nan"),
        (np.arange(9) + 0.5, "0.5, 1.5, 2.5, 3.5, 4.5, ..."),
    ],
)
def test_fractions_and_nan_are_shown(values, shown):
    with pytest.raises(InputError, match="whole numbers, one a class: received " + shown.replace(".", r"\.")):
        LEG.to_indices(np.array(values, np.float32), "label")


@pytest.mark.parametrize(("dtype", "off"), [("f4", 9e-4), ("f8", 9e-4), ("f8", 2.5e-7), (">f4", 3e-5), ("f2", 0)])
def test_a_float_is_the_integer_within_a_thousandth_of_it(dtype, off):
    """A scaled header and a resampler in float32 leave 99.99999975 of 100."""
    exact = np.random.default_rng(0).choice(LEG.values, (4, 5, 6))
    noise = np.random.default_rng(1).uniform(-off, off, exact.shape)
    indices = LEG.to_indices((exact + noise).astype(dtype), "label")
    np.testing.assert_array_equal(indices, np.searchsorted(LEG.values, exact))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([100.0, 99.7], "whole numbers, one a class: received 99.7;"),
        ([100.0, 100.002], "whole numbers, one a class: received 100.002;"),
        ([100.0, np.inf, -np.inf], "whole numbers, one a class: received -inf, inf;"),
        ([100.0, 1e300, -1e19], "holds the values -1e+19, 1e+300, which no class has"),
        ([100.0, 7.0000001], "holds the values 7.0000001, which no class has"),
    ],
)
def test_floats_that_are_no_class_are_shown_with_the_digits_that_make_them_so(values, shown):
    with pytest.raises(InputError) as caught:
        LEG.to_indices(np.array(values), "label")
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((0, 255), "u1"),
        ((0, 256), "u2"),
        ((0, -1), "i1"),
        ((0, -1, 128), "i2"),
        ((0, 70000), "u4"),
        ((0, -70000), "i4"),
        ((0, 2**40), "i8"),
    ],
)
def test_values_come_back_in_the_smallest_type_that_holds_them(values, dtype):
    label_map = LabelMap(("background", "a", "b")[: len(values)], values)
    indices = np.random.default_rng(1).integers(0, len(values), (3, 4, 5), np.uint8)
    back = label_map.to_values(indices)
    assert back.dtype == dtype
    assert back.tolist() == [[[values[i] for i in row] for row in plane] for plane in indices]
    np.testing.assert_array_equal(label_map.to_indices(back, "label"), indices)


def test_256_classes_need_16_bits_and_255_do_not():
    for count, dtype in ((255, "u1"), (256, "u2"), (257, "u2")):
        assert index_dtype(count) == dtype
        label_map = LabelMap.from_json({f"class {value}": value for value in range(count)})
        indices = label_map.to_indices(np.arange(count), "label")
        assert indices.dtype == dtype
        np.testing.assert_array_equal(indices, np.arange(count))
        with pytest.raises(InputError, match=f"holds the values {count}, which no class has"):
            label_map.to_indices(np.array([0, count]), "label")


def test_the_background_moves_first_by_name_else_by_the_value_0():
    by_name = LabelMap.from_json({"void": 0, "a": 3, "Background": 7})
    assert (by_name.names, by_name.values) == (("Background", "void", "a"), (7, 0, 3))
    by_value = LabelMap.from_json({"a": 3, "void": 0})
    assert (by_value.names, by_value.values) == (("void", "a"), (0, 3))
    assert LabelMap.from_json(by_name.to_json()) == by_name


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        (("background",), (0,), "2 to 65535 classes"),
        (("background", "a", "a"), (0, 1, 2), "name 'a' stands twice"),
        (("background", "a", "b"), (0, 1, 1), "value 1 stands twice"),
        (("background", "a"), (0, 1.5), "'a' in `data.labels` needs an integer: received 1.5"),
        (("background", "a"), (0, True), "needs an integer: received True"),
        (("background", "a"), (0, 2**63), "needs an integer"),
        (("background", ""), (0, 1), "must be a text"),
        (("a", "b"), (1, 2), "must name a background"),
        (("background", "a", "Background"), (0, 1, 7), "must name one background: received background and Background"),
        (("a", "background"), (1, 0), "must come first"),
        (("background", "a"), (0,), "pairs names with values"),
    ],
)
def test_impossible_label_maps_are_refused(names, values, message):
    with pytest.raises(InputError, match=message):
        LabelMap(names, values)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "u8", ">u4", "f4"])
@pytest.mark.parametrize("classes", [2, 254, 255, 256, 257])
def test_what_nobody_labelled_has_the_index_behind_the_last_class(classes, dtype):
    values = (0, *range(2, classes + 1))
    label_map = LabelMap(("background", *(f"part_{value}" for value in values[1:])), values, ignore=1)
    assert label_map.num_classes == classes
    of_all = [value for value in (*values, 1) if dtype == "f4" or holds(dtype, value)]
    array = np.array(of_all, dtype).reshape(1, 1, -1)
    indices = label_map.to_indices(array, "label")
    assert indices.dtype == index_dtype(classes)
    expected = [classes if value == 1 else values.index(value) for value in of_all]
    assert list(indices.flat) == expected
    foreign = 300 if dtype not in ("u1",) else 255
    if foreign not in values:
        with pytest.raises(InputError, match=f"holds the values {foreign}, .*, 1 ignore; "):
            label_map.to_indices(np.array([foreign, 1], dtype), "label")


@pytest.mark.parametrize("name", ["Ignore", "IGNORE"])
def test_ignore_is_found_in_capitals_as_the_background_is(name: str) -> None:
    labels = LabelMap.from_json({"Background": 0, "Soleus": 100, name: 255})
    assert (labels.names, labels.ignore) == (("Background", "Soleus"), 255)
    with pytest.raises(InputError, match=f"one value to ignore: received ignore and {name}; keep one"):
        LabelMap.from_json({"background": 0, "a": 1, "ignore": 3, name: 4})


def test_the_label_named_ignore_is_no_class():
    label_map = LabelMap.from_json({"ignore": 255, "soleus": 100, "background": 0})
    assert label_map == LabelMap(("background", "soleus"), (0, 100), ignore=255)
    assert label_map.to_json() == {"background": 0, "soleus": 100}
    assert label_map.value_dtype == np.uint8  # masks never hold it
    with pytest.raises(InputError, match="the label value 100 stands twice"):
        LabelMap.from_json({"background": 0, "soleus": 100, "ignore": 100})
    with pytest.raises(InputError, match=r"class .ignore. in `data.labels` needs an integer"):
        LabelMap.from_json({"background": 0, "soleus": 100, "ignore": 1.5})
    with pytest.raises(InputError, match="2 to 65535 classes"):
        LabelMap.from_json({"background": 0, "ignore": 100})


def test_classes_that_are_left_out_have_the_background_s_index() -> None:
    learned = LabelMap(("background", "b", "d"), (0, 20, 40), ignore=255)
    in_files = learned.with_classes({"a": 10, "c": -30})
    assert in_files.in_files == (("background", 0), ("b", 20), ("d", 40), ("a", 10), ("c", -30), ("ignore", 255))
    values = np.array([0, 10, 20, -30, 40, 255])
    indices = in_files.indices_among(learned)[in_files.to_indices(values, "file")]
    assert indices.tolist() == [0, 0, 1, 0, 2, 3]
    assert learned.with_classes({}) is learned
    with pytest.raises(InputError, match="the label value 20 stands twice"):
        learned.with_classes({"a": 20})


def test_what_is_ignored_counts_among_the_values_that_an_index_can_stand_for():
    names = ("background", *(f"part_{value}" for value in range(1, 65535)))
    assert LabelMap(names[:-1], tuple(range(65534)), ignore=70000).num_classes == 65534
    with pytest.raises(InputError, match="2 to 65535 classes"):
        LabelMap(names, tuple(range(65535)), ignore=70000)
