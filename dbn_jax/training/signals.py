"""Signals that ask the training loop to save and stop."""

import contextlib
import os
import signal
import threading
from typing import Any


class Signals:
    """Notes SIGTERM and Ctrl-C while it is entered; the handlers before it come back after.

    Only the main thread can handle signals; elsewhere nothing is noted. A signal that is ignored
    stays so: a shell's script lets Ctrl-C pass by what it runs in the background. A Ctrl-C after
    any noted signal raises KeyboardInterrupt at once.
    """

    def __init__(self):
        self.received: int | None = None  # number of the last one
        self._before: dict[int, Any] = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:
                    # None stands for a handler that was not installed from Python.
                    self._before[number] = signal.signal(number, self._note) or signal.SIG_DFL
        return self

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if number == signal.SIGINT and self.received is not None:
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            # Not print: the signal may have come in the middle of one. And whoever reads it, such
            # as tee, may have been stopped by the same Ctrl-C.
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopping after this chunk of updates; Ctrl-C again stops at once\n")
        self.received = number
