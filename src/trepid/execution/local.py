"""Worker processes of this machine: a pool in which the death of a worker concerns one task.

One `ProcessPoolExecutor` breaks as a whole when one of its processes dies, without reporting which task caused it. So every
worker here is a pool of its own, of one process, fed by one thread: its death concerns one task, which is computed
again, and no other.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from trepid.errors import ConfigError
from trepid.execution.worker import MAX_DEATHS, begin_worker, died

THREADS = "OMP_NUM_THREADS"
"""Every worker computes with one thread unless this is set: the workers are the parallelism."""

_environment_lock = threading.Lock()


@dataclass(frozen=True)
class _Task:
    future: Future[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        return str(getattr(self.function, "__name__", self.function))


class LocalExecutor(Executor):
    """Computes tasks in processes started afresh (spawn), as many at a time as there are workers.

    Parameters
    ----------
    workers : int
        Processes; started when there is something to do.
    max_deaths : int
        Number of workers that one task may end before it fails with `TaskCrashed`.

    Raises
    ------
    ConfigError
        A number below 1.
    """

    def __init__(self, workers: int, *, max_deaths: int = MAX_DEATHS) -> None:
        for name, number in (("workers", workers), ("max_deaths", max_deaths)):
            if number < 1:
                raise ConfigError(f"{name} is {number}; give 1 or more")
        self.workers, self.max_deaths = workers, max_deaths
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._pids: set[int] = set()
        self._lock = threading.Lock()
        self._closed = self._killed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Compute `fn(*args, **kwargs)` in a worker; function, arguments and result must be picklable."""
        with self._lock:
            if self._closed:
                raise RuntimeError("this executor has been shut down")
            task = _Task(Future(), fn, args, kwargs)
            self._tasks.put(task)
            if self._idle:
                self._idle -= 1
            elif len(self._threads) < self.workers:
                thread = threading.Thread(target=self._serve, daemon=True)
                self._threads.append(thread)
                thread.start()
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; end the workers once those submitted are done, or at once those not begun are dropped."""
        with self._lock:
            first, self._closed = not self._closed, True
            if cancel_futures:
                with suppress(queue.Empty):
                    while True:
                        task = self._tasks.get_nowait()
                        if task is not None:
                            task.future.cancel()
                first = True  # the signs to end were taken out too
            if first:
                for _ in self._threads:
                    self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def kill(self) -> None:
        """End the workers now, with all that they started; their tasks fail with `TaskCrashed`."""
        with self._lock:
            self._killed = True
            pids = set(self._pids)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.shutdown(wait=False, cancel_futures=True)
            self.kill()
        self.shutdown(wait=True)

    # ------------------------------------------------------------------ one thread per worker

    def _serve(self) -> None:
        worker: _Worker | None = None
        while (task := self._tasks.get()) is not None:
            if task.future.set_running_or_notify_cancel():
                worker = self._compute(task, worker)
            with self._lock:
                self._idle += 1
        if worker is not None:
            worker.pool.shutdown(wait=True)
            self._forget(worker)

    def _compute(self, task: _Task, worker: _Worker | None) -> _Worker | None:
        """Compute a task; gives the worker that is left, None if it died."""
        for deaths in range(1, self.max_deaths + 1):
            if self._killed:
                task.future.set_exception(died(task.name, 1))
                break
            try:
                if worker is None:
                    worker = self._start()
                result = worker.pool.submit(task.function, *task.args, **task.kwargs).result()
            except BrokenProcessPool:
                if worker is not None:
                    worker.pool.shutdown(wait=False)
                    self._forget(worker)
                    worker = None
                if deaths == self.max_deaths:
                    task.future.set_exception(died(task.name, deaths))
                    break
            except BaseException as error:  # what a task raises is its result, whatever it is
                task.future.set_exception(error)
                break
            else:
                task.future.set_result(result)
                break
        return worker

    def _start(self) -> _Worker:
        """A worker that has reported that it has started."""
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=begin_worker)
        with _one_thread():  # the libraries of linear algebra read it when they are loaded
            hello = pool.submit(os.getpid)
        try:
            worker = _Worker(pool, hello.result())
        except BaseException:
            pool.shutdown(wait=False)
            raise
        with self._lock:
            self._pids.add(worker.pid)
            killed = self._killed
        if killed:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
        return worker

    def _forget(self, worker: _Worker) -> None:
        with self._lock:
            self._pids.discard(worker.pid)


@dataclass(frozen=True)
class _Worker:
    pool: ProcessPoolExecutor
    pid: int


@contextmanager
def _one_thread() -> Iterator[None]:
    """Environment for a process being started: one thread, unless the user has set a number."""
    with _environment_lock:
        given = os.environ.get(THREADS)
        if given is None:
            os.environ[THREADS] = "1"
        try:
            yield
        finally:
            if given is None:
                del os.environ[THREADS]
