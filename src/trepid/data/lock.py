"""The lock on a run directory: one process writes there at a time, and others can ask which.

The lock is one of the operating system on the file `.lock`, so that it goes away with the process, however that ends. The
file holds process and machine of the last owner, for messages; whether the lock is held is never read from it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from trepid.errors import DataError, cannot_write

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
_PATIENCE_S = 0.3
"""For so long a lock that is held is tried again: `holder_of` holds it for an instant."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock; None where its file does not tell.

    Attributes
    ----------
    pid : int or None
    host : str or None
    """

    pid: int | None
    host: str | None

    def __str__(self) -> str:
        return "" if self.pid is None else f"pid {self.pid} on {self.host}"


class RunLock:
    """Lock on a directory; the operating system releases it when the process ends, also after a kill.

    Parameters
    ----------
    directory : Path
        Must exist.

    Raises
    ------
    DataError
        Another process holds it, or the file cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK_FILE
        try:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 held open for as long as the lock
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            if not _taken(self._file.fileno(), fcntl.LOCK_EX, patience_s=_PATIENCE_S):
                holder = _written(path)
                raise DataError(
                    f"{directory} is in use by another trepid process{f' ({holder})' if str(holder) else ''}; wait for it or "
                    "stop it"
                )
            # The file is a courtesy: on a full disk the lock holds without it.
            with contextlib.suppress(OSError):
                self._file.truncate(0)
                self._file.write(f"{os.getpid()} {platform.node()}\n".encode())
        except BaseException:
            self._file.close()
            raise

    def fileno(self) -> int:
        """File descriptor; a process that inherits it holds the lock too."""
        return self._file.fileno()

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


def holder_of(directory: Path) -> Holder | None:
    """The process that holds the lock on a directory; None where no process does. Changes nothing."""
    path = directory / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _taken(descriptor, fcntl.LOCK_SH, patience_s=0.0) else _written(path)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, kind: int, *, patience_s: float) -> bool:
    """Try to take a lock; True too on a file system that knows none."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning(
                "this file system has no locks (%s): run one trepid at a time in a directory", error.strerror
            )
            return True
        else:
            return True


def _written(path: Path) -> Holder:
    """What the file says about its owner."""
    try:
        pid, host = path.read_text(encoding="utf-8").split()
        return Holder(int(pid), host)
    except (OSError, ValueError):
        return Holder(None, None)
