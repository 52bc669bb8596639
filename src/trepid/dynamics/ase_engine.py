"""The MD engine ASE: its integrators behind `MDDriver`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from ase import Atoms

from trepid.dynamics.ase_barostats import BAROSTAT_VARIABLES, BAROSTATS
from trepid.dynamics.ase_thermostats import THERMOSTAT_VARIABLES, THERMOSTATS
from trepid.dynamics.driver import MDDriver, MDParameters, thermal_momenta
from trepid.errors import ConfigError
from trepid.potentials.base import FloatArray, Potential, Uncertainty


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
        self._integrate()

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
        # A simulation that comes apart overflows on its way to positions that are not finite, which the loop tells.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for _ in range(n):
                self._dynamics.step()
                self.n_steps += 1

    def _integrate(self) -> None:
        """A new integrator for the present atoms and targets."""
        parameters = replace(self.parameters, temperature_K=self._temperature_K, pressure_GPa=self._pressure_GPa)
        if self._pressure_GPa is None:
            self._dynamics, self._thermostat = THERMOSTATS[parameters.thermostat](self.atoms, parameters, self._rng)
        else:
            self._dynamics, self._thermostat = BAROSTATS[parameters.barostat](self.atoms, parameters)

    def _target_changed(self) -> None:
        self._thermostat.set_temperature(self._temperature_K)
        if self._pressure_GPa is not None:
            self._thermostat.set_pressure(self._pressure_GPa)

    def _barostat_changed(self) -> None:
        self._integrate()

    def _atoms_replaced(self) -> None:
        self._integrate()

    def forget_neighbors(self) -> None:
        """Drop results and neighbour lists of the calculator."""
        calculator = self.atoms.calc
        # ASE calls `reset` at every change of positions, so calculators with a neighbour list (PotentialCalculator and its
        # like) drop it by another method; any other ASE calculator has none to drop.
        getattr(calculator, "reset_neighbors", calculator.reset)()

    def _thermostat_variables(self, *, barostat: bool) -> set[str]:
        if barostat:
            return set(BAROSTAT_VARIABLES[self.parameters.barostat])
        return set(THERMOSTAT_VARIABLES[self.parameters.thermostat])

    def _get_thermostat(self) -> dict[str, np.ndarray]:
        return dict(self._thermostat.get())

    def _put_thermostat(self, variables: Mapping[str, np.ndarray]) -> None:
        self._integrate()
        self._thermostat.put(variables)


def _own_momenta(atoms: Atoms) -> FloatArray:
    """Momenta of the atoms without drift."""
    momenta, masses = atoms.get_momenta(), atoms.get_masses()
    momenta = momenta - masses[:, None] * (momenta.sum(axis=0) / masses.sum())
    if not np.any(momenta):
        raise ConfigError("the structure has no velocities to keep; let them be drawn at a temperature")
    return momenta
