"""Execution of labels, trainings and trajectories: one `concurrent.futures.Executor`, on this machine or through Parsl.

Vocabulary
----------
task      a module-level function of picklable arguments; usually one frozen dataclass, returning another
worker    a process that computes tasks, one at a time
death     the end of a worker during a task: a crash, the out-of-memory killer, a job at its time limit

For every executor: a task whose worker dies is computed again, and only a task that ends `MAX_DEATHS` workers
fails, with `TaskCrashed`. An error that a task raises is its result and is never repeated here.
"""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.execution.inline import InlineExecutor
from trepid.execution.local import LocalExecutor
from trepid.execution.worker import MAX_DEATHS, JobsFailed, TaskCrashed

if TYPE_CHECKING:
    from trepid.config import ExecutionSettings

__all__ = ["MAX_DEATHS", "InlineExecutor", "JobsFailed", "LocalExecutor", "TaskCrashed", "make_executor"]


def make_executor(settings: ExecutionSettings, *, directory: Path) -> Executor:
    """Executor of the settings; to be used in a `with` block, which ends its workers.

    Parameters
    ----------
    settings : ExecutionSettings
        `workers` processes on this machine (1: in this process), or Parsl with the user's configuration.
    directory : Path
        For the logs of Parsl; the other executors write nothing.

    Returns
    -------
    concurrent.futures.Executor
        Where the block is left by an exception, tasks not yet begun are cancelled and workers of this machine ended.

    Raises
    ------
    ConfigError
        Parsl is chosen and not installed, or its configuration cannot be used.
    """
    if settings.parsl is not None:
        from trepid.execution.cluster import ParslExecutor  # deferred: optional, and slow to import

        return ParslExecutor(settings.parsl, directory=directory)
    return InlineExecutor() if settings.workers == 1 else LocalExecutor(settings.workers)
