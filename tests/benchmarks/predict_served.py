"""A run's SavedModel on one scan, where there is TensorFlow and nothing of kseg, Keras or nibabel.

Usage: python predict_served.py '{"saved_model": ..., "scan": ..., "out": ...}'

The scan is an uncompressed NIfTI-1 file of uint8 whose axes lead right, forward and up, as the mask is.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

SHAPE, SPACING, VOXELS = slice(42, 48), slice(80, 92), 352  # where a NIfTI-1 header has them, and where it ends

options = json.loads(sys.argv[1])
scan = Path(options["scan"])
content = scan.read_bytes()
shape, spacing_mm = np.frombuffer(content[SHAPE], "<i2"), np.frombuffer(content[SPACING], "<f4")
voxels = np.frombuffer(content[VOXELS:], np.uint8).reshape(shape, order="F")
segment = tf.saved_model.load(options["saved_model"]).signatures["segment_uint8"]
given = {"voxels": tf.constant(voxels[np.newaxis, ..., np.newaxis]), "spacing_mm": tf.constant(spacing_mm[np.newaxis])}
mask = segment(**given)["labels"].numpy()[0].astype(np.uint8)
(Path(options["out"]) / scan.name).write_bytes(content[:VOXELS] + mask.tobytes(order="F"))
