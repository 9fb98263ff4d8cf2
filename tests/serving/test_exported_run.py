"""From a trained run to masks through a server: the same as `kseg.predict` makes of the run itself."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from recipes import recipe_text
from running import Server

from kseg import export, phantom, predict, prepare, train

MUSCLES = ["gastrocnemius_medialis", "gastrocnemius_lateralis"]
RUNS = {
    "leg": {},
    "regions": {"regions": {"calf": ["soleus", *MUSCLES], "gastrocnemius": MUSCLES, "medialis": MUSCLES[:1]}},
}
"""Of each run what its data are, beside what they have in common."""


def recipe_of(run: str) -> str:
    return recipe_text(
        run,
        data={"records": f"tfrecords/{run}", "spacing_mm": [4.0, 4.0, 6.0], **RUNS[run]},
        phantom={"subjects": 3, "shape": [24, 20, 32], "difficulty": 0.0},
        network={"filters": [2, 4], "dilation_rates": [1, 2]},
        train={"epochs": 1, "steps_per_epoch": 4, "learning_rate": 1e-2},
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of runs that were trained and exported, in whose working folder the tests are."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for run in RUNS:
            Path(f"{run}.toml").write_text(recipe_of(run), encoding="utf-8")
            prepare.main([f"{run}.toml"])
            train.main([f"{run}.toml"])
            export.main([run])
        phantom.main(["--out", "scans", "--shape", "23", "26", "31", "--seed", "9", "--format", "mha"])
        server = Server({run: folder / "saved_models" / run for run in RUNS}, folder / "hold")
        yield server
        server.kill()


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_masks_of_a_served_run_are_those_of_the_run(protocol: str, run: str, served: Server) -> None:
    scan = "scans/images/leg_001.mha"
    local, through = Path("local", run), Path(protocol, run)
    predict.main([run, scan, "--out", str(local), "--force"])
    predict.main(
        [run, scan, "--server", served.address(protocol), "--protocol", protocol, "--out", str(through), "--force"]
    )
    masks = [sitk.ReadImage(str(folder / "leg_001.mha")) for folder in (local, through)]
    assert masks[0].GetOrigin() == masks[1].GetOrigin()
    values = [sitk.GetArrayFromImage(mask) for mask in masks]
    assert len(np.unique(values[0])) > 1
    np.testing.assert_array_equal(*values)
