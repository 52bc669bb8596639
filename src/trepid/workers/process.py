"""A worker process: start, requests, end; its death is an error of one line with the end of its log.

The worker's standard input and output carry messages (`scripts.worker_channel`), its standard error is a log file. Closing its
standard input ends it, so it cannot outlive this process. A worker that sends nothing for longer than any evaluation takes
hangs: it is ended too. Trainings have no time limit.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import select
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trepid.errors import BackendError, ConfigError
from trepid.workers.environments import WORKERS, Environment
from trepid.workers.scripts.worker_channel import Arrays, ChannelError, receive, send
from trepid.workers.scripts.worker_foundation import FOUNDATION_VARIABLE

SILENCE_S = 1800.0
"""How long a worker may be silent by default, s: several times the slowest measured evaluation, the first one of a network that is
compiled for it."""
SILENCE_VARIABLE = "TREPID_WORKER_SILENCE_S"
_LONGEST_POLL_MS = 2**31 - 1  # a C int
_LOG_LINES = 4
_GRACE_S = 5.0
DEFAULT_THREADS = "1"
"""Of a worker, where OMP_NUM_THREADS is not set."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def worker_threads(variables: Mapping[str, str]) -> str:
    """Threads of a worker that is started with these environment variables."""
    return variables.get("OMP_NUM_THREADS", DEFAULT_THREADS)


class WorkerDied(BackendError):  # noqa: N818 names what happened
    """The process ended, sent something that is not a response, or hung and was ended."""


class WorkerProcess:
    """One running worker.

    Parameters
    ----------
    environment : Environment
        Interpreter and script.
    silence_s : float, optional
        How long it may be silent during a request, s, except a training; default: the environment variable
        TREPID_WORKER_SILENCE_S, else `SILENCE_S`.

    Raises
    ------
    BackendError
        The interpreter cannot be started.
    ConfigError
        The environment variable is not a positive number.
    """

    def __init__(self, environment: Environment, *, silence_s: float | None = None) -> None:
        self.environment = environment
        self._silence_s = default_silence_s() if silence_s is None else silence_s
        self.folder = Path(tempfile.mkdtemp(prefix=f"trepid-{environment.backend}-"))
        self.log = self.folder / "log"
        variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
        # Never this environment's packages, which do not fit the other one; a user's script finds `worker_server` there.
        variables["PYTHONPATH"] = str(WORKERS)
        variables.pop("PYTHONHOME", None)
        variables[FOUNDATION_VARIABLE] = environment.foundation_model or ""
        variables["TMPDIR"] = str(self.folder)  # a worker that is stopped leaves nothing behind
        variables.update(dict.fromkeys(_THREADS, worker_threads(variables)))
        try:
            with open(self.log, "wb") as stderr:
                self._process = subprocess.Popen(
                    [environment.python, environment.script],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=variables,
                )
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise BackendError(
                f"backend {environment.backend}: {environment.python} cannot be started: {error.strerror}"
            ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests = _PatientWriter(self._process.stdin.fileno(), patience_s=self._silence_s)
        self._pipe = _PatientReader(self._process.stdout.fileno())
        self._answers = io.BufferedReader(self._pipe)
        self._end = weakref.finalize(self, _end, self._process, self.folder)

    def request(
        self, verb: str, arrays: Mapping[str, NDArray[Any]] | None = None, **fields: Any
    ) -> tuple[dict[str, Any], Arrays]:
        """Send a request and wait for the response.

        Raises
        ------
        WorkerDied
            The process ended, sent garbage or hung; it is stopped.
        BackendError
            The worker reports an error.
        """
        name = self.environment.backend
        self._pipe.patience_s = None if verb == "train" else self._silence_s
        received = False
        try:
            send(self._requests, {"verb": verb, **fields}, arrays)
            header, out = receive(self._answers)
            received = True
        except TimeoutError as error:
            self._process.kill()  # it would not read a request to end either
            raise WorkerDied(
                f"backend {name}: its worker did not respond for {self._silence_s:g} s ({verb}) and was ended; if it was "
                f"computing, set {SILENCE_VARIABLE} to more; last log lines: {self._log_tail()}"
            ) from error
        except (ChannelError, OSError) as error:
            raise WorkerDied(f"backend {name}: its worker {self._exit_message(error)}") from error
        finally:
            if not received:  # after an interrupt too: the next response would be that of this request
                self.close()
        if "error" in header:
            raise BackendError(f"backend {name}: {header['error']}")
        return header, out

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return self._end.alive and self._process.poll() is None

    def close(self) -> None:
        """End the process; a second call does nothing."""
        self._end()

    def _exit_message(self, error: Exception) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.5)
        code = self._process.poll()
        how = f"sent no response ({error})" if code is None else f"died with exit code {code}"
        return f"{how}; last log lines: {self._log_tail()}"

    def _log_tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LOG_LINES:]
        return " | ".join(lines) or "none"


def default_silence_s() -> float:
    """How long workers may be silent, s.

    Raises
    ------
    ConfigError
        The environment variable TREPID_WORKER_SILENCE_S is not a positive number.
    """
    text = os.environ.get(SILENCE_VARIABLE, str(SILENCE_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise ConfigError(f"{SILENCE_VARIABLE} is {text!r}; it must be a positive number of seconds, or inf")
    return seconds


class _PatientReader(io.RawIOBase):
    """The reading end of a pipe; reads raise TimeoutError after `patience_s` without a byte, None: never."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self.patience_s: float | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As of `io.RawIOBase`."""
        if not self._poll.poll(None if self.patience_s is None else _milliseconds(self.patience_s)):
            raise TimeoutError(f"silent for {self.patience_s:g} s")
        return os.readv(self._descriptor, [buffer])


class _PatientWriter(io.RawIOBase):
    """The writing end of a pipe; writes raise TimeoutError when no byte is read for `patience_s`."""

    def __init__(self, descriptor: int, *, patience_s: float) -> None:
        super().__init__()
        self._descriptor, self._patience_s = descriptor, patience_s
        os.set_blocking(descriptor, False)  # else a large write would wait for ever for a reader that hangs
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            if not self._poll.poll(_milliseconds(self._patience_s)):
                raise TimeoutError(f"read nothing for {self._patience_s:g} s")
            rest = rest[os.write(self._descriptor, rest) :]
        return size


def _milliseconds(seconds: float) -> float:
    return min(1000 * seconds, _LONGEST_POLL_MS)


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        process.wait(timeout=0.0 if process.poll() is not None else _GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def as_arrays(numbers: NDArray[Any], positions: NDArray[Any], cell: NDArray[Any], pbc: NDArray[Any]) -> Arrays:
    """Arrays of a frame as a worker expects them."""
    return {
        "numbers": np.asarray(numbers, dtype=np.int64),
        "positions": np.asarray(positions, dtype=np.float64),
        "cell": np.asarray(cell, dtype=np.float64),
        "pbc": np.asarray(pbc, dtype=bool),
    }
