"""A row for each case of a report."""

from kseg.evaluation.scores import ClassScore
from kseg.report.case_table import MOST_CLASSES, case_table


def score(name, dice, hd95_mm=None, volume_error_percent=None):
    return ClassScore(name, dice, None, None, hd95_mm, None, 1.0, None, None, volume_error_percent)


def test_a_row_has_the_means_of_its_classes_and_each_class_its_dice():
    table = case_table(
        {
            "a": [score("soleus", 0.8, 2.0, -10.0), score("medialis", 0.9, 4.0, 4.0)],
            "b": [score("soleus", 0.6, None, 1.0), score("medialis", None)],
        }
    )
    assert table.headings == ["case", "mean Dice", "HD95 mm", "absolute volume error %", "Dice soleus", "Dice medialis"]
    assert table.rows == [["a", "0.850", "3.00", "7.0", "0.800", "0.900"], ["b", "0.600", "-", "1.0", "0.600", "-"]]


def test_one_class_or_very_many_have_no_columns_of_their_own():
    many = [score(f"class {number}", 0.5) for number in range(MOST_CLASSES + 1)]
    for scores in (many[:1], many):
        table = case_table({"a": scores})
        assert (table.headings, table.rows) == (["case", "mean Dice"], [["a", "0.500"]])
