"""Start of a worker process of this machine, and the error of a task that ends its workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

from trepid.errors import ExitCode, TrepidError

MAX_DEATHS = 3
"""Number of workers that one task may end before it counts as failed."""


class TaskCrashed(TrepidError):  # noqa: N818 names what happened
    """A task ended its worker repeatedly, or the workers were ended from outside."""

    exit_code = ExitCode.BACKEND


class JobsFailed(TrepidError):  # noqa: N818 names what happened
    """The batch system ends the jobs of the workers, so that no task can be computed: no fault of a task."""

    exit_code = ExitCode.BACKEND


def died(task: str, deaths: int) -> TaskCrashed:
    """The error of a task, by its name, that ended `deaths` workers."""
    times = "once" if deaths == 1 else f"{deaths} times"
    return TaskCrashed(
        f"{task}: its worker process died {times} (a crash of the engine, out of memory, or ended from outside)"
    )


def begin_worker() -> None:
    """Make a worker depend on its parent alone.

    A session of its own: Ctrl-C in the terminal goes to the parent alone. When the parent ends, in whatever
    way, the worker ends with everything it started, since its results can no longer be used.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the handler of a parent that was forked is of no use here
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os.killpg(os.getpgrp(), signal.SIGKILL)
