"""What reading and checking data find: one line each, an error or a warning."""

from __future__ import annotations

import re
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


MOST_LINES = 10
"""Lines for findings that differ in numbers only."""
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")


def located(finding: Finding, numbers: Sequence[int]) -> str:
    """A finding with the number that its frame has in its file; `numbers` has one for every frame."""
    return finding.message if finding.frame is None else f"frame {numbers[finding.frame]}: {finding.message}"


def shortened(texts: Sequence[str]) -> list[str]:
    """Lines of which at most `MOST_LINES` differ in numbers only; each further kind ends with the number left out."""
    kinds: dict[str, list[str]] = {}
    for text in texts:
        kinds.setdefault(_NUMBER.sub("#", text), []).append(text)
    lines = []
    for same in kinds.values():
        lines += same[:MOST_LINES]
        if len(same) > MOST_LINES:
            lines.append(f"... and {len(same) - MOST_LINES} more of this kind")
    return lines
