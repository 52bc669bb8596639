"""Output of the verbs: results on stdout, messages on stderr; files are overwritten only on request."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trepid.errors import ConfigError


def say(message: str) -> None:
    """Write one message to stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


class PacedCount:
    """Says every ten seconds how many of a number of things are done."""

    def __init__(self, what: str) -> None:
        self.what, self.last = what, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Note that one more is done."""
        if time.monotonic() - self.last >= 10.0:
            self.last = time.monotonic()
            say(f"{self.what} {done} of {total}")


def emit(text: str) -> None:
    """Write one result to stdout."""
    sys.stdout.write(text + "\n")


def emit_json(value: Any) -> None:
    """Write a result as JSON to stdout; a number that is not finite becomes null, since JSON has none."""
    emit(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str))


def emit_table(rows: Sequence[tuple[str, str]]) -> None:
    """Write name and value pairs, aligned, to stdout."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        emit(f"{name:<{width}}  {value}")


def free_path(path: Path, *, force: bool | None = None, inputs: Iterable[Path] = ()) -> Path:
    """Return `path` if a result may be written there.

    Parameters
    ----------
    path : Path
    force : bool, optional
        Replace an existing file; None for verbs that have no --force.
    inputs : iterable of Path
        Files that the verb reads: none of them is replaced, whatever its name here (links, relative names).

    Raises
    ------
    ConfigError
        It is one of the inputs, exists and `force` is not given, is a folder or no regular file, or lies in a folder that does
        not exist.
    """
    require_no_input(path, inputs)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give the name of a file")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is a device or a pipe; give the name of a file")
    if path.exists() and not force:
        otherwise = "" if force is None else ", or --force to replace it"
        raise ConfigError(f"{path} exists; give another name{otherwise}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent} does not exist; make this folder first")
    return path


def require_no_input(path: Path, inputs: Iterable[Path]) -> None:
    """Raise ConfigError where a file that will be written is one that is read."""
    for source in inputs:
        if _same_file(path, source):
            name = "" if str(source) == str(path) else f" ({source})"
            raise ConfigError(f"{path} is one of the inputs{name}; give another name for the output")


def _same_file(first: Path, second: Path) -> bool:
    """Whether two names are of one file, through links too."""
    try:
        return first.samefile(second)
    except OSError:  # one of them does not exist
        return first.resolve() == second.resolve()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
