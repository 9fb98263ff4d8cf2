"""Patches: where they lie, how they are cut and flipped, and the tf.data graph that feeds the network."""
