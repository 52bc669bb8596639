"""`trepid md` as a function: MD on a trained potential, watched by the trust guard, resumable at any moment.

The run directory holds settings.json (what is run), state.npz (the last checkpoint), trace.csv, trajectory.extxyz and,
where the guard saw something, untrusted.extxyz. The same call goes on from the last checkpoint and gives, on the same
machine, the files of an uninterrupted run; a call with other settings on the same directory is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.data.arrays import load_arrays, save_arrays
from trepid.dynamics.guard import TrustGuard
from trepid.dynamics.interrupt import Interruptible
from trepid.dynamics.md import Engine, MDDriver, MDState, make_driver
from trepid.dynamics.progress import Progress, ProgressView, SilentProgress, Speedometer
from trepid.dynamics.record import Recorder, RecordLengths, TraceRow
from trepid.dynamics.settings import MDEnd, MDResult, MDSettings, claim_directory
from trepid.errors import ConfigError, DataError
from trepid.potentials.base import Potential, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms


def run_md(
    potential: Potential,
    atoms: Atoms,
    settings: MDSettings,
    *,
    directory: str | Path,
    model_file: str | Path | None = None,
    ranks: int = 1,
    progress: ProgressView | None = None,
) -> MDResult:
    """Run MD of `atoms` on `potential`, or go on with the run in `directory`.

    Parameters
    ----------
    potential : Potential
    atoms : ase.Atoms
        Start; not changed. Its own velocities are not used.
    settings : MDSettings
    directory : str or Path
        Run directory; made when missing.
    model_file : str or Path or None
        File of the potential: its digest goes into settings.json, so that a run is not resumed on another model.
    ranks : int
        MPI processes, for the engine LAMMPS.
    progress : ProgressView or None

    Returns
    -------
    MDResult

    Raises
    ------
    UntrustedError
        The guard stopped the run.
    ConfigError
        The directory holds a run with other settings, another structure or another model; or the engine cannot do
        what is asked for.
    DataError
        An element the model does not know; files of the run that cannot be read or written.
    """
    if settings.engine is Engine.LAMMPS:
        from trepid.dynamics.lammps_run import run_lammps

        return run_lammps(
            potential,
            atoms,
            settings,
            directory=directory,
            model_file=model_file,
            ranks=ranks,
            progress=progress,
        )
    if ranks != 1:
        raise ConfigError(f"{ranks} MPI processes: only the engine lammps runs on several")
    directory = Path(directory)
    potential.predict(atoms, uncertainty=Uncertainty.NONE)  # an unknown element shows here, before anything is written
    threshold = settings.threshold(potential)
    walker = atoms.copy()
    walker.calc = potential.calculator(uncertainty=Uncertainty.NONE)
    rng = np.random.default_rng(settings.seed)
    driver = make_driver(
        walker,
        temperature_K=settings.temperature_at(0),
        timestep_fs=settings.timestep_fs,
        rng=rng,
        thermostat=settings.thermostat,
        relaxation_time_fs=settings.relaxation_time_fs,
    )
    guard = TrustGuard(threshold, action=settings.guard, frame_file=directory / "untrusted.extxyz")
    claim_directory(directory, settings, atoms, model_file)
    view = progress or SilentProgress()
    lengths = _restore(directory / "state.npz", driver, guard)
    if driver.n_steps:
        view.message(f"resuming at {driver.time_fs / 1000:.3f} ps (step {driver.n_steps})")
    run = _Run(potential, driver, guard, settings, Recorder(directory, keep=lengths), directory / "state.npz", view)
    try:
        with Interruptible() as interrupt:
            end = run.go(interrupt)
    finally:
        run.recorder.close()
    return MDResult(
        end=end,
        n_steps=driver.n_steps,
        time_ps=driver.time_fs / 1000,
        temperature_K=run.mean_temperature_K,
        largest_uncertainty=guard.largest,
        n_checks=guard.n_checks,
        n_untrusted=guard.n_untrusted,
        threshold=threshold,
        steps_per_second=run.speed.steps_per_second,
        directory=directory,
    )


class _Run:
    """The loop of `run_md`."""

    def __init__(
        self,
        potential: Potential,
        driver: MDDriver,
        guard: TrustGuard,
        settings: MDSettings,
        recorder: Recorder,
        state_file: Path,
        view: ProgressView,
    ) -> None:
        self.potential, self.driver, self.guard, self.settings = potential, driver, guard, settings
        self.recorder, self.state_file, self.view = recorder, state_file, view
        self.speed = Speedometer()
        self._temperatures: list[float] = []

    @property
    def mean_temperature_K(self) -> float:
        return float(np.mean(self._temperatures)) if self._temperatures else float("nan")

    def go(self, interrupt: Interruptible) -> MDEnd:
        """Step to the end, or to the end of the step in which a signal came."""
        s, driver = self.settings, self.driver
        if not self.state_file.exists():
            self._look()
            self._checkpoint()
        while driver.n_steps < s.n_steps:
            if interrupt.requested:
                # No checkpoint here: those lie on a fixed grid of steps, so that a resumed run repeats an uninterrupted
                # one.
                return MDEnd.INTERRUPTED
            step = driver.n_steps
            driver.set_temperature(s.temperature_at(step))
            next_stop = min(
                s.n_steps,
                *((step // every + 1) * every for every in (s.check_every, s.sample_every, s.checkpoint_every)),
            )
            self.speed.start()
            driver.step(next_stop - step)
            self.speed.stop(next_stop - step)
            self._look()
            if next_stop % s.checkpoint_every == 0 or next_stop == s.n_steps:
                self._checkpoint()
        return MDEnd.FINISHED

    def _look(self) -> None:
        """Do what is due at this step: the guard and a row of the trace, a frame of the trajectory."""
        s, driver, step = self.settings, self.driver, self.driver.n_steps
        check, sample = step % s.check_every == 0 or step == s.n_steps, step % s.sample_every == 0 or step == s.n_steps
        if not (check or sample):
            return
        prediction = self.potential.predict(driver.atoms, uncertainty=s.uncertainty)
        temperature = driver.temperature_K
        if check:
            self._temperatures.append(temperature)
            row = TraceRow(
                step=step,
                time_fs=driver.time_fs,
                stage=0,
                target_temperature_K=s.temperature_at(step),
                temperature_K=temperature,
                potential_energy_eV=prediction.energy,
                total_energy_eV=prediction.energy + driver.kinetic_energy_eV,
                forces_uncertainty_max_eV_per_A=prediction.frame_uncertainty,
                n_labels=self.potential.n_frames,
            )
            self.recorder.row(row)
        if sample:
            self.recorder.frame(driver.atoms, prediction, step=step, time_fs=driver.time_fs)
        if check:
            report = self.guard.check(
                driver.atoms,
                step=step,
                time_fs=driver.time_fs,
                temperature_K=temperature,
                target_temperature_K=s.temperature_at(step),
                forces_uncertainty=prediction.forces_uncertainty,
            )
            self.view.update(
                Progress(
                    step=step,
                    n_steps=s.n_steps,
                    time_ps=driver.time_fs / 1000,
                    temperature_K=temperature,
                    forces_uncertainty=report.forces_uncertainty,
                    threshold=self.guard.threshold_eV_per_A,
                    steps_per_second=self.speed.steps_per_second,
                    timestep_fs=s.timestep_fs,
                )
            )

    def _checkpoint(self) -> None:
        lengths = self.recorder.sync()
        guard = self.guard
        arrays = self.driver.get_state().to_arrays() | {
            "record_bytes": np.array([lengths.trace, lengths.trajectory, guard.kept_bytes]),
            "guard_counts": np.array([guard.n_checks, guard.n_untrusted]),
            "guard_largest_eV_per_A": np.array(guard.largest),
            "guard_outside": np.array(guard.outside),
        }
        save_arrays(self.state_file, arrays)
        # The resumed run starts with a fresh neighbour list; so must this one, or the two differ in the last bit.
        self.driver.forget_neighbors()


def _restore(path: Path, driver: MDDriver, guard: TrustGuard) -> RecordLengths:
    """Put driver and guard where the checkpoint is, if there is one; returns how much of the records it knows."""
    if not path.exists():
        guard.cut_back(0)
        return RecordLengths()
    arrays = load_arrays(path)
    try:
        driver.set_state(MDState.from_arrays(arrays))
        guard.restore(
            n_checks=int(arrays["guard_counts"][0]),
            n_untrusted=int(arrays["guard_counts"][1]),
            largest=float(arrays["guard_largest_eV_per_A"]),
            outside=bool(arrays["guard_outside"]),
        )
        trace, trajectory, untrusted = (int(n) for n in arrays["record_bytes"])
    except KeyError as error:
        raise DataError(f"{path}: not a checkpoint of trepid md ({error} is missing)") from error
    guard.cut_back(untrusted)
    return RecordLengths(trace=trace, trajectory=trajectory)
