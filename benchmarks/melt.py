"""Stability with quadruplets in LAMMPS: a melt far beyond the training data, and the energy of a run without a thermostat.

For silicon (Stillinger-Weber labels) and CuI (GFN1-xTB labels) a force field with quadruplets is trained on frames of the
crystal, then run by `trepid.md` with the engine lammps: at 2000 K under the guard of its force uncertainty, and at 300 K without
a thermostat. The table tells whether every number stayed finite, how far the temperature went, what the guard said, and the
drift of the total energy.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any

from _common import HERE, CuI, Report  # first: it sets one thread, before BLAS is loaded

# isort: split

import numpy as np
from ase import Atoms

import trepid
from trepid.data import read_frames
from trepid.dynamics.record import TRACE_FILE
from trepid.errors import UntrustedError
from trepid.potentials.bayesian import BayesianForceField

MELT_K, CALM_K = 2000.0, 300.0
MELT_STEP_FS, CALM_STEP_FS = 1.0, 0.5
CALM_PS = 20.0


def row(name: str, model: BayesianForceField, start: Atoms, folder: Path, **settings: Any) -> dict[str, Any]:
    """One run as a row: how it ended, and what its trace says."""
    try:
        result = trepid.md(model, start, directory=folder, engine="lammps", guard="warn", **settings)
        end = f"{result.end.value}, {result.n_untrusted} of {result.n_checks} checks untrusted"
    except UntrustedError as error:
        end = str(error)
    with (folder / TRACE_FILE).open() as lines:
        trace = [{key: float(value) for key, value in line.items()} for line in csv.DictReader(lines)]
    time, energy = (np.array([line[key] for line in trace]) for key in ("time_fs", "total_energy_eV"))
    late = time > 0.1 * time[-1]  # without the first vibrations, in which potential and kinetic energy settle
    slope = np.polyfit(time[late] / 1000, 1000 * energy[late] / len(start), 1)[0]
    return {
        "run": name,
        "ps": time[-1] / 1000,
        "all finite": bool(np.isfinite([list(line.values()) for line in trace]).all()),
        "largest T, K": max(line["temperature_K"] for line in trace),
        "largest uncertainty, eV/A": max(line["forces_uncertainty_max_eV_per_A"] for line in trace),
        "drift, meV/atom/ps": slope if settings.get("thermostat") == "nve" else None,
        "end": end,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent / "tests" / "data_files", help="folder of the frames")
    parser.add_argument("--ps", type=float, default=100.0, help="length of the melts, ps (default 100)")
    options = parser.parse_args()
    report = Report("melt")
    silicon = read_frames(options.data / "si_sw_64.extxyz")
    sets = {
        "Si, 20 frames at 300 K": (["Si"], silicon[:20]),
        "Si, 20 frames at 300 K and 20 at 1000 K": (["Si"], [*silicon[:20], *silicon[40:60]]),
        "CuI, 20 crystal frames": (["Cu", "I"], CuI.read(options.data).crystal[:20]),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for k, (name, (species, frames)) in enumerate(sets.items()):
            model = BayesianForceField(species, n_channels=3, n_threads=1).fit(frames)
            melt = {"temperature_K": MELT_K, "duration_ps": options.ps, "timestep_fs": MELT_STEP_FS}
            rows.append(row(f"{name}: {MELT_K:g} K", model, frames[0], Path(folder) / f"{k}-melt", **melt))
            calm = {"temperature_K": CALM_K, "duration_ps": CALM_PS, "timestep_fs": CALM_STEP_FS, "thermostat": "nve"}
            rows.append(row(f"{name}: {CALM_K:g} K, nve", model, frames[0], Path(folder) / f"{k}-calm", **calm))
    report.table("Quadruplets of 3 channels, stock LAMMPS", rows)
    report.write()


if __name__ == "__main__":
    main()
