"""Structures of a scene: each label value has one, however masks and names overlap."""

import pytest

from kseg.console.errors import InputError
from kseg.viewer.scene import structures_to_show
from kseg.volumes.structure_colours import OKABE_ITO


def test_values_without_a_name_are_shown_by_their_number() -> None:
    found = structures_to_show({"soleus": [100], "gm": [150]}, [150, 7, 100, -2])
    assert [(one.name, one.values) for one in found] == [
        ("soleus", (100,)),
        ("gm", (150,)),
        ("label -2", (-2,)),
        ("label 7", (7,)),
    ]
    assert [one.colour for one in found] == [*OKABE_ITO[:4]]


def test_regions_that_lie_in_each_other_are_taken_apart() -> None:
    nested = {"whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
    found = structures_to_show(nested)
    assert [(one.name, one.values) for one in found] == [
        ("whole", (1,)),
        ("whole + core", (2,)),
        ("whole + core + enhancing", (3,)),
    ]


def test_no_structure_takes_the_name_of_another() -> None:
    found = structures_to_show({"label 3": [5], "a": [1, 2], "b": [2], "a + b": [4]}, [3])
    assert [(one.name, one.values) for one in found] == [
        ("label 3", (5,)),
        ("a", (1,)),
        ("a + b", (2,)),
        ("a + b (value 4)", (4,)),
        ("label 3 (value 3)", (3,)),
    ]


def test_more_structures_than_a_byte_has_are_refused() -> None:
    assert len(structures_to_show({}, range(1, 256))) == 255
    with pytest.raises(InputError, match="hold 256 structures, and the page shows 255 at most"):
        structures_to_show({}, range(1, 257))
