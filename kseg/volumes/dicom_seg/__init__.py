"""Masks as DICOM SEG, beside the series that they are of."""
