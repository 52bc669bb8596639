"""Input files of the tests, and a LAMMPS program to run them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols

from trepid.lammps.installation import Installation
from trepid.lammps.process import Process
from trepid.lammps.session import NEIGHBOR, SETUP, pair_commands
from trepid.lammps.system import System, write_data_file
from trepid.potentials.bayesian import BayesianForceField

LIMIT_S = 120.0


@dataclass(frozen=True)
class Model:
    """A trained force field, and its file."""

    field: BayesianForceField
    file: Path


def thermal(atoms: Atoms, temperature_K: float, seed: int = 0) -> Atoms:
    """A copy with velocities and without drift."""
    out = atoms.copy()
    masses = out.get_masses()[:, None]
    momenta = np.random.default_rng(seed).normal(size=(len(out), 3)) * np.sqrt(masses * units.kB * temperature_K)
    out.set_momenta(momenta - momenta.mean(axis=0))
    return out


def write_input(folder: Path, atoms: Atoms, model: Path, commands: str, *, pair: str | None = None) -> Path:
    """in.lammps and start.data for these atoms, `commands` after the pair style."""
    system = System.of(atoms)
    write_data_file(folder / "start.data", atoms, system)
    head = f"{SETUP}boundary {system.box.boundary}\nread_data start.data\n"
    path = folder / "in.lammps"
    path.write_text(f"{head}{pair or pair_commands(model, system)}{NEIGHBOR}{commands}\n")
    return path


def run(installation: Installation, folder: Path, *, ranks: int = 1) -> tuple[int, str]:
    """Exit code, and what LAMMPS printed."""
    process = Process(installation, "in.lammps", directory=folder, ranks=ranks)
    code = process.wait(LIMIT_S)
    if code is None:
        process.end()
        raise TimeoutError(f"LAMMPS did not end within {LIMIT_S:g} s")
    return code, (folder / "lammps.out").read_text()


def read_dump(path: Path) -> list[tuple[int, np.ndarray]]:
    """Steps and rows, sorted by ID, of a custom dump whose first column is the ID; elements are left out."""
    frames = []
    for block in path.read_text().split("ITEM: TIMESTEP\n")[1:]:
        step = int(block.split("\n", 1)[0])
        lines = block.split("ITEM: ATOMS", 1)[1].splitlines()[1:]
        rows = np.array([[float(word) for word in line.split() if word not in chemical_symbols] for line in lines])
        frames.append((step, rows[rows[:, 0].argsort()] if len(rows) else rows))
    return frames
