"""Ctrl-C while training: the step under way is finished and saved, and a second one ends at once.

In: nothing. Out: a `Stop` that says whether somebody pressed it. Only the main thread of a process listens.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether the run was asked to stop."""

    def __init__(self) -> None:
        """Not yet asked."""
        self.asked = False
        self._at_once = False

    def press(self, _signal: int, _frame: FrameType | None) -> None:
        """The signal handler: remember it, or interrupt where that spoils nothing."""
        if self.asked or self._at_once:
            raise KeyboardInterrupt
        self.asked = True

    @contextmanager
    def at_once(self) -> Generator[None]:
        """For as long as a block runs that may be cut off anywhere."""
        self._at_once = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False


@contextmanager
def listening() -> Generator[Stop]:
    """Take Ctrl-C for the time of a block."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.press)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
