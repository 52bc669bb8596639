"""What reading and checking data find: one line each, an error or a warning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """How serious a finding is."""

    ERROR = "error"
    """No model can be trained on this."""
    WARNING = "warning"
    """Usually a mistake; inspect the frame."""


@dataclass(frozen=True)
class Finding:
    """One possible problem.

    Attributes
    ----------
    level : Level
    frame : int or None
        Number of the frame, counted from 0; None where it concerns the set.
    message : str
        One line, with the value found and what would be right; atoms are counted from 0.
    """

    level: Level
    frame: int | None
    message: str


def numbers_of(frames: Sequence[int], most: int = 8) -> str:
    """Frame numbers for a message, the first few."""
    shown = ", ".join(str(number) for number in frames[:most])
    return shown if len(frames) <= most else f"{shown}, ... ({len(frames)} in all)"
