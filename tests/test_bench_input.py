"""The bench of the input pipeline: its report agrees with itself and with the recipe; speed depends on the machine."""

import pytest
from printed import last_json

from kseg import InputError, bench
from kseg.patches.augmentation.chain import TRANSFORMS
from kseg.records.training_plan import ULTRASOUND


def test_every_transform_is_priced_and_rates_belong_together(tiny_recipe, capsys):
    records = f"data.records={tiny_recipe().data.records}"
    words = [
        records,
        "network.filters=[2, 4]",
        "patches.size=[8, 8, 12]",
        "patches.batch_size=3",
        "augmentation.gamma=0.25",
    ]
    bench.main(["input", *words, "--repeats", "1", "--json"])
    report = last_json(capsys.readouterr().out)
    assert tuple(report["transforms_ms"]) == TRANSFORMS
    assert report["probabilities"] == dict.fromkeys(TRANSFORMS, 0.0) | ULTRASOUND | {"gamma": 0.25}
    patch_mb = 8 * 8 * 12 * (4 + 1) / 1e6  # a channel in float32, labels in bytes
    for side in ("plain", "augmented"):
        assert report["mb_per_s"][side] == pytest.approx(patch_mb * report["patches_per_s"][side])
    assert min(report["cut_ms"], report["step_s"], *report["storage_mb_per_s"].values()) > 0
    assert 0 <= report["input_wait"] < 1
    assert (report["patch"], report["batch"]) == ([8, 8, 12], 3)
    assert report["machine"]["tensorflow"]


def test_a_dataset_that_is_not_prepared_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"holds no prepared dataset .* run python -m kseg.prepare") as caught:
        bench.main(["input", f"data.records={tmp_path / 'nothing'}"])
    assert "\n" not in str(caught.value)


def test_no_repeats_are_refused():
    with pytest.raises(InputError, match="--repeats must be 1 or more"):
        bench.main(["input", "--repeats", "0"])
