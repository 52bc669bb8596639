"""`trepid md` as a function: MD on a trained potential, watched by the trust guard, resumable at any moment.

The run directory holds settings.json (what is run), state.npz (the last checkpoint), trace.csv, trajectory.extxyz and,
where the guard saw something, untrusted.extxyz. The same call goes on from the last checkpoint and gives, on the same
machine, the files of an uninterrupted run; a call with other settings on the same directory is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.data.atomic import remove_stale_temporaries, write_text_atomic
from trepid.dynamics.arrays import load_arrays, save_arrays, structure_digest
from trepid.dynamics.guard import GuardAction, TrustGuard
from trepid.dynamics.interrupt import Interruptible
from trepid.dynamics.md import MDDriver, MDState, Thermostat, make_driver
from trepid.dynamics.progress import Progress, ProgressView, SilentProgress, Speedometer
from trepid.dynamics.record import Recorder, RecordLengths, TraceRow
from trepid.errors import ConfigError, DataError
from trepid.potentials.base import Potential, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

GUARD_NOISE_FACTOR = 4.0
"""Default guard threshold, in multiples of the force noise of the model."""


@dataclass(frozen=True)
class MDSettings:
    """What to run.

    Attributes
    ----------
    temperature_K : float or (float, float)
        Target, K; two for a linear ramp over the run.
    duration_ps : float
        Length of the whole run, ps. A finished run at one temperature may be resumed with a longer one.
    timestep_fs : float
        fs.
    thermostat : Thermostat
    relaxation_time_fs : float
        1/friction of langevin, tau of bussi, damping time of nose-hoover, fs.
    check_every : int
        MD steps between two looks of the guard, and rows of the trace.
    sample_every : int
        MD steps between two frames of the trajectory.
    checkpoint_every : int
        MD steps between two checkpoints.
    guard : GuardAction
        warn or stop.
    threshold_eV_per_A : float or None
        Largest trusted force uncertainty of an atom, eV/A; None takes four times the force noise of the model.
    uncertainty : Uncertainty
        live (a cheap lower bound) or exact.
    seed : int
        Of velocities and thermostat.
    """

    temperature_K: float | tuple[float, float]
    duration_ps: float
    timestep_fs: float = 1.0
    thermostat: Thermostat = Thermostat.LANGEVIN
    relaxation_time_fs: float = 100.0
    check_every: int = 10
    sample_every: int = 100
    checkpoint_every: int = 1000
    guard: GuardAction = GuardAction.WARN
    threshold_eV_per_A: float | None = None
    uncertainty: Uncertainty = Uncertainty.LIVE
    seed: int = 0

    def __post_init__(self) -> None:
        for end in (self.temperature_K,) if isinstance(self.temperature_K, int | float) else self.temperature_K:
            if not (np.isfinite(end) and end > 0):
                raise ConfigError(f"temperature_K must be above 0 K, not {end:g}")
        for name in ("duration_ps", "timestep_fs", "relaxation_time_fs"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} must be a positive time, not {getattr(self, name):g}")
        for name in ("check_every", "sample_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 step or more, not {getattr(self, name)}")
        if self.n_steps < 1:
            raise ConfigError(f"duration_ps {self.duration_ps:g} is shorter than one step of {self.timestep_fs:g} fs")
        if self.uncertainty is Uncertainty.NONE:
            raise ConfigError("uncertainty 'none' leaves the guard blind; give live or exact")

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return round(self.duration_ps * 1000 / self.timestep_fs)

    def temperature_at(self, step: int) -> float:
        """Target, K, at `step`."""
        if isinstance(self.temperature_K, int | float):
            return float(self.temperature_K)
        start, end = self.temperature_K
        return start + (end - start) * min(1.0, step / self.n_steps)


class MDEnd(str, Enum):
    """Why a run returned."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class MDResult:
    """What a run came to.

    Attributes
    ----------
    end : MDEnd
        finished, or interrupted by a signal (the same call resumes).
    n_steps : int
        Steps made in all, earlier calls included.
    time_ps : float
        Simulated time, ps.
    temperature_K : float
        Mean over the looks of this call, K; NaN where there was none.
    largest_uncertainty : float
        Largest force uncertainty seen, eV/A, since the start of the run.
    n_checks, n_untrusted : int
        Looks taken since the start of the run, and those that found an atom outside the trusted region.
    threshold : float
        eV/A.
    steps_per_second : float
        Of the MD alone.
    directory : Path
        Where the files are.
    """

    end: MDEnd
    n_steps: int
    time_ps: float
    temperature_K: float
    largest_uncertainty: float
    n_checks: int
    n_untrusted: int
    threshold: float
    steps_per_second: float
    directory: Path


def run_md(
    potential: Potential,
    atoms: Atoms,
    settings: MDSettings,
    *,
    directory: str | Path,
    model_file: str | Path | None = None,
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
    progress : ProgressView or None

    Returns
    -------
    MDResult

    Raises
    ------
    UntrustedError
        The guard stopped the run.
    ConfigError
        The directory holds a run with other settings, another structure or another model.
    DataError
        An element the model does not know; files of the run that cannot be read or written.
    """
    directory = Path(directory)
    potential.predict(atoms, uncertainty=Uncertainty.NONE)  # an unknown element shows here, before anything is written
    threshold = settings.threshold_eV_per_A
    if threshold is None:
        threshold = GUARD_NOISE_FACTOR * potential.noise.forces
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
    _claim(directory, settings, atoms, model_file)
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


def _claim(directory: Path, settings: MDSettings, atoms: Atoms, model_file: str | Path | None) -> None:
    """Write settings.json into a new run directory, or make sure that the one there describes this very run."""
    description = json.loads(json.dumps(asdict(settings)))
    description["structure_sha256"] = structure_digest(atoms)
    description["model_sha256"] = (
        None if model_file is None else hashlib.sha256(Path(model_file).read_bytes()).hexdigest()
    )
    path = directory / "settings.json"
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not valid JSON ({error}); give another directory") from error
        for key, value in description.items():
            longer = (
                key == "duration_ps"
                and isinstance(settings.temperature_K, int | float)
                and value >= found.get(key, value)
            )
            if found.get(key) != value and not longer:
                raise ConfigError(
                    f"{directory} holds another run: its {key} is {found.get(key)}, not {value}; give another directory"
                )
        remove_stale_temporaries(directory)
    elif directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty and holds no MD run; give another directory")
    else:
        directory.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, json.dumps(description, indent=2) + "\n")
