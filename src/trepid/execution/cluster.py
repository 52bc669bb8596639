"""Workers on batch systems, Kubernetes or other machines, through Parsl; the user's configuration names them.

https://parsl.readthedocs.io. Any executor of Parsl will do; `HighThroughputExecutor` with a provider for the batch
system is the usual one (docs/execution.md).
"""

from __future__ import annotations

import runpy
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from types import TracebackType
from typing import Any

from trepid.errors import ConfigError
from trepid.execution.worker import MAX_DEATHS, JobsFailed, died
from trepid.processes import Watch

INSTALL = "pip install 'trepid[parsl]'"
_DEATHS = ("WorkerLost", "ManagerLost")
"""Exceptions of Parsl for a lost worker; named, since they lie in different modules."""
_GIVEN_UP = ("BadStateException", "ScalingFailed")
"""Exceptions of Parsl for an executor that it uses no more, because its jobs fail."""


class ParslExecutor(Executor):
    """Computes tasks through Parsl.

    Parameters
    ----------
    config_file : Path
        Python file that defines `config`, a `parsl.config.Config`.
    directory : Path
        Logs go to its folder `parsl`, unless the configuration names a folder itself.
    max_deaths : int
        Number of workers that one task may end before it fails with `TaskCrashed`; on top of the retries of the
        configuration.

    Raises
    ------
    ConfigError
        Parsl is not installed, the file cannot be run or defines no configuration, or Parsl rejects it.
    """

    def __init__(self, config_file: Path, *, directory: Path, max_deaths: int = MAX_DEATHS) -> None:
        try:
            import parsl
            import psutil  # of Parsl
            from parsl.concurrent import ParslPoolExecutor
        except ImportError as error:
            raise ConfigError(f"execution.parsl needs Parsl, which is not installed: {INSTALL}") from error
        config = _read_config(config_file)
        if config.run_dir == parsl.config.Config().run_dir:
            config.run_dir = str((directory / "parsl").resolve())
        self.max_deaths = max_deaths
        # A kernel of our own, not the one of `parsl.load`, which a script may have loaded for itself.
        here = psutil.Process()
        before = {child.pid for child in here.children()}
        try:
            self._kernel = parsl.DataFlowKernel(config)
        except Exception as error:  # providers raise any exception
            problem = " ".join(str(error).split())[:300] or type(error).__name__
            raise ConfigError(f"{config_file}: Parsl cannot start with this configuration: {problem}") from error
        # Parsl's interchange would outlive a killed campaign, and its jobs would hold their nodes to their time limit.
        self._watch = Watch([child.pid for child in here.children() if child.pid not in before])
        self._pool = ParslPoolExecutor(dfk=self._kernel)
        self._open: set[Future[Any]] = set()
        self._changed = threading.Condition()
        self._closed = self._cleaned = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Compute `fn(*args, **kwargs)` in a worker; function, arguments and result must be picklable."""
        if self._closed:
            raise RuntimeError("this executor has been shut down")
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # Parsl cannot take a task back
        with self._changed:
            self._open.add(future)
        self._send(future, 1, fn, args, kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, wait for those submitted unless `cancel_futures`, and release the workers.

        Parsl cannot cancel a task: those that are not waited for are dropped with their workers.
        """
        self._closed = True
        if not wait and not cancel_futures:
            return
        with self._changed:
            while self._open and not cancel_futures:
                self._changed.wait()
        if not self._cleaned:
            self._cleaned = True
            self._kernel.cleanup()
            self._watch.release()
            with self._changed:
                for future in list(self._open):
                    self._settle(future, error=died("task", 1))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)

    def _send(
        self, future: Future[Any], attempt: int, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        def received(answer: Future[Any]) -> None:
            error = answer.exception()
            if error is None:
                self._settle(future, result=answer.result())
            elif type(error).__name__ in _GIVEN_UP:
                self._settle(future, error=JobsFailed(_given_up(error)))
            elif type(error).__name__ not in _DEATHS:
                self._settle(future, error=error)
            elif attempt >= self.max_deaths or self._cleaned:
                self._settle(future, error=died(getattr(fn, "__name__", "task"), attempt))
            else:
                # Not from this thread: it is the one of Parsl that hands out results.
                threading.Thread(target=self._send, args=(future, attempt + 1, fn, args, kwargs), daemon=True).start()

        try:
            self._pool.submit(fn, *args, **kwargs).add_done_callback(received)
        except Exception as error:  # the kernel was closed meanwhile, or an argument cannot be pickled
            self._settle(future, error=error)

    def _settle(self, future: Future[Any], *, result: Any = None, error: BaseException | None = None) -> None:
        with self._changed:
            if future not in self._open:
                return
            self._open.discard(future)
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
            self._changed.notify_all()


def _given_up(error: BaseException) -> str:
    """What Parsl says of the jobs, in one line."""
    reason = " ".join(str(error.__cause__ or error).split())[:300]
    return (
        f"Parsl has given up its executor, because its jobs fail: {reason}. Finished labels are kept, and the same command "
        "goes on; where single jobs may fail, set block_error_handler in the configuration (docs/execution.md)"
    )


def _read_config(path: Path) -> Any:
    """The `config` that a Python file defines."""
    from parsl.config import Config

    try:
        defined = runpy.run_path(str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # a user error in the file
        problem = " ".join(str(error).split())[:300]
        raise ConfigError(f"{path}: {type(error).__name__}: {problem}") from error
    config = defined.get("config")
    if not isinstance(config, Config):
        found = "nothing" if config is None else f"a {type(config).__name__}"
        raise ConfigError(f"{path}: `config` is {found}; define config = parsl.config.Config(...)")
    return config
