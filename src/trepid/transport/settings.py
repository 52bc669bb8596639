"""What a computation of thermal conductivity is to do, and what it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trepid.errors import ConfigError

Repeat = tuple[int, int, int]

LEAST_SAMPLES_OF_RUN = 200
CHECKPOINTS_PER_RUN = 20
FASTEST_SAMPLING_FS = 25.0
"""Longest interval between two samples of the heat flux, fs: optical phonons have periods of 50 fs and more."""


@dataclass(frozen=True)
class ConductivitySettings:
    """Settings of a computation by Green and Kubo.

    Attributes
    ----------
    temperature_K : float
    repeats : tuple of (int, int, int)
        Supercells, the finite-size series; results are those of the last, largest one.
    timestep_fs : float
    equilibration_ps : float
        Langevin dynamics before every run, from the crystal.
    run_ps : float
        Length of a run without thermostat, whose heat flux counts.
    n_runs : int
        Independent runs, each with velocities and noise of its own.
    sample_fs : float
        Time between two samples of the heat flux.
    relaxation_time_fs : float
        1 / friction of the equilibration.
    n_draws : int
        Draws of the model's posterior (for a committee all members, whatever number), for the model's error bar: each costs as much
        as the model itself, at the largest size alone.
    seed : int

    Raises
    ------
    ConfigError
        A value out of range, or values that do not fit.
    """

    temperature_K: float
    repeats: tuple[Repeat, ...]
    timestep_fs: float = 1.0
    equilibration_ps: float = 10.0
    run_ps: float = 100.0
    n_runs: int = 8
    sample_fs: float = 10.0
    relaxation_time_fs: float = 200.0
    n_draws: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("temperature_K", "timestep_fs", "equilibration_ps", "run_ps", "sample_fs", "relaxation_time_fs"):
            value = float(vars(self)[name])
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name} is {value:g}: give a number above 0")
        if self.n_runs < 2:
            raise ConfigError(f"{self.n_runs} runs: an error bar needs 2 or more")
        if self.n_draws < 0 or self.n_draws == 1:
            raise ConfigError(f"{self.n_draws} draws: give 0 for no error bar of the model, or 2 or more")
        if not self.repeats or any(min(repeat) < 1 for repeat in self.repeats):
            raise ConfigError(f"supercells {self.repeats}: give one or more, of three numbers of 1 or more")
        sizes = [math.prod(repeat) for repeat in self.repeats]
        if sizes != sorted(set(sizes)):
            raise ConfigError(
                f"supercells {', '.join(map(text_of, self.repeats))}: give them from small to large, each once"
            )
        if abs(self.sample_fs / self.timestep_fs - self.sample_every) > 1e-9 or self.sample_every < 1:
            raise ConfigError(
                f"the heat flux is taken every {self.sample_fs:g} fs, no multiple of the time step, {self.timestep_fs:g} fs"
            )
        if self.sample_fs > FASTEST_SAMPLING_FS:
            raise ConfigError(
                f"a heat flux every {self.sample_fs:g} fs misses the fast phonons: give {FASTEST_SAMPLING_FS:g} fs or less"
            )
        if self.n_samples < LEAST_SAMPLES_OF_RUN:
            raise ConfigError(
                f"a run of {self.run_ps:g} ps has {self.n_samples} samples of the heat flux: give at least "
                f"{LEAST_SAMPLES_OF_RUN * self.sample_fs / 1000:g} ps; several lifetimes of acoustic phonons are needed"
            )

    @property
    def sample_every(self) -> int:
        """Steps between two samples."""
        return round(self.sample_fs / self.timestep_fs)

    @property
    def n_samples(self) -> int:
        """Samples of a run."""
        return int(self.run_ps * 1000 / self.sample_fs + 1e-9)

    @property
    def n_steps(self) -> int:
        """Steps of a run, without its equilibration."""
        return self.n_samples * self.sample_every

    @property
    def n_equilibration(self) -> int:
        """Steps of an equilibration."""
        return round(self.equilibration_ps * 1000 / self.timestep_fs)

    @property
    def checkpoint_every(self) -> int:
        """Steps between two checkpoints, a multiple of the sampling."""
        return max(1, self.n_samples // CHECKPOINTS_PER_RUN) * self.sample_every


def repeat_of(text: str) -> Repeat:
    """Supercell of a text such as 4 (along all three axes) or 4x4x6.

    Raises
    ------
    ConfigError
        Another text.
    """
    parts = text.lower().split("x")
    if len(parts) not in (1, 3) or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"supercell {text!r}: give one number, such as 4, or three, such as 4x4x6")
    a, b, c = (int(part) for part in (parts if len(parts) == 3 else parts * 3))
    return a, b, c


def text_of(repeat: Repeat) -> str:
    """Such as 4x4x6."""
    return "x".join(map(str, repeat))
