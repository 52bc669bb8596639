"""`trepid md` as a function: MD on a trained potential under the trust guard, resumable at any moment.

The run directory holds settings.json, state.npz (the last checkpoint), trace.csv, trajectory.extxyz and, where frames
were untrusted, untrusted.extxyz. The same call continues from the last checkpoint and gives, on the same machine, the
files of an uninterrupted run; a call with other settings on the same directory is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.choices import Engine
from trepid.data.arrays import load_arrays, save_arrays
from trepid.data.atomic import set_aside
from trepid.data.geometry import require_start
from trepid.dynamics.driver import MDDriver, MDState
from trepid.dynamics.engine import start_driver
from trepid.dynamics.guard import MD_LIMITS, TrustGuard
from trepid.dynamics.interrupt import Interruptible
from trepid.dynamics.loop import Check, MDLoop, Policy
from trepid.dynamics.progress import FiledProgress, ProgressView, SilentProgress, md_progress
from trepid.dynamics.record import (
    RECORD_FILES,
    TRACE_FILE,
    UNTRUSTED_FRAMES,
    Recorder,
    RecordLengths,
    read_temperatures,
)
from trepid.dynamics.settings import MDEnd, MDResult, MDSettings, claimed_directory
from trepid.errors import ConfigError, DataError, TrepidError
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
    repeat: tuple[int, int, int] = (1, 1, 1),
) -> MDResult:
    """Run MD of `atoms` on `potential`, or continue the run in `directory`.

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
    repeat : three ints
        Repetitions of a given structure in `atoms`, noted in settings.json: averages then tell its lattice constants too.

    Returns
    -------
    MDResult

    Raises
    ------
    UntrustedError
        The guard stopped the run.
    ConfigError
        The directory holds a run with other settings, another structure or another model; or the engine cannot do
        what the settings require.
    DataError
        An element that the model does not describe; files of the run that cannot be read or written.
    """
    require_start(atoms)
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
            repeat=repeat,
        )
    if ranks != 1:
        raise ConfigError(f"{ranks} MPI processes: only the engine lammps runs on several")
    directory = Path(directory)
    potential.predict(atoms, uncertainty=Uncertainty.NONE)  # an unknown element shows here, before anything is written
    threshold = settings.threshold(potential)
    rng = np.random.default_rng(settings.seed)
    driver = start_driver(atoms, potential, settings.parameters, rng=rng)
    guard = TrustGuard(threshold, action=settings.guard, frame_file=directory / UNTRUSTED_FRAMES)
    notes = settings.notes(potential, repeat)
    with claimed_directory(directory, settings, atoms, model_file, notes), md_progress(directory) as file:
        view = FiledProgress(progress or SilentProgress(), file)
        result = _run(driver, potential, settings, guard, directory, view)
        if result.end is MDEnd.INTERRUPTED:
            file.interrupted()
        return result


def _run(
    driver: MDDriver,
    potential: Potential,
    settings: MDSettings,
    guard: TrustGuard,
    directory: Path,
    view: ProgressView,
) -> MDResult:
    """Start or continue, and run to an end, in a directory that is locked."""
    state_file = directory / "state.npz"
    lengths = _restore(state_file, driver, guard, view)
    begun_at = driver.n_steps
    if 0 < begun_at < settings.n_steps:
        view.message(f"resuming at {driver.time_fs / 1000:.3f} ps (step {driver.n_steps})")
    recorder = Recorder(directory, keep=lengths)
    try:
        loop: MDLoop[MDEnd] = MDLoop(
            driver,
            potential,
            program=settings,
            schedule=settings.schedule,
            limits=MD_LIMITS,
            uncertainty=settings.uncertainty,
            recorder=recorder,
        )
        with Interruptible() as interrupt:
            policy = _Guarded(loop, guard, settings, recorder, state_file, view, interrupt)
            end = (None if state_file.exists() else loop.begin(policy)) or loop.run(policy)
    finally:
        recorder.close()
        driver.close()
    temperatures = read_temperatures(directory / TRACE_FILE)
    n_steps_now = driver.n_steps - begun_at
    return MDResult(
        end=end,
        n_steps=driver.n_steps,
        n_steps_now=n_steps_now,
        time_ps=driver.time_fs / 1000,
        temperature_K=float(np.mean(temperatures)) if temperatures else float("nan"),
        largest_uncertainty=guard.largest,
        n_checks=guard.n_checks,
        n_untrusted=guard.n_untrusted,
        threshold=guard.threshold_eV_per_A,
        steps_per_second=loop.speed.steps_per_second if n_steps_now else None,
        directory=directory,
    )


class _Guarded(Policy[MDEnd]):
    """Policy of `run_md`: the guard evaluates every check, the state is written at every checkpoint."""

    def __init__(
        self,
        loop: MDLoop[MDEnd],
        guard: TrustGuard,
        settings: MDSettings,
        recorder: Recorder,
        state_file: Path,
        view: ProgressView,
        interrupt: Interruptible,
    ) -> None:
        self.loop, self.guard, self.settings, self.interrupt = loop, guard, settings, interrupt
        self.recorder, self.state_file, self.view = recorder, state_file, view

    def ready(self, step: int) -> MDEnd | None:
        """End at the last step, or after a signal."""
        if self.interrupt.requested and step < self.settings.n_steps:
            return MDEnd.INTERRUPTED
        return MDEnd.FINISHED if step >= self.settings.n_steps else None

    def physical(self, check: Check) -> None:
        """Compare the uncertainty with the threshold."""
        assert check.prediction.forces_uncertainty is not None
        self.guard.compare(
            check.atoms,
            check.prediction.forces_uncertainty,
            step=check.step,
            time_fs=check.time_fs,
            support_distance=check.prediction.support_distance,
        )
        self.view.update(self.loop.progress(check, threshold=self.guard.threshold_eV_per_A))

    def unstable(self, problem: str, *, check: Check | None, cause: TrepidError | None) -> None:
        """Raise: an unstable run is never continued."""
        if cause is not None:
            raise cause
        driver = self.loop.driver
        raise self.guard.unstable(problem, step=driver.n_steps, time_fs=driver.time_fs)

    def checkpoint(self, step: int) -> None:
        """Write the state."""
        lengths, guard, driver = self.recorder.sync(), self.guard, self.loop.driver
        arrays = driver.get_state().to_arrays() | {
            "record_bytes": np.array([lengths.trace, lengths.trajectory, guard.kept_bytes]),
            "guard_counts": np.array([guard.n_checks, guard.n_untrusted]),
            "guard_largest_eV_per_A": np.array(guard.largest),
            "guard_outside": np.array(guard.outside),
        }
        save_arrays(self.state_file, arrays)
        # The resumed run starts with a fresh neighbour list; so must this one, or the two differ in the last bit.
        driver.forget_neighbors()


def _restore(path: Path, driver: MDDriver, guard: TrustGuard, view: ProgressView) -> RecordLengths:
    """Put driver and guard where the checkpoint is, if there is one; returns the lengths of the records at it.

    A damaged checkpoint is set aside with the files that belong to it, and the run starts anew.
    """
    if path.exists():
        fresh = driver.get_state()
        try:
            return _restored(load_arrays(path), driver, guard)
        except (DataError, KeyError, ValueError, TypeError, IndexError) as error:
            driver.set_state(fresh)
            records = [path.with_name(name) for name in (*RECORD_FILES, UNTRUSTED_FRAMES)]
            names = [set_aside(path).name, *(set_aside(file, suffix="old").name for file in records if file.exists())]
            view.message(
                f"{path}: damaged ({' '.join(str(error).split())}); the run starts anew, and what it had is now in "
                f"{', '.join(names)}"
            )
    guard.cut_back(0)
    return RecordLengths()


def _restored(arrays: dict[str, np.ndarray], driver: MDDriver, guard: TrustGuard) -> RecordLengths:
    """As `_restore`; KeyError, ValueError, TypeError or IndexError where the arrays are no checkpoint of this run."""
    trace, trajectory, untrusted = (int(n) for n in arrays["record_bytes"])
    n_checks, n_untrusted = (int(n) for n in arrays["guard_counts"])
    largest, outside = float(arrays["guard_largest_eV_per_A"]), bool(arrays["guard_outside"])
    driver.set_state(MDState.from_arrays(arrays))
    guard.restore(n_checks=n_checks, n_untrusted=n_untrusted, largest=largest, outside=outside)
    guard.cut_back(untrusted)
    return RecordLengths(trace=trace, trajectory=trajectory)
