"""From a trained run to masks through a server: the same as `kseg.predict` makes of the run itself."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from recipes import recipe_text
from running import Server

from kseg import export, phantom, predict, prepare, train

RECIPE = recipe_text(
    "leg",
    data={"records": "tfrecords/leg", "spacing_mm": [4.0, 4.0, 6.0]},
    phantom={"subjects": 3, "shape": [24, 20, 32], "difficulty": 0.0},
    network={"filters": [2, 4], "dilation_rates": [1, 2]},
    train={"epochs": 1, "steps_per_epoch": 4, "learning_rate": 1e-2},
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a run that was trained and exported, in whose working folder the tests are."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("leg.toml").write_text(RECIPE, encoding="utf-8")
        prepare.main(["leg.toml"])
        train.main(["leg.toml"])
        export.main(["leg"])
        phantom.main(["--out", "scans", "--shape", "23", "26", "31", "--seed", "9", "--format", "mha"])
        server = Server({"leg": folder / "saved_models" / "leg"}, folder / "hold")
        yield server
        server.kill()


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_masks_of_a_served_run_are_those_of_the_run(protocol: str, served: Server) -> None:
    scan = "scans/images/leg_001.mha"
    local, through = Path("local"), Path(protocol)
    predict.main(["leg", scan, "--out", str(local), "--force"])
    predict.main(
        ["leg", scan, "--server", served.address(protocol), "--protocol", protocol, "--out", str(through), "--force"]
    )
    masks = [sitk.ReadImage(str(folder / "leg_001.mha")) for folder in (local, through)]
    assert masks[0].GetOrigin() == masks[1].GetOrigin()
    values = [sitk.GetArrayFromImage(mask) for mask in masks]
    assert len(np.unique(values[0])) > 1
    np.testing.assert_array_equal(*values)
