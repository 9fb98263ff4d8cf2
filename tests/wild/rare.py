"""Inputs that drawing seldom reaches, each from a report, a hunch or a long run."""

from drawn import Grid
from holding import Labels
from wild_frames import Frames
from wild_metaimage import MetaImage
from wild_nifti import Nifti
from wild_nrrd import Nrrd
from wild_series import Series

NAN, INF = float("nan"), float("inf")
HALF_TURN = Grid(turn=(3.14159, 0.0, 0.0))
FAR = Grid(spacing=(0.7421875, 0.7421875, 1.25), origin=(-1251.2346, -1180.5712, -1024.3458))
OBLIQUE = Grid((6, 5, 4), (0.5, 0.8, 1.7), (2, 0, 1), (-1, 1, 1), (0.1, 0.7, -0.2), (-81.3, 40.7, 212.9))
FINE = Grid(spacing=(0.005, 0.005, 0.012), origin=(3.0, -4.0, 5.0))
EIGHTH_TURN = Grid((7, 6, 5), (0.5, 0.5, 0.5), turn=(0.0, 0.785398, 0.0), origin=(10.0, 20.0, 30.0))

RARE = [
    # NIfTI
    (Nifti(dtype="f8", content="beyond"), Labels()),
    (Nifti(dtype="u8", content="extreme", big_endian=True), Labels()),
    (Nifti(dtype="i8", content="extreme", version=2), Labels()),
    (Nifti(dtype="f4", content="huge"), Labels()),
    (Nifti(OBLIQUE, version=2, packed=True, big_endian=True, forms="qform"), Labels(".nrrd", (1, 2, 0), (-1, 1, -1))),
    (Nifti(HALF_TURN, forms="long quaternion"), Labels()),
    (Nifti(OBLIQUE, forms="zero rows"), Labels()),
    (Nifti(forms="neither", pixdim=0.0), Labels()),
    (Nifti(forms="neither", pixdim=NAN), Labels()),
    (Nifti(forms="neither"), Labels()),
    (Nifti(Grid((6, 5, 4), (5.0, 5.0, 5.0)), unit=3), Labels(share=0.04)),
    (Nifti(Grid((6, 5, 4), (5.0, 5.0, 5.0)), unit=3), Labels(share=0.07)),
    (Nifti(Grid((6, 5, 4), (0.005, 0.005, 0.012)), unit=1, forms="sform"), Labels()),
    (Nifti(FAR), Labels(".mha", rounded=True)),
    (Nifti(FINE, packed=True), Labels(".nrrd", share=0.07)),
    (Nifti(EIGHTH_TURN), Labels(".mha", (2, 1, 0), (1, 1, -1), rounded=True)),
    (Nifti(scale=(1e-6, 3.0), dtype="u2"), Labels()),
    (Nifti(scale=(-2.0, 0.0), dtype="u1"), Labels(dtype="f8")),
    (Nifti(scale=(3.0, INF)), Labels()),
    (Nifti(scale=(0.5, 1.0), dtype="rgb"), Labels()),
    (Nifti(scale=(0.5, 1.0), dtype="complex"), Labels()),
    (Nifti(scale=(1e30, 0.0), dtype="u4", content="extreme"), Labels()),
    (Nifti(extension=True, packed=True, damage="two members"), Labels()),
    (Nifti(gap=1648, packed=True, damage="zeros behind"), Labels()),
    (Nifti(packed=True, damage="not gzip"), Labels()),
    (Nifti(tail=(3,), damage="one byte short"), Labels()),
    (Nifti(forms="disagreeing"), Labels()),
    (Nifti(shear=(0.3, 0.0, -0.2), forms="sform"), Labels(".mha")),
    # MetaImage
    (MetaImage(OBLIQUE, data="leg 50%.raw"), Labels(".mhd", (0, 2, 1), (1, -1, 1))),
    (MetaImage(OBLIQUE, data="leg %d.raw", name="leg %d", compressed=True), Labels()),
    (MetaImage(OBLIQUE, data="Bein-Überblick.raw", name="Bein-Überblick"), Labels()),
    (MetaImage(data="LISTE.raw", name="LISTE"), Labels()),
    (MetaImage(data="Local"), Labels()),
    (MetaImage(OBLIQUE, data="LIST"), Labels()),
    (MetaImage(OBLIQUE, data="p%d.raw 0 {} 2"), Labels(".mha", dtype="f8")),
    (MetaImage(compressed=True, packed_size=False, big_endian="BinaryDataByteOrderMSB = True"), Labels()),
    (MetaImage(data="scan.raw", header_size=-1), Labels()),
    (MetaImage(data="scan.raw", header_size=64, compressed=True, damage="stream"), Labels()),
    (MetaImage(text=True), Labels()),
    (MetaImage(text=True, data="LISTE.raw", damage="no data"), Labels()),
    (MetaImage(data="LIST", compressed=True, axes=4), Labels()),
    (MetaImage(spacing=""), Labels()),
    (MetaImage(FAR, digits=6), Labels(".nii.gz", share=0.04)),
    # NRRD
    (Nrrd(OBLIQUE, space="RAS"), Labels(".nii.gz", (1, 0, 2), (-1, 1, 1))),
    (Nrrd(OBLIQUE, space="left-anterior-superior", encoding="gzip"), Labels()),
    (Nrrd(OBLIQUE, channels="first"), Labels()),
    (Nrrd(OBLIQUE, units="um"), Labels()),
    (Nrrd(spacing="none"), Labels()),
    (Nrrd(byte_skip=-1, data="scan.raw"), Labels()),
    (Nrrd(OBLIQUE, data="slice%02d.raw 1 {} 1", name="leg %d"), Labels()),
    # DICOM
    (Series(OBLIQUE, rescaled="first alone", stored="u2", content="extreme"), Labels()),
    (Series(OBLIQUE, rescaled="wide", stored="u2", content="extreme", syntax="big endian"), Labels()),
    (Series(OBLIQUE, rescaled="CT", stored="12 bits signed", content="extreme", beside="RTSTRUCT"), Labels()),
    (Series(Grid((7, 5, 4)), stored="u1", syntax="RLE", preamble=False), Labels()),
    (Series(Grid((6, 5, 4)), stored="12 bits", odd="overlay"), Labels(channel=True)),
    (Series(Grid((6, 5, 4)), fault="gap"), Labels()),
    (Series(Grid((6, 5, 4)), fault="twice", numbers="absent"), Labels()),
    (Series(Grid((6, 5, 4)), fault="two echoes"), Labels()),
    (Frames(OBLIQUE, rescaled="by plane", order="shuffled", alone=True), Labels()),
    (Frames(OBLIQUE, kind="US", stored="u1", order="descending", between=False), Labels()),
    (Frames(OBLIQUE, fault="gap"), Labels()),
    (Frames(fault="cine", kind="US", stored="u1"), Labels()),
]
