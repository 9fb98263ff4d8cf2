"""`kseg.prepare` as a user runs it: any number of workers, killed at any moment, and run again."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from damage import flip_bits
from printed import last_json

from kseg import prepare
from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Recipe
from kseg.records.scans import find_scans
from kseg.records.write import case_jobs

KILLS = 10
"""Before any of the eight cases is finished, and after each of them; once more before any."""
ROOT = Path(__file__).resolve().parents[1]
LABELS = "data.labels={background = 0, muscle = 100}"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight scans of 90 x 80 x 70 voxels, and a table of them."""
    folder = tmp_path_factory.mktemp("sources")
    rows = ["case,subject,split,image,label"]
    for number in range(8):
        rng = np.random.default_rng(number)
        image = rng.integers(0, 255, (90, 80, 70)).astype(np.uint8)
        labels = np.zeros_like(image)
        labels[20:50, 30 : 40 + number, 10:60] = 100
        for kind, array in (("image", image), ("label", labels)):
            nib.save(nib.Nifti1Image(array, np.diag([-0.5, 0.5, 1, 1])), folder / f"{kind}{number}.nii.gz")
        rows.append(f"leg_{number},leg_{number},,image{number}.nii.gz,label{number}.nii.gz")
    (folder / "legs.csv").write_text("\n".join(rows))
    return folder


def words(sources: Path, folder: Path) -> list[str]:
    return [f"data.source={sources / 'legs.csv'}", LABELS, f"data.records={folder}"]


@pytest.fixture(scope="module")
def undisturbed(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "records"
    prepare.main(words(sources, folder))
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start(arguments: list[str], folder: Path = ROOT) -> subprocess.Popen:
    command = [sys.executable, "-m", "kseg.prepare", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_bytes_do_not_depend_on_the_number_of_workers(
    workers: int, sources: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    prepare.main([*words(sources, tmp_path / "records"), "--workers", str(workers)])
    assert contents(tmp_path / "records") == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_killed_at_any_moment_and_run_again_it_ends_with_the_same_bytes(
    sources: Path, undisturbed: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moments, killed, continued = random.Random(7), 0, 0
    for number in range(3 * KILLS):
        folder = tmp_path / "records"
        arguments = [*words(sources, folder), "--workers", str(1 + number % 2)]
        process = start(arguments)
        kill_at(moments, killed % 9, process, tmp_path / ".partial-records" / ".finished")
        killed += process.wait() == -signal.SIGKILL
        prepare.main(arguments)
        continued += "were finished before" in capsys.readouterr().err
        assert contents(folder) == undisturbed
        shutil.rmtree(folder)
        assert list(tmp_path.iterdir()) == []
        if killed == KILLS:
            break
    assert killed == KILLS
    assert continued >= 1


def kill_at(moments: random.Random, cases: int, process: subprocess.Popen, finished: Path) -> None:
    """Kill a run shortly after some of its eight cases are finished, however fast the machine is; or before any is."""
    while process.poll() is None and len(list(finished.glob("*.json"))) < cases:
        time.sleep(0.001)
    time.sleep(moments.uniform(0, 0.05 if cases else 1))
    process.send_signal(signal.SIGKILL)


def test_a_second_run_does_nothing_and_a_changed_source_is_named(
    sources: Path, undisturbed: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = shutil.copytree(sources, tmp_path / "sources")
    arguments = words(changed, tmp_path / "records")
    prepare.main(arguments)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()}
    for left in ("records/.finished", ".old-records", ".partial-records"):  # by a run killed just after it published
        (tmp_path / left).mkdir()
    (tmp_path / ".partial-records.lock").touch()
    prepare.main([*arguments, "--json"])
    said = capsys.readouterr()
    assert "is prepared already" in said.err
    assert last_json(said.out)["cases"] == {"train": 6, "val": 1, "test": 1}
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()} == times
    assert {path.name for path in tmp_path.iterdir()} == {"sources", "records"}
    with pytest.raises(InputError, match=r"case 'leg_\d' is to be \w+, was \w+, and \d more\): pass --force"):
        prepare.main([*arguments, "data.val_fraction=0.4"])
    shutil.copy(changed / "image1.nii.gz", changed / "image2.nii.gz")
    capsys.readouterr()
    prepare.main(arguments)
    assert "records is brought up to date: 1 case changed (leg_2), 7 kept" in capsys.readouterr().err
    after = contents(tmp_path / "records")
    unchanged = {name for name in undisturbed if after[name] == undisturbed[name]}
    assert unchanged == undisturbed.keys() - {"leg_2.tfrecord", "manifest.json"}
    prepare.main([*arguments, "--force"])
    assert contents(tmp_path / "records") == after


def test_without_a_word_the_phantom_is_prepared_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []

    def find_scans(recipe: Recipe) -> None:
        asked.append(recipe.data.source)
        raise InputError("that is enough")

    monkeypatch.setattr("kseg.records.scans.find_scans", find_scans)
    with pytest.raises(InputError, match="that is enough"):
        prepare.main([])
    assert asked == ["phantom"]
    assert capsys.readouterr().err == "no source of scans is named: it is the phantom's\n"


def test_verify_names_a_damaged_shard_and_writes_nothing(sources: Path, tmp_path: Path) -> None:
    arguments = words(sources, tmp_path / "records")
    prepare.main(arguments)
    prepare.main([*arguments, "--verify"])
    path = tmp_path / "records" / "leg_3.tfrecord"
    flip_bits(path, 1000)
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"leg_3.tfrecord' is damaged \(its checksum differs\)"):
        prepare.main([*arguments, "--verify"])
    assert path.read_bytes() == content


def test_a_repaired_scan_is_all_that_a_failed_run_has_left_to_do(
    sources: Path, undisturbed: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shutil.copytree(sources, tmp_path / "sources")
    whole = (own / "image5.nii.gz").read_bytes()
    (own / "image5.nii.gz").write_bytes(whole[:-100])
    arguments = words(own, tmp_path / "records")
    with pytest.raises(InputError, match=r"image5\.nii\.gz"):
        prepare.main(arguments)
    (own / "image5.nii.gz").write_bytes(whole)
    prepare.main(arguments)
    assert "of 8 cases were finished before" in capsys.readouterr().err
    ours = contents(tmp_path / "records")
    assert {name for name in ours if ours[name] != undisturbed[name]} == {"manifest.json"}  # another source's name


def test_two_runs_do_not_write_to_one_dataset(sources: Path, tmp_path: Path) -> None:
    first = start(words(sources, tmp_path / "records"))
    while not any((tmp_path / ".partial-records").glob("*")):  # the lock's file is there before the lock is taken
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(InputError, match="another kseg prepare is writing to"):
            prepare.main(words(sources, tmp_path / "records"))
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait() == 0


def test_preparing_does_not_start_tensorflow(sources: Path, tmp_path: Path) -> None:
    program = "import sys; from kseg import prepare; prepare.main(sys.argv[1:]); assert 'tensorflow' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", program, *words(sources, tmp_path / "records")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--workers must be at least 1"):
        prepare.main([f"data.records={tmp_path / 'records'}", "--workers", "0"])


def test_beam_writes_the_same_bytes(sources: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is absent: pip install 'kseg[beam]'")
    options = ["--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    prepare.main([*words(sources, tmp_path / "records"), "--engine", "beam", "--", *options])
    assert contents(tmp_path / "records") == undisturbed


def test_beam_tells_of_bad_scans_as_workers_do(sources: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is absent: pip install 'kseg[beam]'")
    own = shutil.copytree(sources, tmp_path / "sources")
    (own / "image5.nii.gz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"image5\.nii\.gz' cannot be read"):
        prepare.main([*words(own, tmp_path / "records"), "--engine", "beam"])


DASK = "--runner=apache_beam.runners.dask.dask_runner.DaskRunner"
LIST_CASES = """
import os
from kseg.records import apache_beam
def prepare_case(job, own=apache_beam.prepare_case):
    with open(f"{folder}/{{os.getpid()}}.cases", "a") as file:
        file.write(job.scan.case + "\\n")
    return own(job)
if "own" not in apache_beam.prepare_case.__code__.co_varnames:  # Dask runs this more than once
    apache_beam.prepare_case = prepare_case
"""
HOLD = """
import pathlib, threading
from kseg.records import write_case
class HeldWriter(write_case.RecordWriter):
    def write(self, content, own=write_case.RecordWriter.write):
        own(self, content)
        self._file.flush()
        pathlib.Path("{folder}/held").touch()
        threading.Event().wait()
write_case.RecordWriter = HeldWriter
"""
END = """
import os, signal
from kseg.records import apache_beam
apache_beam.prepare_case = lambda job: os.kill(os.getpid(), signal.SIGKILL)
"""
"""What a worker of Dask runs before it works."""


@pytest.fixture
def start_dask(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start the "scheduler" of a cluster on loopback, or a "worker" that runs a text first."""
    pytest.importorskip("distributed", reason="Dask is absent: pip install 'kseg[dask]'")
    common = ["--host=127.0.0.1", "--no-dashboard", f"--scheduler-file={tmp_path / 'scheduler'}"]
    own = {"scheduler": ["--port=0"], "worker": ["--nthreads=1", "--no-nanny", "--preload"]}
    with ExitStack() as running:

        def start_one(what: str, *first: str) -> subprocess.Popen:
            words = [*common, *own[what], *(text.format(folder=tmp_path) for text in first)]
            process = running.enter_context(subprocess.Popen([sys.executable, "-m", "dask", what, *words], cwd=ROOT))
            running.callback(process.kill)
            return process

        yield start_one


def on_dask(sources: Path, folder: Path) -> list[str]:
    arguments = [*words(sources, folder / "records"), "--engine", "beam", "--", DASK]
    return [*arguments, f"--dask_scheduler_file={folder / 'scheduler'}"]


def test_dask_s_workers_share_the_cases_and_write_the_same_bytes(
    start_dask: Callable[..., subprocess.Popen], sources: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    from distributed import Client

    start_dask("scheduler")
    workers = [start_dask("worker", LIST_CASES) for _ in range(2)]
    with Client(scheduler_file=str(tmp_path / "scheduler")) as client:
        client.wait_for_workers(2)
    process = start(on_dask(Path(), tmp_path), sources)  # a path that means another file where the workers were started
    _, said = process.communicate()
    assert process.returncode == 0, said
    manifest = undisturbed["manifest.json"].replace(str(sources / "legs.csv").encode(), b"legs.csv")
    assert contents(tmp_path / "records") == undisturbed | {"manifest.json": manifest}
    of_each = [(tmp_path / f"{worker.pid}.cases").read_text(encoding="utf-8").split() for worker in workers]
    assert min(map(len, of_each)) > 0
    assert sorted(of_each[0] + of_each[1]) == [f"leg_{number}" for number in range(8)]


def test_a_worker_of_dask_that_is_killed_within_a_case_changes_no_byte(
    start_dask: Callable[..., subprocess.Popen], sources: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    start_dask("scheduler")
    held = start_dask("worker", HOLD)
    process = start(on_dask(sources, tmp_path))
    while not (tmp_path / "held").exists():
        assert (process.poll(), held.poll()) == (None, None)
        time.sleep(0.01)
    (unfinished,) = (tmp_path / ".partial-records").glob(".writing-*")
    assert unfinished.stat().st_size > 0
    held.kill()
    other = start_dask("worker", LIST_CASES)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert contents(tmp_path / "records") == undisturbed
    assert {path.name for path in tmp_path.iterdir()} == {"records", "scheduler", "held", f"{other.pid}.cases"}


def test_what_dask_cannot_do_is_told_in_one_line(
    start_dask: Callable[..., subprocess.Popen], sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")  # instead of three
    start_dask("scheduler")
    start_dask("worker", END)
    process = start(on_dask(sources, tmp_path))
    _, said = process.communicate()
    assert "several of Dask's workers have died over the same case" in said.splitlines()[-1]
    assert process.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["scheduler"]
    nowhere = [DASK, "--dask_client_address=tcp://127.0.0.1:1", "--dask_connection_timeout=1"]
    with pytest.raises(InputError, match=r"scheduler cannot be reached \(.*127\.0\.0\.1:1"):
        prepare.main([*words(sources, tmp_path / "records"), "--engine", "beam", "--", *nowhere])


@pytest.mark.parametrize("mode", ["in_memory", "multi_processing"])
def test_a_worker_that_does_not_see_the_folder_says_so_and_makes_none(mode: str, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is absent: pip install 'kseg[beam]'")
    from kseg.records.apache_beam import run_jobs_in_beam

    recipe = load_recipe(None, ["phantom.subjects=3", "phantom.shape=[16, 16, 16]"])
    place = tmp_path / "elsewhere"
    jobs = case_jobs(recipe, find_scans(recipe), place)
    with pytest.raises(InputError) as told:
        list(run_jobs_in_beam(jobs, ["--runner=DirectRunner", f"--direct_running_mode={mode}"]))
    assert str(told.value) == f"a worker does not see '{place}': all machines must see data.records under the same path"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("runner", ["NoRunner", "no.module.Runner", "kseg.Runner"])
def test_a_runner_that_beam_does_not_have_is_told(runner: str, sources: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is absent: pip install 'kseg[beam]'")
    with pytest.raises(InputError, match=rf"Beam cannot run with --runner={runner} \(.*\w.*\): name another"):
        prepare.main([*words(sources, tmp_path / "records"), "--engine", "beam", "--", f"--runner={runner}"])
    assert list(tmp_path.iterdir()) == []


def test_without_beam_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(InputError, match=r"pip install 'kseg\[beam\]'"):
        prepare.main([f"data.records={tmp_path / 'records'}", "phantom.shape=[16, 16, 16]", "--engine", "beam"])
    with pytest.raises(InputError, match=r"is for --engine beam: received --runner=X"):
        prepare.main([f"data.records={tmp_path / 'records'}", "--", "--runner=X"])


def test_a_source_of_any_name_is_prepared_under_one_that_a_run_may_have(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = Path("my scans (2024)") / "Beinmuskeln=ä 🦵 50%"
    rng = np.random.default_rng(0)
    for number in range(3):
        for part, name in (("imagesTr", f"bein ä={number}_0000"), ("labelsTr", f"bein ä={number}")):
            (source / part).mkdir(parents=True, exist_ok=True)
            array = rng.integers(0, 2 if part == "labelsTr" else 99, (6, 5, 4)).astype(np.uint8)
            nib.save(nib.Nifti1Image(array, np.eye(4)), source / part / f"{name}.nii.gz")
    description = {"channel_names": {"0": "US"}, "labels": {"background": 0, "leg": 1}, "file_ending": ".nii.gz"}
    (source / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    prepare.main([str(source)])
    assert "is prepared as 'Beinmuskeln_a_50': name=... and data.records=... choose" in capsys.readouterr().err
    prepare.main([str(source), "data.records=elsewhere"])
    assert "is prepared as" not in capsys.readouterr().err
    content = json.loads(Path("tfrecords/Beinmuskeln_a_50/manifest.json").read_text(encoding="utf-8"))
    assert content["source"] == str(source)
    assert {case["case"] for case in content["cases"]} == {f"bein ä={number}" for number in range(3)}
