"""Molecular dynamics of CuI with a foundation potential, as its users run it: plain ASE, in the environment of the package.

PYTHON_OF_CHGNET foundation_md.py chgnet 600 20 md.extxyz                       # K, ps, trajectory; 16 atoms
PYTHON_OF_SEVENNET foundation_md.py sevennet 600 5 md.extxyz --atoms 64 --timestep 8
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.io import write
from ase.md.nose_hoover_chain import NoseHooverChainNVT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

LATTICE_CONSTANT_A = 6.08
SAMPLE_EVERY = 5


def calculator(engine: str) -> Any:
    """The default model of a package."""
    if engine == "chgnet":
        from chgnet.model import CHGNetCalculator

        return CHGNetCalculator(use_device="cpu")
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


def run(atoms: Atoms, temperature_K: float, duration_ps: float, path: str, seed: int, timestep_fs: float) -> None:
    """Run at constant volume; every fifth frame goes to the file, with the energy and the forces of the potential."""
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature_K, rng=np.random.default_rng(seed))
    Stationary(atoms)
    dynamics = NoseHooverChainNVT(
        atoms, timestep=timestep_fs * units.fs, temperature_K=temperature_K, tdamp=100 * units.fs
    )
    begin = time.monotonic()

    def sample() -> None:
        if dynamics.nsteps % SAMPLE_EVERY:
            return
        write(path, atoms, format="extxyz", append=dynamics.nsteps > 0)
        if dynamics.nsteps % 250 == 0:
            told = f"{dynamics.nsteps * timestep_fs / 1000:7.2f} ps  {atoms.get_temperature():5.0f} K"
            print(f"{told}  {atoms.get_potential_energy():10.4f} eV  {time.monotonic() - begin:7.0f} s", flush=True)

    dynamics.attach(sample)
    dynamics.run(round(1000 * duration_ps / timestep_fs))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["chgnet", "sevennet"])
    parser.add_argument("temperature_K", type=float)
    parser.add_argument("duration_ps", type=float)
    parser.add_argument("path")
    parser.add_argument("--atoms", type=int, choices=[16, 64], default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timestep", type=float, default=4.0, help="fs")
    arguments = parser.parse_args()
    atoms = bulk("CuI", "zincblende", a=LATTICE_CONSTANT_A, cubic=arguments.atoms == 64) * (2, 2, 2)
    atoms.calc = calculator(arguments.engine)
    run(atoms, arguments.temperature_K, arguments.duration_ps, arguments.path, arguments.seed, arguments.timestep)


if __name__ == "__main__":
    main()
