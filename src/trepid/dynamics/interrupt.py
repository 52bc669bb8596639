"""Graceful SIGINT and SIGTERM: the run ends after the present step, with all files complete."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from trepid.signals import SignalWatch


class Interrupted(Exception):  # noqa: N818 not an error: the run ends as requested
    """A signal came: the run ends here, and the same command resumes it."""


_entered: list[Interruptible] = []
"""Blocks of the main thread, the inner one last."""


class Interruptible:
    """A `with` block in which the first SIGINT or SIGTERM sets `requested`; a second one ends it at once.

    The first is answered with a line at once, and the second ends the block with KeyboardInterrupt; where the main thread
    is inside a library and cannot be interrupted, the process ends. All state on disk is complete at any moment.

    Blocks may be nested. A signal is meant for all of them: the inner one, which gets it, hands it on when it ends, since what it
    was doing may have come to its own end first.

    Outside the main thread, where Python allows no signal handlers, `requested` stays False.
    """

    def __init__(self) -> None:
        self.requested = False
        self._handled = 0
        self._watch = SignalWatch(self._seen)

    def __enter__(self) -> Interruptible:
        self._watch.start(self._handle)
        if threading.current_thread() is threading.main_thread():
            _entered.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.stop()
        if self in _entered:
            _entered.remove(self)
            if self.requested and _entered:
                _entered[-1].requested = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Runs in the main thread, once that is back from the library it is in; two signals may have become one."""
        self._handled += 1
        self.requested = True
        if self._handled > 1 or self._watch.ending:
            raise KeyboardInterrupt

    def _seen(self, watch: SignalWatch, number: int, count: int) -> None:
        """Runs in the thread of the watch, at once."""
        self.requested = True
        name = signal.Signals(number).name
        if count == 1:
            watch.tell(
                f"{name}: ending after the present step or label; the same command resumes. Once more to end at once"
            )
        elif count == 2:
            watch.tell(f"{name}: ending now; the same command resumes")
            watch.end_now()
