"""The MD loop of trepid: advance, check, record, checkpoint. Learning (both modes) and `trepid md` run this one.

The loop moves the atoms to the next step at which something is due, predicts the frame, records it, and checks whether it
is physical. What follows from a check is the decision of a `Policy`: label the frame, restart from an earlier one, stop,
warn. A policy ends the run by returning a result.

Vocabulary
----------
check        prediction of the present frame with its uncertainty, every `check_every` steps
sample       a frame of trajectory.extxyz, every `sample_every` steps
checkpoint   the state on disk, every `checkpoint_every` steps. They lie on a fixed grid, not at interruptions, so that a
             resumed run repeats an uninterrupted one
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from trepid.dynamics.driver import MDDriver
from trepid.dynamics.progress import Progress, Speedometer
from trepid.dynamics.record import Recorder, TraceRow, cell_columns, pressure_GPa
from trepid.dynamics.sanity import SanityLimits, unphysical
from trepid.errors import ConfigError, DataError, MachineError, TrepidError
from trepid.potentials.base import Potential, Prediction, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms

End = TypeVar("End")


class Program(Protocol):
    """Target temperature, target pressure and stage of every MD step."""

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""

    def temperature_at(self, step: int) -> float:
        """Target temperature, K."""

    def pressure_at(self, step: int) -> float | None:
        """Target pressure, GPa; None where the cell is held."""

    def stage_at(self, step: int) -> int:
        """Stage, from 0."""


@dataclass(frozen=True)
class Due:
    """What is due at an MD step."""

    step: int
    check: bool
    sample: bool
    checkpoint: bool


@dataclass(frozen=True)
class Schedule:
    """When something is due, in MD steps.

    Attributes
    ----------
    check_every : int
    sample_every, checkpoint_every : int or None
        None: never.
    stops : tuple of int
        Steps, rising, at which there is a check too: the ends of stages. The last one ends the run.
    complete : bool
        Whether a sample and a checkpoint are due at the last step as well, off their grids.
    """

    check_every: int
    sample_every: int | None
    checkpoint_every: int | None
    stops: tuple[int, ...]
    complete: bool = False

    def after(self, step: int, *, check_every: int | None = None) -> Due:
        """The next step after `step` at which something is due; `check_every` replaces that of the schedule."""
        intervals = check_every or self.check_every, self.sample_every, self.checkpoint_every
        stop = next(stop for stop in self.stops if stop > step)
        due = min(stop, *((step // every + 1) * every for every in intervals if every is not None))
        check, sample, checkpoint = (every is not None and due % every == 0 for every in intervals)
        last = self.complete and due == self.stops[-1]
        return Due(due, check or due == stop, sample or last, checkpoint or last)


@dataclass(frozen=True, eq=False)
class Check:
    """A checked frame.

    Attributes
    ----------
    step : int
    time_fs : float
    stage : int
    atoms : Atoms
        The moving atoms themselves: copy what is to be kept.
    prediction : Prediction
        Of the potential, without bias.
    temperature_K, target_temperature_K : float
    """

    step: int
    time_fs: float
    stage: int
    atoms: Atoms
    prediction: Prediction
    temperature_K: float
    target_temperature_K: float


class Policy(ABC, Generic[End]):
    """The decisions of a run. Each method returns None to continue, or the result that ends the run."""

    @abstractmethod
    def ready(self, step: int) -> End | None:
        """Called before each advance: the place for interruptions, budgets and pending labels."""

    @abstractmethod
    def physical(self, check: Check) -> End | None:
        """A checked frame is physical."""

    @abstractmethod
    def unstable(self, problem: str, *, check: Check | None, cause: TrepidError | None) -> End | None:
        """The trajectory became unstable.

        Parameters
        ----------
        problem : str
            Why, in one line.
        check : Check or None
            The unphysical frame; None where the potential or the engine raised an error.
        cause : TrepidError or None
            That error.
        """

    def check_every(self, step: int) -> int | None:
        """Steps between checks for the time being; None: those of the schedule."""
        return None

    def checkpoint(self, step: int) -> None:
        """A checkpoint is due."""


class MDLoop(Generic[End]):
    """Runs a driver under a policy.

    Parameters
    ----------
    driver : MDDriver
    potential : Potential
        Predicts checked frames; `potential` may be replaced while the loop runs.
    program : Program
    schedule : Schedule
    limits : SanityLimits
    uncertainty : Uncertainty
        Of the checks.
    recorder : Recorder or None
        Gets a row of every check and every sample; None records nothing.
    """

    def __init__(
        self,
        driver: MDDriver,
        potential: Potential,
        *,
        program: Program,
        schedule: Schedule,
        limits: SanityLimits,
        uncertainty: Uncertainty = Uncertainty.EXACT,
        recorder: Recorder | None = None,
    ) -> None:
        self.driver, self.potential, self.recorder = driver, potential, recorder
        self.program, self.schedule, self.limits, self.uncertainty = program, schedule, limits, uncertainty
        self.speed = Speedometer()

    def run(self, policy: Policy[End]) -> End:
        """Advance until the policy ends the run."""
        while True:
            end = policy.ready(self.driver.n_steps)
            if end is None:
                end = self._advance(policy)
            if end is not None:
                return end

    def _advance(self, policy: Policy[End]) -> End | None:
        """Move to the next step at which something is due, and do it."""
        driver, step = self.driver, self.driver.n_steps
        due = self.schedule.after(step, check_every=policy.check_every(step))
        try:
            driver.set_temperature(self.program.temperature_at(step))
            driver.set_pressure(self.program.pressure_at(step))
            self.speed.start()
            try:
                driver.step(due.step - step)
            finally:
                self.speed.stop(driver.n_steps - step)
            if not np.isfinite(driver.atoms.positions).all():
                return policy.unstable("positions are not finite", check=None, cause=None)
            check = self.predict() if due.check or due.sample else None
        except (ConfigError, MachineError):  # neither a user error in the settings nor a full disk is an instability
            raise
        except DataError as error:  # the potential refuses positions that are not finite, with the numbers
            if np.isfinite(driver.atoms.positions).all() and np.isfinite(driver.atoms.cell.array).all():
                return policy.unstable(f"the simulation became unstable: {error}", check=None, cause=error)
            return policy.unstable("positions are not finite", check=None, cause=None)
        except TrepidError as error:
            return policy.unstable(f"the simulation became unstable: {error}", check=None, cause=error)
        end = None if check is None else self.judge(policy, check, due)
        if end is None and due.checkpoint:
            policy.checkpoint(due.step)
        return end

    def begin(self, policy: Policy[End]) -> End | None:
        """Check, sample and checkpoint the frame that a run starts from."""
        due = Due(self.driver.n_steps, check=True, sample=True, checkpoint=True)
        end = self.judge(policy, self.predict(), due)
        if end is None:
            policy.checkpoint(due.step)
        return end

    def predict(self) -> Check:
        """Predict the present frame."""
        driver = self.driver
        return Check(
            step=driver.n_steps,
            time_fs=driver.time_fs,
            stage=self.program.stage_at(driver.n_steps),
            atoms=driver.atoms,
            prediction=self.potential.predict(driver.atoms, uncertainty=self.uncertainty),
            temperature_K=driver.temperature_K,
            target_temperature_K=self.program.temperature_at(driver.n_steps),
        )

    def judge(self, policy: Policy[End], check: Check, due: Due) -> End | None:
        """Record what is due of a frame, and pass a checked one to the policy."""
        if self.recorder is not None and due.sample:
            self.recorder.frame(check.atoms, check.prediction, step=check.step, time_fs=check.time_fs)
        if not due.check:
            return None
        if self.recorder is not None:
            self.recorder.row(self._row(check))
        problem = unphysical(
            self.limits,
            volume_factor=self._volume_factor(check.atoms),
            temperature_K=check.temperature_K,
            target_temperature_K=check.target_temperature_K,
            atoms=check.atoms,
            forces=check.prediction.forces,
            uncertainty=check.prediction.forces_uncertainty,
        )
        return policy.unstable(problem, check=check, cause=None) if problem else policy.physical(check)

    def _volume_factor(self, atoms: Atoms) -> float | None:
        """Volume over that at the start; None where the cell is held."""
        return None if self.driver.target_pressure_GPa is None else atoms.cell.volume / self.driver.start_volume_A3

    def _row(self, check: Check) -> TraceRow:
        energy = check.prediction.energy
        kinetic = self.driver.kinetic_energy_eV
        return TraceRow(
            step=check.step,
            time_fs=check.time_fs,
            stage=check.stage,
            target_temperature_K=check.target_temperature_K,
            temperature_K=check.temperature_K,
            potential_energy_eV=energy,
            total_energy_eV=energy + kinetic,
            forces_uncertainty_max_eV_per_A=check.prediction.frame_uncertainty,
            n_labels=self.potential.n_frames,
            pressure_GPa=pressure_GPa(check.prediction.stress, kinetic_energy_eV=kinetic, atoms=check.atoms),
            volume_A3=check.atoms.cell.volume,
            **cell_columns(check.atoms),
        )

    def progress(
        self, check: Check, *, threshold: float, n_labels: int | None = None, max_labels: int | None = None
    ) -> Progress:
        """State of the run, for a `ProgressView`; `threshold` in eV/A."""
        return Progress(
            step=check.step,
            n_steps=self.program.n_steps,
            time_ps=check.time_fs / 1000,
            temperature_K=check.temperature_K,
            forces_uncertainty=check.prediction.frame_uncertainty,
            threshold=threshold,
            steps_per_second=self.speed.steps_per_second,
            timestep_fs=self.driver.timestep_fs,
            n_labels=n_labels,
            max_labels=max_labels,
        )
