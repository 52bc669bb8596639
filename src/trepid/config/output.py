"""Run directory of a campaign."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from trepid.config.base import Count, Settings, resolve


class RoundsOutputSettings(Settings):
    """Where the run is stored."""

    directory: Path = Field(
        default=Path("run"), validate_default=True, description="Run directory; path relative to this file."
    )

    @field_validator("directory")
    @classmethod
    def _resolve(cls, value: Path, info: ValidationInfo) -> Path:
        path = resolve(value, info)
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file; give a folder")
        return path


class OutputSettings(RoundsOutputSettings):
    """Where the run is stored, and how often it is written."""

    sample_every: Count = Field(default=100, description="MD steps between two frames of trajectory.extxyz.")
    checkpoint_every: Count = Field(
        default=200, description="MD steps between two checkpoints: an interruption repeats at most so many."
    )
