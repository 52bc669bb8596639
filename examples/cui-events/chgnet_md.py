"""Molecular dynamics of CuI with a foundation potential, as its users run it: plain ASE, in the environment of the package.

PYTHON_OF_CHGNET chgnet_md.py 600 20 md-600K.extxyz          # K, ps, trajectory
"""

from __future__ import annotations

import sys
import time

import numpy as np
from ase import units
from ase.build import bulk
from ase.io import write
from ase.md.nose_hoover_chain import NoseHooverChainNVT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from chgnet.model import CHGNetCalculator

LATTICE_CONSTANT_A = 6.08
TIMESTEP_FS = 4.0
SAMPLE_EVERY = 5


def main(temperature_K: float, duration_ps: float, path: str, seed: int = 1) -> None:
    """Run at constant volume; every fifth frame goes to the file, with the energy and the forces of the potential."""
    atoms = bulk("CuI", "zincblende", a=LATTICE_CONSTANT_A) * (2, 2, 2)
    atoms.calc = CHGNetCalculator(use_device="cpu")
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature_K, rng=np.random.default_rng(seed))
    Stationary(atoms)
    dynamics = NoseHooverChainNVT(
        atoms, timestep=TIMESTEP_FS * units.fs, temperature_K=temperature_K, tdamp=100 * units.fs
    )
    begin = time.monotonic()

    def sample() -> None:
        if dynamics.nsteps % SAMPLE_EVERY:
            return
        write(path, atoms, format="extxyz", append=dynamics.nsteps > 0)
        if dynamics.nsteps % 250 == 0:
            told = f"{dynamics.nsteps * TIMESTEP_FS / 1000:7.2f} ps  {atoms.get_temperature():5.0f} K"
            print(f"{told}  {atoms.get_potential_energy():10.4f} eV  {time.monotonic() - begin:7.0f} s", flush=True)

    dynamics.attach(sample)
    dynamics.run(round(1000 * duration_ps / TIMESTEP_FS))


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
