"""A dataset follows its source: prepared again it takes up what was added, changed or removed there, and no more."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from damage import flip_bits
from upath import UPath

from kseg import prepare
from kseg.console.errors import InputError
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.records.manifest import Manifest, load_manifest
from kseg.records.prepared_case import check_shards
from kseg.records.write_case import write_case
from kseg.runs.planned_recipe import planned_recipe
from kseg.runs.run import describe_data
from kseg.runs.run_folder import RunFolder

RECORDS = Path("tfrecords/cases")
WORDS = ["cases.csv", "data.labels={background = 0, muscle = 1}"]
KILLED = 9
PUBLISHING = 24


def save(name: str, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 99, (6, 5, 4)).astype(np.int16)
    for path, array in ((f"{name}.nii", image), (f"{name}_label.nii", (image > 50).astype(np.uint8))):
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def table(*names: str, splits: dict[str, str] | None = None, subjects: dict[str, str] | None = None) -> None:
    rows = [
        f"{name},{(subjects or {}).get(name, name)},{(splits or {}).get(name, '')},{name}.nii,{name}_label.nii"
        for name in names
    ]
    Path("cases.csv").write_text("\n".join(["case,subject,split,image,label", *rows]), encoding="utf-8")


@pytest.fixture(autouse=True)
def _prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset of the cases a to h; i to n may come to it."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("abcdefghijklmn"):
        save(name, seed)
    table(*"abcdefgh")
    prepare.main(WORDS)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cases whose shards are written from now on."""
    names: list[str] = []

    def note(job):
        names.append(job.scan.case)
        return write_case(job)

    monkeypatch.setattr("kseg.records.write_case.write_case", note)
    return names


def splits() -> dict[str, str]:
    return {case.case: case.split for case in load_manifest(RECORDS).cases}


def contents() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in RECORDS.iterdir()}


def checked() -> Manifest:
    manifest = load_manifest(RECORDS)
    check_shards(RECORDS, manifest)
    assert [path.name for path in RECORDS.parent.iterdir()] == ["cases"]
    return manifest


def test_only_what_changed_is_prepared_and_the_others_stay_in_their_splits(
    written: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = splits()
    trained = [name for name in before if before[name] == "train"]
    gone, changed = trained[:2]
    save(changed, 99)
    table(*(name for name in "abcdefghijk" if name != gone))
    prepare.main(WORDS)
    assert sorted(written) == sorted([changed, *"ijk"])
    said = capsys.readouterr().err
    assert (
        f"tfrecords/cases is brought up to date: 3 cases added (i, j, k), 1 case changed ({changed}), "
        f"1 case removed ({gone}), 6 kept"
    ) in said
    checked()
    now = splits()
    assert {name: now.get(name) for name in before} == before | {gone: None}
    assert sorted(now.values()).count("test") == 2  # a seventh of ten is 1.5, which is 2
    written.clear()
    once = contents()
    prepare.main(WORDS)
    assert "is prepared already" in capsys.readouterr().err
    assert (written, contents()) == ([], once)


def test_a_run_of_what_was_there_before_is_named_and_the_next_command_trains_anew(
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = load_manifest(RECORDS)
    for name in ("cases", "other"):
        recipe = planned_recipe(load_recipe(None, [f"name={name}", "data.records=tfrecords/cases"]), manifest)
        RunFolder(Path("saved_models", name)).create(dump_recipe(recipe), describe_data(recipe, manifest))
    prepare.main(WORDS)
    assert "--force" not in capsys.readouterr().err.splitlines()[-1]
    save(manifest.of_split("train")[0].case, 99)
    prepare.main(WORDS)
    said = capsys.readouterr().err.splitlines()
    assert any(line.startswith("note: trained on what was there before: cases, other: ") for line in said)
    assert said[-1].startswith("next: python -m kseg.train ")
    assert said[-1].endswith(" --force")


def test_a_split_that_the_source_names_now_is_followed_without_writing_a_shard(
    written: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = splits()
    moving = next(name for name in before if before[name] == "train")
    table(*"abcdefgh", splits={moving: "test"})
    prepare.main(WORDS)
    assert f"1 case moved ({moving} to test), 7 kept" in capsys.readouterr().err
    assert (splits(), written) == (before | {moving: "test"}, [])


def test_a_subject_that_gets_another_name_keeps_its_split(written: list[str]) -> None:
    before = splits()
    tested = next(name for name in before if before[name] == "test")
    table(*"abcdefgh", subjects={tested: "anna"})
    prepare.main(WORDS)
    assert (splits(), written) == (before, [tested])
    assert next(case.subject for case in checked().cases if case.case == tested) == "anna"


def test_force_draws_the_splits_anew() -> None:
    table(*"abcdefghijklmn")
    prepare.main(WORDS)
    grown = splits()
    prepare.main([*WORDS, "--force"])
    drawn = splits()
    assert grown.keys() == drawn.keys()
    prepare.main([*WORDS, "data.records=elsewhere"])
    assert {case.case: case.split for case in load_manifest(Path("elsewhere")).cases} == drawn


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["data.val_fraction=0.4"], "is to be"),
        (["seed=9"], "is to be"),
        (["data.labels={background = 0, other = 1}"], "channels or labels have changed"),
        (["data.spacing_mm=[1, 1, 2]"], "the recipe, or kseg, prepares cases in another way now"),
        (["data.source=other.csv"], "it was prepared from 'cases.csv'"),
    ],
)
def test_a_recipe_that_prepares_otherwise_is_refused_though_the_source_has_grown(words: list[str], why: str) -> None:
    table(*"abcdefghi")
    Path("other.csv").write_bytes(Path("cases.csv").read_bytes())
    before = contents()
    with pytest.raises(InputError, match=f"was prepared otherwise .*{why}.*pass --force"):
        prepare.main([*WORDS, "data.records=tfrecords/cases", *words])
    assert contents() == before


def test_a_source_with_none_of_the_cases_is_another() -> None:
    table(*"ijklmn")
    with pytest.raises(InputError, match=r"none of its cases is there any more.*pass --force"):
        prepare.main(WORDS)


def test_a_bad_new_case_leaves_the_dataset_as_it_was(written: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = contents()
    whole = Path("i.nii").read_bytes()
    Path("i.nii").write_bytes(whole[:-50])
    Path("j_label.nii").unlink()
    table(*"abcdefghijk")
    with pytest.raises(InputError, match=r"^2 of 11 cases are bad"):
        prepare.main(WORDS)
    assert contents() == before
    prepare.main([*WORDS, "--skip-bad"])
    assert "1 case added (k), 8 kept, 2 left out" in capsys.readouterr().err
    assert [out.case for out in checked().left_out] == ["i", "j"]
    Path("i.nii").write_bytes(whole)
    table(*"abcdefghik")
    written.clear()
    prepare.main(WORDS)
    assert "1 case added (i), 1 case removed (j), 9 kept" in capsys.readouterr().err
    assert (written, checked().left_out) == (["i"], ())


def test_an_emptied_split_takes_a_new_subject() -> None:
    before = splits()
    validating = next(name for name in before if before[name] == "val")
    table(*(name for name in "abcdefghi" if name != validating))
    prepare.main(WORDS)
    assert splits()["i"] == "val"


def changes_to_the_disk(monkeypatch: pytest.MonkeyPatch, before: int = 10**6) -> int | None:
    """Prepare in a process that is killed before that many changes to the disk; how many there are, if it was not."""
    process = os.fork()
    if process:
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code in (0, KILLED)
        return int(Path("changes").read_bytes()) if code == 0 else None
    done = [0]

    def counted(change: Callable) -> Callable:
        def checked_change(*arguments, **options):
            if done[0] == before:
                os._exit(KILLED)
            done[0] += 1
            return change(*arguments, **options)

        return checked_change

    for name in ("rename", "replace", "unlink", "rmdir", "mkdir", "hardlink_to", "write_text"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    code = 1
    try:
        prepare.main(WORDS)
        Path("changes").write_bytes(str(done[0]).encode())
        code = 0
    finally:
        os._exit(code)


def test_killed_at_any_step_it_is_the_old_or_the_new_dataset_and_the_next_ends_as_if_nothing_had_been(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = contents()
    save("a", 99)
    table(*"acdefghij")
    steps = changes_to_the_disk(monkeypatch)
    new = contents()
    assert steps > PUBLISHING
    for step in (*range(0, steps - PUBLISHING, 9), *range(steps - PUBLISHING, steps)):
        for path in RECORDS.iterdir():
            path.unlink()
        for name, content in old.items():
            (RECORDS / name).write_bytes(content)
        assert changes_to_the_disk(monkeypatch, step) is None
        if RECORDS.is_dir():
            assert {name: content for name, content in contents_of_files().items() if name in old or name in new} in (
                old,
                new,
            )
        prepare.main(WORDS)
        assert contents() == new
        checked()


def contents_of_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in RECORDS.iterdir() if path.is_file()}


def test_a_damaged_shard_is_not_lost_from_sight() -> None:
    flip_bits(RECORDS / "b.tfrecord")
    table(*"abcdefghi")
    prepare.main(WORDS)
    with pytest.raises(InputError, match=r"b\.tfrecord' is damaged"):
        prepare.main([*WORDS, "--verify"])


@pytest.mark.parametrize("copies", [3, 8, 11])
def test_in_a_store_it_keeps_splits_too_though_it_was_killed_while_it_published(
    copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = UPath("memory://bucket/cases")
    words = [*WORDS, f"data.records={store}"]
    prepare.main(words)
    table(*"abcdefghijklmn")
    prepare.main(WORDS)
    copy, left = store.fs.copy, [copies]

    def stops(*arguments: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        copy(*arguments)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(type(store.fs), "copy", lambda _, *arguments: stops(*arguments))
            with pytest.raises(KeyboardInterrupt):
                prepare.main(words)
        prepare.main(words)
        assert {case.case: case.split for case in load_manifest(store).cases} == splits()
        check_shards(store, load_manifest(store))
        assert [path.name for path in store.parent.iterdir()] == ["cases"]
    finally:
        store.fs.rm("/", recursive=True)
