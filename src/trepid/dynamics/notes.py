"""What settings.json tells a reader of an MD run beside its settings: figures that follow from the model and the structure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trepid.data.json_file import read_json_object
from trepid.errors import DataError

SETTINGS_FILE = "settings.json"
THRESHOLD, REPEAT = "guard_threshold_eV_per_A", "repeat"
"""Keys that are no settings: a run is continued whatever they were."""


@dataclass(frozen=True)
class RunNotes:
    """Facts of an MD run.

    Attributes
    ----------
    guard_threshold_eV_per_A : float
        Largest trusted force uncertainty of an atom, also where the settings leave it to the model.
    repeat : three ints
        Repetitions of the given structure in the cell that was simulated.
    pressure_GPa : float or None
        Target; None: the cell was held.
    """

    guard_threshold_eV_per_A: float
    repeat: tuple[int, int, int] = (1, 1, 1)
    pressure_GPa: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The part that is beside the settings."""
        return {THRESHOLD: self.guard_threshold_eV_per_A, REPEAT: list(self.repeat)}


def read_notes(directory: Path) -> RunNotes | None:
    """Facts of the MD run in a directory; None where there is no settings.json, or an older one without them.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    path = directory / SETTINGS_FILE
    if not path.is_file():
        return None
    found = read_json_object(path)
    if THRESHOLD not in found or REPEAT not in found:
        return None
    pressure = found.get("pressure_GPa")
    try:
        a, b, c = (int(n) for n in found[REPEAT])
        return RunNotes(float(found[THRESHOLD]), (a, b, c), None if pressure is None else float(pressure))
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: not as trepid writes it ({error})") from error
