"""Error bars corrected by labels of new frames: the factor, what follows from it, what stays, what is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from trepid.acquisition.calibration import coverage
from trepid.data import LabelKeys
from trepid.errors import DamagedModelError, DataError
from trepid.evaluation import compare
from trepid.potentials import Uncertainty
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.calibration import Calibration
from trepid.potentials.bayesian.container import decode, encode
from trepid.potentials.bayesian.leave_one_out import ErrorBar, LeftOut
from trepid.potentials.bayesian.statistics import LabelKind


@pytest.fixture
def model(small_cui_model: BayesianForceField) -> BayesianForceField:
    return copy.deepcopy(small_cui_model)


def inside(model: BayesianForceField, frames: list[Atoms]) -> float:
    found = compare(model, frames)
    assert found.forces_std is not None
    return coverage(found.forces_error, found.forces_std, 0.95)


def test_the_factor_makes_the_interval_hold_other_frames_of_the_kind(
    model: BayesianForceField, cui_hops: list[Atoms]
) -> None:
    # A kind of frames on which the model is worse than it says: labels with an error that its training labels did not have.
    rng = np.random.default_rng(5)
    noisy = [atoms.copy() for atoms in cui_hops[:8]]
    for atoms in noisy:
        atoms.arrays["REF_forces"] = atoms.arrays["REF_forces"] + rng.normal(0.0, 0.1, (len(atoms), 3))
    given, fresh = noisy[:4], noisy[4:]
    before = inside(model, fresh)
    factor = model.calibrate(given).factors[LabelKind.FORCES]
    assert before < 0.8
    assert inside(model, fresh) == pytest.approx(0.95, abs=0.05)
    assert factor > 1.5
    assert inside(model, given) == pytest.approx(0.95, abs=0.005)


def test_every_bar_is_multiplied_and_the_mean_stays_bit_by_bit(
    model: BayesianForceField, cui_hops: list[Atoms], tmp_path: Path
) -> None:
    atoms, noise, typical = cui_hops[-1], model.noise.forces, model.typical_force_error
    exact, live = (model.predict(atoms, uncertainty=level) for level in (Uncertainty.EXACT, Uncertainty.LIVE))
    spread = np.std([draw.predict(atoms).energy for draw in model.sample(20, seed=1)])
    factors = model.calibrate(cui_hops[:3]).factors
    factor = factors[LabelKind.FORCES]
    model.save(tmp_path / "m.trepid")
    for one in (model, BayesianForceField.load(tmp_path / "m.trepid")):
        found = one.predict(atoms)
        assert found.energy == exact.energy
        np.testing.assert_array_equal(found.forces, exact.forces)
        np.testing.assert_allclose(found.forces_uncertainty, factor * exact.forces_uncertainty, rtol=1e-9)
        assert found.energy_uncertainty == pytest.approx(factors[LabelKind.ENERGY] * exact.energy_uncertainty, rel=1e-9)
        quick = one.predict(atoms, uncertainty=Uncertainty.LIVE)
        np.testing.assert_allclose(quick.forces_uncertainty, factor * live.forces_uncertainty, rtol=1e-4)
        assert one.noise.forces == pytest.approx(factor * noise)
        assert one.typical_force_error == pytest.approx(factor * typical)
        assert np.std([draw.predict(atoms).energy for draw in one.sample(20, seed=1)]) == pytest.approx(factor * spread)
        assert one.calibration == model.calibration


def test_a_second_calibration_replaces_the_first_and_training_drops_it(
    model: BayesianForceField, cui_hops: list[Atoms], cui_crystal: list[Atoms]
) -> None:
    noise = model.noise.forces
    first = model.calibrate(cui_hops[:4])
    other = model.calibrate(cui_crystal[10:14])
    assert other.factors[LabelKind.FORCES] < first.factors[LabelKind.FORCES]
    assert model.calibrate(cui_hops[:4]) == first
    assert model.noise.forces == pytest.approx(first.factors[LabelKind.FORCES] * noise)
    never = copy.deepcopy(model)
    never.calibration = None
    for one in (model, never):
        one.update(cui_hops[:1])
    assert model.calibration is None
    assert model.error_bars == never.error_bars


def test_labels_under_other_names_give_the_same_factor(model: BayesianForceField, cui_hops: list[Atoms]) -> None:
    expected = model.calibrate(cui_hops[:2])
    renamed = [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in cui_hops[:2]]
    for atoms, source in zip(renamed, cui_hops, strict=False):
        atoms.info["E"], atoms.arrays["F"] = source.info["REF_energy"], source.arrays["REF_forces"]
    found = model.calibrate(renamed, keys=LabelKeys("E", "F", "S"))
    assert found.factors[LabelKind.FORCES] == expected.factors[LabelKind.FORCES]
    assert model.keys == LabelKeys()


def test_what_cannot_give_a_factor_is_refused_and_changes_nothing(
    model: BayesianForceField, cui_hops: list[Atoms], cui_crystal: list[Atoms]
) -> None:
    relabelled = cui_crystal[3].copy()  # a training structure, labelled by something else
    relabelled.arrays["REF_forces"] = relabelled.arrays["REF_forces"] + 0.1
    with pytest.raises(DataError, match=r"frame 1 \(counted from 0\) is a training frame"):
        model.calibrate([cui_hops[0], relabelled])
    with pytest.raises(DataError, match="1 new frames with 192 force labels: a factor needs 2 frames"):
        model.calibrate([cui_hops[0], cui_hops[0].copy()])
    own = [atoms.copy() for atoms in cui_hops[:2]]
    for atoms in own:
        atoms.info.pop("REF_energy")
        atoms.arrays["REF_forces"] = model.predict(atoms).forces
    with pytest.raises(DataError, match="labels are those of the model itself"):
        model.calibrate(own)
    assert model.calibration is None


def test_few_labels_of_a_kind_take_the_factor_of_the_forces() -> None:
    rng = np.random.default_rng(0)
    bars = {kind: ErrorBar(noise=0.1, scale=1.0) for kind in LabelKind}

    def labels(n: int, wide: float) -> LeftOut:
        return LeftOut(wide * np.hypot(0.1, 0.2) * rng.normal(size=n), np.full(n, 0.04), np.ones(n))

    given = {
        LabelKind.FORCES: labels(20000, 2.0),
        LabelKind.ENERGY: labels(29, 9.0),
        LabelKind.STRESS: labels(3000, 0.5),
    }
    found = Calibration.of(given, bars, n_frames=29)
    assert found.factors[LabelKind.FORCES] == pytest.approx(2.0, rel=0.03)
    assert found.factors[LabelKind.ENERGY] == found.factors[LabelKind.FORCES]
    assert found.factors[LabelKind.STRESS] == pytest.approx(0.5, rel=0.1)
    assert Calibration.from_settings(found.as_settings()) == found


def test_a_damaged_factor_is_no_model(model: BayesianForceField, cui_hops: list[Atoms], tmp_path: Path) -> None:
    model.calibrate(cui_hops[:2])
    content = decode(model.to_bytes(), name="m")
    content.settings["calibration"]["factors"]["forces"] = -1.0
    (tmp_path / "m.trepid").write_bytes(encode(content.tensors, content.settings))
    with pytest.raises(DamagedModelError, match="the factors of its error bars"):
        BayesianForceField.load(tmp_path / "m.trepid")
