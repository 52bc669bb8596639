"""The initial crystal of a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trepid.config.base import Settings, is_missing, resolve


class StructureSettings(Settings):
    """The initial crystal."""

    file: Path = Field(
        description="Structure in any format ASE reads (CIF, POSCAR, extxyz, ...); path relative to this file."
    )
    supercell: tuple[int, int, int] | tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]] = Field(
        default=(1, 1, 1),
        description="Repetitions along the three cell vectors, or a 3x3 matrix whose rows are the new cell vectors.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_path_alone(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str | Path) else value

    @field_validator("file")
    @classmethod
    def _resolve(cls, value: Path, info: ValidationInfo) -> Path:
        path = resolve(value, info)
        if is_missing(path, info):
            raise ValueError(
                f"there is no such file ({path}); give the path of a structure, relative to the campaign file"
            )
        return path

    @field_validator("supercell", mode="before")
    @classmethod
    def _repetitions_or_matrix(cls, value: Any) -> Any:
        right = "give three whole numbers of 1 or more, such as [2, 2, 2], or a 3x3 matrix of whole numbers"
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise ValueError(right)
        if all(isinstance(row, list | tuple) for row in value):
            if any(len(row) != 3 or not all(_is_whole(x) for x in row) for row in value):
                raise ValueError(right)
            (a, b, c), (d, e, f), (g, h, i) = value
            if a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) <= 0:
                raise ValueError(f"the determinant of the matrix must be positive; {right}")
        elif not all(_is_whole(x) and x >= 1 for x in value):
            raise ValueError(right)
        return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
