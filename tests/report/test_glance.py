"""The sentences at the top of a report, each by hand."""

from dataclasses import replace

from kseg.evaluation.scores import ClassScore, summarise
from kseg.report.glance import had_time, how_good, where_it_fails


def score(name, dice, recall=0.9, hd95_mm=None, volume_error_percent=None):
    return ClassScore(name, dice, 0.9, recall, hd95_mm, None, 1.0, None, None, volume_error_percent)


def test_dice_distances_and_volumes_are_means_and_the_range_is_that_of_cases():
    scores = {
        "a": [score("soleus", 0.8, hd95_mm=2.0, volume_error_percent=10.0), score("medialis", 0.9, hd95_mm=3.0)],
        "b": [score("soleus", 0.6, hd95_mm=4.0, volume_error_percent=-4.0), score("medialis", 0.7)],
    }
    assert how_good(summarise(scores).foreground, scores) == (
        "The mean Dice of 2 cases is 0.750, by case from 0.650 to 0.850; HD95 is 3.0 mm; volumes are off by 7.0 %, on "
        "average 3.0 % too large."
    )


def test_distances_and_volumes_are_those_of_cases_that_are_labelled_as_a_whole():
    partly = replace(score("soleus", 0.6), partly_labelled=True)
    scores = {
        "a": [score("soleus", 0.8, hd95_mm=2.0, volume_error_percent=10.0)],
        "b": [partly],
        "c": [replace(partly, dice=None, recall=None)],
    }
    assert how_good(summarise(scores).foreground, scores) == (
        "The mean Dice of 2 cases is 0.700, by case from 0.600 to 0.800; of 1 case labelled as a whole HD95 is 2.0 mm; "
        "volumes are off by 10.0 %, on average 10.0 % too large."
    )


def test_of_one_case_there_is_no_range_and_no_worst():
    scores = {"a": [score("soleus", 0.8, volume_error_percent=0.01)]}
    summary = summarise(scores)
    assert how_good(summary.foreground, scores) == (
        "The mean Dice of 1 case is 0.800; volumes are off by 0.0 %, on average neither too large nor too small."
    )
    assert where_it_fails(summary.classes, scores) == ""


def test_the_hardest_structure_the_worst_mask_and_what_was_missed_are_named():
    scores = {
        "a": [score("soleus", 0.8), score("medialis", 0.7)],
        "b": [score("soleus", 0.0, recall=0.0), score("medialis", 0.7)],
        "c": [score("soleus", 0.8), score("medialis", None, recall=None)],
    }
    assert where_it_fails(summarise(scores).classes, scores) == (
        "The hardest structure is soleus (0.533); the worst mask is that of soleus in b (0.000); a structure is missed "
        "altogether in b."
    )


def test_of_a_single_structure_the_case_alone_is_named():
    scores = {"a": [score("soleus", 0.8)], "b": [score("soleus", 0.5)]}
    assert where_it_fails(summarise(scores).classes, scores) == "The worst mask is that of b (0.500)."


def test_where_nothing_could_be_scored_that_is_said():
    scores = {"a": [score("soleus", None, recall=None)]}
    summary = summarise(scores)
    assert how_good(summary.foreground, scores).startswith("None of 1 case could be scored")
    assert where_it_fails(summary.classes, scores) == ""


def test_the_curve_says_whether_training_had_time():
    history = {"epoch": [0.0, 1.0, 2.0, 3.0], "val_dice": [0.2, 0.4, 0.6, 0.8]}
    assert had_time(history, 900) == (
        "Validation Dice was still rising (by 0.267 ± 0.000 in the last third): more time would help."
    )
    assert had_time(history, None) == ""
