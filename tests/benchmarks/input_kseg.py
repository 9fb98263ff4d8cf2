"""kseg's patches, in a process that draws them when told to.

Usage: python input_kseg.py '{"folder": ..., "patch": [96, 96, 96], "seconds": 10}'
"""

import json
import sys
from pathlib import Path

from drawing import serve

from kseg.patches.patch_source import ENDLESS, PatchSource
from kseg.recipe.sections import Patches
from kseg.records.manifest import load_manifest

options = json.loads(sys.argv[1])
records = Path(options["folder"]) / "records"
patches = Patches(size=tuple(options["patch"]), batch_size=2, foreground_oversampling=0.5)
source = PatchSource(records, load_manifest(records), "train", patches, 1)
serve((len(image) for image, _ in source.batches(range(ENDLESS))), options["seconds"])
