"""How far a run of molecular dynamics can be believed: its uncertainty checks, and how far its cell has gone from the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trepid.analysis.averages import MIN_FRAMES, Average
from trepid.analysis.thermodynamics import Thermodynamics, Trace
from trepid.data.cell_change import CellChange
from trepid.dynamics.notes import RunNotes
from trepid.dynamics.record import TRAJECTORY_FILES, UNTRUSTED_FRAMES
from trepid.quantities import force

BARS = "statistical, from the length of the run: they do not hold the error of the model"
"""What the bars of averages over a run are."""
MOST = 0.5
"""From this share of untrusted checks on, the averages of a run count as extrapolation."""
_LENGTHS = ("a_A", "b_A", "c_A")


def bars_of(n_rows: int) -> str:
    """What the bars of averages over so many rows of a trace are, in words."""
    if n_rows < MIN_FRAMES:
        return f"none: fewer than {MIN_FRAMES} rows of trace.csv do not tell the scatter; run longer"
    return BARS


def cell_change(trace: Trace, averages: Thermodynamics) -> CellChange | None:
    """Change of the mean cell against the first row of the whole trace.

    None where the cell was held, or the trace does not begin with the run.
    """
    if not averages.cell_changes or not len(trace) or trace["step"][0] != 0:
        return None
    a, b, c = (averages.cell[name].value / float(trace[name][0]) - 1 for name in _LENGTHS)
    return CellChange(averages.volume_A3.value / float(trace["volume_A3"][0]) - 1, (a, b, c))


@dataclass(frozen=True)
class RunTrust:
    """The uncertainty checks of a run.

    Attributes
    ----------
    n_checks, n_untrusted : int
        Checks, and those above the threshold.
    threshold_eV_per_A : float
    change : CellChange or None
    pressure_GPa : float or None
        Target; None: the cell was held.
    frames : tuple of Path
        Files of the run with frames to label.
    """

    n_checks: int
    n_untrusted: int
    threshold_eV_per_A: float
    change: CellChange | None
    pressure_GPa: float | None
    frames: tuple[Path, ...]

    @property
    def extrapolates(self) -> bool:
        """Whether most of the checks were above the threshold."""
        return self.n_untrusted > MOST * self.n_checks

    @property
    def warning(self) -> str:
        """What to think of the averages and what to do, in one line; empty where most checks were below the threshold."""
        if not self.extrapolates:
            return ""
        grown = "" if self.change is None else f" The cell has changed against the start: {self.change}."
        stage = "" if self.pressure_GPa is None else f", or learn with a stage at pressure_GPa: {self.pressure_GPa:g}"
        return (
            f"This run is extrapolation, and so are its averages: {self.n_untrusted} of {self.n_checks} uncertainty checks were "
            f"above the threshold of {force(self.threshold_eV_per_A)}, and the bars of the averages do not contain the error of "
            f"the model there.{grown} Label frames of {' or '.join(map(str, self.frames))} and train on them too ('trepid label "
            f"CAMPAIGN {self.frames[0]} -o new' with the campaign file of the model, then 'trepid fit RUN/labels/label-????.extxyz "
            f"new/labels/label-????.extxyz -o better.trepid', RUN the run that made the model){stage}."
        )

    def as_dict(self) -> dict[str, object]:
        """Plain types, for JSON."""
        return {
            "n_checks": self.n_checks,
            "n_untrusted": self.n_untrusted,
            "threshold_eV_per_A": self.threshold_eV_per_A,
            "cell_change": None if self.change is None else self.change.as_dict(),
            "extrapolates": self.extrapolates,
            "warning": self.warning or None,
        }


def run_trust(trace: Trace, notes: RunNotes, change: CellChange | None, *, directory: Path) -> RunTrust:
    """Trust in the part of a run that `trace` holds.

    Parameters
    ----------
    trace : Trace
        Rows of the checks that count.
    notes : RunNotes
        Of the run.
    change : CellChange or None
    directory : Path
        Of the run; names files.
    """
    found = trace["forces_uncertainty_max_eV_per_A"] > notes.guard_threshold_eV_per_A
    # LAMMPS writes only the atoms outside into its file of untrusted frames.
    files = tuple(directory / name for name in (UNTRUSTED_FRAMES, *TRAJECTORY_FILES) if (directory / name).is_file())
    return RunTrust(
        n_checks=len(trace),
        n_untrusted=int(np.count_nonzero(found)),
        threshold_eV_per_A=notes.guard_threshold_eV_per_A,
        change=change,
        pressure_GPa=notes.pressure_GPa,
        frames=files,
    )


def per_cell(cell: Mapping[str, Average], repeat: tuple[int, int, int]) -> dict[str, Average]:
    """Lengths a_A, b_A and c_A of the cell that a supercell repeats."""
    return {
        name: Average(cell[name].value / n, cell[name].error / n, cell[name].converged)
        for name, n in zip(_LENGTHS, repeat, strict=True)
    }
