"""SIGTERM, which a scheduler sends some time before it kills: noted at once, obeyed where nothing is lost."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kseg.console.messages import ONE_LINE, print_json, say


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Within the block SIGTERM ends the process as an error does, so that what the block began is ended, too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Termination:
    """Whether the system has asked this process to end.

    Args:
        json: a process that leaves at once prints a JSON object last.
    """

    def __init__(self, json: bool = False):
        self.json = json
        self.asked = False
        self.parting_words: str | None = None
        """As long as there are some, a process that is asked tells them and leaves: it has nothing to save."""

    @contextmanager
    def heard(self, parting_words: str) -> Iterator[None]:
        """Listen within the block.

        Python calls a signal's handler between two of its own instructions, so not while a library compiles or
        computes; but it writes the signal's number to a socket right away, where a thread waits for it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may handle signals
            return
        self.parting_words = parting_words
        before = signal.getsignal(signal.SIGTERM)
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        written_before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        self.listen_again()
        thread = threading.Thread(target=self._listen, args=(receiver,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(written_before)
            signal.signal(signal.SIGTERM, before)
            sender.close()
            thread.join()
            receiver.close()

    def listen_again(self) -> None:
        """Take the signal back from a library that has put itself in our place."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: None)

    def tell(self, words: str) -> None:
        """Say where the command was stopped, and how to go on."""
        say(f"stopped {words}")
        if self.json:
            print_json({"stopped": words})

    def _listen(self, receiver: socket.socket) -> None:
        while number := receiver.recv(1):
            if number[0] == signal.SIGTERM:
                self.asked = True
                if self.parting_words is not None:
                    self._leave(self.parting_words)

    def _leave(self, words: str) -> None:
        with ONE_LINE:  # for good: nothing is said after the last words
            self.tell(words)
            os._exit(0)  # the main thread may be busy for minutes; what it writes appears whole or not at all
