"""What a worker process of this machine does before its first task, and what its death is called."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

from trepid.errors import ExitCode, TrepidError

MAX_DEATHS = 3
"""Workers that one task may take with it before it counts as failed."""


class TaskCrashed(TrepidError):  # noqa: N818 what happened, in a word
    """A task ended its worker repeatedly, or the workers were ended from outside."""

    exit_code = ExitCode.BACKEND


def died(task: str, deaths: int) -> TaskCrashed:
    """The error of a task, by its name, that took `deaths` workers with it."""
    times = "once" if deaths == 1 else f"{deaths} times"
    return TaskCrashed(
        f"{task}: its worker process died {times} (a crash of the engine, out of memory, or ended from outside)"
    )


def begin_worker() -> None:
    """Make a worker answer to its parent alone.

    A session of its own: Ctrl-C in the terminal goes to the parent, which decides. And when the parent ends, in
    whatever way, the worker ends with everything it started: nobody would take its results.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the handler of a parent that was forked is of no use here
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os.killpg(os.getpgrp(), signal.SIGKILL)
