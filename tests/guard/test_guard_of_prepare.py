"""kseg.prepare replaces datasets alone, and leaves nothing where the disk takes no more."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from refusal import link, prepared_already, refused, tree

from kseg import prepare
from kseg.runs.owned_files import RUN
from kseg.storage.ownership import MARKER, claim


def limited(size: int) -> Callable[[], None]:
    """Let a process write files of so many bytes at most, as a disk without room does."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def in_process(*words: str, file_bytes: int = resource.RLIM_INFINITY) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, preexec_fn=limited(file_bytes)
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_preparing_ends_in_one_line_where_the_disk_takes_no_more(workers: str, work: Path) -> None:
    before = tree()
    words = ["tiny.toml", "phantom.shape=[24, 24, 24]", "--workers", workers]
    code, said = in_process("kseg.prepare", *words, file_bytes=9000)
    assert code == 2
    line = said.splitlines()[-1]
    assert line.startswith(f"kseg.prepare: '{work}/tfrecords/.partial-leg/leg_00")
    assert "': File too large: raise the limit" in line
    assert "Traceback" not in said
    assert tree() == before


# prepare: data.records is something else


def somebodys() -> str:
    (Path("thesis") / "leg").mkdir(parents=True)
    Path("thesis/leg/chapter.txt").write_text("all of it")
    return "thesis/leg"


def a_run() -> str:
    claim(Path("saved_models/arm"), RUN)
    return "saved_models/arm"


def a_dataset_with(name: str) -> str:
    prepared_already()
    Path("tfrecords/leg", name).parent.mkdir(exist_ok=True)
    Path("tfrecords/leg", name).write_text("precious")
    return "tfrecords/leg"


TARGETS = {
    "a user's folder": (somebodys, r"is not a dataset that kseg made \(it holds 'chapter\.txt'\)"),
    "a link to it": (lambda: link("alias", somebodys()), "is not a dataset that kseg made"),
    "a folder of it": (lambda: str(Path(somebodys()).parent), r"it holds 'leg'"),
    "the scans": (lambda: "scans", r"it holds 'arm\.nii\.gz'"),
    "the working folder": (lambda: ".", "is not a dataset that kseg made"),
    "the disk": (lambda: "/", "is all of a disk"),
    "a run": (a_run, "is a run that kseg made, not a dataset"),
    "a dataset with notes": (lambda: a_dataset_with("notes.txt"), r"holds 'notes\.txt', which kseg did not write"),
    "a dataset with shards of a user's": (lambda: a_dataset_with("mine.tfrecord"), r"holds 'mine\.tfrecord'"),
    "a dataset with scans": (lambda: a_dataset_with("scans/leg.mha"), r"holds 'scans'"),
    "a file": (lambda: "tiny.toml", "is a file"),
    "a link to nowhere": (lambda: link("nowhere", "unmounted/leg"), "is a link to .* which is not there"),
    "where nothing can be written": (lambda: "/proc/kseg/leg", "'/proc/kseg': "),
}


@pytest.mark.parametrize("target", TARGETS)
def test_preparing_replaces_datasets_alone(target: str) -> None:
    make, match = TARGETS[target]
    refused(prepare.main, ["tiny.toml", f"data.records='{make()}'", "--force"], match)


@pytest.mark.parametrize("left_over", ["tfrecords/.partial-leg", "tfrecords/.old-leg"])
def test_a_user_s_folder_under_the_name_of_a_left_over_stays(left_over: str) -> None:
    Path(left_over).mkdir(parents=True)
    Path(left_over, "mine.tfrecord").write_text("precious")
    refused(prepare.main, ["tiny.toml"], "is not a dataset that kseg made")


def test_a_dataset_of_an_earlier_version_is_replaced() -> None:
    (prepared_already() / MARKER).unlink()
    prepare.main(["tiny.toml", "--force"])
    assert Path("tfrecords/leg", MARKER).is_file()


# train and sweep: what is refused before TensorFlow starts
