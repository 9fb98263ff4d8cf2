"""The bench: its counts by hand, and the shape of its report. How fast anything is depends on the machine."""

import pytest
from printed import last_json

from kseg import bench, build_network
from kseg.benchmark import cost
from kseg.benchmark.cost import cost_of, dilated_layers, network_cost
from kseg.nn.layers import SharedDilatedConv3D


def layer(implementation="auto", channels=2, **options):
    made = SharedDilatedConv3D(3, implementation=implementation, **options)
    made.build((None, None, None, None, channels))
    return made


def test_direct_cost_by_hand():
    # 2 x 3 x 4 voxels become 4 x 6 x 8 = 192; 27 taps, 2 channels, 3 filters, 2 rates; a product and a sum each.
    counted = cost_of(layer(dilation_rates=(1, 2), upsample=2), (1, 2, 3, 4, 2), "direct")
    assert counted.flop == 2 * 192 * 27 * 2 * 3 * 2
    # Up-sampling reads 24 x 2, writes 192 x 2; each rate reads 192 x 2, writes 192 x 3; joining moves 192 x 6 twice.
    assert counted.bytes == 4 * (24 * 2 + 192 * 2 + 2 * (192 * 2 + 192 * 3) + 2 * 192 * 6)


def test_reuse_cost_by_hand():
    # A rate that coincides with the up-sampling: products of 81 maps on 8 voxels, then 27, 9, 3 maps, each sum once.
    counted = cost_of(layer(channels=5, dilation_rates=(2,), upsample=2), (1, 2, 2, 2, 5), "reuse")
    sums = 8 * 27 * 2 + 16 * 9 * 2 + 32 * 3 * 2
    assert counted.flop == 2 * 8 * 5 * 81 + sums
    assert counted.bytes == 4 * (8 * (5 + 81) + 8 * (81 + 2 * 27) + 16 * (27 + 2 * 9) + 32 * (9 + 2 * 3))


def test_transposed_cost_by_hand(monkeypatch):
    monkeypatch.setattr(cost, "transposes", lambda *arguments: True)  # as where TensorFlow runs oneDNN
    # Each of 2 x 3 x 4 voxels of 2 channels reaches 4 x 4 x 4 places, of 8 x 24 voxels, by 3 filters.
    counted = cost_of(layer(dilation_rates=(1,), upsample=2), (1, 2, 3, 4, 2), "reuse")
    assert counted.flop == 2 * 24 * 64 * 2 * 3
    assert counted.bytes == 4 * (24 * 2 + 192 * 3)


def test_layers_get_the_shapes_of_the_network():
    shapes = {made.name: shape for made, shape in dilated_layers(build_network("midl2021"), (96, 96, 90), 2)}
    assert shapes["encoder_1"] == (2, 96, 96, 96, 1)  # padded to a multiple of 32
    assert shapes["encoder_5"] == (2, 6, 6, 6, 128)
    assert shapes["decoder_5"] == (2, 3, 3, 3, 256)
    assert shapes["decoder_1"] == (2, 48, 48, 48, 32)


def test_the_whole_network_multiplies_less_with_reuse():
    network = build_network("midl2021")
    direct, reuse = (network_cost(network, (96, 96, 96), 1, name) for name in ("direct", "reuse"))
    assert direct.flop == pytest.approx(53.1e9, rel=0.01)  # by hand: 0.8 + 3.1 + 1.5 + 0.8 + 0.4 down, 46.6 up
    assert reuse.flop < direct.flop / 10


def test_the_report_has_the_keys_that_others_read(capsys):
    bench.main(["step", "--patch", "16", "16", "16", "--repeats", "1", "--json"])
    report = last_json(capsys.readouterr().out)
    for key in ("train_step_s", "forward_s", "peak_bytes"):
        sides = report[key]
        assert sides["ratio"] == pytest.approx(sides["direct"] / sides["reuse"])
        assert min(sides.values()) > 0
    assert set(report["layers_s"]) == {f"{side}_{level}" for side in ("encoder", "decoder") for level in range(1, 6)}
    assert report["machine"]["tensorflow"]


def test_a_patch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="--patch, --batch and --repeats must be 1 or more"):
        bench.main(["step", "--patch", "0", "16", "16"])
