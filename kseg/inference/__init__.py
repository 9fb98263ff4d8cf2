"""From a trained network to a label map: sliding window, ensembles, post-processing."""
