"""The blended sliding window against a whole-volume accumulation, invariants and measured memory."""

import inspect
import itertools
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from kseg.inference import sliding_window
from kseg.inference.sliding_window import blend_shares
from kseg.inference.windows import window_starts, windows
from kseg.volumes.labels import index_dtype
from kseg.volumes.regions import Structures

ENOUGH_BYTES = 10**9
segment = partial(sliding_window.segment, buffer_bytes=ENOUGH_BYTES)
probability_planes = partial(sliding_window.probability_planes, buffer_bytes=ENOUGH_BYTES)

SHAPES = [
    ((30, 14, 11), (8, 8, 8)),
    ((9, 33, 10), (12, 8, 6)),
    ((7, 5, 21), (16, 8, 9)),
    ((4, 5, 6), (9, 8, 11)),
]


def identity(window: np.ndarray) -> np.ndarray:
    return window


def logistic(weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A predict whose answer depends on a voxel's value and on its place within the window."""

    def predict(batch: np.ndarray) -> np.ndarray:
        place = np.indices(batch.shape[1:4]).sum(axis=0) / sum(batch.shape[1:4])
        logits = (batch.mean(axis=-1) + 2 * place)[..., None] * weights
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return exponentials / exponentials.sum(axis=-1, keepdims=True)

    return predict


def blended(image: np.ndarray, planes: list[tuple[tuple[slice, ...], np.ndarray]], num_classes: int) -> np.ndarray:
    whole = np.full((*image.shape[:3], num_classes), np.nan)
    for box, probabilities in planes:
        assert np.isnan(whole[box]).all(), "planes overlap"
        whole[box] = probabilities
    return whole


def naive(
    predict: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    patch: tuple[int, ...],
    num_classes: int,
    *,
    normalise: Callable[[np.ndarray], np.ndarray],
    overlap: float,
) -> np.ndarray:
    """Pad, sum weighted windows and weights over the whole volume in float64, divide, crop."""
    shape = image.shape[:3]
    pads = [(max(p - n, 0) // 2, max(p - n, 0) - max(p - n, 0) // 2) for p, n in zip(patch, shape, strict=True)]
    padded = np.pad(normalise(image.astype(np.float32)), [*pads, (0, 0)])
    axes = [np.exp(-0.5 * ((np.arange(p) - (p - 1) / 2) / (p / 8)) ** 2) for p in patch]
    weight = np.einsum("x,y,z->xyz", *axes)[..., None]
    total, weights = np.zeros((*padded.shape[:3], num_classes)), np.zeros((*padded.shape[:3], 1))
    for start in itertools.product(*(window_starts(n, p, overlap) for n, p in zip(padded.shape, patch, strict=False))):
        window = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        total[window] += weight * predict(padded[window][None])[0]
        weights[window] += weight
    crop = tuple(slice(before, before + n) for (before, _), n in zip(pads, shape, strict=True))
    return (total / weights)[crop]


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_equals_a_naive_accumulation_over_the_whole_volume(
    shape: tuple[int, ...], patch: tuple[int, ...], overlap: float
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*shape, 2), dtype=np.uint8)
    predict = logistic(np.array([0.5, -1.0, 2.0]))

    def normalise(window: np.ndarray) -> np.ndarray:
        return (window - 100) / 50

    planes = list(probability_planes(predict, image, patch, 3, overlap=overlap, normalise=normalise))
    expected = naive(predict, image, patch, 3, normalise=normalise, overlap=overlap)
    np.testing.assert_allclose(blended(image, planes, 3), expected, atol=2e-6)
    labels = segment(predict, image, patch, Structures(3), overlap=overlap, normalise=normalise)
    first, second = np.sort(expected, axis=-1)[..., -1], np.sort(expected, axis=-1)[..., -2]
    clear = first - second > 1e-5
    np.testing.assert_array_equal(labels[clear], expected.argmax(axis=-1)[clear])


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_a_ramp_predicted_as_it_is_comes_back_exactly(shape: tuple[int, ...], patch: tuple[int, ...]) -> None:
    ramp = np.stack(np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij"), axis=-1)
    planes = list(probability_planes(identity, ramp, patch, 3, normalise=identity, batch_size=3))
    np.testing.assert_allclose(blended(ramp, planes, 3), ramp, atol=1e-5)


def test_weights_of_all_tiles_add_up_to_one_and_favour_the_nearest_centre() -> None:
    shares = blend_shares(50, 16, 0.5)
    total = np.zeros(50)
    for start, share in shares.items():
        total[start : start + 16] += share
        assert share.min() > 0
    np.testing.assert_allclose(total, 1, atol=1e-6)
    first, second = list(shares)[:2]
    nearer_the_first = (first + second + 15) // 2
    assert shares[first][nearer_the_first - first] >= shares[second][nearer_the_first - second]


@pytest.mark.parametrize("batch_size", [2, 5, 100])
def test_the_batch_size_changes_no_bit_and_is_never_exceeded(batch_size: int) -> None:
    image = np.random.default_rng(1).normal(size=(20, 13, 12, 1))
    predict = logistic(np.array([1.0, -1.0]))
    sizes = []

    def counted(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return predict(batch)

    one = list(probability_planes(predict, image, (8, 8, 8), 2, normalise=identity))
    many = list(probability_planes(counted, image, (8, 8, 8), 2, normalise=identity, batch_size=batch_size))
    np.testing.assert_array_equal(blended(image, many, 2), blended(image, one, 2))
    assert 1 < max(sizes) <= batch_size


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_columns_change_no_bit(shape: tuple[int, ...], patch: tuple[int, ...]) -> None:
    """With memory for a byte the volume is cut as finely as can be: windows are predicted again, to the same sums."""
    image = np.random.default_rng(2).normal(size=(*shape, 1))
    predict = logistic(np.array([1.0, -1.0, 0.3]))
    columns: set[tuple[tuple[int, int], ...]] = set()

    def watch(batches):  # type: ignore[no-untyped-def]
        columns.update(tuple((piece.start, piece.stop) for piece in batch.column) for batch in batches)
        return iter(batches)

    whole = list(probability_planes(predict, image, patch, 3, normalise=identity))
    cut = list(probability_planes(predict, image, patch, 3, normalise=identity, buffer_bytes=1, progress=watch))
    np.testing.assert_array_equal(blended(image, cut, 3), blended(image, whole, 3))
    grid = [len(window_starts(n, p, 0.5)) for n, p in zip(shape, patch, strict=True)]
    assert len(columns) == np.prod(np.delete(grid, np.argmax(shape)))


def test_the_order_of_the_tiles_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(3).normal(size=(26, 12, 10, 1))
    predict = logistic(np.array([1.0, -1.0]))
    one = blended(image, list(probability_planes(predict, image, (8, 8, 8), 2, normalise=identity)), 2)
    grid = windows(image.shape[:3], (8, 8, 8), 0.5)
    shuffled = [grid[place] for place in np.random.default_rng(4).permutation(len(grid))]
    monkeypatch.setattr(sliding_window, "windows", lambda *_: shuffled)
    other = blended(image, list(probability_planes(predict, image, (8, 8, 8), 2, normalise=identity)), 2)
    np.testing.assert_array_equal(other, one)


def test_permuted_axes_give_permuted_probabilities() -> None:
    """Along another axis windows come in another order: the result must not notice."""
    image = np.random.default_rng(2).normal(size=(26, 12, 10, 1))
    predict = logistic(np.array([1.0, -1.0]))
    along_x = blended(image, list(probability_planes(predict, image, (8, 8, 8), 2, normalise=identity)), 2)
    turned = image.transpose(2, 1, 0, 3)
    along_z = blended(turned, list(probability_planes(predict, turned, (8, 8, 8), 2, normalise=identity)), 2)
    np.testing.assert_allclose(along_z.transpose(2, 1, 0, 3), along_x, atol=1e-6)


def test_padding_is_zero_after_normalisation_and_never_normalised() -> None:
    image = np.full((3, 20, 8, 1), 7, np.uint8)
    seen = []

    def predict(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return np.concatenate([batch, 1 - batch], axis=-1)

    def normalise(window: np.ndarray) -> np.ndarray:
        assert window.shape[0] == 3
        assert window.dtype == np.float32
        return window - 6

    segment(predict, image, (8, 8, 8), Structures(2), normalise=normalise)
    for batch in seen:
        np.testing.assert_array_equal(batch[0, 2:5], 1)
        np.testing.assert_array_equal(batch[0, :2], 0)
        np.testing.assert_array_equal(batch[0, 5:], 0)


@pytest.mark.parametrize(("num_classes", "dtype"), [(255, np.uint8), (256, np.uint16), (257, np.uint16)])
def test_the_last_class_fits_the_dtype(num_classes: int, dtype: type) -> None:
    def predict(batch: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.arange(num_classes) == num_classes - 1, (*batch.shape[:4], num_classes))

    labels = segment(predict, np.zeros((4, 4, 6, 1)), (4, 4, 4), Structures(num_classes), normalise=identity)
    assert labels.dtype == dtype == index_dtype(num_classes)
    np.testing.assert_array_equal(labels, num_classes - 1)


def test_progress_sees_every_batch_once() -> None:
    seen = []

    def watch(batches):  # type: ignore[no-untyped-def]
        for batch in batches:
            seen.extend(batch.starts)
            yield batch

    segment(lambda x: x, np.zeros((16, 8, 8, 1)), (8, 8, 8), Structures(1), normalise=identity, progress=watch)
    assert seen == [(0, 0, 0), (4, 0, 0), (8, 0, 0)]


def test_how_much_memory_there_is_must_be_said() -> None:
    """It is the recipe's `evaluation.buffer_mb` wherever a run segments."""
    for function in (sliding_window.segment, sliding_window.probability_planes):
        assert inspect.signature(function).parameters["buffer_bytes"].default is inspect.Parameter.empty


BUFFER = 4 * 10**5


def peak_bytes(length: int, num_classes: int) -> int:
    """Peak traced memory of a segmentation, less the label map that it returns."""
    image = np.zeros((48, 48, length, 1), np.uint8)
    probabilities = np.zeros((1, 16, 16, 16, num_classes), np.float32)
    tracemalloc.start()
    labels = segment(
        lambda _: probabilities, image, (16, 16, 16), Structures(num_classes), normalise=identity, buffer_bytes=BUFFER
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - labels.nbytes


def test_memory_follows_neither_the_length_nor_the_classes() -> None:
    peak_bytes(32, 2)  # imports and caches
    few, many, long = peak_bytes(100, 2), peak_bytes(100, 8), peak_bytes(1000, 8)
    uncut = 48 * 48 * 16 * 8 * 4
    assert abs(many - few) < BUFFER / 2
    assert many < 2 * BUFFER < uncut
    tiles_of_long = 124 * 5 * 5 * 2  # most of them lie in two columns
    assert long < many + 300 * tiles_of_long < 48 * 48 * 1000 * 8 * 4 / 10, "more than the list of windows grows"


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut ahead and blended behind equals what is done one after another."""
    image = np.random.default_rng(5).normal(size=(26, 12, 10, 1))
    predict = logistic(np.array([1.0, -1.0, 0.2]))
    options = {"normalise": lambda window: window * 2 - 1, "batch_size": 2, "buffer_bytes": 1}
    at_once = list(probability_planes(predict, image, (8, 8, 8), 3, **options))
    monkeypatch.setattr(sliding_window, "read_ahead", iter)
    one_by_one = list(probability_planes(predict, image, (8, 8, 8), 3, **options))
    assert [box for box, _ in at_once] == [box for box, _ in one_by_one]
    for (_, plane), (_, expected) in zip(at_once, one_by_one, strict=True):
        np.testing.assert_array_equal(plane, expected)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["cut", "predicted", "blended"])
def test_what_goes_wrong_in_a_thread_ends_the_work_at_once(error: type[BaseException], place: str) -> None:
    """A batch more may be under way in each thread, and no more."""
    done = {"cut": 0, "predicted": 0, "blended": 0}

    def count(here: str) -> None:
        done[here] += 1
        if here == place and done[here] == 5:
            raise error(here)

    def normalise(window: np.ndarray) -> np.ndarray:
        count("cut")
        return window

    def predict(batch: np.ndarray) -> np.ndarray:
        count("predicted")
        return batch

    def watch(batches):  # type: ignore[no-untyped-def]
        for batch in batches:
            yield batch
            count("blended")

    with pytest.raises(error, match=place):
        segment(predict, np.zeros((200, 8, 8, 1)), (8, 8, 8), Structures(1), normalise=normalise, progress=watch)
    assert done[place] == 5
    assert done["predicted"] - done["blended"] <= 2
    assert done["cut"] - done["predicted"] <= 2
