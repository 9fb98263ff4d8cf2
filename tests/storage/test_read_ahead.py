"""One item ahead: the same items and errors, in order, and no more than one made too early."""

from collections.abc import Iterator

import pytest

from kseg.storage.read_ahead import read_ahead


def test_items_come_in_order_one_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    for number in read_ahead(items()):
        assert made[: number + 1] == list(range(number + 1))
        assert len(made) <= number + 2
    assert made == list(range(5))


def test_an_error_comes_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    seen = []
    with pytest.raises(ValueError, match="the second"):
        seen += [seen.append(item) for item in read_ahead(items())]
    assert seen == [1]


def test_who_leaves_early_lets_the_items_close() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(9)
        finally:
            closed.append(True)

    source = items()
    for _ in read_ahead(source):
        break
    source.close()
    assert closed == [True]
