"""The table of agreement: cells by hand, and nothing where there is nothing to compare."""

from kseg.evaluation.measure_agreement import Agreement, MeasureAgreement, StructureAgreement
from kseg.report.agreement_table import agreement_table

VOLUME = Agreement(12, 152.345, -1.234, 5.678, -12.36, 9.89, 0.9876, 0.95123, 0.99666)
FEW = Agreement(4, 1234.4, 10.4, 20.6)


def of(**measures: Agreement) -> StructureAgreement:
    compared = max(agreement.cases for agreement in measures.values())
    return StructureAgreement(compared, missed=0, invented=0, at_border=0, measures=measures)


def test_cells_have_the_decimals_of_the_mean_and_the_correlation_its_interval() -> None:
    soleus = StructureAgreement(12, 1, 2, 3, {"volume_ml": VOLUME, "largest_area_mm2": FEW})
    perfect = of(length_mm=Agreement(6, 0.0, 0.0, 0.0, icc=1.0))
    table = agreement_table(MeasureAgreement({"soleus": soleus, "gm": perfect}), partly_labelled=2)
    assert table.headings[-2:] == ["limits of agreement", "ICC [95 % CI]"]
    first, second = table.structures
    assert first.name == "soleus"
    assert first.cases == "12 cases; missed in 1; in the prediction alone in 2; reaching the border of the scan in 3"
    assert first.rows == [
        ["volume, ml", "12", "152.3", "-1.2 ± 5.7", "-12.4 to +9.9", "0.988 [0.951, 0.997]"],
        ["largest area, mm²", "4", "1234", "+10 ± 21", "-", "-"],
    ]
    assert second.cases == "6 cases"
    assert second.rows == [["length, mm", "6", "0.0000", "+0.0000 ± 0.0000", "-", "1.000"]]
    assert "it needs 5 cases" in table.note
    assert "may be cut off" in table.note
    assert "Intensities are left out of cases that were resampled." in table.note
    assert table.note.endswith("Left out: 2 cases labelled in part.")


def test_without_pingouin_there_is_no_column_and_one_sentence_that_names_the_extra() -> None:
    found = of(volume_ml=Agreement(12, 10.0, 0.5, 1.0, -1.46, 2.46), image_mean=Agreement(12, 90.0, 0.1, 1.0))
    table = agreement_table(MeasureAgreement({"soleus": found}, lacks_pingouin=True))
    assert not any("ICC" in heading for heading in table.headings)
    assert {len(row) for row in table.structures[0].rows} == {len(table.headings)}
    assert table.note.count("pip install 'kseg[statistics]'") == 1
    assert "Intensities are in each scan's own numbers." in table.note
    assert "McGraw" not in table.note and "resampled" not in table.note and "cut off" not in table.note


def test_one_case_and_scores_of_earlier_versions_have_no_table() -> None:
    assert agreement_table(None) is None
    assert agreement_table(MeasureAgreement({})) is None
    assert agreement_table(MeasureAgreement({"soleus": of(volume_ml=Agreement(1, 10.0, 0.5))})) is None
