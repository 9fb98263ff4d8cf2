"""Names of what is written: ITK takes some for patterns or lists where a header names the file of its voxels."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.write import mask_files, write_label_map

EXTENSIONS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
MISREAD = (
    "leg 50%",
    "leg 50%MVC",
    "leg %d",
    "leg %d b",
    "%s",
    "100%%",
    "50%3d x",
    "LIST",
    "LISTed",
    " leads",
    "a\nb",
    "~leg",
)
PLAIN = (
    "leg",
    "trails ",
    "a#b",
    "a;b",
    "a=b: c",
    "a,b",
    "$x$",
    "'q'",
    "Wade rechts",
    "ümläut",
    "日本",
    "LOCAL",
    "the LIST",
)
BY_ITK = """
import sys
import numpy as np, SimpleITK as sitk
for path in sys.argv[2:]:
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)).T, np.load(sys.argv[1])), path
"""


def test_every_mask_can_be_read_whatever_its_name_and_its_files_are_known_before(tmp_path):
    values = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    np.save(tmp_path / "values.npy", values)
    affine = np.diag([-0.5, -0.5, 2.0, 1.0])
    written = []
    for number, stem in enumerate((*MISREAD, *PLAIN)):
        for extension in EXTENSIONS:
            stored = StoredGeometry(values.shape, affine, extension)
            expected = mask_files(Path(f"scans/{stem}{extension}"), extension)
            assert expected[0] == stem + extension
            path = tmp_path / f"{number}{extension}" / expected[0]
            write_label_map(path, values[::-1, ::-1], stored)
            if extension in (".mhd", ".nhdr"):
                assert len(expected) == 2
                assert path.read_text().isascii() or not stem.isascii()  # a header that any program can read
            assert {file.name for file in path.parent.iterdir()} == set(expected), stem
            written.append(str(path))
    # In a process of its own: a name that it takes for a pattern kills ITK (division by zero) instead of failing.
    words = [sys.executable, "-c", BY_ITK, str(tmp_path / "values.npy"), *written]
    by_itk = subprocess.run(words, capture_output=True, check=False)
    assert by_itk.returncode == 0, by_itk.stderr.decode()[-500:]
    for path in written:
        if ".nii" in path:
            np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), values)
