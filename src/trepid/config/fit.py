"""The settings file of a fit: everything that, with the same trepid, gives the same model again.

`trepid fit` writes it beside the model, `trepid fit --settings FILE` reads it. Sizes are the chosen ones: a fit from the
file searches nothing. Hyperparameters and priors are named as in the potential, which checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from trepid.choices import Speed, Triplets
from trepid.config.base import Count, Natural, Number, Positive, Settings, resolve
from trepid.config.loading import load_settings
from trepid.config.potential import PotentialSettings


class TrainingFile(Settings):
    """A file of training frames."""

    file: Path = Field(description="Labelled frames, relative to this file.")
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = Field(description="Checksum of the file.")
    n_frames: Count = Field(description="Number of frames in it.")

    @field_validator("file")
    @classmethod
    def _resolve(cls, value: Path, info: ValidationInfo) -> Path:
        return resolve(value, info)


class LabelSettings(Settings):
    """Names of the labels in the frames."""

    energy: str = Field(description="Of the energy, eV.")
    forces: str = Field(description="Of the forces, eV/A.")
    stress: str = Field(description="Of the stress, eV/A^3.")
    virial: str | None = Field(default=None, description="Of a virial in place of the stress, eV; null: as the stress.")


class PriorSettings(Settings):
    """Range and prior of one hyperparameter."""

    low: Positive = Field(description="Lower end of the range.")
    high: Positive = Field(description="Upper end of the range.")
    mode: Positive | None = Field(description="Centre of the normal prior of the logarithm; null: flat in the range.")
    log_std: Positive = Field(description="Standard deviation of that prior.")


class SizeSearchSettings(Settings):
    """The search that gave the sizes; a fit from this file searches nothing."""

    speed: Speed = Field(description="Ceiling of the time per MD step.")
    beyond_ceiling: bool = Field(description="Whether sizes were left out for their time.")


class FitSettings(Settings):
    """All settings of one fit."""

    trepid: str = Field(description="Version of trepid that wrote this file.")
    command: str = Field(description="Command line that wrote this file; not used.")
    train: list[TrainingFile] = Field(min_length=1, description="Training frames.")
    species: list[str] = Field(min_length=1, description="Elements of the force field.")
    labels: LabelSettings
    outliers_weigh_less: bool = Field(
        default=False,
        description="Labels that the others of their file contradict weigh less, as the checks judge them.",
    )
    weights: dict[str, Positive] = Field(
        default_factory=dict, description="Weights of the frames by their config_type; 1 where none is given."
    )
    potential: PotentialSettings = Field(description="Sizes of the force field.")
    size_search: SizeSearchSettings | None = Field(
        default=None, description="The search that gave these sizes; null: none, or not recorded."
    )
    live_rank: Natural = Field(description="Directions of the live uncertainty.")
    seed: Natural = Field(description="Seed of every random number.")
    start: dict[str, Annotated[float, Number, Field(gt=0)]] = Field(
        description="Hyperparameters from which the optimisation starts."
    )
    start_noise: dict[str, Annotated[float, Number, Field(gt=0)]] = Field(
        description="Noises from which it starts, and the force above which labels lose weight (large_force)."
    )
    priors: dict[str, PriorSettings] = Field(description="Ranges and priors of the hyperparameters; checked.")

    @field_validator("potential", mode="before")
    @classmethod
    def _earlier_triplets(cls, value: Any) -> Any:
        """Files of versions without mixed triplets name no form."""
        return {"triplets": Triplets.FULL, **value} if isinstance(value, Mapping) else value

    @classmethod
    def read(cls, path: str | Path) -> FitSettings:
        """Read a settings file; ConfigError, in one line, where it is missing or wrong."""
        return load_settings(path, cls, what="settings file", origin="'trepid fit' writes one beside the model")
