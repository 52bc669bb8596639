"""What a screening will do and cost, before it runs: cells, labels and hours; structures and reference are tested on request."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from trepid.anharmonicity.finite_displacements import build_supercell
from trepid.config.screening import ScreeningSettings
from trepid.data.geometry import atoms_far_apart
from trepid.errors import ConfigError, TrepidError
from trepid.quantities import duration
from trepid.reference import ENGINES, make_reference
from trepid.reference.foundation import FoundationReference
from trepid.reference.tblite import expected_seconds
from trepid.screening.material import supercell_of, unit_cell
from trepid.screening.relaxation import spacegroup_of

RELAXATION_STEPS = 8
"""Evaluations of a relaxation that are expected: measured 3 to 17 over the structure types of the example."""
OVERHEAD_S = 20.0
"""CPU time of a round besides labels, s: force constants, training, walks, selection; measured with 16 to 32 atoms."""
_POWER = 1.3
"""Of the number of atoms in the time of a network."""


@dataclass(frozen=True)
class PlannedMaterial:
    """A material before it runs.

    Attributes
    ----------
    name : str
    n_atoms : int
        Of the supercell; 0 where the structure cannot be built.
    spacegroup : str
    displacements : int
        Labels for the force constants, the crystal at rest included.
    problem : str
        Why it would fail at once; empty where nothing is wrong.
    doubt : str
        What to ask about its lengths; empty where nothing is odd.
    """

    name: str
    n_atoms: int
    spacegroup: str
    displacements: int
    problem: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class ScreeningPlan:
    """What a screening will do.

    Attributes
    ----------
    materials : tuple of PlannedMaterial
    first_labels, most_labels : int
        Reference computations of the first rounds, and at most, without the budget.
    budget : int or None
    first_hours : float
        CPU hours of the first rounds, very roughly.
    workers : int
    """

    materials: tuple[PlannedMaterial, ...]
    first_labels: int
    most_labels: int
    budget: int | None
    first_hours: float
    workers: int

    @property
    def problems(self) -> tuple[PlannedMaterial, ...]:
        """Materials that would fail at once."""
        return tuple(material for material in self.materials if material.problem)

    def rows(self) -> list[tuple[str, str]]:
        """As lines."""
        sizes = Counter(material.n_atoms for material in self.materials if not material.problem)
        rows = [
            ("materials", f"{len(self.materials)}"),
            ("supercells", ", ".join(f"{n} of {size} atoms" for size, n in sorted(sizes.items()))),
            ("first rounds", f"about {self.first_labels} reference computations"),
            (
                "all rounds",
                f"at most about {self.most_labels}"
                + (f"; the budget is {self.budget}" if self.budget else "; no budget"),
            ),
            (
                "time",
                f"first rounds very roughly {duration(3600 * self.first_hours)} of CPU, "
                f"{duration(3600 * self.first_hours / self.workers)} with {self.workers} workers on cores of their own",
            ),
        ]
        if not sizes:
            rows = rows[:1]
        rows += [(material.name, f"warning: {material.doubt}") for material in self.materials if material.doubt]
        return rows + [(each.name, f"problem: {each.problem.removeprefix(f'{each.name}: ')}") for each in self.problems]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "n_materials": len(self.materials),
            "first_labels": self.first_labels,
            "most_labels": self.most_labels,
            "budget": self.budget,
            "first_cpu_hours": self.first_hours,
            "workers": self.workers,
            "materials": [
                {
                    "name": each.name,
                    "n_atoms": each.n_atoms,
                    "spacegroup": each.spacegroup,
                    "displacements": each.displacements,
                    "problem": each.problem,
                    "doubt": each.doubt,
                }
                for each in self.materials
            ],
        }


def plan_screening(settings: ScreeningSettings, *, check: bool = False) -> ScreeningPlan:
    """Build every structure and count; nothing is written or labelled.

    Parameters
    ----------
    settings : ScreeningSettings
    check : bool
        Make the reference, and ask it whether it can label every supercell.

    Raises
    ------
    ConfigError, BackendError
        The reference cannot be made (only with `check`).
    """
    reference = None
    if check:
        if ENGINES[settings.reference.engine].code_in(settings.reference.arguments()) is not None:
            raise ConfigError(
                "the reference names code of its own, which --dry-run does not run; use --plan, or run it"
            )
        reference = make_reference(settings.reference.engine, **settings.reference.arguments())
    found = []
    for material in settings.materials:
        try:
            unit = unit_cell(material)
            matrix = supercell_of(material, unit, settings)
            crystal, _ = build_supercell(unit, matrix.tolist())
            if reference is not None:
                reference.check(crystal)
        except TrepidError as error:
            found.append(PlannedMaterial(material.name, 0, "", 0, " ".join(str(error).split())))
            continue
        needed = displacements(unit, matrix) if settings.start.kind == "harmonic" else 0
        doubt = atoms_far_apart(unit, isolated=False)
        found.append(PlannedMaterial(material.name, len(crystal), spacegroup_of(unit), needed, doubt=doubt))
    if reference is not None:
        with closing(reference):
            pass
    audit = settings.rounds.audit
    assert audit is not None
    per_round = settings.acquisition.labels_per_round
    start = settings.start.n or 0
    relaxation = 0 if settings.relax is None else RELAXATION_STEPS
    fine = [material for material in found if not material.problem]
    first = [relaxation + start + per_round + material.displacements for material in fine]
    most = (settings.rounds.max_rounds - 1) * (per_round + audit.labels_per_class * audit.classes_per_round)
    seconds = sum(
        n * label_seconds(settings, material.n_atoms) + OVERHEAD_S for n, material in zip(first, fine, strict=True)
    )
    return ScreeningPlan(
        tuple(found),
        sum(first),
        sum(first) + most * len(fine),
        settings.budget.max_labels,
        seconds / 3600,
        settings.execution.workers,
    )


def label_seconds(settings: ScreeningSettings, n_atoms: int) -> float:
    """Time of a label that is expected on one core, s: known for foundation potentials; else that of tblite."""
    kind = ENGINES[settings.reference.engine].reference
    if issubclass(kind, FoundationReference):
        return kind.foundation.seconds_per_label * (n_atoms / 64) ** _POWER
    return expected_seconds(n_atoms)


def displacements(unit: Any, matrix: Any) -> int:
    """Finite displacements that phonopy asks for, and the crystal at rest."""
    from trepid.anharmonicity.phonopy_objects import make_phonon, phonopy_cell, quiet_phonopy

    with quiet_phonopy():
        phonon = make_phonon(phonopy_cell(unit), np.asarray(matrix).T)
        phonon.generate_displacements(distance=0.03)
    return 1 + len(phonon.dataset["first_atoms"])
