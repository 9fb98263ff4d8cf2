"""Folders of kseg's own making: what of them may go, and that nothing else does."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from descriptions import MUSCLE
from hypothesis import given, settings
from hypothesis import strategies as st

from kseg.console.errors import InputError
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.records.destinations import DATASET
from kseg.runs.owned_files import FOLDS, RUN
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import whole_folder
from kseg.storage.listing import list_files
from kseg.storage.ownership import MARKER, Kind, check_replaceable, check_spared, claim, mark, remove
from kseg.sweeps.run_sweep import SWEEP

OF_A_RUN = (
    *("model.keras", "history.csv", "report.json", "cell.json", "model.onnx", "postprocessing.json", "MODEL_CARD.md"),
    *("checkpoints/epoch-000002/model.keras", "checkpoints/epoch-000002-step-000017/state.json"),
    *("logs/events.out.tfevents.1.host.2.0.v2", "logs/train/events.out.tfevents.1.host.2.0.v2"),
    "logs/alpha/events.out.tfevents.1.host.2.0.v2",
    *("evaluation/test.html", "evaluation/test_measures.csv", "evaluation/val-leg 3.png"),
    *("1/saved_model.pb", "12/assets.extra/kseg.json"),
    *(".partial-2/saved_model.pb.tmpc896", "1/variables/variables.index"),
    *(".partial-model.keras", "checkpoints/.partial-epoch-000003/model.keras"),
    *(".DS_Store", "evaluation/.DS_Store"),
)
OF_SOMEBODY = (
    *("thesis.txt", "logs/notes.txt", "evaluation/mine.csv", "1/readme.md", "checkpoints/epoch-best/model.keras"),
    *("fold-1/model.keras", "scans/leg.mha", "a/b/model.keras", ".hidden", "model.keras.bak", "xmodel.keras"),
)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(path: Path, text: str = "precious") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "leg")
    folder.create(dump_recipe(load_recipe(None)), MUSCLE)
    for name in OF_A_RUN:
        write(folder.path / name, "kseg's")
    return folder


def test_a_run_goes_with_all_that_kseg_writes_there(run: RunFolder) -> None:
    check_replaceable(run.path, RUN, FOLDS)
    remove(run.path, RUN, FOLDS)
    assert list(run.path.parent.iterdir()) == []


@pytest.mark.parametrize("name", OF_SOMEBODY)
def test_what_else_a_run_holds_is_named_and_nothing_is_deleted(name: str, run: RunFolder) -> None:
    write(run.path / name)
    before = tree(run.path)
    for attempt in (check_replaceable, remove):
        with pytest.raises(InputError, match=r"leg' holds '[^']+', which kseg did not write: move it away, or choose"):
            attempt(run.path, RUN, FOLDS)
    with pytest.raises(InputError, match="which kseg did not write"), whole_folder(run.path, RUN):
        raise AssertionError("the work has begun")
    assert tree(run.path) == before


@pytest.mark.parametrize("within", [".", "fold-2"])
def test_what_kseg_wrote_and_somebody_changed_is_named_and_nothing_is_deleted(within: str, tmp_path: Path) -> None:
    kind = RUN if within == "." else FOLDS
    claim(tmp_path / "leg", kind)
    card = write(tmp_path / "leg" / within / ("MODEL_CARD.md" if within == "." else "model.onnx"), "kseg's")
    list_files(card.parent, {card.name: card})
    check_replaceable(tmp_path / "leg", kind)
    write(card)
    before = tree(tmp_path)
    for attempt in (check_replaceable, remove):
        with pytest.raises(InputError, match=f"holds '.*{card.name}', which is not as kseg wrote it: move it away"):
            attempt(tmp_path / "leg", kind)
    assert tree(tmp_path) == before
    card.unlink()
    remove(tmp_path / "leg", kind)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["a", "1", "logs", "fold-1", "evaluation", ".old-1", "epoch-1"]), min_size=1, max_size=4)
)
def test_no_file_goes_whose_name_is_not_in_the_table(parts: list[str]) -> None:
    """No path of these parts names a file that kseg writes."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as place:
        folder = Path(place) / "leg"
        folder.mkdir()
        mark(folder, RUN)
        file = write(folder.joinpath(*parts))
        with pytest.raises(InputError, match="which kseg did not write"):
            remove(folder, RUN)
        assert file.read_text() == "precious"


def test_a_folder_without_a_marker_is_not_ksegs(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "model.keras")
    with pytest.raises(InputError, match=r"mine' is not a run that kseg made \(it holds 'model\.keras'\)"):
        check_replaceable(tmp_path / "mine", RUN)
    write(tmp_path / "mine" / MARKER, "{")
    with pytest.raises(InputError, match="is not a run that kseg made"):
        check_replaceable(tmp_path / "mine", RUN)


@pytest.mark.parametrize(("kind", "other"), [(SWEEP, RUN), (RUN, DATASET), (DATASET, RUN), (FOLDS, DATASET)])
def test_one_kind_does_not_replace_another(kind: Kind, other: Kind, tmp_path: Path) -> None:
    claim(tmp_path / "exp", kind)
    with pytest.raises(InputError, match=f"exp' is a {kind.name} that kseg made, not a {other.name}"):
        check_replaceable(tmp_path / "exp", other)
    with pytest.raises(InputError, match=f"not a {other.name}"):
        claim(tmp_path / "exp", other)


def test_what_earlier_versions_made_is_recognised(run: RunFolder, tmp_path: Path) -> None:
    (run.path / MARKER).unlink()
    check_replaceable(run.path, RUN, FOLDS)
    run.path.rename(tmp_path / "moved")
    (tmp_path / "folds").mkdir()
    (tmp_path / "moved").rename(tmp_path / "folds" / "fold-1")
    check_replaceable(tmp_path / "folds", RUN, FOLDS)
    write(tmp_path / "grid" / "batch" / "seed-1" / "recipe.toml")
    claim(tmp_path / "grid", SWEEP)
    old = tmp_path / "records"
    write(old / "manifest.json", json.dumps({"schema_version": 2, "cases": []}))
    write(old / "leg_001.tfrecord")
    check_replaceable(old, DATASET)


def test_a_dataset_goes_with_the_shards_that_its_manifest_lists_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    claim(folder, DATASET)
    write(folder / "manifest.json", json.dumps({"schema_version": 3, "cases": [{"file": "leg.tfrecord"}]}))
    write(folder / "leg.tfrecord")
    check_replaceable(folder, DATASET)
    write(folder / "mine.tfrecord")
    with pytest.raises(InputError, match=r"holds 'mine\.tfrecord'"):
        check_replaceable(folder, DATASET)


def test_links_are_named_not_followed(run: RunFolder, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere" / "events.out.tfevents.1")
    link = run.path / "logs" / "train2"
    link.symlink_to(elsewhere.parent)
    with pytest.raises(InputError, match="holds the link 'logs/train2'"):
        remove(run.path, RUN)
    link.unlink()
    (run.path / "model.engine").symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"holds the link 'model\.engine'"):
        remove(run.path, RUN)
    assert elsewhere.read_text() == "precious"


def test_a_linked_run_is_replaced_where_it_lies_and_the_link_stays(run: RunFolder, tmp_path: Path) -> None:
    link = tmp_path / "by-link"
    link.symlink_to(run.path)
    with whole_folder(link, RUN) as partial:
        assert partial.parent == run.path.parent
        write(partial / "new")
    assert link.is_symlink()
    assert sorted(tree(run.path)) == [MARKER, "new"]  # though the table does not know it: work that is done is kept


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "leg").symlink_to(tmp_path / "unmounted" / "leg")
    with pytest.raises(InputError, match=r"leg' is a link to '.*unmounted/leg', which is not there"):
        check_replaceable(tmp_path / "leg", RUN)


@pytest.mark.parametrize("name", [".partial-leg", ".old-leg"])
def test_a_folder_of_a_user_under_the_name_of_a_left_over_stays(name: str, tmp_path: Path) -> None:
    mine = write(tmp_path / name / "mine.txt")
    with pytest.raises(InputError, match=f"{name}' is not a run that kseg made"), whole_folder(tmp_path / "leg", RUN):
        raise AssertionError("the work has begun")
    assert mine.read_text() == "precious"


def test_left_overs_of_a_killed_command_are_cleared_away(run: RunFolder, tmp_path: Path) -> None:
    for name in (".partial-new", ".old-new"):
        claim(tmp_path / name, RUN)
        write(tmp_path / name / "model.keras")
    with whole_folder(tmp_path / "new", RUN):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leg", "new"]


def test_a_folder_that_fails_leaves_the_old_one_whatever_libraries_left_in_it(run: RunFolder) -> None:
    before = tree(run.path)
    with pytest.raises(OSError, match="full"), whole_folder(run.path, RUN) as partial:
        write(partial / "variables_temp" / "part-00000")
        raise OSError("full")
    assert tree(run.path) == before
    assert [path.name for path in run.path.parent.iterdir()] == ["leg"]


@pytest.mark.parametrize("reach", [lambda folder: folder, lambda folder: folder.parent / "link"])
def test_what_is_read_is_not_replaced_by_whatever_name(reach: Callable[[Path], Path], run: RunFolder) -> None:
    (run.path.parent / "link").symlink_to(run.path)
    (run.path.parent / "recipe.toml").symlink_to(run.recipe)
    for read in (run.recipe, run.path.parent / "recipe.toml", run.path.parent / "link" / "recipe.toml", run.path):
        with pytest.raises(InputError, match="is read, and lies in"):
            check_spared([read], reach(run.path))
    check_spared([run.path.parent, run.path.parent / "nothing"], reach(run.path))
