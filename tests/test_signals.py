"""The watch of signals sees each of them, also where the main thread is done with it first."""

from __future__ import annotations

import os
import select
import signal
import threading
from types import FrameType

import pytest

from trepid import signals
from trepid.signals import SignalWatch


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_the_main_thread_answers_first_is_seen(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    stopped, wait = threading.Event(), select.select

    def late(*arguments: object) -> tuple[list[int], list[int], list[int]]:
        """As for a thread that the system schedules only after the watch was told to stop."""
        stopped.wait(60)
        return wait(*arguments)  # type: ignore[call-overload, no-any-return]

    class Select:
        select = staticmethod(late)

    monkeypatch.setattr(signals, "select", Select)
    seen: list[tuple[int, int]] = []
    watch = SignalWatch(lambda _, n, count: seen.append((n, count)))
    watch.start(_interrupt)
    close = os.close

    def close_and_go_on(descriptor: int) -> None:
        close(descriptor)
        stopped.set()

    try:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        monkeypatch.setattr(signals.os, "close", close_and_go_on)
    finally:
        watch.stop()
    assert seen == [(number, 1)]
