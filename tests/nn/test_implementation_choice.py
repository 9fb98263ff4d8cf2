"""What `implementation="auto"` and `train.precision = "auto"` go by, on processors that this machine need not be."""

import keras
import pytest

from kseg.nn import cpu_features, implementation_choice
from kseg.nn.cpu_features import choose_precision

RATE, RATES = (1,), (1, 2)
DEEP = (3, 3, 3, 64, 64)
LEVEL, STEM, OUTPUT = (3, 3, 3, 32, 16), (3, 3, 3, 1, 16), (3, 3, 3, 32, 3)  # kernels
HIGHER = (2, 2, 2)


def on(monkeypatch, bfloat16, fast=True):
    """A CPU under TensorFlow, with AMX or without, with oneDNN or without."""
    monkeypatch.setattr(implementation_choice, "bfloat16_is_faster", lambda: bfloat16)
    monkeypatch.setattr(implementation_choice, "convolutions_are_fast", lambda: fast)
    monkeypatch.setattr(implementation_choice, "on_tensorflows_cpu", lambda: True)


def test_in_float32_up_sampling_and_few_channels_decide(monkeypatch):
    on(monkeypatch, bfloat16=True)
    assert implementation_choice.reuses("auto", LEVEL, RATE, HIGHER)
    assert implementation_choice.reuses("auto", STEM, RATES)
    assert implementation_choice.reuses("auto", DEEP, RATES)
    assert not implementation_choice.reuses("auto", LEVEL, RATES)


def test_a_single_rate_without_up_sampling_has_nothing_to_reuse(monkeypatch):
    on(monkeypatch, bfloat16=False)
    assert not any(implementation_choice.reuses("auto", kernel, RATE) for kernel in (LEVEL, STEM, DEEP, OUTPUT))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_off_tensorflows_cpu_several_rates_are_reused_and_single_ones_are_not(monkeypatch, dtype):
    on(monkeypatch, bfloat16=False)
    monkeypatch.setattr(implementation_choice, "on_tensorflows_cpu", lambda: False)
    for kernel in (LEVEL, STEM, DEEP):
        assert implementation_choice.reuses("auto", kernel, RATES, dtype=dtype)
        assert not implementation_choice.reuses("auto", kernel, RATE, dtype=dtype)


def test_fast_bfloat16_leaves_reuse_the_up_sampled_output(monkeypatch):
    on(monkeypatch, bfloat16=True)
    assert not implementation_choice.reuses("auto", LEVEL, RATES, HIGHER, "bfloat16")
    assert not implementation_choice.reuses("auto", DEEP, RATE, HIGHER, "bfloat16")
    assert not implementation_choice.reuses("auto", STEM, RATE, dtype="bfloat16")
    assert implementation_choice.reuses("auto", OUTPUT, RATE, HIGHER, "bfloat16")
    assert not implementation_choice.reuses("auto", OUTPUT, RATE, dtype="bfloat16")


def test_without_dilation_the_up_sampled_convolution_is_a_transposed_one(monkeypatch):
    on(monkeypatch, bfloat16=True)
    tensorflow = keras.backend.backend() == "tensorflow"
    for dtype in ("float32", "bfloat16"):
        assert implementation_choice.transposes(LEVEL, RATE, HIGHER, dtype) == tensorflow
        assert implementation_choice.reuses("auto", LEVEL, RATE, HIGHER, dtype) or not tensorflow
    for kernel, rates, upsample in [(LEVEL, RATES, HIGHER), (LEVEL, RATE, (1, 1, 1)), (OUTPUT, RATE, HIGHER)]:
        assert not implementation_choice.transposes(kernel, rates, upsample, "float32")
    assert not implementation_choice.transposes(DEEP, RATE, HIGHER, "float32")
    assert not implementation_choice.transposes(LEVEL, RATE, HIGHER, "float16")
    on(monkeypatch, bfloat16=False)
    assert not implementation_choice.transposes(LEVEL, RATE, HIGHER, "bfloat16")
    on(monkeypatch, bfloat16=False, fast=False)
    assert not implementation_choice.transposes(LEVEL, RATE, HIGHER, "float32")


def test_bfloat16_that_is_not_fast_changes_nothing(monkeypatch):
    on(monkeypatch, bfloat16=False)
    assert implementation_choice.reuses("auto", LEVEL, RATE, HIGHER, "bfloat16")


def test_without_onednn_everything_is_reused(monkeypatch):
    on(monkeypatch, bfloat16=False, fast=False)
    assert implementation_choice.reuses("auto", LEVEL, RATE)


def test_plain_reuses_what_pays_without_xla(monkeypatch):
    on(monkeypatch, bfloat16=True)
    plain = implementation_choice.PLAIN
    assert all(implementation_choice.reuses(plain, kernel, RATES, HIGHER) for kernel in (LEVEL, OUTPUT, DEEP))
    assert implementation_choice.reuses(plain, (3, 3, 3, 128, 64), RATES)
    assert not any(implementation_choice.reuses(plain, kernel, RATES) for kernel in (LEVEL, STEM, DEEP))
    assert not implementation_choice.reuses(plain, (3, 3, 3, 128, 64), RATE)


def test_in_onnx_up_sampling_reuses_and_few_filters_of_many_channels_are_made_of_planes():
    reuses = implementation_choice.reuses_in_onnx
    assert reuses(RATES, HIGHER) and reuses(RATES, (1, 1, 2)) and reuses((2,), HIGHER) and reuses(RATE, (1, 4, 4))
    assert not reuses(RATES, (1, 1, 1)) and not reuses(RATE, HIGHER)
    planes = implementation_choice.convolves_planes_in_onnx
    assert all(planes(kernel) for kernel in (LEVEL, OUTPUT, DEEP))
    assert not any(planes(kernel) for kernel in (STEM, (3, 3, 3, 16, 32), (3, 3, 3, 8, 4)))


def test_told_is_told(monkeypatch):
    on(monkeypatch, bfloat16=True)
    assert implementation_choice.reuses("reuse", LEVEL, RATE, dtype="bfloat16")
    assert not implementation_choice.reuses("direct", OUTPUT, RATE, HIGHER)


@pytest.fixture
def processor_of(monkeypatch, tmp_path):
    """Describe a processor as Linux does."""

    def describe(text):
        description = tmp_path / "cpuinfo"
        description.write_text(text, encoding="utf-8")
        monkeypatch.setattr(cpu_features, "PROCESSOR_DESCRIPTION", description)
        monkeypatch.setattr(cpu_features, "convolutions_are_fast", lambda: True)
        monkeypatch.setattr(cpu_features, "on_tensorflows_cpu", lambda: True)
        cpu_features._processor_flags.cache_clear()

    yield describe
    cpu_features._processor_flags.cache_clear()


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f amx_bf16 amx_tile\nbugs\t: none\n", True),
        ("flags\t\t: fpu avx2\n\nflags\t\t: amx_bf16\n", False),
        ("Features\t: fp asimd bf16\n", False),
        ("", False),
    ],
)
def test_the_processor_is_known_by_its_flags(processor_of, text, fast):
    processor_of(text)
    assert cpu_features.bfloat16_is_faster() is fast
    assert choose_precision("auto") == ("mixed_bfloat16" if fast else "float32")
    assert choose_precision("mixed_float16") == "mixed_float16"


def test_a_processor_without_a_description_is_not_assumed_to_be_fast(processor_of, monkeypatch, tmp_path):
    processor_of("")
    monkeypatch.setattr(cpu_features, "PROCESSOR_DESCRIPTION", tmp_path / "absent")
    assert not cpu_features.bfloat16_is_faster()


def test_where_tensorflow_leaves_onednn_bfloat16_is_not_faster(processor_of, monkeypatch):
    processor_of("flags : amx_bf16\n")
    monkeypatch.setattr(cpu_features, "convolutions_are_fast", lambda: False)
    assert not cpu_features.bfloat16_is_faster()
