"""A reference method by a short name: an engine file, an engine, a foundation potential with its model, an ASE calculator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trepid.config.engine_file import load_engine
from trepid.config.reference import REFERENCE_SETTINGS, ReferenceSettings, engine_of
from trepid.errors import ConfigError

_ADAPTER: TypeAdapter[Any] = TypeAdapter(ReferenceSettings)
_NAMED = {engine_of(settings): settings for settings in REFERENCE_SETTINGS}


def method_of(name: str) -> ReferenceSettings:
    """Settings of a reference method.

    Parameters
    ----------
    name : str
        A file with a section `reference`; an engine with defaults for all settings (tblite, gpaw, sevennet, chgnet); engine:model
        (chgnet:r2scan, tblite:GFN2-xTB); else an ASE calculator by name or as package.module:Class.

    Raises
    ------
    ConfigError
        There is no such file, engine or model.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return load_engine(path)[0]
    engine, _, detail = name.partition(":")
    if engine in _NAMED and engine not in ("ase", "lammps"):
        values: dict[str, str] = {"engine": engine}
        if detail:
            key = next((key for key in ("model", "method") if key in _NAMED[engine].model_fields), None)
            if key is None:
                raise ConfigError(f"{name}: {engine} has no models; give {engine}, or a file with a section reference")
            values[key] = detail
    else:
        values = {"engine": "ase", "calculator": name}
    try:
        settings: ReferenceSettings = _ADAPTER.validate_python(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ConfigError(f"{name}: {problem['msg']}") from error
    return settings
