"""Where a screening stands, read from its directory while it runs or after; nothing is written."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trepid.data.lock import holder_of
from trepid.quantities import duration
from trepid.runs.ledger import events_of, read_ledger, wall_time_s
from trepid.screening.budget import risk_of
from trepid.screening.dashboard import load_screening_of
from trepid.screening.directory import ScreeningDirectory, files_of, read_records
from trepid.screening.entries import KINDS, Advanced, Ended, Turn
from trepid.screening.table import Totals, totals

_NAMED = 5
"""Materials of largest risk that are named."""


@dataclass(frozen=True)
class ScreeningStatus:
    """Where a screening stands.

    Attributes
    ----------
    directory : Path
    state : str
        In words.
    running : bool
    turn : int
    working_on : tuple of str
        Materials of the present turn that have not had their round, with the last line of their log.
    totals : Totals
    max_labels : int or None
    hours : float
        Wall time of all starts.
    max_hours : float or None
    riskiest : tuple of (str, float)
    """

    directory: Path
    state: str
    running: bool
    turn: int
    working_on: tuple[str, ...]
    totals: Totals
    max_labels: int | None
    hours: float
    max_hours: float | None
    riskiest: tuple[tuple[str, float], ...]

    @property
    def spent(self) -> int:
        """Reference computations."""
        return self.totals.n_labels + self.totals.n_relaxation + self.totals.n_failed_labels

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "screening": str(self.directory),
            "state": self.state,
            "running": self.running,
            "turn": self.turn,
            "working_on": list(self.working_on),
            "n_computations": self.spent,
            "max_labels": self.max_labels,
            "hours": self.hours,
            "max_hours": self.max_hours,
            "riskiest": dict(self.riskiest),
            **asdict(self.totals),
        }

    def rows(self) -> list[tuple[str, str]]:
        """As lines."""
        found = self.totals
        statuses = ", ".join(f"{n} {name}" for name, n in found.status.items())
        limit = "" if self.max_labels is None else f" of {self.max_labels}"
        hours = "" if self.max_hours is None else f" of {self.max_hours:g} h"
        rows = [
            ("state", self.state),
            ("materials", f"{found.n_materials}: {statuses}"),
            (
                "reference computations",
                f"{self.spent}{limit} ({found.n_labels} labels, {found.n_relaxation} of relaxations, "
                f"{found.n_failed_labels} failed)",
            ),
            ("time", f"{duration(3600 * self.hours)}{hours}, turn {self.turn}"),
        ]
        if found.failures:
            rows.append(("failed", ", ".join(f"{n} {name}" for name, n in found.failures.items())))
        if found.verdicts:
            rows.append(("event classes", ", ".join(f"{n} {name}" for name, n in found.verdicts.items())))
        if found.coverage is not None:
            rows.append(("inside the 95 % interval", f"{100 * found.coverage:.1f} % of {found.coverage_components}"))
        if self.riskiest:
            rows.append(("largest risks", ", ".join(f"{name} {risk:.2g}" for name, risk in self.riskiest)))
        return rows + [("working on", text) for text in self.working_on]


def is_screening(directory: Path) -> bool:
    """Whether a directory holds a screening."""
    return (directory / ScreeningDirectory.settings_name).is_file()


def screening_status(directory: Path) -> ScreeningStatus:
    """Read a screening.

    Raises
    ------
    DataError, ConfigError
        A file of it is missing or damaged.
    """
    settings = load_screening_of(directory)
    records = read_records(directory, settings)
    entries = read_ledger(directory / "ledger.jsonl", kinds=KINDS)
    holder = holder_of(directory)
    turns = events_of(entries, Turn)
    turn = turns[-1] if turns else None
    ends = events_of(entries, Ended)
    ended = bool(entries) and isinstance(entries[-1].event, Ended)
    if holder is not None:
        state = f"running ({holder})"
    elif ended:
        state = f"ended: {ends[-1].reason}" + (f" ({ends[-1].message})" if ends[-1].message else "")
    else:
        state = "stopped in the middle; the same command resumes it"
    assert settings.rounds.stop is not None
    tolerance = settings.rounds.stop.sigma_a
    risks = sorted(((record.name, risk_of(record, tolerance)) for record in records), key=lambda pair: -pair[1])
    advanced = {event.material for event in events_of(entries, Advanced) if turn and event.turn == turn.turn}
    waiting = [name for name in turn.materials if name not in advanced] if turn is not None and not ended else []
    return ScreeningStatus(
        directory=directory,
        state=state,
        running=holder is not None,
        turn=0 if turn is None else turn.turn,
        working_on=tuple(_line(directory, name) for name in waiting if files_of(directory, name).log.exists()),
        totals=totals(records, tolerance),
        max_labels=settings.budget.max_labels,
        hours=wall_time_s(entries) / 3600,
        max_hours=settings.budget.max_hours,
        riskiest=tuple((name, risk) for name, risk in risks if 0 < risk < math.inf)[:_NAMED],
    )


def _line(directory: Path, name: str) -> str:
    lines = files_of(directory, name).log.read_text(encoding="utf-8").splitlines()
    return f"{name}: {lines[-1] if lines else ''}"
