"""Graceful SIGINT and SIGTERM: the run ends after the present step, with all files complete."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType


class Interrupted(Exception):  # noqa: N818 not an error: the run ends as requested
    """A signal came: the run ends here, and the same command resumes it."""


class Interruptible:
    """A `with` block in which the first SIGINT or SIGTERM sets `requested`; a second one raises KeyboardInterrupt.

    Outside the main thread, where Python allows no signal handlers, `requested` stays False.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interruptible:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        name = signal.Signals(number).name
        # Straight to the descriptor: the signal may have come in the middle of a write to sys.stderr.
        os.write(2, f"\n{name}: ending after the present step or label; once more to end at once\n".encode())
