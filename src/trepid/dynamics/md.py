"""One driver over MD engines, whose state can be taken out and put back to the last bit; here with the one of ASE.

Vocabulary
----------
driver        holds the atoms, the thermostat and the random numbers; `step(n)` moves them
state         everything the next step depends on; a driver given the state of another goes on as that one would
target        temperature the thermostat holds, K; the driver's user sets it, also from step to step (ramps)

The centre of mass rests: velocities start without drift, the noise of Langevin is freed of its centre-of-mass
component, and every thermostat counts 3 N - 3 degrees of freedom.

A state says nothing about neighbour lists, whose order shows in the last bit of a force. Whoever wants a resumed run to
equal an uninterrupted one bit by bit calls `driver.forget_neighbors()` wherever a state is taken.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.nose_hoover_chain import NoseHooverChainNVT, NoseHooverChainThermostat
from ase.md.verlet import VelocityVerlet

from trepid.errors import ConfigError, DataError
from trepid.potentials.base import FloatArray, Potential, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms
    from ase.md.md import MolecularDynamics

CHAIN_LENGTH = 3
"""Thermostat variables of the Nose-Hoover chain."""


class Engine(str, Enum):
    """Who moves the atoms."""

    ASE = "ase"
    """ASE, with the calculator of the potential."""
    LAMMPS = "lammps"
    """LAMMPS, with `pair_style trepid`."""


class Thermostat(str, Enum):
    """How the temperature is held."""

    LANGEVIN = "langevin"
    """Friction and noise on every atom; robust far from equilibrium. The forces of the calculator are free of it."""
    BUSSI = "bussi"
    """Stochastic velocity rescaling: canonical, and gentle to the dynamics."""
    NOSE_HOOVER = "nose-hoover"
    """Deterministic Nose-Hoover chain."""
    NVE = "nve"
    """None: constant energy."""


@dataclass(frozen=True)
class MDState:
    """What the next MD step depends on.

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
        What the thermostat held in the last step.
    thermostat : dict of str to array
        Internal variables of the thermostat, as the driver that took the state understands them; empty where it has
        none.
    random : dict
        State of the bit generator of numpy.
    """

    step: int
    positions: FloatArray
    momenta: FloatArray
    cell: FloatArray
    target_temperature_K: float
    thermostat: Mapping[str, np.ndarray]
    random: Mapping[str, Any]

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
        return arrays | {f"md_thermostat_{name}": np.asarray(value) for name, value in self.thermostat.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> MDState:
        """Read what `to_arrays` made.

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
        )


class MDDriver(ABC):
    """Molecular dynamics of one system.

    Attributes
    ----------
    atoms : ase.Atoms
        The moving atoms.
    n_steps : int
        Steps made since the start of the run.
    timestep_fs : float
        fs.
    """

    def __init__(self, atoms: Atoms, *, rng: np.random.Generator, timestep_fs: float, temperature_K: float) -> None:
        self.atoms = atoms
        self.n_steps = 0
        self.timestep_fs = timestep_fs
        self._rng = rng
        self._temperature_K = temperature_K

    @property
    def time_fs(self) -> float:
        """Simulated time, fs."""
        return self.n_steps * self.timestep_fs

    @property
    def target_temperature_K(self) -> float:
        """Temperature that the thermostat holds, K; without a thermostat, the one the velocities were drawn at."""
        return self._temperature_K

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
            _require_temperature(temperature_K)
            self._temperature_K = temperature_K
            self._target_changed()

    def step(self, n: int = 1) -> None:
        """Make `n` steps.

        Raises
        ------
        TrepidError
            The potential or the engine refuses a frame: the dynamics has come apart. `restart_from` goes on.
        """
        self._step(n)

    def restart_from(self, positions: FloatArray, temperature_K: float) -> None:
        """Put the atoms at `positions` ((n_atoms, 3), A) with fresh velocities and thermostat; the time goes on."""
        self.atoms.set_positions(positions)
        self.atoms.set_momenta(thermal_momenta(self.atoms, temperature_K, self._rng))
        _require_temperature(temperature_K)
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
        )

    def forget_neighbors(self) -> None:
        """Make what follows depend on the state alone: drop results and neighbour lists."""
        self._forget_neighbors()

    def set_state(self, state: MDState) -> None:
        """Go on from `state`.

        Raises
        ------
        DataError
            The state belongs to another number of atoms, another engine or thermostat, or another kind of random
            numbers.
        """
        if state.positions.shape != (len(self.atoms), 3):
            raise DataError(f"the MD state holds {len(state.positions)} atoms, the structure {len(self.atoms)}")
        needed = self._thermostat_variables()
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
        self._put_thermostat(state.thermostat)

    @abstractmethod
    def set_potential(self, potential: Potential) -> None:
        """Go on with another potential; positions, velocities and thermostat stay."""

    def close(self) -> None:  # noqa: B027 not every engine holds something
        """Free what the engine holds; the driver is not used afterwards."""

    # What an engine does.

    @abstractmethod
    def _step(self, n: int) -> None:
        """Make the steps, counting `n_steps`, and leave the result in `atoms`."""

    @abstractmethod
    def _target_changed(self) -> None:
        """Hand the target on."""

    @abstractmethod
    def _atoms_replaced(self) -> None:
        """Take over positions, momenta and target, with a fresh thermostat."""

    @abstractmethod
    def _forget_neighbors(self) -> None: ...

    @abstractmethod
    def _thermostat_variables(self) -> set[str]:
        """Names that `_get_thermostat` gives."""

    @abstractmethod
    def _get_thermostat(self) -> dict[str, np.ndarray]:
        """Copy the internal variables."""

    @abstractmethod
    def _put_thermostat(self, variables: Mapping[str, np.ndarray]) -> None:
        """Take over positions, momenta, target and these variables."""


class ASEDriver(MDDriver):
    """Molecular dynamics by ASE; make it with `make_driver`. `atoms` carries the calculator."""

    def __init__(
        self,
        atoms: Atoms,
        dynamics: MolecularDynamics,
        *,
        thermostat: _Adapter,
        rng: np.random.Generator,
        timestep_fs: float,
        temperature_K: float,
    ) -> None:
        super().__init__(atoms, rng=rng, timestep_fs=timestep_fs, temperature_K=temperature_K)
        self._dynamics = dynamics
        self._thermostat = thermostat

    def set_potential(self, potential: Potential) -> None:
        """Give the atoms the calculator of another potential."""
        self.atoms.calc = potential.calculator(uncertainty=Uncertainty.NONE)

    def _step(self, n: int) -> None:
        # The integrator's own `step` spares the observer and logging machinery of `run`, a quarter of its time.
        for _ in range(n):
            self._dynamics.step()
            self.n_steps += 1

    def _target_changed(self) -> None:
        self._thermostat.set_temperature(self._temperature_K)

    def _atoms_replaced(self) -> None:
        self._thermostat.forget()
        self._thermostat.set_temperature(self._temperature_K)
        self._thermostat.follow(self.atoms)

    def _forget_neighbors(self) -> None:
        calculator = self.atoms.calc
        # `reset` of ASE runs at every change of positions, so calculators that keep a list drop it by a method of its
        # own.
        getattr(calculator, "reset_neighbors", calculator.reset)()

    def _thermostat_variables(self) -> set[str]:
        return set(self._thermostat.get())

    def _get_thermostat(self) -> dict[str, np.ndarray]:
        return dict(self._thermostat.get())

    def _put_thermostat(self, variables: Mapping[str, np.ndarray]) -> None:
        self._thermostat.set_temperature(self._temperature_K)
        self._thermostat.put(variables)
        self._thermostat.follow(self.atoms)


def make_driver(
    atoms: Atoms,
    *,
    temperature_K: float,
    timestep_fs: float,
    rng: np.random.Generator,
    thermostat: Thermostat | str = Thermostat.LANGEVIN,
    relaxation_time_fs: float = 100.0,
    keep_velocities: bool = False,
) -> ASEDriver:
    """Prepare molecular dynamics by ASE.

    Parameters
    ----------
    atoms : ase.Atoms
        With a calculator; moved in place.
    temperature_K : float
        First target, and the temperature at which velocities are drawn, K.
    timestep_fs : float
        fs.
    rng : numpy.random.Generator
        Source of the velocities and of the thermostat's noise; its state is part of the driver's state.
    thermostat : Thermostat or str
    relaxation_time_fs : float
        1/friction of langevin, tau of bussi, damping time of nose-hoover, fs.
    keep_velocities : bool
        Start with the velocities `atoms` carries, less their drift, instead of drawing them.

    Returns
    -------
    ASEDriver

    Raises
    ------
    ConfigError
        A temperature or time that is not positive, fewer than two atoms, constraints, or velocities that are kept but
        all zero.
    """
    require_movable(atoms, temperature_K=temperature_K, timestep_fs=timestep_fs, relaxation_time_fs=relaxation_time_fs)
    if keep_velocities:
        momenta = atoms.get_momenta()
        masses = atoms.get_masses()
        momenta = momenta - masses[:, None] * (momenta.sum(axis=0) / masses.sum())
        if not np.any(momenta):
            raise ConfigError("the structure has no velocities to keep; let them be drawn at a temperature")
    else:
        momenta = thermal_momenta(atoms, temperature_K, rng)
    atoms.set_momenta(momenta)
    dt, tau = timestep_fs * units.fs, relaxation_time_fs * units.fs
    kind = Thermostat(thermostat)
    adapter: _Adapter
    if kind is Thermostat.LANGEVIN:
        # fixcm of ASE does not sample the canonical distribution; centred noise does, in the frame of the centre of
        # mass.
        dynamics = Langevin(
            atoms,
            dt,
            temperature_K=temperature_K,
            friction=1 / tau,
            fixcm=False,
            rng=_CentredNoise(rng, atoms.get_masses()),
        )
        adapter = _LangevinAdapter(dynamics)
    elif kind is Thermostat.BUSSI:
        dynamics = Bussi(atoms, dt, temperature_K, tau, rng=rng)
        adapter = _BussiAdapter(dynamics, temperature_K, n_atoms=len(atoms))
    elif kind is Thermostat.NOSE_HOOVER:
        dynamics = NoseHooverChainNVT(atoms, dt, temperature_K, tau, tchain=CHAIN_LENGTH)
        adapter = _NoseHooverAdapter(dynamics, temperature_K, tau, atoms)
    else:
        dynamics = VelocityVerlet(atoms, dt)
        adapter = _Adapter()
    return ASEDriver(atoms, dynamics, thermostat=adapter, rng=rng, timestep_fs=timestep_fs, temperature_K=temperature_K)


def require_movable(atoms: Atoms, *, temperature_K: float, timestep_fs: float, relaxation_time_fs: float) -> None:
    """Make sure that these atoms can be moved with these settings.

    Raises
    ------
    ConfigError
        A temperature or time that is not positive, fewer than two atoms, or constraints.
    """
    _require_temperature(temperature_K)
    for name, value in (("timestep_fs", timestep_fs), ("relaxation_time_fs", relaxation_time_fs)):
        if not (np.isfinite(value) and value > 0):
            raise ConfigError(f"{name} must be a positive time in fs, not {value}")
    if len(atoms) < 2:
        raise ConfigError(f"molecular dynamics needs two atoms or more, the structure has {len(atoms)}")
    if atoms.constraints:
        kinds = ", ".join(sorted({type(constraint).__name__ for constraint in atoms.constraints}))
        raise ConfigError(
            f"the structure carries constraints ({kinds}); every atom moves here: remove them from its file"
        )


def _require_temperature(temperature_K: float) -> None:
    if not (np.isfinite(temperature_K) and temperature_K > 0):
        raise ConfigError(f"temperature_K must be above 0 K, not {temperature_K}")


class _CentredNoise:
    """White noise without its centre-of-mass component: an orthogonal projection of xi on what is normal to sqrt(m)."""

    def __init__(self, rng: np.random.Generator, masses: FloatArray) -> None:
        self._rng = rng
        self._direction = np.sqrt(masses / masses.sum())[:, None]

    def standard_normal(self, size: tuple[int, int]) -> FloatArray:
        noise = self._rng.standard_normal(size)
        return noise - self._direction * (self._direction * noise).sum(axis=0)


def thermal_momenta(atoms: Atoms, temperature_K: float, rng: np.random.Generator) -> FloatArray:
    """Maxwell-Boltzmann momenta (ASE units) in the frame of the centre of mass."""
    masses = atoms.get_masses()
    noise = _CentredNoise(rng, masses).standard_normal((len(masses), 3))
    return noise * np.sqrt(masses * units.kB * temperature_K)[:, None]


class _Adapter:
    """What the driver needs of a thermostat of ASE; this one is none."""

    def set_temperature(self, temperature_K: float) -> None:
        """Change the target."""

    def get(self) -> dict[str, FloatArray]:
        """Copy the internal variables."""
        return {}

    def put(self, variables: Mapping[str, FloatArray]) -> None:
        """Restore the internal variables."""

    def forget(self) -> None:
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

    def forget(self) -> None:
        self._dynamics.transferred_energy = 0.0


class _NoseHooverAdapter(_Adapter):
    """The chain. Its ASE class has no door for its variables: they are reached by their private names, under test."""

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

    def forget(self) -> None:
        self._eta[:], self._p_eta[:] = 0.0, 0.0

    def follow(self, atoms: Atoms) -> None:
        self._dynamics._q, self._dynamics._p = atoms.get_positions(), atoms.get_momenta()
