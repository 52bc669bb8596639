"""Opening what a user names: regular files only, in any of the usual containers.

A container is recognised by its first bytes, not by its name: gzip, bzip2 and xz are read; others are named with the command
that unpacks them.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, TextIO

from trepid.errors import DataError

COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".lzma")
_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"
_UNPACK = {
    b"PK\x03\x04": "unzip",
    b"\x28\xb5\x2f\xfd": "zstd -d",
    b"7z\xbc\xaf\x27\x1c": "7z x",
    b"\x1f\x9d": "uncompress",
}
_HEAD = 65536


def require_regular(path: str | Path) -> Path:
    """The path, if it is a regular file that exists.

    A pipe or a device would be waited for without end.

    Raises
    ------
    DataError
        It is missing, a folder, a pipe, a device or a socket.
    """
    file = Path(path)
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"cannot read {path}: no such file") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in the name
        raise DataError(f"cannot read {str(path)!r}: {error}") from error
    if stat.S_ISDIR(mode):
        raise DataError(f"cannot read {path}: it is a folder")
    if not stat.S_ISREG(mode):
        kinds = (
            (stat.S_ISFIFO, "a pipe"),
            (stat.S_ISSOCK, "a socket"),
            (stat.S_ISCHR, "a device"),
            (stat.S_ISBLK, "a device"),
        )
        kind = next((name for test, name in kinds if test(mode)), "no regular file")
        raise DataError(f"cannot read {path}: it is {kind}, not a file; write the data to a file first")
    return file


def plain_name(path: Path) -> str:
    """Name of a file without the suffix of its container."""
    return path.stem if path.suffix.lower() in COMPRESSED_SUFFIXES else path.name


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Errors of the file system, of the container and of the encoding as DataErrors that name the file."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: it is not a text file") from error
    except EOFError as error:
        raise DataError(f"cannot read {path}: the compressed file is cut off") from error
    except (zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"cannot read {path}: the compressed file is damaged: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def head_of(path: Path) -> bytes:
    """The first bytes of a file, unpacked."""
    with open_bytes(path) as file:
        return file.read(_HEAD)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A text file, unpacked while it is read, as UTF-8."""
    container = _container(path)
    if container is None:
        with path.open(encoding="utf-8") as file:
            yield file
    else:
        with container(path, "rt", encoding="utf-8") as file:
            yield file


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A plain file with the same content and the same name without suffix: the file itself, or a copy in a temporary folder."""
    if _container(path) is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="trepid-") as folder:
        copy = Path(folder) / plain_name(path)
        with open_bytes(path) as packed, copy.open("wb") as file:
            shutil.copyfileobj(packed, file)
        yield copy


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO | IO[bytes]]:
    """A file as bytes, unpacked while it is read."""
    container = _container(path)
    if container is None:
        with path.open("rb") as plain:
            yield plain
    else:
        with container(path, "rb") as packed:
            yield packed


def _container(path: Path):  # type: ignore[no-untyped-def]  # the three openers have no common type
    """The function that opens the container of a file; None for a plain file."""
    with path.open("rb") as file:
        first = file.read(6)
    for magic, command in _UNPACK.items():
        if first.startswith(magic):
            raise DataError(f"cannot read {path}: it is a compressed file; unpack it first: {command} {path}")
    for magic, opener in ((_GZIP, gzip.open), (_BZIP2, bz2.open), (_XZ, lzma.open)):
        if first.startswith(magic):
            return opener
    return None
