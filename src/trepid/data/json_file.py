"""JSON files that trepid writes, read again: one object each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trepid.errors import DataError


def read_json_object(path: Path, *, advice: str = "") -> dict[str, Any]:
    """The object in a file.

    Parameters
    ----------
    path : Path
    advice : str
        What helps, for the end of the message.

    Raises
    ------
    DataError
        The file is missing or unreadable, not JSON, or holds something else than an object.
    """
    end = f"; {advice}" if advice else ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())}){end}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not as trepid writes it{end}")
    return content
