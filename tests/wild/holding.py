"""What kseg owes for an input: its voxels at their places, in every command, or one line; never a third thing."""

import contextlib
import csv
import ctypes
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from damage import flip_bits
from drawn import EITHER, LPS, READ, REFUSED, Description, Written, positions_mm, rarely
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, inv_ornt_aff
from references import assert_values, assert_witnesses_agree, by_itk, by_nibabel, float32_mm, in_order_of
from threshold import Threshold

from kseg import predict, prepare
from kseg.console.errors import InputError
from kseg.inference import local_predictor
from kseg.records.manifest import load_manifest
from kseg.records.prepared_case import read_cases
from kseg.volumes.read import read_volume
from kseg.volumes.volume import Volume

LABELS = {"background": 0, "large": 100, "small": 200}
SHARE = 0.05  # of the shortest edge: how far labels may lie from their image


@dataclass(frozen=True, repr=False)
class Labels(Description):
    """Labels for an image: another file format and voxel order, moved by a share of the shortest edge.

    With `channel` the image has a second channel, in a file like that of the labels.
    """

    extension: str = ".nii.gz"
    order: tuple[int, ...] = (0, 1, 2)
    signs: tuple[int, ...] = (1, 1, 1)
    dtype: str = "u1"
    share: float = 0.0
    rounded: bool = False
    channel: bool = False

    def write(self, folder: Path, image: Written, name: str = "labels") -> tuple[Path, np.ndarray, float]:
        """Return the file, the values in the image's voxel order, and how far it lies off as a share of an edge."""
        values = np.random.default_rng(len(name)).choice([0, 0, 100, 200], image.values.shape[:3])
        values.flat[:2] = 0, 100
        affine = image.affine.copy()
        affine[:3, 3] += self.share * image.edge_mm * np.array([0.6, 0.0, 0.8])
        turning = np.array(list(zip(self.order, self.signs, strict=True)))
        array = apply_orientation(values, turning).astype(self.dtype)
        affine = affine @ inv_ornt_aff(turning, values.shape)
        if self.rounded:
            affine[:3] = [[float(f"{number:.6g}") for number in row] for row in affine[:3]]
        if self.dtype == "f8":
            array = array * (1 - 2.5e-9)  # 99.99999975, as resamplers leave it
        path = folder / f"{name}{self.extension}"
        if ".nii" in self.extension:
            nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), path)
            lies = nib.load(path).affine
        else:
            lps = LPS @ affine
            label = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
            spacing = np.linalg.norm(lps[:3, :3], axis=0)
            label.SetSpacing(spacing.tolist())
            label.SetOrigin(lps[:3, 3].tolist())
            label.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
            sitk.WriteImage(label, str(path), True)
            lies = by_itk(path)[1]
        back = lies @ np.linalg.inv(inv_ornt_aff(turning, values.shape))
        off_mm = np.linalg.norm(positions_mm(values.shape, back) - positions_mm(values.shape, image.affine), axis=-1)
        return path, values, float(off_mm.max()) / image.edge_mm


labels = st.builds(
    Labels,
    extension=st.sampled_from([".nii.gz", ".nii", ".mha", ".nrrd", ".mhd"]),
    order=st.permutations([0, 1, 2]).map(tuple),
    signs=st.tuples(*[st.sampled_from([1, -1])] * 3),
    dtype=st.sampled_from(["u1", "i2", "u2", "f4", "f8"]),
    share=st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.04, 0.07, 0.5]),
    rounded=st.booleans(),
    channel=rarely(True, default=False),
)


def quietly(command: Callable, words: list[str]) -> InputError | None:
    """Run a command within this process; its complaint, one line, is returned."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return complaint(lambda: command(words))


def complaint(work: Callable) -> InputError | None:
    """`InputError` of one line that says something, or None; any other error is a traceback and fails.

    So does what a library prints past Python, and a warning of it: a user would read it beside the one line.
    """
    try:
        with silence(), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DeprecationWarning)  # which Python shows to nobody
            work()
    except InputError as error:
        text = str(error)
        assert text.strip() == text, repr(text)
        assert len(text.splitlines()) == 1, f"more than one line: {text!r}"
        assert text.count("cannot be read") <= 1, f"a complaint about a complaint: {text}"
        return error
    return None


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Fail if C or C++ code, or a logger, prints anything; what is printed is shown."""
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    logging.getLogger().addHandler(handler)
    with TemporaryFile() as printed:
        flush = ctypes.CDLL(None).fflush  # what C keeps back would be shown later
        flush(None)
        kept = {stream: os.dup(stream) for stream in (1, 2)}
        for stream in kept:
            os.dup2(printed.fileno(), stream)
        try:
            yield
        finally:
            flush(None)
            for stream, copy in kept.items():
                os.dup2(copy, stream)
                os.close(copy)
            logging.getLogger().removeHandler(handler)
            printed.seek(0)
            noise = printed.read().decode(errors="replace") + logged.getvalue()
            assert not noise, f"printed by a library: {noise}"


def assert_read(written: Written) -> Volume | None:
    """Return what kseg reads, which is what the file means; None where it refuses, which it may or must."""
    found: list[Volume] = []
    refusal = complaint(lambda: found.append(read_volume(written.path)))
    if refusal is not None:
        assert written.verdict != READ, f"refused, but it says all: {refusal}"
        assert written.path.name in str(refusal) or written.path.parent.name in str(refusal), str(refusal)
        return None
    assert written.verdict != REFUSED, f"read, though {written.why}: {found[0].array.shape}, {found[0].affine.tolist()}"
    volume = found[0]
    if written.any_place:  # then what kseg read stands for what the file means
        written.values, written.affine = volume.array, volume.affine
    array = in_order_of(written, volume.array, volume.affine, "kseg", 0.0)
    assert_values(array, written, "kseg")
    if not written.any_type:
        assert array.dtype == kept_type(written), array.dtype
    return volume


def kept_type(written: Written) -> np.dtype:
    """The type that `open_image` promises."""
    kind = written.values.dtype
    if written.scaled or kind.kind == "f":
        return np.dtype(np.float32)
    if kind.itemsize <= 2 or (kind.kind == "i" and kind.itemsize == 4):
        return kind.newbyteorder("=")
    limits = np.iinfo(np.int32)
    fits = limits.min <= written.values.min() and written.values.max() <= limits.max
    return np.dtype(np.int32 if fits else np.float32)


def assert_prepared(written: Written, volume: Volume | None, folder: Path, label: Labels) -> None:
    """`kseg.prepare` on image and labels: counts, spacing and every voxel of the shard, or one line."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    whole = written if volume is not None else Written(written.path, np.zeros((2, 2, 2)), np.eye(4))
    path, values, share = label.write(folder, whole)
    two = label.channel and written.channels == 1
    second, more, _ = label.write(folder, whole, "second") if two else (None, None, 0)
    words = prepare_words(folder, written.path, path, second)
    refusal = quietly(prepare.main, words)
    if refusal is not None:
        may = volume is None or written.verdict == EITHER or written.channels > 1 or share > 0.9 * SHARE
        assert may, f"labels {share:.4f} of an edge off are refused: {refusal}"
        return
    assert volume is not None, "prepared, though read_volume refuses it"
    assert share < 1.1 * SHARE, f"labels {share:.4f} of an edge off were prepared"
    manifest = load_manifest(folder / "records")
    assert len(manifest.channels) == written.channels + two, manifest.channels
    (case,) = manifest.cases
    assert list(case.class_voxels) == [int((values == value).sum()) for value in LABELS.values()]
    np.testing.assert_allclose(case.spacing_mm, volume.spacing_mm, rtol=1e-6)
    (prepared,) = read_cases(folder / "records", manifest, "train")
    array = in_order_of(written, prepared.image.array, prepared.image.affine, "the shard", 0.0)
    assert_values(array[..., : written.channels].reshape(written.values.shape), written, "the shard")
    if two:
        np.testing.assert_array_equal(array[..., -1].round(3), more)
    indices = in_order_of(written, prepared.labels, prepared.image.affine, "the shard", 0.0)
    np.testing.assert_array_equal(np.array(list(LABELS.values()))[indices], values)
    assert_change_is_seen(words, files[len(files) * int(values.sum()) % 997 % len(files)], written)


def prepare_words(folder: Path, image: Path, label: Path, second: Path | None) -> list[str]:
    """A table of one case, of one channel or two, and the command that prepares it."""
    row = {"case": "a", "subject": "a", "split": "train", "image": image, "image_2": second, "label": label}
    row = {key: value for key, value in row.items() if value is not None}
    table = folder / "cases.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        paths = [value.relative_to(folder).as_posix() if isinstance(value, Path) else value for value in row.values()]
        csv.writer(file).writerows([list(row), paths])
    names = ", ".join(f"{name}={value}" for name, value in LABELS.items())
    return [str(table), f"data.labels={{{names}}}", f"data.records={folder / 'records'}"]


def assert_change_is_seen(words: list[str], file: Path, written: Written) -> None:
    """A dataset stays as it is as long as no file of the scan changes; one beside it may.

    A changed scan is prepared anew, or refused if the change has damaged it.
    """
    records = Path(words[-1].removeprefix("data.records="))
    before = load_manifest(records)
    refusal = quietly(prepare.main, words)
    assert refusal is None, f"nothing changed: {refusal}"
    assert load_manifest(records) == before, "nothing changed, and the dataset did"
    content = file.read_bytes()
    flip_bits(file, -1)
    refusal = quietly(prepare.main, words)
    file.write_bytes(content)
    is_seen = refusal is not None or load_manifest(records) != before
    if file.name in written.beside:
        assert not is_seen, f"{file.name} is no part of the scan: {refusal or 'and it was prepared anew'}"
    elif file.name not in written.perhaps:
        assert is_seen, f"a change of {file.name} is not seen"


def assert_masked(written: Written, volume: Volume | None, folder: Path) -> None:
    """`kseg.predict` marks the voxels that are bright, as nibabel and SimpleITK find them in its mask, or one line."""
    first, above = np.zeros(1), 0.0
    if volume is not None:
        first = (written.values if written.values.ndim == 3 else written.values[..., 0]).astype(np.float32)
        ordered = np.unique(first).astype(float)[len(np.unique(first)) // 3 :]
        widest = int(np.argmax(np.diff(ordered[: len(ordered) // 2 + 2])))
        above = float(ordered[widest : widest + 2].mean())
    out = folder / "masks"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_predictor, "LocalPredictor", lambda *_, **__: Threshold(above, channels=None))
        refusal = quietly(predict.main, ["run", str(written.path), "--out", str(out)])
    if volume is None:
        assert refusal is not None, "segmented, though read_volume refuses it"
        assert not out.exists() or not list(out.iterdir()), list(out.iterdir())
        return
    assert refusal is None, refusal
    (mask,) = (
        file for file in out.iterdir() if file.name.endswith((".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"))
    )
    wanted = np.where(first > above, 200, 0)
    nifti = ".nii" in mask.suffixes
    readers = [by_nibabel] if nifti else []
    if not nifti or "itk" in written.witnesses or written.path.is_dir():
        readers.append(by_itk)
    if written.any_place and nifti:  # where a mask without a place lies, each library decides for itself
        readers = [by_nibabel]
    for read in readers:
        array, affine = read(mask)
        slack_mm = 9e-3 * written.edge_mm + float32_mm(written)
        found = in_order_of(written, array, affine, f"{read.__name__} (of the mask)", slack_mm)
        np.testing.assert_array_equal(found, wanted, err_msg=f"{read.__name__} (of the mask)")


def assert_holds(written: Written, folder: Path, label: Labels) -> str:
    """All that kseg owes for an input; return what came of it."""
    if written.verdict != REFUSED:
        assert_witnesses_agree(written, must=written.verdict == READ)
    volume = assert_read(written)
    assert_prepared(written, volume, folder, label)
    assert_masked(written, volume, folder)
    return REFUSED if volume is None else READ
