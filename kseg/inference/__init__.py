"""From a trained network to a label map: sliding window, post-processing, served signatures and exports."""
