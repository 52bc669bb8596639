"""The registry of MD engines: from a name to a driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from trepid.choices import Engine
from trepid.dynamics.driver import MDDriver, MDParameters
from trepid.potentials.base import Potential

if TYPE_CHECKING:
    from ase import Atoms

    _Start = Callable[[Atoms, Potential, MDParameters, np.random.Generator], MDDriver]


def start_driver(atoms: Atoms, potential: Potential, parameters: MDParameters, *, rng: np.random.Generator) -> MDDriver:
    """Prepare molecular dynamics of a copy of `atoms` on `potential` with the engine of `parameters`.

    Raises
    ------
    ConfigError
        A setting is out of range, or the engine is not installed.
    NumericsError
        LAMMPS rejects the model or the structure.
    """
    return _ENGINES[Engine(parameters.engine)](atoms.copy(), potential, parameters, rng)


# Each engine is imported when it is used: LAMMPS is optional.


def _ase(atoms: Atoms, potential: Potential, parameters: MDParameters, rng: np.random.Generator) -> MDDriver:
    from trepid.dynamics.ase_engine import ASEDriver

    return ASEDriver.of_potential(atoms, potential, parameters, rng=rng)


def _lammps(atoms: Atoms, potential: Potential, parameters: MDParameters, rng: np.random.Generator) -> MDDriver:
    from trepid.dynamics.lammps_engine import LammpsDriver

    return LammpsDriver(atoms, potential, parameters, rng=rng)


_ENGINES: Mapping[Engine, _Start] = {Engine.ASE: _ase, Engine.LAMMPS: _lammps}
