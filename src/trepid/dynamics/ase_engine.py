"""The MD engine ASE: its integrators behind `MDDriver`."""

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
from trepid.dynamics.driver import CentredNoise, MDDriver, MDParameters, thermal_momenta
from trepid.errors import ConfigError
from trepid.potentials.base import FloatArray, Potential, Uncertainty

CHAIN_LENGTH = 3
"""Thermostat variables of the Nose-Hoover chain."""


class ASEDriver(MDDriver):
    """Molecular dynamics by ASE.

    Parameters
    ----------
    atoms : Atoms
        With a calculator (see `of_potential`); moved in place.
    parameters : MDParameters
    rng : numpy.random.Generator
        Source of the velocities and of the thermostat's noise; its state is part of the driver's state.
    keep_velocities : bool
        Start with the velocities of `atoms`, without their drift, instead of drawing them.

    Raises
    ------
    ConfigError
        Fewer than two atoms, constraints, or velocities that are kept but all zero.
    """

    def __init__(
        self, atoms: Atoms, parameters: MDParameters, *, rng: np.random.Generator, keep_velocities: bool = False
    ) -> None:
        super().__init__(atoms, parameters, rng=rng)
        momenta = _own_momenta(atoms) if keep_velocities else thermal_momenta(atoms, parameters.temperature_K, rng)
        atoms.set_momenta(momenta)
        self._dynamics, self._thermostat = _THERMOSTATS[Thermostat(parameters.thermostat)](atoms, parameters, rng)

    @classmethod
    def of_potential(
        cls, atoms: Atoms, potential: Potential, parameters: MDParameters, *, rng: np.random.Generator
    ) -> ASEDriver:
        """Driver of `atoms`, moved in place by the mean of `potential`."""
        atoms.calc = potential.calculator(uncertainty=Uncertainty.NONE)
        return cls(atoms, parameters, rng=rng)

    def set_potential(self, potential: Potential) -> None:
        """Give the atoms the calculator of another potential."""
        self.atoms.calc = potential.calculator(uncertainty=Uncertainty.NONE)

    def step(self, n: int = 1) -> None:
        """Make `n` steps."""
        # `step` of the integrator avoids the observers and logging of `run`, which take a quarter of its time.
        for _ in range(n):
            self._dynamics.step()
            self.n_steps += 1

    def _target_changed(self) -> None:
        self._thermostat.set_temperature(self._temperature_K)

    def _atoms_replaced(self) -> None:
        self._thermostat.clear()
        self._thermostat.set_temperature(self._temperature_K)
        self._thermostat.follow(self.atoms)

    def forget_neighbors(self) -> None:
        """Drop results and neighbour lists of the calculator."""
        calculator = self.atoms.calc
        # ASE calls `reset` at every change of positions, so calculators with a neighbour list (PotentialCalculator and its
        # like) drop it by another method; any other ASE calculator has none to drop.
        getattr(calculator, "reset_neighbors", calculator.reset)()

    def _thermostat_variables(self) -> set[str]:
        return set(self._thermostat.get())

    def _get_thermostat(self) -> dict[str, np.ndarray]:
        return dict(self._thermostat.get())

    def _put_thermostat(self, variables: Mapping[str, np.ndarray]) -> None:
        self._thermostat.set_temperature(self._temperature_K)
        self._thermostat.put(variables)
        self._thermostat.follow(self.atoms)


def _own_momenta(atoms: Atoms) -> FloatArray:
    """Momenta of the atoms without drift."""
    momenta, masses = atoms.get_momenta(), atoms.get_masses()
    momenta = momenta - masses[:, None] * (momenta.sum(axis=0) / masses.sum())
    if not np.any(momenta):
        raise ConfigError("the structure has no velocities to keep; let them be drawn at a temperature")
    return momenta


class _Adapter:
    """What the driver needs of an ASE thermostat; this one stands for no thermostat."""

    def set_temperature(self, temperature_K: float) -> None:
        """Change the target."""

    def get(self) -> dict[str, FloatArray]:
        """Copy the internal variables."""
        return {}

    def put(self, variables: Mapping[str, FloatArray]) -> None:
        """Restore the internal variables."""

    def clear(self) -> None:
        """Reset the internal variables."""

    def follow(self, atoms: Atoms) -> None:
        """Take over positions and momenta that were set from outside."""


class _LangevinAdapter(_Adapter):
    def __init__(self, dynamics: Langevin) -> None:
        self._dynamics = dynamics

    def set_temperature(self, temperature_K: float) -> None:
        self._dynamics.set_temperature(temperature_K=temperature_K)


class _BussiAdapter(_Adapter):
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

    def clear(self) -> None:
        self._dynamics.transferred_energy = 0.0


class _NoseHooverAdapter(_Adapter):
    """The chain. Its ASE class has no public access to its variables: private names are used, and tested."""

    def __init__(self, dynamics: NoseHooverChainNVT, temperature_K: float, damping: float, atoms: Atoms) -> None:
        self._dynamics = dynamics
        self._damping = damping
        self._masses = atoms.get_masses()[:, None]
        self._eta, self._p_eta = np.zeros(CHAIN_LENGTH), np.zeros(CHAIN_LENGTH)
        self.set_temperature(temperature_K)

    def set_temperature(self, temperature_K: float) -> None:
        # The masses of the chain go with the temperature, so a new target is a new chain with the old variables. One
        # atom less stands for the three degrees of freedom of the centre of mass, which rests.
        chain = NoseHooverChainThermostat(
            num_atoms_global=len(self._masses) - 1,
            masses=self._masses,
            temperature_K=temperature_K,
            tdamp=self._damping,
            tchain=CHAIN_LENGTH,
        )
        chain._eta, chain._p_eta = self._eta, self._p_eta  # shared: the chain changes them in place
        self._dynamics._thermostat = chain

    def get(self) -> dict[str, FloatArray]:
        return {"eta": self._eta.copy(), "p_eta": self._p_eta.copy()}

    def put(self, variables: Mapping[str, FloatArray]) -> None:
        self._eta[:], self._p_eta[:] = variables["eta"], variables["p_eta"]

    def clear(self) -> None:
        self._eta[:], self._p_eta[:] = 0.0, 0.0

    def follow(self, atoms: Atoms) -> None:
        self._dynamics._q, self._dynamics._p = atoms.get_positions(), atoms.get_momenta()


def _langevin(atoms: Atoms, p: MDParameters, rng: np.random.Generator) -> tuple[MolecularDynamics, _Adapter]:
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


def _bussi(atoms: Atoms, p: MDParameters, rng: np.random.Generator) -> tuple[MolecularDynamics, _Adapter]:
    dynamics = Bussi(atoms, p.timestep_fs * units.fs, p.temperature_K, p.relaxation_time_fs * units.fs, rng=rng)
    return dynamics, _BussiAdapter(dynamics, p.temperature_K, n_atoms=len(atoms))


def _nose_hoover(atoms: Atoms, p: MDParameters, rng: np.random.Generator) -> tuple[MolecularDynamics, _Adapter]:
    damping = p.relaxation_time_fs * units.fs
    dynamics = NoseHooverChainNVT(atoms, p.timestep_fs * units.fs, p.temperature_K, damping, tchain=CHAIN_LENGTH)
    return dynamics, _NoseHooverAdapter(dynamics, p.temperature_K, damping, atoms)


def _nve(atoms: Atoms, p: MDParameters, rng: np.random.Generator) -> tuple[MolecularDynamics, _Adapter]:
    return VelocityVerlet(atoms, p.timestep_fs * units.fs), _Adapter()


_THERMOSTATS: Mapping[
    Thermostat, Callable[[Atoms, MDParameters, np.random.Generator], tuple[MolecularDynamics, _Adapter]]
] = {
    Thermostat.LANGEVIN: _langevin,
    Thermostat.BUSSI: _bussi,
    Thermostat.NOSE_HOOVER: _nose_hoover,
    Thermostat.NVE: _nve,
}
