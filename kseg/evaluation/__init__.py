"""How good a segmentation is: scores of a case and of a test set, as numbers and tables."""
