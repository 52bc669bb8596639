"""A vacancy hop in copper whose barrier is known: the truth is EMT, and models are EMT with known changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.geometry import find_mic

from trepid.audit import Answer, Motion, SeenClass, Wanted
from trepid.audit.model import AuditedModel
from trepid.data.frames import Labels, labels_of
from trepid.events.sites import Sites
from trepid.potentials.base import Prediction
from trepid.reference import ASECalculatorReference, FailureReason

EMT_BARRIER_EV = 0.7609
"""Of the hop, by a band of nine images relaxed to 0.01 eV/A on EMT alone."""


def copper() -> tuple[Atoms, Sites]:
    """31 atoms and a vacancy, which is an empty site."""
    crystal = bulk("Cu", cubic=True).repeat((2, 2, 2))
    hole = crystal.positions[0].copy()
    del crystal[0]
    return crystal, Sites.of(crystal, empty=[hole])


def hop(n_seen: int = 1) -> SeenClass:
    """A nearest neighbour of the vacancy goes there."""
    return SeenClass("hop", Motion(np.arange(31), (0,), (31,)), n_seen=n_seen)


class ChangedEMT(Calculator):
    """EMT times a factor, with a Gaussian well for one atom at a place.

    Parameters
    ----------
    factor : float
    well_eV : float
        Depth.
    place : (3,) array
        A.
    width_A : float
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(
        self, factor: float = 1.0, *, well_eV: float = 0.0, place: Any = (0, 0, 0), width_A: float = 0.5, atom: int = 0
    ) -> None:
        super().__init__()
        self.factor, self.well, self.place, self.width, self.atom = factor, well_eV, np.array(place), width_A, atom
        self.emt = EMT()

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        bare = self.atoms.copy()
        bare.set_constraint()
        bare.calc = self.emt
        energy, forces = self.factor * bare.get_potential_energy(), self.factor * bare.get_forces()
        way = find_mic(bare.positions[self.atom] - self.place, bare.cell, bare.pbc)[0]
        well = self.well * np.exp(-0.5 * way @ way / self.width**2)
        forces[self.atom] -= well * way / self.width**2
        self.results = {"energy": energy - well, "forces": forces}


class SoftModel(Calculator):
    """Springs to the sites, and two wells for atom 0: one on its site, one at a place, whatever atom is there.

    Parameters
    ----------
    crystal : Atoms
    place : (3,) array
        A.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]
    depth_eV, width_A, stiffness_eV_per_A2 = 2.0, 0.4, 5.0

    def __init__(self, crystal: Atoms, place: Any) -> None:
        super().__init__()
        self.home, self.wells = crystal.positions.copy(), [crystal.positions[0].copy(), np.array(place)]

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        u = find_mic(self.atoms.positions - self.home, self.atoms.cell, self.atoms.pbc)[0]
        u[0] = 0.0
        energy, forces = 0.5 * self.stiffness_eV_per_A2 * float((u * u).sum()), -self.stiffness_eV_per_A2 * u
        for place in self.wells:
            way = find_mic(self.atoms.positions[0] - place, self.atoms.cell, self.atoms.pbc)[0]
            well = self.depth_eV * np.exp(-0.5 * way @ way / self.width_A**2)
            energy -= well
            forces[0] -= well * way / self.width_A**2
        self.results = {"energy": energy, "forces": forces}


class CalculatorModel(AuditedModel):
    """Any ASE calculator as audited model."""

    def __init__(self, calculator: Calculator) -> None:
        self.made = calculator

    def calculator(self) -> Calculator:
        return self.made

    def predict(self, atoms: Atoms) -> Prediction:
        frame = atoms.copy()
        frame.calc = self.made
        return Prediction(energy=float(frame.get_potential_energy()), forces=frame.get_forces())

    def describe(self) -> dict[str, str | float | int]:
        return {"kind": type(self.made).__name__}


class Oracle:
    """A source of labels that counts them, and fails where it is told to, with a reason."""

    def __init__(
        self,
        calculator: Calculator | None = None,
        *,
        failing: Sequence[int] = (),
        reason: FailureReason = FailureReason.TIMEOUT,
    ) -> None:
        self.calculator, self.failing, self.reason = calculator or EMT(), set(failing), reason
        self.asked: list[Wanted] = []

    def __call__(self, wanted: Sequence[Wanted]) -> list[Answer]:
        answers = []
        for want in wanted:
            self.asked.append(want)
            number = len(self.asked)
            if number in self.failing:
                answers.append(Answer(number, None, "took longer than 1 s", reason=self.reason))
                continue
            frame = want.atoms.copy()
            frame.calc = self.calculator
            answers.append(Answer(number, Labels(frame.get_potential_energy(), frame.get_forces(), None)))
        return answers


class CountingEMT(ASECalculatorReference):
    """EMT that notes every frame it labels."""

    def __init__(self) -> None:
        super().__init__("emt")
        self.frames: list[Atoms] = []

    def _compute(self, atoms: Atoms) -> Labels:
        self.frames.append(atoms.copy())
        return super()._compute(atoms)


class CollidingEMT(CountingEMT):
    """EMT with forces of thousands of eV/A where atom 0 is within 0.5 A of a place."""

    def __init__(self, place: Any) -> None:
        super().__init__()
        self.place = np.array(place)

    def _compute(self, atoms: Atoms) -> Labels:
        labels = super()._compute(atoms)
        if find_mic(atoms.positions[0] - self.place, atoms.cell, atoms.pbc)[1] < 0.5:
            push = np.zeros((len(atoms), 3))
            push[:2, 0] = 2900.0, -2900.0
            labels = Labels(labels.energy, labels.forces + push, labels.stress)
        return labels


__all__ = [
    "EMT_BARRIER_EV",
    "CalculatorModel",
    "ChangedEMT",
    "CollidingEMT",
    "CountingEMT",
    "Oracle",
    "SoftModel",
    "copper",
    "hop",
    "labels_of",
]
