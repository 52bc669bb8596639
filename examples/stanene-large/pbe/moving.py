"""Training frames of moving sheets: drawn by MD of a model, not chosen by it, labelled.

    python moving.py MODEL         # writes moving.extxyz, then its labels to moving-labels.extxyz; continues when stopped

Three frames of each of three trajectories at seven temperatures, 1.2 ps apart; the lattice constant of every third
trajectory is scaled by up to 3 %. All temperatures take turns, so that a part of the labels has them all.
`frames.extxyz` ends with the labels of such frames.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from fresh import label_all
from start import LATTICE_A, sheet

import trepid

HERE = Path(__file__).resolve().parent
TEMPERATURES_K = (100, 200, 300, 450, 600, 800, 1000)
TRAJECTORIES, FRAMES = 3, 3
SCALED = 2
"""The trajectory in a scaled cell."""
SCALE = 0.03
SEED = 31_000
STEPS, TIMESTEP_FS = 400, 3.0


def drawn(model_file: Path) -> list[Atoms]:
    """Frames without labels, every temperature in turn."""
    model = trepid.load(model_file)
    found: dict[tuple[int, int, int], Atoms] = {}
    for kelvin in TEMPERATURES_K:
        for run in range(TRAJECTORIES):
            rng = np.random.default_rng([SEED, kelvin, run])
            scale = rng.uniform(-SCALE, SCALE) if run == SCALED else 0.0
            atoms = sheet(LATTICE_A * (1 + scale))
            atoms.calc = model.calculator(uncertainty="none")
            MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=rng)
            dynamics = Langevin(atoms, TIMESTEP_FS * units.fs, temperature_K=kelvin, friction=0.01 / units.fs, rng=rng)
            for k in range(FRAMES):
                dynamics.run(STEPS)
                frame = Atoms("Sn8", atoms.positions, cell=atoms.cell, pbc=True)
                time_ps = round((k + 1) * STEPS * TIMESTEP_FS / 1000, 3)
                frame.info.update(name=f"moving at {kelvin} K", temperature_K=kelvin, time_ps=time_ps)
                found[k, run, kelvin] = frame
    return [found[key] for key in sorted(found, key=lambda key: (key[0], key[1], key[2] * 37 % 1010))]


def main() -> None:
    """Draw once, label what has no label yet."""
    undone = HERE / "moving.extxyz"
    if not undone.exists():
        write(undone, drawn(Path(sys.argv[1])))
    label_all(undone, HERE / "moving-labels.extxyz")


if __name__ == "__main__":
    main()
