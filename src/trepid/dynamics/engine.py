"""One door to the MD engines: the driver that a name asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trepid.dynamics.md import Engine, MDDriver, Thermostat, make_driver
from trepid.potentials.base import Potential, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms


def start_driver(
    engine: Engine | str,
    atoms: Atoms,
    potential: Potential,
    *,
    temperature_K: float,
    timestep_fs: float,
    rng: np.random.Generator,
    thermostat: Thermostat | str,
    relaxation_time_fs: float,
) -> MDDriver:
    """Prepare molecular dynamics of a copy of `atoms` on `potential`; see `make_driver` and `make_lammps_driver`.

    Raises
    ------
    ConfigError
        A setting is out of range, or the engine is not installed.
    """
    walker = atoms.copy()
    if Engine(engine) is Engine.LAMMPS:
        from trepid.dynamics.lammps_engine import make_lammps_driver

        return make_lammps_driver(
            walker,
            potential,
            temperature_K=temperature_K,
            timestep_fs=timestep_fs,
            rng=rng,
            thermostat=thermostat,
            relaxation_time_fs=relaxation_time_fs,
        )
    walker.calc = potential.calculator(uncertainty=Uncertainty.NONE)
    return make_driver(
        walker,
        temperature_K=temperature_K,
        timestep_fs=timestep_fs,
        rng=rng,
        thermostat=thermostat,
        relaxation_time_fs=relaxation_time_fs,
    )
