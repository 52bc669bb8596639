"""The MD engine LAMMPS, inside this process, on one processor.

The state of a run is a LAMMPS restart file (positions, velocities, box, Nose-Hoover chains, random numbers of the
stochastic rescaling), held as bytes. LAMMPS does not guarantee an exact continuation from such a file: neighbour lists,
wrapped positions and the Langevin noise are set up again. So every run sets them up again at each checkpoint: the driver
loads the restart file that it has just written, with a noise seed from its own random numbers. Interrupted or not, what
follows a checkpoint is then the same computation, equal to the last bit on one machine.

Difference from the ASE engine: the mean Langevin force is removed atom by atom, not weighted by mass, a relative
difference of order 1 / N where masses differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from trepid.choices import Barostat, Thermostat
from trepid.dynamics.driver import MDDriver, MDParameters, thermal_momenta
from trepid.errors import DataError, NumericsError
from trepid.lammps.session import CHARGED_SETUP, NEIGHBOR, SETUP, Session, pair_commands
from trepid.lammps.system import System
from trepid.potentials.base import Potential

if TYPE_CHECKING:
    from ase import Atoms

MODEL_FILE = "model.trepid"
RESTART_FILE = "state.restart"
TARGET = "target_K"


BAR_PER_GPa = 1e4
_CELL = {Barostat.ISOTROPIC: "iso", Barostat.AXES: "aniso", Barostat.FULL: "tri"}


def motion_commands(parameters: MDParameters, *, start: str, end: str, seed: int) -> str:
    """Fixes that move the atoms; `motion` and, where there is a thermostat beside it, `heat`.

    Parameters
    ----------
    parameters : MDParameters
        Their pressure is the one that is held; `start` and `end` stand for their temperature.
    start, end : str
        Target temperature at the two ends of a run, K. For langevin and bussi `start` may be a variable, v_NAME, which
        then holds everywhere.
    seed : int
        Of the noise.
    """
    thermostat, tau = parameters.thermostat, repr(parameters.relaxation_time_fs / 1000)
    if parameters.pressure_GPa is not None:
        bar = repr(parameters.pressure_GPa * BAR_PER_GPa)
        pressure = f"{_CELL[parameters.barostat]} {bar} {bar} {parameters.pressure_time_fs / 1000!r}"
        # The origin of the box rests, and the vectors go on smoothly: both as in the frames of ASE.
        return f"fix motion all npt temp {start} {end} {tau} {pressure} fixedpoint 0 0 0 flip no\n"
    if thermostat is Thermostat.NOSE_HOOVER:
        return f"fix motion all nvt temp {start} {end} {tau}\n"
    heat = {
        Thermostat.LANGEVIN: f"fix heat all langevin {start} {end} {tau} {seed} zero yes\n",
        Thermostat.BUSSI: f"fix heat all temp/csvr {start} {end} {tau} {seed}\n",
        Thermostat.NVE: "",
    }
    return f"fix motion all nve\n{heat[thermostat]}"


class LammpsDriver(MDDriver):
    """Molecular dynamics by LAMMPS.

    Parameters
    ----------
    atoms : ase.Atoms
        Moved in place; velocities are drawn.
    potential : Potential
        One whose model file `pair_style trepid` reads: a Bayesian force field.
    parameters : MDParameters
    rng : numpy.random.Generator
        Source of the velocities and of the noise seeds.

    Raises
    ------
    ConfigError
        LAMMPS or its plugin is not installed, fewer than two atoms, or constraints.
    NumericsError
        LAMMPS rejects the model or the structure.
    """

    def __init__(
        self, atoms: Atoms, potential: Potential, parameters: MDParameters, *, rng: np.random.Generator
    ) -> None:
        super().__init__(atoms, parameters, rng=rng)
        atoms.set_momenta(thermal_momenta(atoms, parameters.temperature_K, rng))
        self._kind = Thermostat(parameters.thermostat)
        self._system = System.of(atoms)
        self._folder = TemporaryDirectory(prefix="trepid-lammps-")
        self._session: Session | None = None
        self._restart: bytes | None = None
        """Restart file of the present step; None where steps were made since the last one."""
        self._ready = False
        """The next run continues the last one, without setting forces and lists up again."""
        potential.save(self._path(MODEL_FILE))
        self._electrostatics = potential.electrostatics
        self._load()

    def close(self) -> None:
        """End LAMMPS and remove its files."""
        self._end()
        self._folder.cleanup()

    def set_potential(self, potential: Potential) -> None:
        """Give LAMMPS another potential; nothing else changes."""
        potential.save(self._path(MODEL_FILE))
        self._electrostatics = potential.electrostatics
        if self._session is not None:
            self._session.commands(self._pair())
            self._ready = False

    # ---- contract of MDDriver

    def step(self, n: int = 1) -> None:
        """Make `n` steps."""
        if self._session is None:
            raise NumericsError("LAMMPS has stopped; restart_from or set_state continues")
        session = self._session
        try:
            session.commands(f"run {n} post no" if not self._ready else f"run {n} pre no post no")
            if self._pressure_GPa is not None:
                self.atoms.set_cell(session.cell(self._system))
            self.atoms.set_positions(session.positions(self._system))
            self.atoms.set_velocities(session.velocities(self._system))
            if not np.isfinite(self.atoms.positions).all():
                raise NumericsError("positions are not finite")
        except NumericsError:
            # The state of LAMMPS after an error is undefined.
            self.n_steps = max(self.n_steps, session.step)
            self._end()
            raise
        self.n_steps += n
        self._ready, self._restart = True, None

    def _target_changed(self) -> None:
        if self._kind is Thermostat.NOSE_HOOVER:
            # The targets of `fix nvt` and `fix npt` are fixed where they are made; chains come back from the restart file.
            self._restart = self._take_restart()
            self._load(self._restart)
        elif self._session is not None:
            self._session.set_variable(TARGET, self._temperature_K)

    def _barostat_changed(self) -> None:
        # LAMMPS gives a fix of another style no state of the restart file. A tilted box cannot be had from one without tilt.
        self._atoms_replaced()

    def _atoms_replaced(self) -> None:
        self._restart = None
        self._load()

    def forget_neighbors(self) -> None:
        """Continue from a restart file: LAMMPS builds its lists again."""
        self._restart = self._take_restart()
        self._load(self._restart)

    def _thermostat_variables(self, *, barostat: bool) -> set[str]:
        return {f"lammps_{self._kind.value}{f'_{self.parameters.barostat.value}' if barostat else ''}"}

    def _get_thermostat(self) -> dict[str, np.ndarray]:
        self._restart = self._take_restart()
        (name,) = self._thermostat_variables(barostat=self._pressure_GPa is not None)
        return {name: np.frombuffer(self._restart, dtype=np.uint8)}

    def _put_thermostat(self, variables: Mapping[str, np.ndarray]) -> None:
        (restart,) = variables.values()
        self._restart = np.asarray(restart, dtype=np.uint8).tobytes()
        try:
            self._load(self._restart)
        except NumericsError as error:
            raise DataError(f"the MD state cannot be read by this LAMMPS ({error})") from error

    # ---- LAMMPS

    def _path(self, name: str) -> Path:
        return Path(self._folder.name) / name

    def _pair(self) -> str:
        """Commands of the present potential, without live directions."""
        return pair_commands(self._path(MODEL_FILE), self._system, rank=0, electrostatics=self._electrostatics)

    @property
    def _tilts(self) -> bool:
        """Whether the box may become tilted."""
        return self._pressure_GPa is not None and self.parameters.barostat is Barostat.FULL

    def _end(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session, self._ready = None, False

    def _take_restart(self) -> bytes:
        if self._restart is not None:
            return self._restart
        if self._session is None:
            raise NumericsError("LAMMPS has stopped; there is no state to take")
        # Writing one rebuilds ghosts and lists, so the next run sets up again.
        self._ready = False
        self._session.commands(f"write_restart {self._path(RESTART_FILE)}")
        return self._path(RESTART_FILE).read_bytes()

    def _load(self, restart: bytes | None = None) -> None:
        """A new LAMMPS with the present atoms, or with those of a restart file."""
        self._end()
        session = Session()
        self._session = session
        session.commands(SETUP if self._electrostatics is None else CHARGED_SETUP)
        if restart is None:
            self._system = System.of(self.atoms)
            session.create_atoms(self.atoms, self._system, triclinic=self._tilts)
            session.commands(f"reset_timestep {self.n_steps}")
        else:
            self._path(RESTART_FILE).write_bytes(restart)
            session.commands(f"read_restart {self._path(RESTART_FILE)}")
        target = f"{self._temperature_K:.17g}"
        motion = motion_commands(
            replace(self.parameters, pressure_GPa=self._pressure_GPa),
            start=target if self._kind is Thermostat.NOSE_HOOVER else f"v_{TARGET}",
            end=target,
            seed=int(self._rng.integers(1, 900_000_000)),
        )
        session.commands(f"""{self._pair()}{NEIGHBOR}
            timestep {self.timestep_fs / 1000:.17g}
            variable {TARGET} internal {self._temperature_K:.17g}
            {motion}""")
