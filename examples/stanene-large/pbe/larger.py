"""A test in larger cells: folding sheets of 18 atoms, drawn by MD of a model, not chosen by it, labelled, never trained on.

    python larger.py MODEL         # writes larger.extxyz, label after label; continues after an interruption

Training cells have 8 atoms. Sheets of 3 x 3 cells shrink to half of their area within 4 ps, as the large sheet does; one frame at
each of three areas and two temperatures. Three k points along both edges, as many bands per atom as in the training labels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from fresh import HERE, label_all
from start import sheet

import trepid

TEMPERATURES_K = (300, 900)
AREAS = (0.85, 0.7, 0.55)
SEED = 61_000
TIMESTEP_FS, STEPS_BETWEEN, STEPS_HELD = 3.0, 40, 100
N_BANDS = 46


def drawn(model_file: Path) -> list[Atoms]:
    """Frames without labels."""
    model, frames = trepid.load(model_file), []
    for kelvin in TEMPERATURES_K:
        rng = np.random.default_rng([SEED, kelvin])
        atoms = sheet(cells=3)
        flat = np.array(atoms.cell)
        atoms.calc = model.calculator()
        MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=rng)
        dynamics = Langevin(atoms, TIMESTEP_FS * units.fs, temperature_K=kelvin, friction=0.01 / units.fs, rng=rng)
        area = 1.0
        for target in AREAS:
            while area > target:
                area = max(target, area - 0.015)
                cell = flat.copy()
                cell[:2] *= np.sqrt(area)
                atoms.set_cell(cell, scale_atoms=True)
                dynamics.run(STEPS_BETWEEN)
            dynamics.run(STEPS_HELD)
            frame = Atoms("Sn18", atoms.positions, cell=atoms.cell, pbc=True)
            frame.info.update(name="folding, 18 atoms", temperature_K=kelvin, area=target)
            frames.append(frame)
    return frames


def main() -> None:
    """Draw once, label what has no label yet."""
    undone, done = HERE / "larger-frames.extxyz", HERE / "larger.extxyz"
    if not undone.exists():
        write(undone, drawn(Path(sys.argv[1])))
    label_all(undone, done, nbands=N_BANDS)


if __name__ == "__main__":
    main()
