"""Augmentation in the tf.data graph: transforms of one training patch, each drawn apart from being applied."""
