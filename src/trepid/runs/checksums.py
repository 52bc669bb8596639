"""Check sums of the files of a run: of a whole file, and of the lines of a ledger, each of which covers those before it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from trepid.errors import DataError

_SUM = re.compile(rb', "sum": "([0-9a-f]{16})"\}$')


class LineSum:
    """The running check sum of a ledger: that of a line covers all lines before it, so that none can be left out."""

    def __init__(self) -> None:
        self._last = b""

    def sealed(self, line: str) -> str:
        """A JSON object with its check sum as last entry."""
        body = line.encode("utf-8")
        self._last = _digest(self._last + body)
        return f'{line[:-1]}, "sum": "{self._last.decode("ascii")}"}}'

    def fits(self, line: bytes) -> bool:
        """Whether a line is as it was written; lines of earlier versions have no sum, but none follows one that has."""
        match = _SUM.search(line)
        if match is None:
            return not self._last
        right = _digest(self._last + line[: match.start()] + b"}")
        self._last = match[1]  # a line that was changed does not make those after it wrong
        return right == match[1]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def text_sha256(text: str) -> str:
    """SHA-256 of a text as a file holds it."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest()[:16].encode("ascii")
