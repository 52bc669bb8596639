"""Screenings of seconds: metals by EMT, a small Bayesian force field."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.emt import EMT

from rounds_fakes import SMALL, content
from trepid.config.screening import ScreeningSettings
from trepid.screening.directory import files_of
from trepid.screening.record import MaterialRecord


class Hanging(EMT):  # type: ignore[misc]
    """EMT that does not answer about silver."""

    def calculate(self, atoms: Atoms | None = None, *args: object, **kwargs: object) -> None:
        """Wait for ever where there is silver."""
        if atoms is not None and "Ag" in atoms.get_chemical_symbols():
            time.sleep(3600)
        super().calculate(atoms, *args, **kwargs)


class SoftEMT(EMT):  # type: ignore[misc]
    """EMT whose energies, forces and stresses are 0.8 times as large."""

    def calculate(self, atoms: Atoms | None = None, *args: object, **kwargs: object) -> None:
        """EMT, and the factor."""
        super().calculate(atoms, *args, **kwargs)
        self.results = {name: 0.8 * value for name, value in self.results.items()}


class Licensed(EMT):  # type: ignore[misc]
    """EMT that computes nothing before the file exists that TREPID_TEST_LICENCE names."""

    def calculate(self, atoms: Atoms | None = None, *args: object, **kwargs: object) -> None:
        """EMT, or an error."""
        if not Path(os.environ["TREPID_TEST_LICENCE"]).exists():
            raise RuntimeError("no licence")
        super().calculate(atoms, *args, **kwargs)


METALS = {"Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92}


def screening(directory: Path, names: tuple[str, ...] = ("Cu", "Ag"), **sections: Any) -> ScreeningSettings:
    """Settings in `directory`; `sections` update their sections, `materials` are added."""
    settings: dict[str, Any] = {
        "materials": [{"name": name, "prototype": "fcc", "a": METALS[name]} for name in names]
        + sections.pop("materials", []),
        "reference": {"engine": "ase", "calculator": "emt"},
        "cell": {"least_atoms": 8, "most_atoms": 8, "least_width_A": 4.0},
        "potential": SMALL,
        "start": {"n": 2, "temperature_K": 200},
        "walkers": {
            "temperatures_K": [200],
            "duration_ps": 0.4,
            "timestep_fs": 4.0,
            "check_every": 4,
            "equilibrate_ps": 0.05,
        },
        "acquisition": {"labels_per_round": 1},
        "rounds": {"max_rounds": 2, "stop": {"sigma_a": 1e-6}},
        "budget": {"materials_per_turn": 2},
        "output": {"directory": str(directory / "out")},
    }
    for name, values in sections.items():
        old = settings.get(name, {})
        settings[name] = {**old, **values} if isinstance(values, dict) and isinstance(old, dict) else values
    return ScreeningSettings.model_validate({**settings, "seed": 5})


def table_of(directory: Path, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Records without wall times."""
    records = [MaterialRecord.read(files_of(directory, name).record) for name in names]
    return [json.loads(json.dumps(asdict(record.without_times()))) for record in records]


def labels_of_screening(directory: Path) -> dict[str, Any]:
    """All label files by their path, without times."""
    return {
        str(path.relative_to(directory)): content(path)
        for path in sorted(directory.glob("materials/*/*/labels/label-*.extxyz"))
    }


def outcome(directory: Path, names: tuple[str, ...]) -> tuple[Any, Any]:
    """What two equal screenings agree on: table and labels."""
    return table_of(directory, names), labels_of_screening(directory)
