"""Processes that this one starts: none of them outlives it, and all can be ended at once.

A process started here leads a group of its own, so that Ctrl-C in the terminal does not reach it. A small guard in the same
group waits on a pipe that only this process holds open: when this process ends, in whatever way, the guard kills the
group. It needs no help of the program that runs in it, which may be busy in a library for hours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

# Runs before the program, in the group of the new process: it leaves a guard behind and becomes the program. The guard removes the
# folder first: the kill ends itself too.
_GUARD = """
import os, select, signal, sys
life, folder = int(sys.argv[1]), sys.argv[2]
if os.fork() == 0:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.dup2(life, 0)
    os.closerange(1, 65536)
    poll = select.poll()
    poll.register(0, 0)
    poll.poll()
    if folder:
        import shutil
        shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)
os.close(life)
os.execvp(sys.argv[3], sys.argv[3:])
"""

# Waits until the other end of its standard input is closed, and kills.
_WATCH = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if not sys.stdin.buffer.read():
    for pid in sys.argv[1:]:
        try:
            os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass
"""

_groups: set[int] = set()
_lock = threading.Lock()


class Dependent:
    """A process that ends with this one.

    Parameters
    ----------
    command : sequence of str
    pass_fds : sequence of int
        File descriptors that it inherits, beside the standard ones.
    folder : str
        Of its temporary files: removed where this process ends before it calls `end`; empty: none.
    **options
        As of `subprocess.Popen`.

    Attributes
    ----------
    popen : subprocess.Popen

    Raises
    ------
    OSError
        It cannot be started.
    """

    def __init__(
        self, command: Sequence[str], *, pass_fds: Sequence[int] = (), folder: str = "", **options: Any
    ) -> None:
        read, self._life = os.pipe()
        try:
            self.popen: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _GUARD, str(read), folder, *command],
                pass_fds=(*pass_fds, read),
                start_new_session=True,
                **options,
            )
        except BaseException:
            os.close(self._life)
            raise
        finally:
            os.close(read)
        self._ended = False
        keep(self.popen.pid)

    @property
    def pid(self) -> int:
        """Number of the process and of its group."""
        return self.popen.pid

    def terminate(self) -> None:
        """Send SIGTERM to the process and all that it started; the guard ignores it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGTERM)

    def end(self) -> None:
        """Kill the process with all that it started; a second call does nothing."""
        if self._ended:
            return
        self._ended = True
        # The guard keeps the group alive, so that its number cannot have been given to another one.
        _kill(self.popen.pid)
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        os.close(self._life)
        forget(self.popen.pid)


class Watch:
    """Kills processes that a library has started, should this process end before `release`, in whatever way.

    Parameters
    ----------
    pids : sequence of int
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCH, *map(str, pids)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # inherited, it would keep the output of this process open after its end
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def release(self) -> None:
        """Leave the processes alone; a second call does nothing."""
        assert self._popen.stdin is not None
        if not self._popen.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._popen.communicate(b"released")
            self._popen.wait()


def keep(group: int) -> None:
    """Note a process group that `kill_all` has to end."""
    with _lock:
        _groups.add(group)


def forget(group: int) -> None:
    """Take a group that has ended from the list."""
    with _lock:
        _groups.discard(group)


def kill_all() -> None:
    """Kill all groups that were noted: this process ends now."""
    for group in tuple(_groups):  # without the lock, which the main thread may hold for ever
        _kill(group)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
