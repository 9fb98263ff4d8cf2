"""What names say of flips and augmentation."""

import pytest

from kseg.recipe.augmentation import PROBABILITIES, Augmentation
from kseg.records.training_plan import (
    ANY_MODALITY,
    ULTRASOUND,
    planned_augmentation,
    planned_flips,
    planned_rotation,
    sided,
)


@pytest.mark.parametrize(
    "name",
    [
        "left_kidney",
        "Kidney Right",
        "femurR",
        "l-femur",
        "tibia_L",
        "gastrocnemius_medialis",
        "Vastus lateralis",
        "Niere links",
        "rein droit",
        "LKidney",
        "RFemur",
        "kidney_lt",
        "Rt_Lung",
        "lh_hippocampus",
        "gastro_med",
    ],
)
def test_sides_are_known_by_their_words(name: str) -> None:
    assert sided(["liver", name]) == [name]
    assert planned_flips(["liver", name]) == ()


@pytest.mark.parametrize(
    "name",
    ["liver", "soleus", "Anterior", "cleft", "bright spot", "L4L5", "LV", "tumour", "Posterior", "medulla", "GM"],
)
def test_other_words_are_no_sides(name: str) -> None:
    assert sided([name]) == []
    assert planned_flips([name]) == ("x",)


def test_short_forms_of_muscles_mean_a_side_where_both_are_classes() -> None:
    assert sided(["SOL", "GM", "GL"]) == ["GM", "GL"]
    assert sided(["VL", "VM", "RF"]) == ["VL", "VM"]
    assert sided(["GM", "WM", "CSF"]) == []  # grey matter


@pytest.mark.parametrize(
    ("patch", "degrees"),
    [
        ((96, 96, 96), (15, 10, 5)),
        ((64, 64, 20), (0, 0, 5)),
        ((64, 60, 20), (15, 10, 5)),
        ((12, 192, 160), (15, 0, 0)),
        ((64, 64, 256), (15, 10, 5)),  # long, not flat
    ],
)
def test_flat_patches_turn_in_their_plane(patch: tuple[int, int, int], degrees: tuple[float, float, float]) -> None:
    assert planned_rotation(patch, (15, 10, 5)) == degrees


def test_ultrasound_is_changed_as_ultrasound_varies() -> None:
    assert planned_augmentation(["US"]) == ULTRASOUND
    assert planned_augmentation(["T1"]) == planned_augmentation(["US", "T1"]) == ANY_MODALITY


def test_what_is_planned_are_probabilities_of_the_section() -> None:
    assert set(ANY_MODALITY) | set(ULTRASOUND) <= set(PROBABILITIES) <= set(Augmentation.model_fields)
    planned = [name for name, field in Augmentation.model_fields.items() if field.json_schema_extra]
    assert set(planned) == set(ANY_MODALITY) | set(ULTRASOUND) | {"rotation_degrees"}
