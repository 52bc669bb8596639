"""Signals seen at once, also while the main thread is inside a library.

Python runs signal handlers between two steps of its own: during a long call of Fortran or C nothing happens. But its part
in C writes the number of each signal to a file descriptor right away. A thread reads it there. It can write a line, and
it can end the process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from trepid.processes import kill_all

GRACE_S = 0.5
"""Time for the main thread to end by KeyboardInterrupt, before the process is ended, s."""
EXIT_CODE = 130

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\033[?25h"

_running: list[SignalWatch] = []
"""Those between `start` and `stop`, the inner one last."""


class SignalWatch:
    """Watches SIGINT and SIGTERM between `start` and `stop`; watches may be nested, and the inner one reacts.

    Parameters
    ----------
    seen : callable
        Called in the thread of the watch for every signal, with the watch, the number and how many there were.

    Attributes
    ----------
    ending : bool
        Whether `end_now` was called.
    """

    def __init__(self, seen: Callable[[SignalWatch, int, int], None]) -> None:
        self.ending = False
        self._seen = seen
        self._deadline: float | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._thread: threading.Thread | None = None

    def start(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        """Begin; does nothing outside the main thread, where Python allows no handlers.

        Parameters
        ----------
        handler : callable
            Signal handler for the main thread.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wake, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, name="trepid-signals", daemon=True)
        self._thread.start()
        self._descriptor = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _SIGNALS:
            self._handlers[number] = signal.signal(number, handler)
        _running.append(self)

    def stop(self) -> None:
        """Put back what there was before."""
        if self._thread is None:
            return
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._handlers.clear()
        signal.set_wakeup_fd(self._descriptor)
        os.close(self._stop)
        self._thread.join()
        for descriptor in (self._read, self._write, self._wake):
            os.close(descriptor)
        self._thread = None
        _running.remove(self)
        if self.ending and _running:  # what is left to do outside has to end as well
            _running[-1].end_now()

    def end_now(self) -> None:
        """End the process, unless its main thread, which gets KeyboardInterrupt, stops this watch in time."""
        self.ending = True
        self._deadline = time.monotonic() + GRACE_S
        with contextlib.suppress(OSError):
            os.write(self._write, b"\0")  # no signal: wakes the thread, which waits for the deadline from now on

    def tell(self, text: str) -> None:
        """Write a line to standard error, whatever the main thread is doing with it."""
        with contextlib.suppress(OSError):
            os.write(2, f"\n{text}\n".encode())

    def _run(self) -> None:
        count = 0
        while True:
            patience = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            ready, _, _ = select.select([self._read, self._wake], [], [], patience)
            if not ready:
                self._end()
            # Before the end of the watch: the main thread may have ended by KeyboardInterrupt before this one was scheduled.
            for number in os.read(self._read, 64) if self._read in ready else b"":
                if number in _SIGNALS and not self.ending:
                    count += 1
                    self._seen(self, number, count)
            if self._wake in ready:
                return

    def _end(self) -> None:
        """End this process and those that it started."""
        kill_all()
        if sys.__stderr__ is not None and sys.__stderr__.isatty():
            with contextlib.suppress(OSError):
                os.write(2, _SHOW_CURSOR.encode())  # a bar may have hidden it
        os._exit(EXIT_CODE)
