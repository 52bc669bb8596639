"""Entries of the ledger of a screening: which materials got a round in which turn, why, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from trepid.runs.ledger_events import FORMAT, Event, Named, Resume


class ScreeningEnd(Named):
    """Why a screening ended."""

    DONE = "done"
    """Every material is known, exhausted or failed."""
    LABELS = "labels"
    """The budget of labels allows no further round."""
    HOURS = "hours"
    """The budget of hours is spent."""
    INTERRUPTED = "interrupted"
    """A signal came; the same command goes on."""


@dataclass(frozen=True)
class Begun(Event):
    """A new screening: its materials and its reference; the SHA-256 is that of screening.yaml."""

    event: ClassVar[str] = "screening"
    n_materials: int
    reference: dict[str, Any]
    settings_sha256: str
    format: int = FORMAT


@dataclass(frozen=True)
class Settled(Event):
    """Settings that may change were changed, or failed materials are tried again; `changed` says which."""

    event: ClassVar[str] = "settled"
    settings_sha256: str
    changed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Turn(Event):
    """A turn begins: its materials and their risks (null before the first round), and the computations so far."""

    event: ClassVar[str] = "turn"
    turn: int
    materials: list[str]
    risks: list[float | None]
    n_computations: int


@dataclass(frozen=True)
class Advanced(Event):
    """A material has had its round; its record is on disk. Codes and messages of those that failed."""

    event: ClassVar[str] = "advanced"
    turn: int
    material: str
    status: str
    n_computations: int
    seconds: float
    failure: str | None = None
    message: str = ""


@dataclass(frozen=True)
class Ended(Event):
    """The screening ended."""

    event: ClassVar[str] = "ended"
    reason: ScreeningEnd
    turn: int
    n_computations: int
    message: str = ""


KINDS: Mapping[str, type[Event]] = {kind.event: kind for kind in (Begun, Settled, Turn, Advanced, Ended, Resume)}
"""All that the ledger of a screening may hold."""
