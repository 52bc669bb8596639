"""What a fresh installation must be able to do: train, save, load, and run MD in ASE and in LAMMPS. Takes seconds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

import trepid

SOURCE = Path(__file__).resolve().parent.parent / "src"


def main() -> None:
    """Run all, and print one line."""
    place = Path(trepid.__file__).resolve().parent
    assert not place.is_relative_to(SOURCE), f"{place} is the source tree, not an installation"
    rng, frames = np.random.default_rng(0), []
    for _ in range(4):
        atoms = bulk("Cu", cubic=True).repeat(2)
        atoms.positions += rng.normal(0.0, 0.08, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cu.trepid"
        trepid.fit(frames, pair_cutoff=4.5, triplet_cutoff=3.0, n_channels=0, check=False).save(file)
        error = trepid.evaluate(file, frames).forces_rmse
        assert error < 0.2, f"force error {error} eV/A"
        for engine in ("ase", "lammps"):
            run = Path(folder) / engine
            trepid.md(file, frames[0], temperature_K=100, duration_ps=0.02, directory=run, engine=engine)
    print(f"{place}: fit, model file, MD in ASE and LAMMPS work; force error {1000 * error:.0f} meV/A")


if __name__ == "__main__":
    main()
