"""Molecular dynamics through one interface: the contract of MD drivers, their exact state, and initial velocities.

Vocabulary
----------
driver        holds the atoms, the thermostat and the random numbers; `step(n)` moves them
state         everything the next step depends on; a driver set to the state of another continues as that one would
target        temperature of the thermostat, K, and pressure of the barostat, GPa; they may be changed from step to step

The centre of mass is at rest: initial velocities have no drift, the noise of the Langevin thermostat has no
centre-of-mass component, and every thermostat counts 3 N - 3 degrees of freedom.

A state does not include neighbour lists, whose order changes the last bit of a force. For a resumed run to equal an
uninterrupted one bit by bit, call `driver.forget_neighbors()` wherever a state is taken.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units

from trepid.choices import DEFAULT_PRESSURE_TIME_FS, Barostat, Engine, Thermostat
from trepid.errors import ConfigError, DataError
from trepid.potentials.base import FloatArray, Potential

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class MDParameters:
    """How atoms are moved.

    Attributes
    ----------
    temperature_K : float
        First target, and the temperature of the initial velocities, K.
    timestep_fs : float
        fs.
    thermostat : Thermostat
    relaxation_time_fs : float
        1/friction of langevin, tau of bussi, damping time of nose-hoover, fs.
    engine : Engine
    pressure_GPa : float or None
        First target of the barostat, GPa; None: the cell does not change.
    barostat : Barostat
        How the cell changes where there is a pressure.
    pressure_time_fs : float
        Damping time of the barostat, fs.

    Raises
    ------
    ConfigError
        A temperature or time that is not positive, a pressure that is not finite, or one with another thermostat than nose-hoover.
    """

    temperature_K: float
    timestep_fs: float
    thermostat: Thermostat = Thermostat.LANGEVIN
    relaxation_time_fs: float = 100.0
    engine: Engine = Engine.ASE
    pressure_GPa: float | None = None
    barostat: Barostat = Barostat.ISOTROPIC
    pressure_time_fs: float = DEFAULT_PRESSURE_TIME_FS

    def __post_init__(self) -> None:
        # Names are accepted in place of the enums.
        object.__setattr__(self, "thermostat", Thermostat(self.thermostat))
        object.__setattr__(self, "engine", Engine(self.engine))
        object.__setattr__(self, "barostat", Barostat(self.barostat))
        require_temperature(self.temperature_K)
        require_pressure(self.pressure_GPa, self.thermostat)
        times = ("timestep_fs", "relaxation_time_fs", "pressure_time_fs")
        for name, value in zip(times, (self.timestep_fs, self.relaxation_time_fs, self.pressure_time_fs), strict=True):
            if not (np.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be a positive time in fs, not {value}")

    def at(self, temperature_K: float) -> MDParameters:
        """The same at another temperature."""
        return replace(self, temperature_K=temperature_K)


@dataclass(frozen=True)
class MDState:
    """Everything the next MD step depends on, but for the potential.

    Attributes
    ----------
    step : int
        Steps made since the start of the run.
    positions : (n_atoms, 3) array
        A, unwrapped.
    momenta : (n_atoms, 3) array
        ASE units (amu A / ASE time).
    cell : (3, 3) array
        Rows are the cell vectors, A.
    target_temperature_K : float
        Target of the thermostat in the last step, K.
    thermostat : dict of str to array
        Internal variables of the thermostat and the barostat, as the driver that took the state understands them; empty where
        there are none.
    random : dict
        State of the bit generator of numpy.
    target_pressure_GPa : float or None
        Target of the barostat in the last step, GPa; None where the cell is held.
    """

    step: int
    positions: FloatArray
    momenta: FloatArray
    cell: FloatArray
    target_temperature_K: float
    thermostat: Mapping[str, np.ndarray]
    random: Mapping[str, Any]
    target_pressure_GPa: float | None = None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for `numpy.savez`; `from_arrays` reads them back without loss."""
        arrays: dict[str, np.ndarray] = {
            "md_step": np.array(self.step),
            "md_positions_A": self.positions,
            "md_momenta": self.momenta,
            "md_cell_A": self.cell,
            "md_target_temperature_K": np.array(self.target_temperature_K),
            "md_random": np.array(json.dumps(self.random)),
        }
        if self.target_pressure_GPa is not None:
            arrays["md_target_pressure_GPa"] = np.array(self.target_pressure_GPa)
        return arrays | {f"md_thermostat_{name}": np.asarray(value) for name, value in self.thermostat.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> MDState:
        """Read what `to_arrays` returned.

        Raises
        ------
        KeyError
            An array is missing.
        """
        prefix = "md_thermostat_"
        return cls(
            step=int(arrays["md_step"]),
            positions=np.array(arrays["md_positions_A"], dtype=np.float64),
            momenta=np.array(arrays["md_momenta"], dtype=np.float64),
            cell=np.array(arrays["md_cell_A"], dtype=np.float64),
            target_temperature_K=float(arrays["md_target_temperature_K"]),
            thermostat={
                name.removeprefix(prefix): np.array(arrays[name]) for name in arrays if name.startswith(prefix)
            },
            random=json.loads(str(arrays["md_random"])),
            target_pressure_GPa=(
                float(arrays["md_target_pressure_GPa"]) if "md_target_pressure_GPa" in arrays else None
            ),
        )


class MDDriver(ABC):
    """Molecular dynamics of one system.

    Attributes
    ----------
    atoms : ase.Atoms
        The moving atoms.
    n_steps : int
        Steps made since the start of the run.
    parameters : MDParameters
    start_volume_A3 : float
        Volume of the cell that the run began with, A^3; 0 without a cell.

    Raises
    ------
    ConfigError
        Fewer than two atoms, constraints, or a cell that the barostat cannot change.
    """

    def __init__(self, atoms: Atoms, parameters: MDParameters, *, rng: np.random.Generator) -> None:
        require_movable(atoms)
        if parameters.pressure_GPa is not None:
            require_cell(atoms, parameters.barostat)
        self.atoms = atoms
        self.parameters = parameters
        self.n_steps = 0
        self.start_volume_A3 = float(atoms.cell.volume)
        self._rng = rng
        self._temperature_K = parameters.temperature_K
        self._pressure_GPa = parameters.pressure_GPa

    @property
    def timestep_fs(self) -> float:
        """Time step, fs."""
        return self.parameters.timestep_fs

    @property
    def time_fs(self) -> float:
        """Simulated time, fs."""
        return self.n_steps * self.timestep_fs

    @property
    def target_temperature_K(self) -> float:
        """Temperature that the thermostat holds, K; without a thermostat, the one the velocities were drawn at."""
        return self._temperature_K

    @property
    def target_pressure_GPa(self) -> float | None:
        """Pressure that the barostat holds, GPa; None where the cell does not change."""
        return self._pressure_GPa

    @property
    def temperature_K(self) -> float:
        """Instantaneous temperature, K, over 3 N - 3 degrees of freedom."""
        momenta, masses = self.atoms.arrays["momenta"], self.atoms.get_masses()
        return float((momenta**2 / masses[:, None]).sum() / ((3 * len(masses) - 3) * units.kB))

    @property
    def kinetic_energy_eV(self) -> float:
        """Kinetic energy, eV."""
        return 0.5 * self.temperature_K * units.kB * (3 * len(self.atoms) - 3)

    def set_temperature(self, temperature_K: float) -> None:
        """Change the target (K); it has no effect on the motion without a thermostat."""
        if temperature_K != self._temperature_K:
            require_temperature(temperature_K)
            self._temperature_K = temperature_K
            self._target_changed()

    def set_pressure(self, pressure_GPa: float | None) -> None:
        """Change the target (GPa), or hold the cell (None). Where a barostat comes or goes, the thermostat starts afresh.

        Raises
        ------
        ConfigError
            A pressure that is not finite, another thermostat than nose-hoover, or a cell that the barostat cannot change.
        """
        if pressure_GPa != self._pressure_GPa:
            require_pressure(pressure_GPa, self.parameters.thermostat)
            if pressure_GPa is not None:
                require_cell(self.atoms, self.parameters.barostat)
            same = (pressure_GPa is None) == (self._pressure_GPa is None)
            self._pressure_GPa = pressure_GPa
            if same:
                self._target_changed()
            else:
                self._barostat_changed()

    @abstractmethod
    def step(self, n: int = 1) -> None:
        """Make `n` steps: `n_steps` counts them, `atoms` holds the result.

        Raises
        ------
        TrepidError
            The potential or the engine rejects a frame: the simulation is unstable. `restart_from` continues.
        """

    def restart_from(self, positions: FloatArray, temperature_K: float, *, cell: FloatArray | None = None) -> None:
        """Put the atoms at `positions` ((n_atoms, 3), A) with new velocities and thermostat; the time continues.

        `cell` ((3, 3), A) replaces that of the atoms where it is given.
        """
        if cell is not None:
            self.atoms.set_cell(cell)
        self.atoms.set_positions(positions)
        self.atoms.set_momenta(thermal_momenta(self.atoms, temperature_K, self._rng))
        require_temperature(temperature_K)
        self._temperature_K = temperature_K
        self._atoms_replaced()

    def get_state(self) -> MDState:
        """Copy everything the next step depends on, but for the potential."""
        return MDState(
            step=self.n_steps,
            positions=self.atoms.get_positions(),
            momenta=self.atoms.get_momenta(),
            cell=np.array(self.atoms.cell),
            target_temperature_K=self._temperature_K,
            thermostat=self._get_thermostat(),
            random=dict(self._rng.bit_generator.state),
            target_pressure_GPa=self._pressure_GPa,
        )

    @abstractmethod
    def forget_neighbors(self) -> None:
        """Drop results and neighbour lists, so that what follows depends on the state alone."""

    def set_state(self, state: MDState) -> None:
        """Continue from `state`.

        Raises
        ------
        DataError
            The state belongs to another number of atoms, another engine or thermostat, or another kind of random
            numbers.
        """
        if state.positions.shape != (len(self.atoms), 3):
            raise DataError(f"the MD state holds {len(state.positions)} atoms, the structure {len(self.atoms)}")
        needed = self._thermostat_variables(barostat=state.target_pressure_GPa is not None)
        if set(state.thermostat) != needed:
            raise DataError(
                f"the MD state belongs to another thermostat: it holds {sorted(state.thermostat)}, "
                f"this one needs {sorted(needed)}"
            )
        kind, own = state.random.get("bit_generator"), type(self._rng.bit_generator).__name__
        if kind != own:
            raise DataError(f"the MD state holds random numbers of kind {kind}, this run uses {own}")
        self.atoms.set_cell(state.cell)
        self.atoms.set_positions(state.positions)
        self.atoms.set_momenta(state.momenta)
        self.n_steps = state.step
        self._rng.bit_generator.state = dict(state.random)
        self._temperature_K = state.target_temperature_K
        self._pressure_GPa = state.target_pressure_GPa
        self._put_thermostat(state.thermostat)

    @abstractmethod
    def set_potential(self, potential: Potential) -> None:
        """Continue with another potential; positions, velocities and thermostat are unchanged."""

    def close(self) -> None:  # noqa: B027 not every engine holds something
        """Free the resources of the engine; the driver cannot be used afterwards."""

    # ---- implemented by engines

    @abstractmethod
    def _target_changed(self) -> None:
        """Pass the new targets to the engine."""

    @abstractmethod
    def _barostat_changed(self) -> None:
        """Continue with a barostat, or without one; thermostat and barostat are fresh."""

    @abstractmethod
    def _atoms_replaced(self) -> None:
        """Take over positions, momenta, cell and targets, with a fresh thermostat and barostat."""

    @abstractmethod
    def _thermostat_variables(self, *, barostat: bool) -> set[str]:
        """Names that `_get_thermostat` gives with a barostat, or without."""

    @abstractmethod
    def _get_thermostat(self) -> dict[str, np.ndarray]:
        """Copy the internal variables of thermostat and barostat."""

    @abstractmethod
    def _put_thermostat(self, variables: Mapping[str, np.ndarray]) -> None:
        """Take over positions, momenta, cell, targets and these variables."""


def require_movable(atoms: Atoms) -> None:
    """Check that all of at least two atoms can move.

    Raises
    ------
    ConfigError
        Fewer than two atoms, or constraints.
    """
    if len(atoms) < 2:
        raise ConfigError(f"molecular dynamics needs two atoms or more, the structure has {len(atoms)}")
    if atoms.constraints:
        kinds = ", ".join(sorted({type(constraint).__name__ for constraint in atoms.constraints}))
        raise ConfigError(
            f"the structure carries constraints ({kinds}); every atom moves here: remove them from its file"
        )


def require_temperature(temperature_K: float) -> None:
    """Raise ConfigError for a temperature that is not positive and finite."""
    if not (np.isfinite(temperature_K) and temperature_K > 0):
        raise ConfigError(f"temperature_K must be above 0 K, not {temperature_K}")


def require_pressure(pressure_GPa: float | None, thermostat: Thermostat) -> None:
    """Raise ConfigError for a pressure that is not finite, or one beside another thermostat than nose-hoover."""
    if pressure_GPa is None:
        return
    if not np.isfinite(pressure_GPa):
        raise ConfigError(f"pressure_GPa must be a finite pressure in GPa, not {pressure_GPa}")
    if thermostat is not Thermostat.NOSE_HOOVER:
        raise ConfigError(f"a pressure needs the thermostat nose-hoover, not {thermostat.value}")


def require_cell(atoms: Atoms, barostat: Barostat) -> None:
    """Check that a barostat can change the cell.

    Raises
    ------
    ConfigError
        The structure is not periodic in all directions, or the vectors are not orthogonal where only their lengths change.
    """
    if not atoms.pbc.all():
        raise ConfigError(
            "a pressure needs a structure that is periodic in all three directions; this one is not "
            f"(pbc {' '.join('FT'[int(p)] for p in atoms.pbc)})"
        )
    if barostat is Barostat.AXES and np.abs(atoms.cell.angles() - 90).max() > 1e-6:
        angles = ", ".join(f"{angle:.4g}" for angle in atoms.cell.angles())
        raise ConfigError(
            f"barostat axes needs orthogonal cell vectors; the angles are {angles} degrees: give full, or isotropic"
        )


class CentredNoise:
    """White noise without centre-of-mass component: the projection of xi on the space orthogonal to sqrt(m).

    Langevin forces made of it sample the canonical distribution in the frame of the centre of mass: the projection is the
    identity on the 3 N - 3 internal momenta (in mass-weighted coordinates), so the fluctuation-dissipation relation holds
    there, and friction keeps the centre of mass at rest.
    """

    def __init__(self, rng: np.random.Generator, masses: FloatArray) -> None:
        self._rng = rng
        self._direction = np.sqrt(masses / masses.sum())[:, None]

    def standard_normal(self, size: tuple[int, int]) -> FloatArray:
        """Draw (n_atoms, 3) numbers; called by ASE in place of the method of a generator."""
        noise = self._rng.standard_normal(size)
        return noise - self._direction * (self._direction * noise).sum(axis=0)


def thermal_momenta(atoms: Atoms, temperature_K: float, rng: np.random.Generator) -> FloatArray:
    """Maxwell-Boltzmann momenta (ASE units) in the frame of the centre of mass."""
    masses = atoms.get_masses()
    noise = CentredNoise(rng, masses).standard_normal((len(masses), 3))
    return noise * np.sqrt(masses * units.kB * temperature_K)[:, None]
