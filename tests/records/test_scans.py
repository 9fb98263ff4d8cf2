"""Scans of a source: only the classes that are asked for, the others as background."""

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records.scans import find_scans
from kseg.volumes.volume_stream import gather

PHANTOM = ["phantom.subjects=3", "phantom.shape=[24, 24, 32]"]


def test_classes_that_are_not_asked_for_become_background():
    every = find_scans(load_recipe(None, PHANTOM))
    some = find_scans(load_recipe(None, [*PHANTOM, 'data.classes=["gastrocnemius_lateralis", "soleus"]']))
    assert some.labels.to_json() == {"background": 0, "soleus": 100, "gastrocnemius_lateralis": 200}
    for whole, part in zip(every.scans, some.scans, strict=True):
        (image, truth), (same, labels) = (
            [gather(stream, "it").array for stream in scan.open()] for scan in (whole, part)
        )
        np.testing.assert_array_equal(image, same)
        values = every.labels.to_values(truth)
        np.testing.assert_array_equal(some.labels.to_values(labels), np.where(values == 150, 0, values))
        assert labels.dtype == np.uint8


def test_a_class_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"data\.classes has 'tibialis', which is no foreground class: known are s"):
        find_scans(load_recipe(None, [*PHANTOM, 'data.classes=["soleus", "tibialis"]']))
