"""What one command line came to; the fixture `trepid` (tests/conftest.py) runs one in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """Exit code, stdout and stderr of one command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of a user's mistake; fails if it is anything else."""
        lines = self.err.splitlines()
        assert self.code == 2, self
        assert self.out == ""
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    @property
    def last_line(self) -> str:
        return self.err.splitlines()[-1]


Trepid = Callable[..., Outcome]
