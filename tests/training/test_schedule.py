"""The learning rate worked by hand."""

import pytest

from kseg.recipe.sections import Train
from kseg.training.schedule import learning_rate


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        ("constant", 0.1, 1.0),  # halfway through the warm-up
        ("constant", 0.2, 2.0),
        ("constant", 1.0, 2.0),
        ("cosine", 0.05, 0.5),
        ("cosine", 0.2, 2.0),
        ("cosine", 0.4, 1.0 + 0.5**0.5),  # a quarter of the decay: 1 + cos 45 degrees
        ("cosine", 0.6, 1.0),
        ("cosine", 1.0, 0.0),
        ("polynomial", 0.2, 2.0),
        ("polynomial", 0.6, 1.0717734625362931),  # 2 * 2^-0.9 = 2^0.1
        ("polynomial", 1.0, 0.0),
        ("cosine", 0.0, 0.02),  # a hundredth, so that the first step is one
        ("cosine", -0.5, 0.02),
        ("polynomial", 1.5, 0.0),
    ],
)
def test_points_worked_by_hand(schedule: str, progress: float, expected: float) -> None:
    options = Train(learning_rate=2.0, warmup=0.2, schedule=schedule)
    assert learning_rate(options, progress) == pytest.approx(expected, abs=1e-12)


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert learning_rate(Train(learning_rate=2.0, warmup=0.0), 0.0) == 2.0
