"""Engines on a GPU, with TensorRT and TensorRT for RTX: what the processor of other tests cannot tell."""

import numpy as np
import pytest
from both_masks import segment_both
from damage import flip_bits
from printed import last_json

from kseg import export
from kseg.console.errors import InputError
from kseg.deployment.check_patches import expected_probabilities
from kseg.deployment.cuda import leave_gpus
from kseg.deployment.engine_description import KINDS, check_capability, platform_of
from kseg.deployment.engine_file import open_engine
from kseg.deployment.tolerances import MAX_DIFFERENCES


def what_is_missing(kind):
    try:
        here = platform_of(kind.library)
        if kind.library.targets:
            check_capability(here, kind.library.targets)
    except InputError as error:
        return str(error)
    return ""


MISSING = {kind: what_is_missing(kind) for kind in KINDS}
if not all(MISSING.values()):
    leave_gpus()  # as the command does, which comes too late here: the first network is made before it
FORMS = [
    pytest.param(kind, marks=pytest.mark.skipif(bool(missing), reason=missing or "nothing is missing"), id=kind.form)
    for kind, missing in MISSING.items()
]
pytestmark = [pytest.mark.gpu, pytest.mark.parametrize("kind", FORMS)]

NETWORKS = {
    "midl2021": ["network.filters=[4, 8, 16]", "network.dilation_rates=[1, 2, 3, 4]"],
    "odd sizes, group norm": ["patches.size=[16, 18, 15]", "network.norm=group", "network.negative_slope=0.1"],
    "instance norm": ["network.norm=instance", "network.share_kernel=false", "network.skip=add"],
    "kseg with a stem": ["network.preset=kseg", "network.filters=[4, 6]", "network.stem_stride=[2, 2, 1]"],
}


@pytest.mark.parametrize("precision", MAX_DIFFERENCES)
@pytest.mark.parametrize("name", NETWORKS)
def test_probabilities_are_those_of_keras_within_the_precision(name, precision, kind, untrained_run, capsys):
    if precision == "tf32" and kind.library.targets:
        pytest.skip("TensorRT's alone")
    folder = untrained_run("leg", *NETWORKS[name])
    export.main(["leg", "--format", kind.form, "--precision", precision, "--batch", "2", "--json"])
    written = last_json(capsys.readouterr().out)["written"][0]
    assert written[kind.library.module] == platform_of(kind.library).version
    assert written["largest_difference"] <= MAX_DIFFERENCES[precision]
    engine, model = open_engine(folder), folder.load_model()
    size = folder.load_recipe().patches.size
    for count in (1, 2, 5):
        voxels = np.random.default_rng(count).normal(size=(count, *size, 1)).astype(np.float32)
        (expected,) = expected_probabilities(model, [voxels])
        np.testing.assert_allclose(engine(voxels), expected, atol=2 * MAX_DIFFERENCES[precision])


def test_a_scan_is_segmented_by_the_engine_as_by_keras(kind, untrained_run, tmp_path):
    untrained_run("leg")
    export.main(["leg", "--format", kind.form])
    one, other = segment_both("leg", tmp_path, (40, 48, 56))
    assert len(np.unique(one)) > 1
    assert (one == other).mean() > 0.999


def test_a_changed_engine_is_refused(kind, untrained_run):
    folder = untrained_run("leg")
    export.main(["leg", "--format", kind.form])
    flip_bits(kind.files(folder).plan, -1)
    with pytest.raises(InputError, match="is not the file that belongs to the engine"):
        open_engine(folder)
