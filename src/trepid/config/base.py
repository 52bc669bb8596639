"""Base of all settings: frozen, closed and finite; a truth value is not accepted as a number."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
)


def _no_truth_value(value: Any) -> Any:
    # YAML reads yes, no, on and off as truth values, and Python counts those as 1 and 0: no setting here is one.
    if isinstance(value, bool):
        raise ValueError("a truth value is not a number; write a number")
    return value


Number = BeforeValidator(_no_truth_value)
Positive: TypeAlias = Annotated[float, Number, Field(gt=0)]
MAX_TEMPERATURE_K = 100_000.0
"""Above this there is no condensed matter of atoms that a potential describes, K."""
Temperature: TypeAlias = Annotated[float, Number, Field(gt=0, le=MAX_TEMPERATURE_K)]
Count: TypeAlias = Annotated[int, Number, Field(ge=1)]
Natural: TypeAlias = Annotated[int, Number, Field(ge=0)]

# Keys of campaigns on the fly and in rounds alike.
Retries: TypeAlias = Annotated[Natural, Field(description="Further attempts at a label that failed.")]
CheckLabels: TypeAlias = Annotated[
    bool,
    Field(
        description="Compare every label with the model and the other labels before it is trained on. A suspicious label is "
        "computed once more, and accepted if the second computation agrees."
    ),
]


_FILE = "file"
"""Context of serialisation: the settings are written to a file."""


class Settings(BaseModel):
    """Frozen, closed (unknown keys are errors) and finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=False)

    @model_serializer(mode="wrap")
    def _without_default_nulls(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        # In a file, a null that is the default says nothing; one that is not, such as n_channels: null, is read back as null.
        data: dict[str, Any] = handler(self)
        if info.context != _FILE:
            return data
        fields = type(self).model_fields
        return {
            key: value
            for key, value in data.items()
            if value is not None or fields[key].get_default(call_default_factory=True) is not None
        }

    def to_file_json(self) -> dict[str, Any]:
        """Values as JSON writes them, without keys that are null by default; the same settings are read from them."""
        data: dict[str, Any] = self.model_dump(mode="json", context=_FILE)
        return data


class SettingsFile(Settings):
    """Settings that are a file of their own."""

    def to_yaml(self) -> str:
        """All settings, defaults filled in, as a YAML document from which the same settings are read."""
        return yaml.safe_dump(self.to_file_json(), sort_keys=False, allow_unicode=True, width=120)


@dataclass(frozen=True)
class OneOf:
    """Annotation of a setting with fixed choices: its schema lists them in place, not as a definition of its own."""

    choices: type[Enum]

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        """Schema of the setting."""
        return {"type": "string", "enum": [choice.value for choice in self.choices]}


def is_missing(path: Path, info: ValidationInfo) -> bool:
    """Whether a file that a campaign file names is missing; never true where only the settings are read."""
    return (info.context or {}).get("require_files", True) and not path.is_file()


def resolve(value: Path, info: ValidationInfo) -> Path:
    """Absolute form of a path in a campaign file; relative paths start at the folder of the file."""
    directory = (info.context or {}).get("directory", Path.cwd())
    return Path(directory / value.expanduser()).resolve()
