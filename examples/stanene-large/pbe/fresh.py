"""Fresh test frames of the sheet: drawn by MD of a model, not chosen by it, labelled, never trained on.

    python fresh.py MODEL          # writes test.extxyz, label after label; continues after an interruption

Two frames each at 100, 300, 600 and 1000 K, 2 and 4 ps after the flat sheet was heated, and the flat sheet itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from start import sheet

import trepid
from trepid.config import load_campaign
from trepid.reference import make_reference

HERE = Path(__file__).resolve().parent
TEMPERATURES_K = (100, 300, 600, 1000)
SEED = 20_000
STEPS, TIMESTEP_FS = 667, 3.0


def drawn(model_file: Path) -> list[Atoms]:
    """Frames without labels."""
    model = trepid.load(model_file)
    frames = [sheet()]
    frames[0].info.update(temperature_K=0, time_ps=0.0)
    for kelvin in TEMPERATURES_K:
        rng = np.random.default_rng([SEED, kelvin])
        atoms = sheet()
        atoms.calc = model.calculator()
        MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=rng)
        dynamics = Langevin(atoms, TIMESTEP_FS * units.fs, temperature_K=kelvin, friction=0.01 / units.fs, rng=rng)
        for k in (1, 2):
            dynamics.run(STEPS)
            frame = Atoms("Sn8", atoms.positions, cell=atoms.cell, pbc=True)
            frame.info.update(temperature_K=kelvin, time_ps=k * STEPS * TIMESTEP_FS / 1000)
            frames.append(frame)
    return frames


def label_all(undone: Path, done: Path, **parameters: int) -> None:
    """Label the frames of one file that have no label in the other, with the settings of the campaign and these of GPAW."""
    settings = load_campaign(HERE / "campaign.yaml").reference
    arguments = settings.arguments()
    arguments["parameters"] = arguments["parameters"] | parameters
    reference = make_reference(settings.engine, **arguments)
    labelled = read(done, ":") if done.exists() else []
    for frame in read(undone, ":")[len(labelled) :]:
        result = reference.label(frame)
        result.info.update(frame.info)
        labelled.append(result)
        write(done, labelled)
        print(f"{len(labelled)}: {frame.info['temperature_K']} K", flush=True)


def main() -> None:
    """Draw once, label what has no label yet."""
    undone = HERE / "fresh.extxyz"
    if not undone.exists():
        write(undone, drawn(Path(sys.argv[1])))
    label_all(undone, HERE / "test.extxyz")


if __name__ == "__main__":
    main()
