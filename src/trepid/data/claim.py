"""A directory that one computation claims: new, or of the same computation, and locked while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trepid.data.lock import RunLock
from trepid.errors import ConfigError, cannot_write

OTHER_DIRECTORY = "give another directory"
"""Advice where the files of a directory are not those of the computation."""


@contextmanager
def claimed(directory: Path, *, settings_file: str, kind: str) -> Iterator[RunLock]:
    """Make and lock a directory for the block.

    Parameters
    ----------
    directory : Path
    settings_file : str
        Name of the file by which a directory of this kind is known.
    kind : str
        What the directory holds, for messages: "MD run".

    Raises
    ------
    ConfigError
        It is a file, or holds other files.
    DataError
        Another process uses it, or it cannot be made.
    """
    # Before the lock, so that no lock file is left in a folder of something else.
    if not (directory / settings_file).exists() and directory.exists():
        if not directory.is_dir():
            raise ConfigError(f"{directory} is a file; give a folder")
        if any(not entry.name.startswith(".") for entry in directory.iterdir()):
            raise ConfigError(f"{directory} is not empty and holds no {kind}; give another directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(directory, error) from error
    lock = RunLock(directory)
    try:
        yield lock
    finally:
        lock.release()
