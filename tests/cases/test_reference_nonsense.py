"""A reference whose labels are impossible is refused although it repeats them; the campaign ends as for failed labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from campaign_fakes import LoggedReference, campaign
from rounds_fakes import rounds_campaign
from trepid.campaign.learn import learn
from trepid.data.frames import Labels
from trepid.reference.base import FailureReason, LabelError
from trepid.reference.calculator import CalculatorReference
from trepid.reference.nonsense import repetition
from trepid.runs.ledger import believed_labels, read_ledger
from trepid.runs.ledger_events import Doubt, Doubted, Failure, Label, StopReason

Change = Callable[[Labels, Labels], Labels]


def forces_of(labels: Labels) -> np.ndarray:
    assert labels.forces is not None
    return labels.forces


def zeros(labels: Labels, first: Labels) -> Labels:
    return Labels(labels.energy, 0.0 * forces_of(labels), labels.stress)


def huge(labels: Labels, first: Labels) -> Labels:
    return Labels(labels.energy, 1e12 * forces_of(labels), labels.stress)


def huge_energy(labels: Labels, first: Labels) -> Labels:
    return Labels(1e300, labels.forces, labels.stress)


def stale_forces(labels: Labels, first: Labels) -> Labels:
    return Labels(labels.energy, first.forces, labels.stress)


def stale_energy(labels: Labels, first: Labels) -> Labels:
    return Labels(first.energy, labels.forces, labels.stress)


class WrongFromTheThird(LoggedReference):
    """EMT whose labels are changed from the third call on, always in the same way."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change, self.first = change, Labels()

    def _compute(self, atoms: Atoms) -> Labels:
        labels = super()._compute(atoms)
        if self.calls == 1:
            self.first = labels
        return labels if self.calls < 3 else self.change(labels, self.first)


CASES: list[tuple[Change, str]] = [
    (zeros, "all forces are exactly zero"),
    (huge, "no force of a frame that molecular dynamics reaches"),
    (huge_energy, "is impossible"),
    (stale_forces, "the forces are those of the frame before, digit for digit"),
    (stale_energy, "the energy is that of the frame before, to the last digit"),
]


@pytest.mark.parametrize(("change", "message"), CASES)
@pytest.mark.parametrize("rounds", [False, True])
def test_nonsense_that_repeats_itself_ends_the_campaign(
    tmp_path: Path, rounds: bool, change: Change, message: str
) -> None:
    if rounds:
        settings = rounds_campaign(tmp_path, start={"n": 5, "displacement_A": 0.03})
    else:
        learning = {"threshold_eV_per_A": 0.012, "initial_frames": 5, "on_failure": "stop"}
        settings = campaign(tmp_path, learning=learning)
    result = learn(settings, reference=WrongFromTheThird(change))
    assert result.reason is StopReason.FAILURES
    assert result.exit_code == 5
    failures = [e.event for e in read_ledger(tmp_path / "run" / "ledger.jsonl") if isinstance(e.event, Failure)]
    expected = FailureReason.EXTREME_FORCE if change is huge else FailureReason.IMPOSSIBLE
    assert {failure.reason for failure in failures} == {expected}
    assert any(message in failure.message for failure in failures)


def test_sound_references_may_give_zeros_and_equal_numbers() -> None:
    reference = LoggedReference()
    perfect = bulk("Cu", "fcc", a=3.6, cubic=True)
    exact = reference.label(perfect)
    again = reference.label(perfect)  # the same frame: the same numbers
    assert exact.info["REF_energy"] == again.info["REF_energy"]
    moved = perfect.copy()
    moved.positions[0, 0] += 0.05
    mirrored = perfect.copy()
    mirrored.positions[0, 0] -= 0.05
    for atoms in (moved, mirrored):  # equivalent displacements: the same energy
        reference.label(atoms)


@pytest.mark.parametrize("per_atom", [False, True])
def test_energies_of_single_precision_may_be_equal_by_chance_where_the_forces_allow_it(per_atom: bool) -> None:
    n = 12
    crystal = bulk("Cu", "fcc", a=3.6).repeat((2, 2, 3))
    assert len(crystal) == n
    k = 5.0  # eV/A^2, of one atom

    def labelled(x: float) -> tuple[Atoms, Labels]:
        atoms, forces = crystal.copy(), np.zeros((n, 3))
        atoms.positions[0, 0] += x
        forces[0, 0] = -k * x
        energy = -129.0 + 0.5 * k * x**2
        single = n * float(np.float32(energy / n)) if per_atom else float(np.float32(energy))
        return atoms, Labels(single, forces)

    near, nearer, far = labelled(0.0005), labelled(0.0013), labelled(0.1)
    assert near[1].energy == nearer[1].energy
    assert repetition(*nearer, near) == ""
    stale = Labels(near[1].energy, far[1].forces)  # by the forces 25 meV higher
    assert "to the last digit" in repetition(far[0], stale, near)
    exact = Labels(-129.0 + 1e-7, nearer[1].forces)  # of double precision: no chance
    assert "to the last digit" in repetition(nearer[0], exact, (near[0], Labels(exact.energy, near[1].forces)))


class Results(CalculatorReference):
    """A reference that gives fixed results."""

    name = "fixed"

    def __init__(self, results: dict[str, object]) -> None:
        self.results = results

    def describe(self) -> dict[str, str | float | int]:
        return {"engine": self.name}

    def _calculator(self) -> Results:
        return self

    def calculate(self, atoms: Atoms, properties: object, changes: object) -> None:
        """Nothing to compute."""


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"energy": np.nan, "free_energy": -1.0}, "energy is nan, not one number"),
        ({"energy": "-1.0", "free_energy": -1.0}, "energy is '-1.0', not numbers"),
        ({"energy": -1.0, "free_energy": np.inf}, "free_energy is inf, not one number"),
        ({"energy": -1.0, "forces": np.array([[0.1, 0, 0], [-0.1 + 0.2j, 0, 0]])}, "forces has an imaginary part"),
    ],
)
def test_results_that_are_no_real_numbers_are_refused(results: dict[str, object], message: str) -> None:
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [2.4, 0, 0]])
    good = {"energy": -1.0, "forces": np.array([[0.1 + 0j, 0, 0], [-0.1, 0, 0]])}
    assert Results(good).label(atoms).info["REF_energy"] == -1.0
    with pytest.raises(LabelError) as caught:
        Results({**good, **results}).label(atoms)
    assert caught.value.reason is FailureReason.NOT_FINITE
    assert message in str(caught.value)


def test_doubted_labels_that_were_believed_are_counted() -> None:
    events = [
        Doubted(1, 1, Doubt.FORCES, "far"),
        Label(1, "labels/label-0001.extxyz", 0.1, 2),
        Doubted(2, 1, Doubt.ENERGY, "far"),
        Failure(2, 1, FailureReason.CORRUPTED, "a second one differs"),
        Label(2, "labels/label-0002.extxyz", 0.1, 2),
        Label(3, "labels/label-0003.extxyz", 0.1, 1),
        Doubted(4, 1, Doubt.FORCES, "far"),
    ]
    assert believed_labels(events) == [1]
