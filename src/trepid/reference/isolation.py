"""A reference in a separate process, with a time limit; a crash of it counts as a failed label.

The labels of a campaign are computed like this. The process is started at the first label and kept, with the reference in it,
so that what that has loaded serves the next label too. It leads a group of its own, which ends when this process does, in whatever
way (`trepid.processes`), so that no orphan goes on computing. Signals of the terminal and of batch systems do not end it: this
process decides about a label that is being computed. Its standard output goes to standard error: engines print what they like.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import weakref
from typing import Any

from ase import Atoms

from trepid.data.frames import Labels
from trepid.errors import ConfigError, TrepidError
from trepid.processes import Dependent
from trepid.reference.base import FailureReason, LabelError, Reference
from trepid.reference.calculator import positive

_LENGTH = struct.Struct("<Q")
_SERVE = "import sys; from trepid.reference.isolation import serve; serve(int(sys.argv[1]))"

FIRST_LIMIT_S = 86_400.0
"""Time limit of a label where none is given and there is no label yet, s."""
LIMIT_FACTOR, LEAST_LIMIT_S = 20.0, 3_600.0
"""After that: so many times the longest label so far, and no less than this, s."""


class IsolatedReference(Reference):
    """Run another reference in a process of its own.

    Parameters
    ----------
    reference : Reference
        Does the work; must be picklable (all of trepid are).
    timeout_s : float or None
        A label that takes longer is stopped (`FailureReason.TIMEOUT`), the process and all that it started are killed;
        the next label starts a new one. None: `FIRST_LIMIT_S` for the first label, then `LIMIT_FACTOR` times the longest
        one so far, no less than `LEAST_LIMIT_S`.

    Raises
    ------
    ConfigError
        `timeout_s` is not positive, or the operating system has no process groups (Windows).
    """

    def __init__(self, reference: Reference, *, timeout_s: float | None = None) -> None:
        self.reference = reference
        self.name = reference.name
        self.timeout_s = None if timeout_s is None else positive(self.name, "timeout_s", timeout_s)
        if os.name != "posix":
            raise ConfigError(f"{self.name}: a reference in a process of its own needs Linux or macOS")
        self._process: Dependent | None = None
        self._answers: int | None = None
        self._longest_s: float | None = None
        reference.close()  # what it has loaded here is not used

    @property
    def limit_s(self) -> float:
        """Time limit of the next label, s."""
        if self.timeout_s is not None:
            return self.timeout_s
        return FIRST_LIMIT_S if self._longest_s is None else max(LEAST_LIMIT_S, LIMIT_FACTOR * self._longest_s)

    def describe(self) -> dict[str, str | float | int]:
        """Engine, version and parameters of the reference inside, and the time limit where one was given."""
        limit = {} if self.timeout_s is None else {"timeout_s": self.timeout_s}
        return {**self.reference.describe(), **limit}

    def close(self) -> None:
        """End the process."""
        self._stop()
        self.reference.close()

    def _check(self, atoms: Atoms) -> None:
        self.reference.check(atoms)

    def _compute(self, atoms: Atoms) -> Labels:
        began, limit = time.monotonic(), self.limit_s
        answer: Labels | TrepidError | None = None
        try:
            if self._process is None:
                self._start()
            self._send(atoms)
            answer = self._receive(began + limit)
        except TimeoutError as error:
            raise LabelError(
                FailureReason.TIMEOUT,
                f"{self.name}: took longer than {limit:g} s and was stopped (reference.timeout_s sets the limit)",
            ) from error
        except (EOFError, BrokenPipeError) as error:
            raise LabelError(FailureReason.CRASHED, f"{self.name}: {self._exit_message()}") from error
        finally:
            if answer is None:  # whatever happened, Ctrl-C included: a process in an unknown state is not used again
                self._stop()
        if isinstance(answer, TrepidError):
            raise answer
        self._longest_s = max(self._longest_s or 0.0, time.monotonic() - began)
        return answer

    def _start(self) -> None:
        read, write = os.pipe()
        # Temporary files of its own: a process that is killed cannot remove them, so that its guard does.
        folder = tempfile.mkdtemp(prefix="trepid-reference-")
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": folder}
        try:
            self._process = Dependent(
                [sys.executable, "-c", _SERVE, str(write)],
                pass_fds=(write,),
                folder=folder,
                stdin=subprocess.PIPE,
                stdout=sys.__stderr__ if sys.__stderr__ is not None else subprocess.DEVNULL,
                env=environment,
            )
        except BaseException:
            os.close(read)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            os.close(write)
        self._answers = read
        self._finalizer = weakref.finalize(self, _end, self._process, read, folder)

    def _stop(self) -> None:
        if self._process is not None:
            self._finalizer()
        self._process = self._answers = None

    def _send(self, atoms: Atoms) -> None:
        assert self._process is not None
        assert self._process.popen.stdin is not None
        data = pickle.dumps((pickle.dumps(self.reference), atoms))
        self._process.popen.stdin.write(_LENGTH.pack(len(data)) + data)
        self._process.popen.stdin.flush()

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
            code = self._process.popen.wait(timeout=10.0)
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
            "_longest_s": self._longest_s,
        }


def serve(answers: int) -> None:
    """Label what comes through standard input, until that closes: the other half of `IsolatedReference`.

    Parameters
    ----------
    answers : int
        File descriptor to write to.
    """
    os.set_inheritable(answers, False)  # else a code started by the engine would keep it open after a crash
    for number in (signal.SIGINT, signal.SIGTERM):
        # A handler, not SIG_IGN: a code started by the engine gets back the default, not a signal that it never sees.
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)
    requests = sys.stdin.buffer
    pickled = b""
    reference: Reference | None = None
    while header := requests.read(_LENGTH.size):
        sent, atoms = pickle.loads(requests.read(_LENGTH.unpack(header)[0]))
        if reference is None or sent != pickled:  # the settings of a reference may change between two labels
            if reference is not None:
                reference.close()
            pickled, reference = sent, pickle.loads(sent)
        data = pickle.dumps(_answer(reference, atoms))
        with os.fdopen(os.dup(answers), "wb") as file:
            file.write(_LENGTH.pack(len(data)) + data)


def _answer(reference: Reference, atoms: Atoms) -> Labels | TrepidError:
    try:
        return reference.evaluate(atoms)
    except TrepidError as error:
        return error
    except KeyboardInterrupt:  # no signal raises it here
        return LabelError(FailureReason.CRASHED, f"{reference.name}: the calculator raised KeyboardInterrupt")


def _end(process: Dependent, answers: int, folder: str) -> None:
    """Kill the process with all that it started, and remove its temporary files."""
    process.end()
    os.close(answers)
    shutil.rmtree(folder, ignore_errors=True)
