"""Atomic writes: a file is either the old version or the new version, never a mixture.

A file is written under a temporary name in the folder of its target, flushed to the disk, then renamed over the target
(`os.replace`, atomic on one file system), and the folder is flushed too. After a kill or a power cut one of
the two versions is there, complete.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from trepid.errors import DataError, cannot_write

_TEMPORARY = re.compile(r"^\..+\.[0-9a-f]{8}\.trepid-tmp$")

# Some network and FUSE file systems refuse to flush a folder; the rename itself is still atomic there.
_FOLDER_FSYNC_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


@contextmanager
def atomic_write(path: str | Path, mode: str = "w", *, durable: bool = True) -> Iterator[IO[Any]]:
    """Open a file for writing that replaces `path` only when the block ends without an exception.

    Parameters
    ----------
    path : str or Path
        Target. A symbolic link stays one: what it points to is replaced. The permissions of an existing target are
        kept.
    mode : {"w", "wb"}
        Text (UTF-8, newlines as given) or bytes.
    durable : bool
        Flush file and folder to the disk, so that a power cut leaves the old version or the new one. False for files that
        nothing rests on.

    Yields
    ------
    file object
        Not the target itself: nothing is visible under `path` before the end of the block.

    Raises
    ------
    DataError
        The file cannot be created, written, flushed, closed or renamed (missing folder, no permission); MachineError where
        the disk is full or broken. The old target is untouched.
    ValueError
        Another `mode`.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"atomic_write: mode must be 'w' or 'wb', got {mode!r}")
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise DataError(f"cannot write {path}: it is a folder")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.trepid-tmp")
    with _as_data_error(path):
        # O_EXCL: never an existing file. Mode 0o666 less the umask, as `open` gives: with the 0o600 of mkstemp other
        # users could not read the file.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        encoding, newline = (None, None) if mode == "wb" else ("utf-8", "")
        file = open(descriptor, mode, encoding=encoding, newline=newline)  # noqa: SIM115 closed below, where it may fail
        with _as_data_error(path):
            try:
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                file.close()
            finally:
                # After a failed write it fails once more on a full disk, for what is left in the buffer.
                with suppress(OSError):
                    file.close()
            if target.exists():
                os.chmod(temporary, target.stat().st_mode & 0o7777)
            os.replace(temporary, target)
        if durable:
            with _as_data_error(path):
                fsync_folder(target.parent)
    finally:
        # After a rename no file of that name exists; after an exception of any kind, Ctrl-C included, one does.
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: str | Path, text: str, *, durable: bool = True) -> None:
    """Replace `path` by `text` (UTF-8) atomically; `durable` and errors as `atomic_write`."""
    with atomic_write(path, "w", durable=durable) as file, _as_data_error(path):
        file.write(text)


def write_bytes_atomic(path: str | Path, data: bytes | bytearray | memoryview) -> None:
    """Replace `path` by `data` atomically; errors as `atomic_write`."""
    with atomic_write(path, "wb") as file, _as_data_error(path):
        file.write(data)


def append_bytes(path: str | Path, data: bytes) -> None:
    """Append `data` to `path` and flush it to the disk; created when missing.

    Not atomic under a kill or a power cut: a part of `data` may be at the end of the file afterwards. On any exception
    the file is cut back to its old length.

    Raises
    ------
    DataError
        The file cannot be opened, written or flushed; MachineError where the disk is full or broken.
    """
    target = Path(os.path.realpath(path))
    created = not target.exists()
    # Unbuffered: a buffer would try once more to write its rest when the file is closed, after the cut.
    with _as_data_error(path), open(target, "ab", buffering=0) as file:
        length = file.seek(0, os.SEEK_END)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            os.ftruncate(file.fileno(), length)
            raise
    if created:
        with _as_data_error(path):
            fsync_folder(target.parent)


def fsync_folder(folder: str | Path) -> None:
    """Flush the entries of `folder` to the disk, so that a rename in it survives a power cut.

    A no-op on Windows, which has no such operation.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_FSYNC_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def remove_stale_temporaries(folder: str | Path) -> list[Path]:
    """Delete the temporary files that `atomic_write` left in `folder` when the process was killed (SIGKILL, power cut).

    Only for a folder that no other process writes to: it would delete the file that such a process is writing.

    Returns
    -------
    list of Path
        The files removed.
    """
    stale = [entry for entry in sorted(Path(folder).iterdir()) if _TEMPORARY.match(entry.name) and entry.is_file()]
    for entry in stale:
        entry.unlink(missing_ok=True)
    return stale


def set_aside(path: Path, *, suffix: str = "damaged") -> Path:
    """Rename a file that is of no use to NAME.damaged, or NAME.damaged-2 and so on; nothing is deleted.

    Returns
    -------
    Path
        Its new name.

    Raises
    ------
    DataError
        It cannot be renamed.
    """
    target, number = path.with_name(f"{path.name}.{suffix}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{suffix}-{number}")
    with _as_data_error(path):
        os.rename(path, target)
        fsync_folder(path.parent)
    return target


@contextmanager
def _as_data_error(path: str | Path) -> Iterator[None]:
    """Report failures of the file system in one line."""
    try:
        yield
    except OSError as error:
        # Within `atomic_write` the caller's block may fail to open another file: that error names it.
        if error.filename is not None and not _beside(error.filename, path):
            raise
        raise cannot_write(path, error) from error


def _beside(filename: Any, path: str | Path) -> bool:
    """Whether an error is about `path`, its temporary file or its folder."""
    target = Path(os.path.realpath(path))
    return Path(os.path.realpath(os.fsdecode(filename))) in (target, target.parent) or bool(
        _TEMPORARY.match(Path(os.fsdecode(filename)).name)
    )
