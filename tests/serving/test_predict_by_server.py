"""`kseg.predict --server`: what comes back is the model's answer on the scan's own grid, or one line."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from running import Server
from served_scans import SPACING_MM, read, save, segment, volume
from stand_in import REFUSED, expected

from kseg import predict
from kseg.client import retry
from kseg.console.errors import InputError

PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "rest"])
GENEROUS_SECONDS = 60
"""What a request that is over within seconds may take on a machine that is busy."""


def complaint_of(run: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is said of the one scan that fails."""
    with pytest.raises(InputError, match=r"^'scan\.nii'") as error:
        run()
    assert "kseg.predict: " not in capsys.readouterr().err  # it is said once
    return str(error.value)


@PROTOCOLS
def test_label_maps_overlay_their_scans_and_a_bad_file_stops_no_other(
    protocol: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    array = volume(6, 7, 5)
    straight = nib.Nifti1Image(array, np.diag([*SPACING_MM, 1]))
    turn = np.array([[0.8, -0.6, 0, 9], [0.6, 0.8, 0, -7], [0, 0, 1, 5], [0, 0, 0, 1]])
    turned = straight.as_reoriented([[2, -1], [0, 1], [1, -1]])
    nib.save(straight, scans / "straight.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turn @ turned.affine), scans / "oblique.nii")
    floats = sitk.GetImageFromArray(array.T.astype(np.float32) + 0.25)
    floats.SetSpacing(SPACING_MM)
    floats.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])  # LPS: its axes are those of RAS
    sitk.WriteImage(floats, str(scans / "floats.mha"))
    (scans / "broken.nii.gz").write_bytes(b"not a volume")
    save(scans / "refused.nii", volume(REFUSED, 4, 5))
    with pytest.raises(InputError, match=r"2 of 5 inputs failed: .*broken\.nii\.gz, .*refused\.nii; see above"):
        segment(server, protocol, "leg", scans, out=out)

    labels = expected(array, SPACING_MM, "uint8")
    assert set(np.unique(labels)) == {2, 100, 150, 200}
    np.testing.assert_array_equal(read(out / "straight.nii.gz"), labels)
    oblique = nib.load(out / "oblique.nii")
    np.testing.assert_allclose(oblique.affine, turn @ turned.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(nib.as_closest_canonical(oblique).dataobj), labels)
    answer = sitk.ReadImage(str(out / "floats.mha"))
    assert answer.GetDirection() == floats.GetDirection()
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(answer).T, expected(array + np.float32(0.25), SPACING_MM, "float32")
    )
    said = capsys.readouterr().err
    assert "kseg.predict: 'refused.nii': the model at 127.0.0.1:" in said
    assert f"refuses the request (INVALID_ARGUMENT: assertion failed: [no volume of {REFUSED} planes" in said
    bright_ml = (labels == 200).sum() * np.prod(SPACING_MM) / 1000
    assert f"label 200 {bright_ml:.1f} ml" in said


@PROTOCOLS
def test_labels_keep_their_values_and_type(protocol: str, server: Server, tmp_path: Path) -> None:
    scan = save(tmp_path / "scan.nii", volume(4, 3, 5))
    segment(server, protocol, "signed", scan, out=tmp_path / "out")
    assert nib.load(tmp_path / "out" / "scan.nii").get_data_dtype() == np.int16
    np.testing.assert_array_equal(read(tmp_path / "out" / "scan.nii"), expected(read(scan), SPACING_MM, "uint8", -300))


@PROTOCOLS
def test_channels_are_those_of_the_model(
    protocol: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = volume(4, 3, 5, seed=1), volume(4, 3, 5, seed=2)
    files = [save(tmp_path / f"scan_000{i}.nii", array) for i, array in enumerate((first, second))]
    segment(server, protocol, "two", *files, out=tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out" / "scan.nii"), expected(first, SPACING_MM, "uint8"))
    files[1].rename(tmp_path / "scan.nii")
    line = complaint_of(lambda: segment(server, protocol, "two", tmp_path / "scan.nii", out=tmp_path / "other"), capsys)
    assert "has 1 channel, the model takes 2: all must have the same channels" in line


def test_by_grpc_labels_may_be_uint16_which_tf_serving_writes_into_no_json(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = save(tmp_path / "scan.nii", volume(4, 3, 5))
    segment(server, "grpc", "wide", scan, out=tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out" / "scan.nii"), expected(read(scan), SPACING_MM, "uint8", 65000))
    with pytest.raises(InputError, match=r"segment from float32 to uint16.* use --protocol grpc"):
        segment(server, "rest", "wide", scan, out=tmp_path / "other")


@PROTOCOLS
@pytest.mark.parametrize(
    ("model", "words", "complaint"),
    [
        ("none", (), r"127\.0\.0\.1:\d+ serves no model 'none': its name is"),
        ("a/b c", (), r"127\.0\.0\.1:\d+ serves no model 'a/b c': its name is"),
        ("leg", ("--model-version", 7), r"model 'leg' at .* has no version 7: it has 1 \(AVAILABLE\)"),
        ("old", (), r"model 'old' has no signature 'segment' \(it has serving_default\)"),
        ("flat", (), "of model 'flat' has voxels of 4 axes, where kseg's models have 5"),
        ("real", (), "of model 'real' returns labels of type float32, where kseg's models return integers"),
    ],
)
def test_a_model_that_cannot_segment_is_one_line_before_anything_is_sent(
    protocol: str, model: str, words: tuple, complaint: str, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=complaint) as error:
        segment(server, protocol, model, save(tmp_path / "scan.nii", volume(4, 3, 5)), *words, out=tmp_path / "out")
    assert len(str(error.value).splitlines()) == 1


@PROTOCOLS
def test_an_answer_of_another_shape_is_one_line(
    protocol: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = save(tmp_path / "scan.nii", volume(4, 3, 5))
    line = complaint_of(lambda: segment(server, protocol, "turned", scan, out=tmp_path / "out"), capsys)
    assert "labels of shape (1, 5, 3, 4) for voxels of shape (1, 4, 3, 5)" in line


@PROTOCOLS
def test_four_clients_at_once(protocol: str, server: Server, tmp_path: Path) -> None:
    arrays = [volume(6, 7, 5, seed=seed) for seed in range(4)]
    scans = [save(tmp_path / f"{seed}.nii", array) for seed, array in enumerate(arrays)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda scan: segment(server, protocol, "leg", scan, out=tmp_path / "out"), scans))
    for scan, array in zip(scans, arrays, strict=True):
        np.testing.assert_array_equal(read(tmp_path / "out" / scan.name), expected(array, SPACING_MM, "uint8"))


@PROTOCOLS
def test_a_full_queue_is_waited_for(
    protocol: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five clients, and room for four: the hold ends when one of them says that it waits."""
    said: list[str] = []

    def say(message: str) -> None:
        said.append(message)
        server.release()

    monkeypatch.setattr(retry, "say", say)
    scans = [save(tmp_path / f"{seed}.nii", volume(4, 3, 5, seed=seed)) for seed in range(5)]
    with ThreadPoolExecutor(5) as pool, server.held():
        list(pool.map(lambda scan: segment(server, protocol, "leg", scan, out=tmp_path / "out"), scans))
    assert "the queue of 127.0.0.1:" in said[0]
    assert "is full (The batch scheduling queue to which this task was submitted is full; task size is 1" in said[0]
    for scan in scans:
        np.testing.assert_array_equal(read(tmp_path / "out" / scan.name), expected(read(scan), SPACING_MM, "uint8"))


@PROTOCOLS
def test_nobody_waits_beyond_the_deadline(
    protocol: str, narrow: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first scan stays in the server, where there is room for no other."""
    scan = save(tmp_path / "scan.nii", volume(4, 3, 5))

    def ask() -> str:
        return complaint_of(
            lambda: segment(narrow, protocol, "leg", scan, "--deadline", 3, out=tmp_path / "out"), capsys
        )

    began = time.monotonic()
    with narrow.held():
        assert "no answer from 127.0.0.1:" in (line := ask())
        assert line.endswith("within 3 s: give it longer with --deadline")
        assert "the queue of 127.0.0.1:" in ask()
    assert time.monotonic() - began < GENEROUS_SECONDS
    segment(narrow, protocol, "leg", scan, out=tmp_path / "out")  # waits until the server is free again
    np.testing.assert_array_equal(read(tmp_path / "out" / "scan.nii"), expected(read(scan), SPACING_MM, "uint8"))


def test_a_server_killed_in_the_middle_is_one_line(
    start: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.01)
    mortal = start()
    scan = save(tmp_path / "scan.nii", volume(4, 3, 5))
    began = time.monotonic()

    def ask(protocol: str) -> str:
        with pytest.raises(InputError) as error:
            segment(mortal, protocol, "leg", scan, out=tmp_path / "out")
        return str(error.value)

    with ThreadPoolExecutor(2) as pool, mortal.held():
        asked = [pool.submit(ask, protocol) for protocol in ("grpc", "rest")]
        for _ in asked:
            mortal.wait_for_a_held_request()
        mortal.kill()
        failures = [one.result() for one in asked]
    for line in failures:  # the server was called again, in vain
        assert line.startswith("'scan.nii': nothing answers at 127.0.0.1:")
        assert "onnection refused" in line
    assert time.monotonic() - began < GENEROUS_SECONDS
    assert not any((tmp_path / "out").iterdir())


def test_limits_of_a_server_are_told_with_the_flags_that_raise_them(
    narrow: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = save(tmp_path / "scan.nii", volume(10, 10, 20))
    line = complaint_of(lambda: segment(narrow, "grpc", "leg", scan, out=tmp_path / "out"), capsys)
    assert "takes no messages of this size" in line
    assert line.endswith("start it with --grpc_channel_arguments=grpc.max_receive_message_length=2147483647")
    with narrow.held():
        line = complaint_of(lambda: segment(narrow, "rest", "leg", scan, out=tmp_path / "out"), capsys)
    assert "gave up (Timed out waiting for notification): start it with a longer --rest_api_timeout_in_ms" in line


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--protocol", "rest"], "--protocol is for a model on a server: name it with --server"),
        (["--deadline", "5"], "--deadline is for a model on a server"),
        (["--model-version", "2"], "--model-version is for a model on a server"),
        (["--server", "gpu1:x"], "--server must be HOST or HOST:PORT: received 'gpu1:x'"),
        (["--server", "gpu1", "--deadline", "0"], "--deadline must be a number of seconds above 0: received 0"),
        (["--server", "gpu1", "--deadline", "nan"], "--deadline must be a number of seconds above 0"),
        (
            ["--server", "gpu1", "evaluation.overlap=0.7"],
            "'evaluation.overlap=0.7' cannot be changed for a served model",
        ),
    ],
)
def test_options_that_do_not_go_together(words: list[str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        predict.main(["leg", "scan.nii", "--out", "out", *words])


@pytest.mark.parametrize(
    ("package", "protocol"), [("tensorflow_serving.apis", "grpc"), ("orjson", "rest"), ("tenacity", "rest")]
)
def test_a_package_that_is_missing_is_named(package: str, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}.*: pip install 'kseg\[serving\]'"):
        segment("gpu1", protocol, "leg", "scan.nii", out=Path("out"))


# Runs the command as `python -m` does, then says whether it has imported TensorFlow.
RUN = """
import runpy, sys
try:
    runpy.run_module("kseg.predict", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    print(stop.code, sorted({"tensorflow", "keras"} & set(sys.modules)))
"""


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, words)], capture_output=True, text=True, check=True, timeout=300
    )


def test_by_rest_a_client_needs_no_tensorflow(server: Server, tmp_path: Path) -> None:
    scan, out = save(tmp_path / "scan.nii", volume(4, 3, 5)), tmp_path / "out"
    done = command("leg", scan, "--server", server.address("rest"), "--protocol", "rest", "--out", out, "--json")
    assert done.stdout.splitlines()[-1] == "0 []"
    np.testing.assert_array_equal(read(out / "scan.nii"), expected(read(scan), SPACING_MM, "uint8"))


@PROTOCOLS
def test_a_refused_connection_is_one_line_and_status_2(protocol: str, tmp_path: Path) -> None:
    scan = save(tmp_path / "scan.nii", volume(4, 3, 5))
    done = command("leg", scan, "--server", "127.0.0.1:9", "--protocol", protocol, "--out", tmp_path)
    assert done.stdout.startswith("2 ")
    (line,) = done.stderr.splitlines()
    assert line.startswith("kseg.predict: nothing answers at 127.0.0.1:9 (")
    assert line.endswith("): does the model server run there?")
