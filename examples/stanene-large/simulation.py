"""The large sheet in LAMMPS: 10 032 atoms, no tension in the plane, live uncertainty every 10 steps.

The ensemble is NPT with zero tension along x and y and open space above and below. A freely suspended sheet has no
frame that holds its edges: ripples shorten it, folds and denser phases take area out of it, and at fixed area they could
form only by tearing it. A clamped sheet, at the area of the flat one (NVT), is run beside it. Uncertainty is recorded and
nothing is stopped by it, so that its share can be reported; only 4000 K, or an uncertainty far above any threshold, ends a run.

A run continues from its last restart file when it is started again.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from lmp import drop_torn_end, run_lammps, write_data
from sheet import Cells, sheet
from training import THRESHOLD_EV_PER_A

from trepid.errors import DataError

logger = logging.getLogger(__name__)

CELLS = Cells(66, 38)
HEIGHT_A = 200.0
"""Of the periodic cell; the sheet stays far from its image."""
TIMESTEP_PS = 0.005
"""NVE of this model at 1600 K conserves the energy at 5 fs as well as at 3 fs, to 0.1 meV per atom."""
CHECK_EVERY = 10
"""Steps between two checks of the uncertainty, and between the rows of record.txt."""
DUMP_EVERY = 500
RESTART_EVERY = 1000
BEYOND_REASON_EV_PER_A = 20.0
TOO_HOT_K = 4000.0


@dataclass(frozen=True)
class LargeRun:
    """One temperature of the large sheet."""

    temperature_K: float
    duration_ps: float
    clamped: bool = False
    """Keep the area of the flat sheet; otherwise its edges are free of tension."""
    seed: int = 7

    def folder(self, run: Path) -> Path:
        """Where its files are."""
        return run / "large" / f"{self.temperature_K:04.0f}K{'-clamped' if self.clamped else ''}"

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return round(self.duration_ps / TIMESTEP_PS)


def simulate(large: LargeRun, run: Path, *, wall_minutes: float | None = None) -> None:
    """Run, or continue, one temperature.

    Parameters
    ----------
    large : LargeRun
    run : Path
        Run directory with the trained model in training/model.trepid.
    wall_minutes : float, optional
        Stop after this time, with a restart file to continue from.
    """
    model_file = run / "training" / "model.trepid"
    if not model_file.exists():
        raise DataError(f"there is no model {model_file}; run the stage train first")
    folder = large.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    restart = _last_restart(folder)
    if restart is None:
        write_data(folder / "start.data", sheet(CELLS, height_A=HEIGHT_A))
    drop_torn_end(folder / "frames.dump")
    part = 1 + len(list(folder.glob("part-*.in")))
    started = time.monotonic()
    run_lammps(folder, _script(large, model_file.resolve(), restart, wall_minutes), name=f"part-{part}")
    logger.info("%s: part %d ended after %.0f s", folder.name, part, time.monotonic() - started)


def _last_restart(folder: Path) -> str | None:
    """Name of the restart file that was written last; LAMMPS alternates between two, so one is always whole."""
    final = folder / "final.restart"
    files = [f for f in (final, folder / "a.restart", folder / "b.restart") if f.exists() and f.stat().st_size]
    # The younger of the two may be cut off by a kill in the very moment of writing: it is then the shorter one.
    whole = [f for f in files if f.stat().st_size >= 0.99 * max(g.stat().st_size for g in files)]
    return max(whole, key=lambda f: f.stat().st_mtime).name if whole else None


def _script(large: LargeRun, model_file: Path, restart: str | None, wall_minutes: float | None) -> str:
    kelvin = large.temperature_K
    begin = f"read_restart {restart}" if restart else "read_data start.data"
    # Half of the heat put in at the start goes into the bonds, hence twice the temperature.
    velocities = "" if restart else f"velocity all create {2 * kelvin} {large.seed} dist gaussian mom yes"
    timer = "" if wall_minutes is None else f"timer timeout {wall_minutes * 60:.0f} every 100"
    ensemble = (
        f"nvt temp {kelvin} {kelvin} 0.3" if large.clamped else f"npt temp {kelvin} {kelvin} 0.3 x 0 0 3.0 y 0 0 3.0"
    )
    record = "append" if restart else "file"
    return f"""\
units metal
atom_style atomic
boundary p p p
{begin}
pair_style trepid
pair_coeff * * "{model_file}" Sn
neighbor 1.5 bin
timestep {TIMESTEP_PS}
{velocities}
fix md all {ensemble}
fix still all momentum 100 linear 1 1 1

# Uncertainty of the model: force uncertainty of every atom (eV/A), the largest, and how many are untrusted.
fix u all pair {CHECK_EVERY} trepid uncertainty 1
variable untrusted atom f_u>{THRESHOLD_EV_PER_A}
compute worst all reduce max f_u
compute untrusted all reduce sum v_untrusted
variable lx equal lx
variable ly equal ly
fix record all ave/time {CHECK_EVERY} 1 {CHECK_EVERY} &
  c_worst c_untrusted c_thermo_temp c_thermo_pe v_lx v_ly {record} record.txt format " %.8g"

variable worst equal c_worst
variable heat equal temp
fix lost all halt {CHECK_EVERY} v_worst > {BEYOND_REASON_EV_PER_A} error continue message yes
fix hot all halt 100 v_heat > {TOO_HOT_K} error continue message yes

dump frames all custom {DUMP_EVERY} frames.dump id xu yu zu f_u
dump_modify frames append yes sort id format line "%d %.4f %.4f %.4f %.4f"
restart {RESTART_EVERY} a.restart b.restart
thermo 500
thermo_style custom step temp pe press lx ly c_worst c_untrusted cpu
{timer}
run {large.n_steps} upto
write_restart final.restart
"""
