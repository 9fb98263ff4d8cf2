"""The cases of a dataset, as its folder, its dataset.json or a CSV manifest lists them; no volume is read."""
