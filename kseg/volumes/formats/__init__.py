"""File formats: voxels as a file stores them, plane by plane, and its grid.

A damaged file is an `InputError`, never a guess. NIfTI comes through nibabel, DICOM through pydicom, the rest through
SimpleITK, which forgive some damage in silence: nibabel leaves the checksum of a gzip stream unread; ITK returns wrong
voxels where a MetaImage does not inflate; pydicom reads tags that are cut short. What they let pass is checked here.
"""
