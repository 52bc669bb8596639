"""The watch of signals sees each of them, also where the main thread is done with it first."""

from __future__ import annotations

import os
import select
import signal
import threading
from types import FrameType

import pytest

from trepid import signals
from trepid.dynamics.interrupt import Interruptible
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


def test_a_signal_in_an_inner_block_that_comes_to_its_own_end_stops_the_outer_one() -> None:
    """A screening, whose material had just made its last label when the signal came."""
    with Interruptible() as outermost:
        with Interruptible() as outer:
            with Interruptible() as inner:
                os.kill(os.getpid(), signal.SIGTERM)
            assert inner.requested
            assert outer.requested
            assert not outermost.requested
        assert outermost.requested
    with Interruptible() as later:
        assert not later.requested


def test_a_block_of_another_thread_hands_on_to_none_of_this_one() -> None:
    with Interruptible() as outer:

        def other() -> None:
            with Interruptible() as block:
                block.requested = True

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert not outer.requested
