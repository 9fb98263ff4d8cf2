"""Names of places: folders of a disk, and of what fsspec reaches."""

from pathlib import Path

import pytest

from kseg import phantom, predict, prepare
from kseg.console.errors import InputError
from kseg.storage.locations import is_remote, local, location_of, reaching


@pytest.mark.parametrize("where", ["tfrecords/legs", "/tfrecords/legs", "C:/legs"])
def test_a_name_without_a_scheme_is_a_path(where: str) -> None:
    assert location_of(where) == Path(where)
    assert not is_remote(location_of(where))


def test_a_tilde_is_the_home_of_the_user_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert location_of("~/legs") == local("~/legs") == tmp_path / "home" / "legs"
    assert local("legs~/~") == Path("legs~/~")
    phantom.main(["--out", "~/legs", "--shape", "16", "16", "16"])
    source = [
        "data.source=~/legs/manifest.csv",
        "data.records=~/records",
        "data.val_fraction=0",
        "data.test_fraction=0",
    ]
    prepare.main([*source, "data.labels={background = 0, SOL = 100, GM = 150, GL = 200}"])
    assert (tmp_path / "home" / "records" / "manifest.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_folders_for_results_are_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (lambda out: phantom.main(["--out", out]), lambda out: predict.main(["run", "a.nii", "--out", out])):
        with pytest.raises(InputError, match="'s3://bucket/legs' must be on a disk of this machine"):
            command("s3://bucket/legs")
    assert not list(tmp_path.iterdir())


def test_a_name_with_a_scheme_is_remote_and_keeps_its_spelling() -> None:
    folder = location_of("memory://bucket/legs")
    assert is_remote(folder)
    assert str(folder / "a.tfrecord") == "memory://bucket/legs/a.tfrecord"


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("foo://bucket/legs", "Unsupported filesystem"),
        ("gs://bucket/legs", "install gcsfs"),
        ("memory://", "names no folder: name one within it"),
    ],
)
def test_what_cannot_be_opened_is_named(where: str, complaint: str) -> None:
    with pytest.raises(InputError, match=f"'{where}' .*{complaint}"):
        location_of(where)


def test_what_a_store_complains_of_is_one_line_and_what_a_disk_does_passes(tmp_path: Path) -> None:
    remote = location_of("memory://bucket/legs")
    complaint = r"'memory://bucket/legs' cannot be reached \(no permission\): check its name"
    with pytest.raises(InputError, match=complaint), reaching(remote):
        raise PermissionError("no permission\nat all")
    with pytest.raises(PermissionError), reaching(tmp_path):
        raise PermissionError("no permission")
