"""Settings and result of an MD run, and the claim on its directory; the same for every engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trepid.choices import DEFAULT_PRESSURE_TIME_FS, Barostat, Engine, GuardAction, Thermostat
from trepid.data.arrays import structure_digest
from trepid.data.atomic import remove_stale_temporaries, write_text_atomic
from trepid.data.claim import OTHER_DIRECTORY, claimed
from trepid.data.json_file import read_json_object
from trepid.data.lock import RunLock
from trepid.dynamics.driver import MDParameters, require_pressure
from trepid.dynamics.loop import Schedule
from trepid.dynamics.notes import REPEAT, SETTINGS_FILE, THRESHOLD, RunNotes
from trepid.errors import ConfigError
from trepid.potentials.base import Potential, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms

GUARD_NOISE_FACTOR = 4.0
"""Default guard threshold, in multiples of the typical force error of the model."""


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
    engine : Engine
        MD engine.
    thermostat : Thermostat
    relaxation_time_fs : float
        1/friction of langevin, tau of bussi, damping time of nose-hoover, fs.
    check_every : int
        MD steps between two checks of the guard, and rows of the trace.
    sample_every : int
        MD steps between two frames of the trajectory.
    checkpoint_every : int
        MD steps between two checkpoints.
    guard : GuardAction
        warn or stop.
    threshold_eV_per_A : float or None
        Largest trusted force uncertainty of an atom, eV/A; None takes four times the typical force error of the model.
    uncertainty : Uncertainty
        live (a cheap estimate) or exact.
    seed : int
        Of velocities and thermostat.
    pressure_GPa : float or None
        Target pressure, GPa, with the thermostat nose-hoover; None: the cell does not change.
    barostat : Barostat
        How the cell changes where there is a pressure.
    pressure_time_fs : float
        Damping time of the barostat, fs.
    """

    temperature_K: float | tuple[float, float]
    duration_ps: float
    timestep_fs: float = 1.0
    engine: Engine = Engine.ASE
    thermostat: Thermostat = Thermostat.LANGEVIN
    relaxation_time_fs: float = 100.0
    check_every: int = 10
    sample_every: int = 100
    checkpoint_every: int = 1000
    guard: GuardAction = GuardAction.WARN
    threshold_eV_per_A: float | None = None
    uncertainty: Uncertainty = Uncertainty.LIVE
    seed: int = 0
    pressure_GPa: float | None = None
    barostat: Barostat = Barostat.ISOTROPIC
    pressure_time_fs: float = DEFAULT_PRESSURE_TIME_FS

    def __post_init__(self) -> None:
        for end in (self.temperature_K,) if isinstance(self.temperature_K, int | float) else self.temperature_K:
            if not (np.isfinite(end) and end > 0):
                raise ConfigError(f"temperature_K must be above 0 K, not {end:g}")
        require_pressure(self.pressure_GPa, self.thermostat)
        for name in ("duration_ps", "timestep_fs", "relaxation_time_fs", "pressure_time_fs"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} must be a positive time, not {getattr(self, name):g}")
        for name in ("check_every", "sample_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 step or more, not {getattr(self, name)}")
        if self.n_steps < 1:
            raise ConfigError(f"duration_ps {self.duration_ps:g} is shorter than one step of {self.timestep_fs:g} fs")
        if self.uncertainty is Uncertainty.NONE:
            raise ConfigError("the guard needs an uncertainty; give live or exact, not none")

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return round(self.duration_ps * 1000 / self.timestep_fs)

    @property
    def parameters(self) -> MDParameters:
        """How the atoms are moved, at the first target temperature."""
        return MDParameters(
            temperature_K=self.temperature_at(0),
            timestep_fs=self.timestep_fs,
            thermostat=self.thermostat,
            relaxation_time_fs=self.relaxation_time_fs,
            engine=self.engine,
            pressure_GPa=self.pressure_GPa,
            barostat=self.barostat,
            pressure_time_fs=self.pressure_time_fs,
        )

    @property
    def schedule(self) -> Schedule:
        """When something is due; everything is at the last step."""
        return Schedule(self.check_every, self.sample_every, self.checkpoint_every, (self.n_steps,), complete=True)

    def stage_at(self, step: int) -> int:
        """0: a run has one stage."""
        return 0

    def threshold(self, potential: Potential) -> float:
        """Largest trusted force uncertainty of an atom on this potential, eV/A."""
        if self.threshold_eV_per_A is not None:
            return self.threshold_eV_per_A
        return GUARD_NOISE_FACTOR * potential.typical_force_error

    def pressure_at(self, step: int) -> float | None:
        """Target, GPa; None: the cell is held."""
        return self.pressure_GPa

    def notes(self, potential: Potential, repeat: tuple[int, int, int]) -> RunNotes:
        """What settings.json tells beside the settings; `repeat` as `run_md` has it."""
        return RunNotes(self.threshold(potential), repeat, self.pressure_GPa)

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
    """The result of a run.

    Attributes
    ----------
    end : MDEnd
        finished, or interrupted by a signal (the same call resumes).
    n_steps : int
        Steps made in all, earlier calls included.
    time_ps : float
        Simulated time, ps.
    n_steps_now : int
        Steps made by this call; 0 where the run was already finished.
    temperature_K : float
        Mean over the checks since the start of the run, K; NaN where there was none.
    largest_uncertainty : float
        Largest force uncertainty, eV/A, since the start of the run.
    n_checks, n_untrusted : int
        Checks since the start of the run, and those with an untrusted frame.
    threshold : float
        eV/A.
    steps_per_second : float or None
        Of the MD alone, in this call; None where it made no step.
    directory : Path
        Where the files are.
    """

    end: MDEnd
    n_steps: int
    n_steps_now: int
    time_ps: float
    temperature_K: float
    largest_uncertainty: float
    n_checks: int
    n_untrusted: int
    threshold: float
    steps_per_second: float | None
    directory: Path

    @property
    def already_finished(self) -> bool:
        """Whether an earlier call had finished the run."""
        return self.end is MDEnd.FINISHED and self.n_steps_now == 0


@contextmanager
def claimed_directory(
    directory: Path, settings: MDSettings, atoms: Atoms, model_file: str | Path | None, notes: RunNotes
) -> Iterator[RunLock]:
    """Lock a run directory for the block; write settings.json into a new one, or check that it describes the same run.

    `notes` are written and not compared: they follow from the model and the structure, which are.

    Raises
    ------
    ConfigError
        The directory holds another run, or other files.
    DataError
        Another process uses it, it cannot be made, or its settings.json cannot be read.
    """
    with claimed(directory, settings_file=SETTINGS_FILE, kind="MD run") as lock:
        description = _described(settings, atoms, model_file) | notes.as_dict()
        _compare(directory, directory / SETTINGS_FILE, description, settings)
        yield lock


def _described(settings: MDSettings, atoms: Atoms, model_file: str | Path | None) -> dict[str, Any]:
    """What makes a run this one, as settings.json has it."""
    description = json.loads(json.dumps(asdict(settings)))
    description["structure_sha256"] = structure_digest(atoms)
    description["model_sha256"] = (
        None if model_file is None else hashlib.sha256(Path(model_file).read_bytes()).hexdigest()
    )
    return dict(description)


def _compare(directory: Path, path: Path, description: dict[str, Any], settings: MDSettings) -> None:
    """Write settings.json, after a comparison with the one that exists."""
    if path.exists():
        # Runs begun before there was a barostat are those without a pressure.
        found = {
            "pressure_GPa": None,
            "barostat": Barostat.ISOTROPIC.value,
            "pressure_time_fs": DEFAULT_PRESSURE_TIME_FS,
        } | read_json_object(path, advice=OTHER_DIRECTORY)
        constant = isinstance(settings.temperature_K, int | float)
        for key, value in description.items():
            before = found.get(key, value)
            longer = key == "duration_ps" and constant and isinstance(before, int | float) and value >= before
            if key not in (THRESHOLD, REPEAT) and found.get(key) != value and not longer:
                raise ConfigError(
                    f"{directory} holds another run: its {key} is {found.get(key)}, not {value}; give another directory"
                )
        remove_stale_temporaries(directory)
    write_text_atomic(path, json.dumps(description, indent=2) + "\n")
