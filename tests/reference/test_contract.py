"""One contract for all references, and proof that breaking any clause of it is noticed."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from trepid.data import LabelKeys, Labels, attach_labels
from trepid.errors import ConfigError
from trepid.reference import ContractError, Reference, Tolerances, make_reference, validate_reference


def rattled(atoms: Atoms, by: float, seed: int = 0) -> Atoms:
    atoms.rattle(by, seed=seed)
    return atoms


def argon() -> Atoms:
    return rattled(bulk("Ar", cubic=True) * (2, 2, 2), 0.3)


KEYS = LabelKeys()
LJ = {"sigma": 3.4, "epsilon": 0.01, "rc": 5.0, "smooth": True}
SLAB = rattled(bulk("Sn", "diamond", a=6.5, cubic=True) * (2, 1, 1), 0.05)
SLAB.center(vacuum=5.0, axis=2)

REFERENCES = [
    pytest.param(
        {"engine": "tblite"}, rattled(bulk("CuI", "zincblende", a=6.19) * (2, 2, 2), 0.08, 1), True, id="tblite-crystal"
    ),
    pytest.param({"engine": "tblite"}, SLAB, True, id="tblite-slab"),
    pytest.param({"engine": "tblite"}, rattled(molecule("CH3CH2OH"), 0.05), False, id="tblite-molecule"),
    pytest.param(
        {"engine": "tblite", "timeout_s": 300.0},
        rattled(molecule("CH3CH2OH"), 0.05),
        False,
        id="tblite-own-process",
    ),
    pytest.param({"engine": "ase", "calculator": "emt"}, rattled(bulk("Cu", cubic=True), 0.1), True, id="emt"),
    pytest.param(
        {"engine": "ase", "calculator": "ase.calculators.emt:EMT"},
        rattled(molecule("CH4"), 0.1),
        False,
        id="emt-molecule",
    ),
    pytest.param({"engine": "ase", "calculator": "lj", "parameters": LJ}, argon(), True, id="lj"),
    pytest.param(
        {"engine": "gpaw", "mode_cutoff_eV": 200.0, "kpts": [1, 1, 1]},
        rattled(bulk("Si"), 0.1),
        True,
        id="gpaw",
        marks=pytest.mark.skipif(find_spec("gpaw") is None, reason="GPAW is an optional extra"),
    ),
]


@pytest.mark.parametrize(("settings", "atoms", "has_stress"), REFERENCES)
def test_every_reference_keeps_the_contract(settings: dict, atoms: Atoms, has_stress: bool) -> None:
    reference = make_reference(**settings)
    report = validate_reference(reference, atoms)
    reference.close()
    assert report.n_labels == (7 if has_stress else 5)
    assert (report.stress_gradient is not None) == has_stress
    assert report.seconds_per_label > 0.0


class Emt(Reference):
    """A correct reference, written out, for the ones below to break."""

    name = "emt"

    def describe(self) -> dict[str, str | float | int]:
        return {"engine": "emt", "version": "1"}

    def _compute(self, atoms: Atoms) -> Labels:
        calculator = EMT()
        calculator.calculate(atoms)
        results = calculator.results
        return Labels(float(results["free_energy"]), results["forces"].copy(), results["stress"].copy())


class Constrained(Emt):
    """Forces as ASE gives them."""

    def label(self, atoms: Atoms, *, keys: LabelKeys = KEYS) -> Atoms:
        copy = atoms.copy()
        copy.calc = EMT()
        labels = Labels(copy.get_potential_energy(), copy.get_forces(), copy.get_stress(apply_constraint=False))
        return attach_labels(atoms, labels, keys)


class UsesTheCalculatorOfTheFrame(Emt):
    def label(self, atoms: Atoms, *, keys: LabelKeys = KEYS) -> Atoms:
        if atoms.calc is None:
            return super().label(atoms, keys=keys)
        labels = Labels(atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False), atoms.get_stress())
        return attach_labels(atoms, labels, keys)


class Remembers(Emt):
    """Like a cycle that starts from the last density."""

    calls = 0

    def _compute(self, atoms: Atoms) -> Labels:
        self.calls += 1
        labels = super()._compute(atoms)
        return Labels(labels.energy, labels.forces + 1e-6 * self.calls, labels.stress)


class Pinned(Emt):
    """Depends on where the cell begins."""

    def _compute(self, atoms: Atoms) -> Labels:
        labels = super()._compute(atoms)
        return Labels(labels.energy, labels.forces + 0.1 * np.cos(atoms.positions), labels.stress)


class Ordered(Emt):
    """Forces of the atoms in another order than the atoms."""

    def _compute(self, atoms: Atoms) -> Labels:
        labels = super()._compute(atoms)
        return Labels(labels.energy, labels.forces[np.argsort(atoms.positions[:, 0])], labels.stress)


class WrongUnit(Emt):
    def _compute(self, atoms: Atoms) -> Labels:
        labels = super()._compute(atoms)
        return Labels(labels.energy, labels.forces * 1.1, labels.stress)


class SwappedAxes(Emt):
    def _compute(self, atoms: Atoms) -> Labels:
        labels = super()._compute(atoms)
        return Labels(labels.energy, labels.forces[:, [1, 0, 2]], labels.stress)


class Pressure(Emt):
    """Stress of the other sign."""

    def _compute(self, atoms: Atoms) -> Labels:
        labels = super()._compute(atoms)
        return Labels(labels.energy, labels.forces, -labels.stress)


class OtherVoigtOrder(Emt):
    def _compute(self, atoms: Atoms) -> Labels:
        labels = super()._compute(atoms)
        return Labels(labels.energy, labels.forces, labels.stress[[0, 1, 2, 5, 4, 3]])


class ChangesTheInput(Emt):
    def label(self, atoms: Atoms, *, keys: LabelKeys = KEYS) -> Atoms:
        atoms.info["label"] = "done"
        return super().label(atoms, keys=keys)


class Wraps(Emt):
    def label(self, atoms: Atoms, *, keys: LabelKeys = KEYS) -> Atoms:
        labelled = super().label(atoms, keys=keys)
        labelled.positions += labelled.cell.array[0]
        return labelled


class KeepsCalculator(Emt):
    def label(self, atoms: Atoms, *, keys: LabelKeys = KEYS) -> Atoms:
        labelled = super().label(atoms, keys=keys)
        labelled.calc = EMT()
        return labelled


class OwnKeys(Emt):
    def label(self, atoms: Atoms, *, keys: LabelKeys = KEYS) -> Atoms:
        return super().label(atoms)


class Drops(Emt):
    def label(self, atoms: Atoms, *, keys: LabelKeys = KEYS) -> Atoms:
        labelled = super().label(atoms, keys=keys)
        labelled.info.pop("origin")
        labelled.info["extra"] = 1
        return labelled


class Anonymous(Emt):
    def describe(self) -> dict[str, str | float | int]:
        return {"engine": "emt", "parameters": {}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Constrained, "labels depend on a constraint"),
        (UsesTheCalculatorOfTheFrame, "uses the calculator of the frame"),
        (Remembers, "or on the frames labelled before: forces by 3e-06"),
        (Pinned, "labels change with a translation"),
        (Ordered, "forces are not the gradient"),
        (WrongUnit, "forces are not the gradient of the energy"),
        (SwappedAxes, "forces are not the gradient of the energy"),
        (Pressure, "stress is not the gradient of the energy"),
        (OtherVoigtOrder, "stress is not the gradient of the energy"),
        (ChangesTheInput, "the frame given is changed"),
        (Wraps, "positions of the labelled frame differ"),
        (KeepsCalculator, "carries a calculator"),
        (OwnKeys, "no 'an_energy'|no 'some_forces'"),
        (Drops, "unexpected keys: extra; the labelled frame has lost keys: origin"),
        (Anonymous, r"does not say: version; describe\(\) has values that are not text or numbers: parameters"),
    ],
)
def test_every_broken_clause_is_noticed(kind: type[Emt], message: str, copper: Atoms) -> None:
    copper.info["origin"] = "test"
    validate_reference(Emt(), copper)
    with pytest.raises(ContractError, match=message) as caught:
        validate_reference(kind(), copper)
    assert "\n" not in str(caught.value)


def test_the_input_of_the_test_is_left_alone(copper: Atoms) -> None:
    copper.calc = EMT()
    before = copper.copy()
    validate_reference(Emt(), copper)
    assert copper == before
    assert copper.calc.results == {}


def test_a_frame_at_rest_proves_nothing() -> None:
    with pytest.raises(ConfigError, match="the frame is at rest"):
        validate_reference(Emt(), bulk("Cu", cubic=True))


def test_stress_can_be_left_out(copper: Atoms) -> None:
    report = validate_reference(Pressure(), copper, tolerances=Tolerances(stress_gradient=None))
    assert report.stress_gradient is None
    assert report.n_labels == 5
