"""Thermostats of ASE: integrators, and adapters that get, set and reset what the next step depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import NoseHooverChainNVT, NoseHooverChainThermostat
from ase.md.verlet import VelocityVerlet

from trepid.choices import Thermostat
from trepid.dynamics.driver import CentredNoise, MDParameters
from trepid.potentials.base import FloatArray

CHAIN_LENGTH = 3
"""Thermostat variables of the Nose-Hoover chain."""


class Adapter:
    """What the driver needs of an ASE thermostat; this one stands for no thermostat."""

    def set_temperature(self, temperature_K: float) -> None:
        """Change the target."""

    def set_pressure(self, pressure_GPa: float) -> None:
        """Change the target; only a barostat has one."""

    def get(self) -> dict[str, FloatArray]:
        """Copy the internal variables."""
        return {}

    def put(self, variables: Mapping[str, FloatArray]) -> None:
        """Restore the internal variables."""


class _LangevinAdapter(Adapter):
    def __init__(self, dynamics: Langevin) -> None:
        self._dynamics = dynamics

    def set_temperature(self, temperature_K: float) -> None:
        self._dynamics.set_temperature(temperature_K=temperature_K)


class _BussiAdapter(Adapter):
    def __init__(self, dynamics: Bussi, temperature_K: float, *, n_atoms: int) -> None:
        self._dynamics = dynamics
        dynamics.ndof = 3 * n_atoms - 3
        self.set_temperature(temperature_K)

    def set_temperature(self, temperature_K: float) -> None:
        self._dynamics.temp = units.kB * temperature_K
        self._dynamics.target_kinetic_energy = 0.5 * self._dynamics.temp * self._dynamics.ndof

    def get(self) -> dict[str, FloatArray]:
        return {"transferred_energy": np.array(self._dynamics.transferred_energy, dtype=np.float64)}

    def put(self, variables: Mapping[str, FloatArray]) -> None:
        self._dynamics.transferred_energy = float(variables["transferred_energy"])


def thermostat_chain(masses: FloatArray, temperature_K: float, damping: float) -> NoseHooverChainThermostat:
    """A Nose-Hoover chain for atoms whose centre of mass rests; masses (n_atoms, 1), damping time in ASE's unit.

    The masses of the chain go with the temperature, so a new target needs a new chain. One atom less stands for the three
    degrees of freedom of the centre of mass.
    """
    return NoseHooverChainThermostat(
        num_atoms_global=len(masses) - 1,
        masses=masses,
        temperature_K=temperature_K,
        tdamp=damping,
        tchain=CHAIN_LENGTH,
    )


class _NoseHooverAdapter(Adapter):
    """The chain. Its ASE class has no public access to its variables: private names are used, and tested."""

    def __init__(self, dynamics: NoseHooverChainNVT, temperature_K: float, damping: float, atoms: Atoms) -> None:
        self._dynamics = dynamics
        self._damping = damping
        self._masses = atoms.get_masses()[:, None]
        self._eta, self._p_eta = np.zeros(CHAIN_LENGTH), np.zeros(CHAIN_LENGTH)
        self.set_temperature(temperature_K)

    def set_temperature(self, temperature_K: float) -> None:
        chain = thermostat_chain(self._masses, temperature_K, self._damping)
        chain._eta, chain._p_eta = self._eta, self._p_eta  # shared: the chain changes them in place
        self._dynamics._thermostat = chain

    def get(self) -> dict[str, FloatArray]:
        return {"eta": self._eta.copy(), "p_eta": self._p_eta.copy()}

    def put(self, variables: Mapping[str, FloatArray]) -> None:
        self._eta[:], self._p_eta[:] = variables["eta"], variables["p_eta"]


def _langevin(atoms: Atoms, p: MDParameters, rng: np.random.Generator) -> tuple[MolecularDynamics, Adapter]:
    # fixcm of ASE does not sample the canonical distribution; centred noise does, in the frame of the centre of mass.
    dynamics = Langevin(
        atoms,
        p.timestep_fs * units.fs,
        temperature_K=p.temperature_K,
        friction=1 / (p.relaxation_time_fs * units.fs),
        fixcm=False,
        rng=CentredNoise(rng, atoms.get_masses()),
    )
    return dynamics, _LangevinAdapter(dynamics)


def _bussi(atoms: Atoms, p: MDParameters, rng: np.random.Generator) -> tuple[MolecularDynamics, Adapter]:
    dynamics = Bussi(atoms, p.timestep_fs * units.fs, p.temperature_K, p.relaxation_time_fs * units.fs, rng=rng)
    return dynamics, _BussiAdapter(dynamics, p.temperature_K, n_atoms=len(atoms))


def _nose_hoover(atoms: Atoms, p: MDParameters, rng: np.random.Generator) -> tuple[MolecularDynamics, Adapter]:
    damping = p.relaxation_time_fs * units.fs
    dynamics = NoseHooverChainNVT(atoms, p.timestep_fs * units.fs, p.temperature_K, damping, tchain=CHAIN_LENGTH)
    return dynamics, _NoseHooverAdapter(dynamics, p.temperature_K, damping, atoms)


def _nve(atoms: Atoms, p: MDParameters, rng: np.random.Generator) -> tuple[MolecularDynamics, Adapter]:
    return VelocityVerlet(atoms, p.timestep_fs * units.fs), Adapter()


THERMOSTATS: Mapping[
    Thermostat, Callable[[Atoms, MDParameters, np.random.Generator], tuple[MolecularDynamics, Adapter]]
] = {
    Thermostat.LANGEVIN: _langevin,
    Thermostat.BUSSI: _bussi,
    Thermostat.NOSE_HOOVER: _nose_hoover,
    Thermostat.NVE: _nve,
}
"""Integrators at a constant cell."""

THERMOSTAT_VARIABLES: Mapping[Thermostat, frozenset[str]] = {
    Thermostat.LANGEVIN: frozenset(),
    Thermostat.BUSSI: frozenset({"transferred_energy"}),
    Thermostat.NOSE_HOOVER: frozenset({"eta", "p_eta"}),
    Thermostat.NVE: frozenset(),
}
"""Names of the internal variables."""
