"""A reference in a separate process, with a time limit; a crash of it counts as a failed label.

The process is started at the first label and kept. Requests go through its standard input; when that closes, because
this process ended or was killed, the other one ends itself and everything it started, so that no orphan goes on
computing. Its standard output goes to standard error: engines print what they like.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from typing import IO, Any

from ase import Atoms

from trepid.data.frames import Labels, labels_of
from trepid.errors import ConfigError, TrepidError
from trepid.reference.base import FailureReason, LabelError, Reference
from trepid.reference.calculator import positive

_LENGTH = struct.Struct("<Q")
_SERVE = "import sys; from trepid.reference.isolation import serve; serve(int(sys.argv[1]))"


class IsolatedReference(Reference):
    """Run another reference in a process of its own.

    Parameters
    ----------
    reference : Reference
        Does the work; must be picklable (all of trepid are).
    timeout_s : float
        A label that takes longer is stopped (`FailureReason.TIMEOUT`), the process and all that it started are killed;
        the next label starts a new one.

    Raises
    ------
    ConfigError
        `timeout_s` is not positive, or the operating system has no process groups (Windows).
    """

    def __init__(self, reference: Reference, *, timeout_s: float) -> None:
        self.reference = reference
        self.name = reference.name
        self.timeout_s = positive(self.name, "timeout_s", timeout_s)
        if os.name != "posix":
            raise ConfigError(f"{self.name}: timeout_s needs Linux or macOS")
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: int | None = None

    def describe(self) -> dict[str, str | float | int]:
        """Engine, version and parameters of the reference inside, and the time limit."""
        return {**self.reference.describe(), "timeout_s": self.timeout_s}

    def close(self) -> None:
        """End the process."""
        self._stop()
        self.reference.close()

    def _check(self, atoms: Atoms) -> None:
        self.reference.check(atoms)

    def _compute(self, atoms: Atoms) -> Labels:
        deadline = time.monotonic() + self.timeout_s
        answer: Labels | TrepidError | None = None
        try:
            if self._process is None:
                self._start()
            self._send((self.reference, atoms))
            answer = self._receive(deadline)
        except TimeoutError as error:
            raise LabelError(
                FailureReason.TIMEOUT, f"{self.name}: took longer than {self.timeout_s:g} s and was stopped"
            ) from error
        except (EOFError, BrokenPipeError) as error:
            raise LabelError(FailureReason.CRASHED, f"{self.name}: {self._exit_message()}") from error
        finally:
            if answer is None:  # whatever happened, Ctrl-C included: a process in an unknown state is not used again
                self._stop()
        if isinstance(answer, TrepidError):
            raise answer
        return answer

    def _start(self) -> None:
        read, write = os.pipe()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(write)],
                stdin=subprocess.PIPE,
                stdout=sys.__stderr__ if sys.__stderr__ is not None else subprocess.DEVNULL,
                pass_fds=(write,),
                start_new_session=True,
                env=environment,
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self._answers = read
        self._finalizer = weakref.finalize(self, _end, self._process, read)

    def _stop(self) -> None:
        if self._process is not None:
            self._finalizer()
        self._process = self._answers = None

    def _send(self, request: tuple[Reference, Atoms]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        data = pickle.dumps(request)
        self._process.stdin.write(_LENGTH.pack(len(data)) + data)
        self._process.stdin.flush()

    def _receive(self, deadline: float) -> Any:
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline))
        return pickle.loads(self._read(length, deadline))

    def _read(self, size: int, deadline: float) -> bytes:
        """Exactly `size` bytes of the answer; TimeoutError, or EOFError when the process ends first."""
        assert self._answers is not None
        data = b""
        while len(data) < size:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            part = os.read(self._answers, size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _exit_message(self) -> str:
        """How the process ended."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            return "its process stopped answering"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}"

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process starts a process of its own."""
        return {
            "reference": self.reference,
            "name": self.name,
            "timeout_s": self.timeout_s,
            "_process": None,
            "_answers": None,
        }


def serve(answers: int) -> None:
    """Label what comes through standard input, until that closes: the other half of `IsolatedReference`.

    Parameters
    ----------
    answers : int
        File descriptor to write to.
    """
    os.set_inheritable(answers, False)  # else a code started by the engine would keep it open after a crash
    requests: queue.SimpleQueue[tuple[Reference, Atoms]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    while True:
        reference, atoms = requests.get()
        answer: Labels | TrepidError
        try:
            answer = labels_of(reference.label(atoms))
        except TrepidError as error:
            answer = error
        data = pickle.dumps(answer)
        with os.fdopen(os.dup(answers), "wb") as file:
            file.write(_LENGTH.pack(len(data)) + data)


def _listen(source: IO[bytes], requests: queue.SimpleQueue[tuple[Reference, Atoms]]) -> None:
    """Pass requests on; when they end, kill the whole process group, also during a label."""
    while header := source.read(_LENGTH.size):
        requests.put(pickle.loads(source.read(_LENGTH.unpack(header)[0])))
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _end(process: subprocess.Popen[bytes], answers: int) -> None:
    """Kill the process with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    os.close(answers)
