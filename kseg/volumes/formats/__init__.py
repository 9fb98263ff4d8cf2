"""File formats: voxels as a file stores them, plane by plane, and its grid.

A damaged file is an `InputError`, never a guess. NIfTI comes through nibabel, the rest through SimpleITK, which forgive
some damage in silence: nibabel leaves the checksum of a gzip stream unread; ITK returns wrong voxels where a MetaImage
does not inflate, and drops the slices of a DICOM series that it cannot parse. What they let pass is checked here.

Nor is a reader's default taken for a statement: ITK has 1 mm where a spacing is absent, nibabel where a `pixdim` is 0.
What a header leaves open is read from the header itself, and `open_stored` refuses it unless the user gives it.
"""
