"""Reference methods that label frames: tblite, GPAW, any ASE calculator, LAMMPS, foundation potentials, behind one contract."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from trepid.errors import ConfigError
from trepid.reference import ase_calculator, foundation, gpaw, lammps, tblite
from trepid.reference.ase_calculator import ASECalculatorReference
from trepid.reference.base import FailureReason, LabelError, Reference
from trepid.reference.contract import ContractError, ContractReport, Tolerances, validate_reference
from trepid.reference.engine import Availability, Engine
from trepid.reference.foundation import CHGNetReference, FoundationReference, SevenNetReference
from trepid.reference.gpaw import GPAWReference
from trepid.reference.isolation import IsolatedReference
from trepid.reference.lammps import LAMMPSReference
from trepid.reference.tblite import TBLiteReference

__all__ = [
    "ENGINES",
    "ASECalculatorReference",
    "Availability",
    "CHGNetReference",
    "ContractError",
    "ContractReport",
    "Engine",
    "FailureReason",
    "FoundationReference",
    "GPAWReference",
    "IsolatedReference",
    "LAMMPSReference",
    "LabelError",
    "Reference",
    "SevenNetReference",
    "TBLiteReference",
    "Tolerances",
    "make_reference",
    "validate_reference",
]

ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        tblite.ENGINE,
        gpaw.ENGINE,
        ase_calculator.ENGINE,
        lammps.ENGINE,
        foundation.SEVENNET,
        foundation.CHGNET,
    )
}
"""Engines by their names in campaign files."""


def make_reference(
    engine: str,
    *,
    directory: str | os.PathLike[str] | None = None,
    timeout_s: float | None = None,
    isolated: bool = False,
    **parameters: Any,
) -> Reference:
    """Make a reference from its settings.

    Parameters
    ----------
    engine : str
        One of `ENGINES`: "tblite", "gpaw", "ase", "lammps", "sevennet", "chgnet".
    directory : path, optional
        Folder for the files and logs of engines that write some; see the engine.
    timeout_s : float, optional
        Time limit of a label, s. The engine then runs in a process of its own, and a crash of it counts as a
        failed label.
    isolated : bool
        Run the engine in a process of its own also without `timeout_s`, with the time limit that `IsolatedReference` finds.
        Campaigns do.
    **parameters
        Arguments of `TBLiteReference`, `GPAWReference`, `ASECalculatorReference`, `LAMMPSReference` or
        `FoundationReference`.

    Raises
    ------
    ConfigError
        The engine or a parameter is unknown, a value is out of range, or the engine is not installed.
    """
    if engine not in ENGINES:
        close = get_close_matches(str(engine), ENGINES, n=1)
        hint = f"; did you mean {close[0]}?" if close else " (for an ASE calculator: engine ase, calculator NAME)"
        raise ConfigError(f"reference engine is {engine!r}; known are {', '.join(ENGINES)}{hint}")
    kind = ENGINES[engine].reference
    accepted = inspect.signature(kind.__init__).parameters
    known = [name for name in accepted if name not in ("self", "directory")]
    for name in parameters:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"reference {engine} has no parameter {name!r}; known are {', '.join(known)}{hint}")
    for name in known:
        if accepted[name].default is inspect.Parameter.empty and name not in parameters:
            raise ConfigError(f"reference {engine} needs the parameter {name!r}")
    if directory is not None and "directory" in accepted:
        parameters["directory"] = directory
    reference = kind(**parameters)
    if timeout_s is None and not isolated:
        return reference
    return IsolatedReference(reference, timeout_s=timeout_s)
