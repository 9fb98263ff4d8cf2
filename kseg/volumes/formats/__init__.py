"""File formats: voxels as a file stores them, plane by plane, and its grid.

A damaged file is an `InputError`, never a guess. Headers of NIfTI come through nibabel, DICOM through pydicom, the rest
through SimpleITK, which forgive some damage in silence: nibabel leaves the checksum of a gzip stream unread; ITK
returns wrong voxels where a MetaImage does not inflate; pydicom reads tags that are cut short. So the voxels of NIfTI
and MetaImage are read here, plane by plane, and what else the libraries let pass is checked here.

Nor is a reader's default taken for a statement: ITK has 1 mm where a spacing is absent, nibabel where a `pixdim` is 0.
What a header leaves open is read from the header itself, and `open_stored` refuses it unless the user gives it.
"""
