"""A recipe may not say of a dataset what it was not prepared with; what it leaves out contradicts nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records.manifest import Manifest, load_manifest
from kseg.records.preparation_keys import check_preparation_keys
from kseg.records.scans import ScanList, at_one_spacing
from kseg.records.write import write_dataset

LABELS = "data.labels={background = 0, muscle = 100}"
MORE = "data.labels={background = 0, muscle = 100, bone = 7}"


@pytest.fixture
def manifest(scans: Callable[..., ScanList], tmp_path: Path) -> Callable[..., Manifest]:
    """The manifest of the scans as prepared with some keys, and with their spacing where the keys have one."""

    def prepared(*words: str) -> Manifest:
        recipe = load_recipe(None, ["data.source=legs", f"data.records={tmp_path / 'records'}", *words])
        found = scans(train=1, val=1)
        if recipe.data.spacing_mm:
            found = at_one_spacing(found, recipe.data.spacing_mm)
        write_dataset(recipe, found)
        return load_manifest(tmp_path / "records")

    return prepared


def check(manifest: Manifest, *words: str) -> None:
    check_preparation_keys(load_recipe(None, ["data.records=tfrecords/legs", *words]), manifest)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["data.source=elsewhere/legs", "data.val_fraction=0.5", "seed=9", "data.memory_gb=8"],
        ["data.spacing_mm=[]", LABELS],
        ["data.classes=['muscle']"],
        ["data.classes=['muscle']", MORE],
        ["data.assume_spacing_mm=[]"],
    ],
)
def test_what_agrees_or_says_nothing_is_taken(words: list[str], manifest: Callable[..., Manifest]) -> None:
    check(manifest(), *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.spacing_mm=[5, 5, 8]"], r"data\.spacing_mm = \[\], the recipe says \[5, 5, 8\]: prepare it again"),
        (
            [LABELS.replace("100", "1")],
            r"= {background = 0, muscle = 100}, the recipe says {background = 0, muscle = 1}:",
        ),
        ([MORE], r"data\.labels = {background = 0, muscle = 100}, the recipe says {.*, bone = 7}"),
        (["data.classes=['bone']"], r"data\.classes = \['muscle'\], the recipe says \['bone'\]"),
        (["data.source=phantom"], r"data\.source = 'legs', the recipe says 'phantom'"),
        (["data.assume_spacing_mm=[1, 1, 2.5]"], r"data\.assume_spacing_mm = \[\], the recipe says \[1, 1, 2\.5\]"),
    ],
)
def test_what_contradicts_the_manifest_is_refused(
    words: list[str], message: str, manifest: Callable[..., Manifest]
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check(manifest(), *words)
    assert str(caught.value).startswith("'tfrecords/legs' was prepared with ")
    assert "\n" not in str(caught.value)


def test_a_dataset_that_was_resampled(manifest: Callable[..., Manifest]) -> None:
    resampled = manifest("data.spacing_mm=[1, 1, 2]")
    check(resampled)
    check(resampled, "data.spacing_mm=[1.0, 1.0, 2.0]")
    with pytest.raises(InputError, match=r"data\.spacing_mm = \[1, 1, 2\], the recipe says \[\]"):
        check(resampled, "data.spacing_mm=[]")


def test_fractions_count_where_subjects_were_drawn_by_them(manifest: Callable[..., Manifest]) -> None:
    drawn = manifest().model_copy(update={"val_fraction": 0.15})
    check(drawn, "data.val_fraction=0.15", "data.test_fraction=0.4")
    with pytest.raises(InputError, match=r"data\.val_fraction = 0\.15, the recipe says 0\.4: prepare it again"):
        check(drawn, "data.val_fraction=0.4")


def test_spacings_that_were_assumed(manifest: Callable[..., Manifest]) -> None:
    assumed = manifest("data.assume_spacing_mm=[1, 1, 2.5]")
    check(assumed)
    check(assumed, "data.assume_spacing_mm=[1, 1, 2.5]")


def test_classes_of_the_phantom_are_known(tiny_dataset: Path) -> None:
    phantom = load_manifest(tiny_dataset)
    check(phantom, "data.source=phantom", "data.classes=[]")
    soleus = phantom.model_copy(update={"labels": {"background": 0, "soleus": 100}})
    check(soleus, "data.classes=['soleus']")
    with pytest.raises(InputError, match=r"data\.classes = \['soleus'\], the recipe says \[\]"):
        check(soleus)
    with pytest.raises(InputError, match=r"data\.source = 'phantom', the recipe says 'legs'"):
        check(phantom, "data.source=legs")


def test_a_class_named_ignore_is_not_what_is_ignored(manifest: Callable[..., Manifest]) -> None:
    of_before = manifest().model_copy(update={"labels": {"background": 0, "ignore": 100}})
    with pytest.raises(InputError, match=r"was prepared with data\.labels = "):
        check(of_before, LABELS.replace("muscle = 100", "muscle = 7, ignore = 100"))
    ignoring = manifest().model_copy(update={"ignore": 7})
    check(ignoring, LABELS.replace("}", ", ignore = 7}"))
    for words in (LABELS, LABELS.replace("}", ", ignore = 8}")):
        with pytest.raises(InputError, match="was prepared with"):
            check(ignoring, words)


def test_codes_are_of_what_is_in_the_dataset_or_among_the_labels_of_the_recipe(
    manifest: Callable[..., Manifest],
) -> None:
    code = '["91727004", "SCT", "Muscle"]'
    prepared = manifest(LABELS)
    check(prepared, f"data.codes={{muscle={code}}}")
    check(prepared, MORE, "data.classes=['muscle']", f"data.codes={{bone={code}}}")
    for name in ("bone", "background"):
        with pytest.raises(
            InputError, match=rf"data\.codes has '{name}', which is no class or region: known are muscle"
        ):
            check(prepared, f"data.codes={{{name}={code}}}")
