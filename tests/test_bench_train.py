"""`kseg.bench train`: each second of a training is in one row; how long anything takes depends on the machine."""

import tempfile
from pathlib import Path

import pytest
from printed import last_json

from kseg import InputError, bench
from kseg.benchmark.lap_timer import ROWS
from kseg.benchmark.train import first_beyond_others, summarise


@pytest.fixture
def words(tiny_words: tuple[str, ...], tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    """A training of two epochs in an empty working folder, and in an empty folder for what is temporary."""
    for name in ("work", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    train = {"epochs": 2, "steps_per_epoch": 3, "validation_patches": 2}
    train_words = [f"train.{key}={value}" for key, value in train.items()]
    return [
        *tiny_words,
        f"data.records={tiny_dataset}",
        "network.filters=[2]",
        "network.dilation_rates=[1]",
        *train_words,
    ]


def test_rows_add_up_to_the_whole_and_nothing_is_left(
    words: list, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    users_own = tmp_path / "work" / "saved_models" / "tiny" / "notes.txt"
    users_own.parent.mkdir(parents=True)
    users_own.write_text("keep", encoding="utf-8")
    bench.main(["train", *words, "patches.batch_size=2", "--threads", "1", "--json"])
    printed = capfd.readouterr().out
    report = last_json(printed)
    (measured,) = report["runs"]
    seconds, whole = measured["seconds"], measured["whole_s"]

    assert tuple(seconds) == tuple(ROWS)
    assert min(seconds.values()) >= 0
    assert sum(seconds.values()) == pytest.approx(whole, abs=1e-6)
    for row in ("imports", "dataset", "model", "first_step", "steps", "validations", "pictures", "checkpoints", "logs"):
        assert seconds[row] > 0, row
    own_rows = seconds["pictures"] + seconds["checkpoints"] + seconds["logs"] + seconds["callbacks"]
    assert sum(measured["callbacks_s"].values()) == pytest.approx(own_rows, abs=1e-6)
    assert measured["callbacks_s"]["Checkpoint"] == pytest.approx(seconds["checkpoints"])

    assert (measured["threads"], measured["steps"], measured["validations"]) == (1, 2 * 3, 2)
    assert 0 <= measured["waited_s"] <= seconds["steps"]
    assert measured["share_in_steps"] == pytest.approx(seconds["steps"] / whole)
    assert measured["steps_per_minute"] == pytest.approx(6 * 60 / whole)
    assert measured["patches_per_minute"] == pytest.approx(2 * 6 * 60 / whole)
    assert (report["patch"], report["batch"], report["max_minutes"]) == ([16, 16, 16], 2, 0)
    assert report["machine"]["tensorflow"]

    lines = printed.splitlines()
    for row, title in ROWS.items():
        line = next(line for line in lines if f" {title} " in line)
        assert f" {seconds[row]:.2f} " in line
    assert any("the whole" in line and f" {whole:.2f} " in line for line in lines)

    assert [path for path in (tmp_path / "work").rglob("*") if path.is_file()] == [users_own]
    assert users_own.read_text(encoding="utf-8") == "keep"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_the_training_process_refuses_is_one_line_here(words: list, tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.cache_dir '.*' lies in '.*', which holds other files") as caught:
        bench.main(["train", *words, f"train.cache_dir={tiny_dataset}", "--threads", "1"])
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "work").iterdir()) == list((tmp_path / "temporary").iterdir()) == []


def test_the_first_step_and_validation_are_told_apart_from_the_others() -> None:
    measured = {
        "seconds": {"imports": 3.0, "model": 1.0, "first_step": 0.5, "steps": 10.0, "validations": 2.5, "end": 0.25},
        "step_s": [7.0, 1.0, 0.5, 1.5],  # the median of the last three is 1
        "validation_s": [2.5],
        "waited_s": 0.75,
        "waited_first_s": 0.5,
        "callbacks_s": {},
        "until": 117.25,
        "patch": [8, 8, 8],
        "batch": 3,
    }
    summary = summarise(measured, started=100.0, ended=120.0)
    expected = {"imports": 3.0, "model": 1.0, "first_step": 6.5, "steps": 4.0, "first_validation": 2.5, "end": 0.25}
    assert summary["seconds"] == dict.fromkeys(ROWS, 0.0) | expected | {"exit": 2.75}
    assert sum(summary["seconds"].values()) == summary["whole_s"] == 20.0
    assert (summary["share_in_steps"], summary["median_step_s"]) == (0.2, 1.0)
    assert (summary["waited_first_s"], summary["waited_s"]) == (0.5, 0.25)
    assert (summary["steps_per_minute"], summary["patches_per_minute"]) == (12.0, 36.0)


@pytest.mark.parametrize(
    ("durations", "beyond"), [([], 0.0), ([2.0], 2.0), ([2.0, 1.0, 1.5, 1.0], 1.0), ([1.0, 2.0], 0.0)]
)
def test_a_first_that_is_no_slower_has_nothing_beyond(durations: list, beyond: float) -> None:
    assert first_beyond_others(durations) == beyond


def test_what_cannot_be_measured_is_refused_at_once(tmp_path: Path) -> None:
    for number in ("0", "100000"):
        with pytest.raises(InputError, match=r"--threads must be from 1 to \d+, the cores"):
            bench.main(["train", "--threads", number])
    with pytest.raises(InputError, match="holds no prepared dataset"):
        bench.main(["train", f"data.records={tmp_path / 'nothing'}"])
