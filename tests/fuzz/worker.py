"""A process that runs command lines of trepid and reports what came of them: exit code, output, traceback.

Importing trepid takes longer than most commands, so one process serves many of them. Its memory is limited; the other side
limits the time and starts another process when one hangs or dies.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

MEMORY_BYTES = 4 * 2**30
HANG_S = 60.0


@dataclass(frozen=True)
class Told:
    """What came of a command line.

    Attributes
    ----------
    code : int or None
        Exit code; None where the process hung or died.
    traceback : str
        Empty where there is none.
    text : str
        Standard output and error.
    seconds : float
    """

    code: int | None
    traceback: str
    text: str
    seconds: float

    @property
    def hung(self) -> bool:
        """It took longer than `HANG_S`."""
        return self.code is None and self.seconds >= HANG_S


class Worker:
    """One such process, from this side; started when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = -1

    def run(self, arguments: list[str], directory: Path) -> Told:
        """Run `trepid ARGUMENTS` in a folder."""
        began = time.monotonic()
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps([arguments, str(directory)]) + "\n").encode())
        self._process.stdin.flush()
        began = time.monotonic()
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self._answers], [], [], max(0.0, began + HANG_S - time.monotonic()))
            part = os.read(self._answers, 1 << 20) if ready else b""
            if not part:
                seconds = time.monotonic() - began
                code = self._process.poll()
                self.close()
                return Told(None, "" if not ready else f"the process died ({code})", "", seconds)
            answer += part
        code, trace, text = json.loads(answer)
        return Told(code, trace, text, time.monotonic() - began)

    def close(self) -> None:
        """End the process and what it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            os.close(self._answers)
        self._process = None

    def _start(self) -> None:
        self._answers, write = os.pipe()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(write)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(write,),
            start_new_session=True,
            env=environment,
        )
        os.close(write)


def serve(answers: int) -> None:
    """Run command lines from standard input until it closes."""
    os.set_inheritable(answers, False)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    from trepid.cli.main import run

    for line in sys.stdin:
        arguments, directory = json.loads(line)
        os.chdir(directory)
        text, trace, code = io.StringIO(), "", -1
        try:
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                code = run(arguments)
        except BaseException:
            trace = traceback.format_exc()
        told = text.getvalue()
        if not trace and "Traceback (most recent call last)" in told:
            trace = told
        os.write(answers, (json.dumps([int(code), trace[-4000:], told[-2000:]]) + "\n").encode())


if __name__ == "__main__":
    serve(int(sys.argv[1]))
