"""A run in one file: what goes in comes out, and what a stranger put in does not."""

import errno
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import damaged_zips, parts_of, with_misplaced_table

from kseg.console.errors import InputError
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.runs.owned_files import FOLDS, RUN
from kseg.runs.package import CONTENTS, as_run, is_package, unpack, unpacked, write_package
from kseg.runs.run_folder import open_run
from kseg.storage.files import sha256_of
from kseg.storage.listing import is_listed, list_files
from kseg.storage.ownership import check_replaceable, is_kind, mark

FILES = {
    "recipe.toml": b'name = "legs"\n',
    "data.json": b'{"channels": ["MR"], "labels": {"background": 0, "muscle": 1}}',
    "postprocessing.json": b"{}",
    "MODEL_CARD.md": b"# legs",
}


def make_run(folder: Path, *parts: str) -> Path:
    """A run, or folds, with files as a package has them and others beside."""
    for part in parts or ("",):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for name in ("recipe.toml", "data.json"):
            (folder / part / name).write_bytes(FILES[name])
        with zipfile.ZipFile(folder / part / "model.keras", "w") as model:
            model.writestr("config.json", "{}")
        (folder / part / "history.csv").write_text("epoch\n", encoding="utf-8")
    for name in ("postprocessing.json", "MODEL_CARD.md"):
        (folder / name).write_bytes(FILES[name])
    (folder / "checkpoints/epoch-000001").mkdir(parents=True)
    (folder / "checkpoints/epoch-000001/model.keras").write_bytes(b"no")
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    write_package(make_run(tmp_path / "legs"), "legs", tmp_path / "legs.kseg")
    return tmp_path / "legs.kseg"


def tree(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".kseg"))
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("parts", [(), ("fold-1", "fold-2")])
def test_what_makes_a_run_goes_in_and_comes_out(parts: tuple[str, ...], tmp_path: Path) -> None:
    run = make_run(tmp_path / "legs", *parts)
    write_package(run, "legs", tmp_path / "legs.kseg")
    unpack(tmp_path / "legs.kseg", tmp_path / "there")
    kept = {name: content for name, content in tree(run).items() if not name.endswith("history.csv")}
    del kept["checkpoints/epoch-000001/model.keras"]
    assert tree(tmp_path / "there") == kept
    assert is_kind(tmp_path / "there", FOLDS if parts else RUN)
    assert all(is_kind(tmp_path / "there" / part, RUN) for part in parts)


def test_it_is_unpacked_once_for_a_process(package: Path) -> None:
    assert is_package(str(package))
    assert not is_package(str(package.parent / "legs"))
    assert unpacked(package) == unpacked(package)


def test_what_an_export_replaces_is_listed(package: Path, tmp_path: Path) -> None:
    assert is_listed(tmp_path, "legs.kseg")
    unpack(package, tmp_path / "there")
    assert is_listed(tmp_path / "there", "MODEL_CARD.md")


def test_a_card_of_an_earlier_model_stays_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "legs")
    for stated, stays in ((sha256_of(run / "model.keras"), True), ("0" * 64, False)):
        (run / "MODEL_CARD.md").write_text(f"# legs\nSHA-256 of `model.keras`: {stated}.", encoding="utf-8")
        write_package(run, "legs", tmp_path / "legs.kseg")
        unpack(tmp_path / "legs.kseg", tmp_path / f"there-{stays}")
        assert (tmp_path / f"there-{stays}/MODEL_CARD.md").exists() == stays
        assert ("is of a model of before, and left out" in capsys.readouterr().err) != stays
    unpack(tmp_path / "legs.kseg", tmp_path / "again")
    write_package(tmp_path / "there-True", "legs", tmp_path / "second.kseg")  # packed again
    unpack(tmp_path / "second.kseg", tmp_path / "third")
    assert (tmp_path / "third/MODEL_CARD.md").exists()


def test_a_store_that_a_package_names_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "legs")
    recipe = load_recipe(None, ["data.records=s3://theirs/legs", "name=legs", "seed=7"])
    (run / "recipe.toml").write_text(dump_recipe(recipe), encoding="utf-8")
    write_package(run, "legs", tmp_path / "legs.kseg")
    monkeypatch.chdir(tmp_path)
    assert as_run("legs.kseg") == "legs"
    unpacked_recipe = load_recipe(Path("saved_models/legs/recipe.toml"))
    assert (unpacked_recipe.data.records, unpacked_recipe.seed) == ("tfrecords/legs", 7)
    assert "note: its dataset 's3://theirs/legs' is not asked for" in capsys.readouterr().err


def test_it_becomes_a_run_where_there_is_none_of_its_name(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(package.parent)
    assert as_run("legs") == "legs"
    assert as_run(str(package)) == "legs"
    assert Path("saved_models/legs/data.json").is_file()
    before = tree(Path("saved_models"))
    assert as_run(str(package)) == "legs"  # what failed after it was unpacked may be asked for again
    assert f"'{package}' is unpacked in 'saved_models/legs' already" in capsys.readouterr().err
    assert tree(Path("saved_models")) == before
    (Path("saved_models/legs/postprocessing.json")).write_bytes(b'{"cases": 5}')  # the receiver chose anew
    with pytest.raises(InputError, match="is there already, and differs"):
        as_run(str(package))
    Path("saved_models/legs/model.keras").write_bytes(b"another")
    with pytest.raises(InputError, match="is there already, and differs: name that run instead"):
        as_run(str(package))
    assert Path("saved_models/legs/model.keras").read_bytes() == b"another"


@pytest.mark.parametrize("parts", [(), ("fold-1", "fold-2")])
def test_what_a_killed_unpacking_left_is_in_nobodys_way(
    parts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_package(make_run(tmp_path / "legs", *parts), "legs", tmp_path / "legs.kseg")

    class Killed(BaseException):
        pass

    def left(folder: Path) -> None:  # what is cleared away at an exception stays where a process is killed
        shutil.copytree(folder, tmp_path / "as-left", symlinks=True)

    with monkeypatch.context() as patch:
        patch.setattr("kseg.storage.files.remove_own", left)
        patch.setattr("kseg.runs.package.sha256_of", lambda _: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            as_run("legs.kseg")
    assert Path("saved_models/.partial-legs").is_dir()
    assert as_run("legs.kseg") == "legs"
    assert sorted(path.name for path in Path("saved_models").iterdir()) == ["legs"]


def test_the_home_of_a_user_may_be_in_its_path(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(package.parent))
    assert is_package("~/legs.kseg")
    monkeypatch.chdir(package.parent)
    assert as_run("~/legs.kseg") == "legs"
    assert open_run("~/saved_models/legs").load_data_description().channels == ("MR",)


def test_a_damaged_model_is_not_packed_and_what_was_packed_before_stays(package: Path, tmp_path: Path) -> None:
    before = package.read_bytes()
    model = tmp_path / "legs/model.keras"
    model.write_bytes(model.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"legs/model\.keras' is damaged"):
        write_package(tmp_path / "legs", "legs", package)
    assert package.read_bytes() == before


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("data.json", b'{"channels": ["MR"], "labels": {"background": 0, "muscle": 1}, "new_key": 1}'),
        ("recipe.toml", b'name = "legs"\n[train]\nnew_key = 1\n'),
    ],
)
def test_what_another_version_wrote_is_told_by_its_version(part: str, content: bytes, package: Path) -> None:
    rewritten(package, lambda members: members.update({part: content}))
    table = json.loads(parts_of(package)[CONTENTS])
    rewritten(package, table_with(**{**table, "kseg_version": "9.1"}))
    told = rf"made by kseg 9\.1, .*another version \(its {part}: .*new_key"
    with pytest.raises(InputError, match=told) as caught:
        unpacked(package)
    assert "/tmp" not in str(caught.value).replace(str(package), "")


def rewritten(package: Path, change: Callable[[dict[str, bytes]], None], **options: int) -> Path:
    """The package with other members; checksums and sizes are made anew, unless the change made the table."""
    members = parts_of(package)
    before = members[CONTENTS]
    change(members)
    if members.get(CONTENTS) == before:
        import hashlib

        table = json.loads(before)
        table["files"] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in members.items()
            if name != CONTENTS
        }
        members[CONTENTS] = json.dumps(table).encode()
    with zipfile.ZipFile(package, "w", options.get("compression", zipfile.ZIP_STORED)) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return package


def table_with(**changes: object) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members[CONTENTS] = json.dumps({**json.loads(members[CONTENTS]), **changes}).encode()

    return change


HOSTILE = {
    "a path out of it": (lambda members: members.update({"../evil": b"x"}), r"holds '\.\./evil'"),
    "an absolute path": (lambda members: members.update({"/etc/evil": b"x"}), r"holds '/etc/evil'"),
    "a path within": (lambda members: members.update({"fold-1/../../evil": b"x"}), "which no package does"),
    "code": (lambda members: members.update({"setup.py": b"x"}), r"holds 'setup\.py'"),
    "no table": (lambda members: members.pop(CONTENTS), "is no run, and no package of one"),
    "no model": (lambda members: members.pop("model.keras"), "lacks a part of a model"),
    "a fold beside a model": (lambda members: members.update({"fold-1/data.json": b"{}"}), "lacks a part of a model"),
    "a model that is none": (lambda members: members.update({"model.keras": b"no"}), "its model: "),
    "another version": (table_with(package_version=2), r"a package of another kseg \(version 2 instead of 1\)"),
    "another key": (table_with(more=1), "package.json: "),
    "a name that is a path": (table_with(name="../legs"), "package.json: "),
    "a list": (lambda members: members.update({CONTENTS: b"[1]"}), "no JSON object"),
    "a table too long": (lambda members: members.update({CONTENTS: b" " * 2**21}), "too long"),
    "other files": (table_with(files={}), "lists other files than it holds"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_no_package_holds_is_refused_in_a_line_and_nothing_is_written(what: str, package: Path) -> None:
    change, message = HOSTILE[what]
    rewritten(package, change)
    with pytest.raises(InputError, match=message) as caught:
        unpacked(package)
    assert "\n" not in str(caught.value)
    assert not (package.parent / "evil").exists()


def test_a_compressed_package_is_refused_before_anything_is_inflated(package: Path) -> None:
    rewritten(package, lambda members: members.update({"data.json": b"0" * 10**7}), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="is compressed or encrypted"):
        unpacked(package)


def test_a_model_that_stands_for_more_than_a_disk_holds_is_refused(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kseg.runs.package.MAX_CONFIG", 1)
    with pytest.raises(InputError, match=r"its model: 'config\.json' would come to 2 bytes"):
        unpacked(package)


def test_a_model_that_holds_code_is_refused(package: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as model:
        model.writestr("config.json", json.dumps({"config": {"layers": [{"class_name": "Lambda", "config": {}}]}}))
    rewritten(package, lambda members: members.update({"model.keras": (tmp_path / "model.keras").read_bytes()}))
    with pytest.raises(InputError, match=r"legs\.kseg' .*its model: it holds code \(a Lambda layer\)") as caught:
        unpacked(package)
    assert "safe_mode" not in str(caught.value)


@pytest.mark.parametrize("damage", damaged_zips({"config.json": b"{}" * 50}))
def test_a_damaged_model_in_a_package_is_refused_in_a_line(damage: str, package: Path) -> None:
    content = damaged_zips({"config.json": b"{}" * 50})[damage]
    rewritten(package, lambda members: members.update({"model.keras": content}))
    with pytest.raises(InputError, match=r"^package '[^\n]* is damaged, [^\n]*its model: [^\n]*$"):
        unpacked(package)


@pytest.mark.parametrize("further", [1, 2**20, 2**31])
def test_a_table_that_says_it_is_elsewhere_is_damage(further: int, package: Path) -> None:
    package.write_bytes(with_misplaced_table(package.read_bytes(), further))
    for read in (unpacked, lambda path: as_run(str(path))):
        with pytest.raises(InputError, match=r"^package '[^\n]* is damaged"):
            read(package)


def test_a_full_disk_is_no_damage(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kseg.runs.package.shutil.copyfileobj", refuse)
    with pytest.raises(OSError, match="No space left"):
        unpacked(package)


def test_damage_anywhere_is_told_in_a_line(package: Path) -> None:
    whole = package.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        package.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"is damaged|no package"):
            unpacked(package)
    for place in range(0, len(whole), 7):
        package.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            unpack(package, package.parent / f"flipped-{place}")
        except InputError as error:
            assert "\n" not in str(error)
        else:  # a byte of no meaning, such as a date
            kept = tree(package.parent / f"flipped-{place}")
            assert {name: kept[name] for name in FILES} == FILES


def test_a_folder_whose_name_is_not_one_for_all_systems_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'my legs' is no name for a package"):
        write_package(make_run(tmp_path / "my legs"), "my legs", tmp_path / "my legs.kseg")


def test_a_package_in_a_runs_folder_is_kseg_s_if_it_is_listed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "legs")
    mark(run, RUN)
    shutil.rmtree(run / "checkpoints")
    (run / "legs.kseg").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"legs\.kseg"):
        check_replaceable(run, RUN)
    list_files(run, {"legs.kseg": run / "legs.kseg"})
    check_replaceable(run, RUN)
    (run / "legs.kseg").write_bytes(b"changed")
    with pytest.raises(InputError, match=r"legs\.kseg"):
        check_replaceable(run, RUN)


def test_packages_of_folds_and_of_killed_commands_are_kseg_s_too(tmp_path: Path) -> None:
    run = make_run(tmp_path / "legs", "fold-1", "fold-2")
    shutil.rmtree(run / "checkpoints")
    mark(run, FOLDS)
    for fold in ("fold-1", "fold-2"):
        mark(run / fold, RUN)
    write_package(run / "fold-1", "fold-1", run / "fold-1/fold-1.kseg")
    (run / ".partial-legs.kseg").write_bytes(b"half of")
    check_replaceable(run, FOLDS)
    (run / "legs.kseg").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"legs\.kseg"):
        check_replaceable(run, FOLDS)
