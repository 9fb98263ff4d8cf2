"""SIGTERM: what a block makes of it ends with the block."""

import signal

import pytest

from kseg.console.termination import Termination, exit_on_sigterm


def test_sigterm_ends_a_block_as_an_error_does_and_its_handler_is_given_back() -> None:
    before, ended = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(SystemExit, match="1"), exit_on_sigterm():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            ended.append("what the block began")
    assert ended
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_handler_is_given_back_by_a_block_that_notes_the_signal() -> None:
    before, termination = signal.getsignal(signal.SIGTERM), Termination()
    with termination.heard("early"):
        termination.parting_words = None
        assert signal.getsignal(signal.SIGTERM) is not before
        signal.raise_signal(signal.SIGTERM)
    assert termination.asked
    assert signal.getsignal(signal.SIGTERM) is before
