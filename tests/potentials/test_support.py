"""Support of the training data: powers against the formula, distances against numpy, thresholds, files, false alarms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from numpy.polynomial import legendre

from model_files import read_model, write_model
from potential_systems import (
    SPECIES,
    labelled,
    molecule,
    pairs_within,
    scipy_splines,
    sheet,
    small_basis,
    triclinic,
    zincblende,
)
from trepid.errors import DataError
from trepid.evaluation import evaluate
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.potentials.bayesian.support import CAP, MARGIN, QUANTILE, SMALLEST, WIDENING, Neighbourhoods, Support


def small_model(**changes: object) -> BayesianForceField:
    settings: dict[str, object] = {"pair_cutoff": 4.6, "triplet_cutoff": 3.9, "n_pair": 6, "n_radial": 4, "l_max": 2}
    return BayesianForceField(["Cu", "I"], **(settings | {"n_threads": 1} | changes))  # type: ignore[arg-type]


def crystals(n: int, *, seed: int, rattle: float = 0.05, strain: float = 0.0) -> list[Atoms]:
    """Rattled silicon crystals of 64 atoms."""
    rng = np.random.default_rng(seed)
    made = [bulk("Si", "diamond", a=5.43 * (1 + strain), cubic=True).repeat(2) for _ in range(n)]
    for atoms in made:
        atoms.positions += rng.normal(scale=rattle, size=atoms.positions.shape)
    return made


@pytest.fixture(scope="module")
def silicon() -> FeatureBuilder:
    return FeatureBuilder(Basis.create(["Si"], pair_cutoff=6.0, triplet_cutoff=5.0))


def distances(support: Support, features: FeatureBuilder, frames: list[Atoms]) -> FloatArray:
    """Support distance of the atoms of all frames, one after the other."""
    return np.concatenate([support.distances(features.neighbourhoods(atoms)) for atoms in frames])


# ---- the numbers


def powers_by_pairs(basis: Basis, atoms: Atoms) -> FloatArray:
    """sum_jk B_n(r_ij) B_n(r_ik) P_l(cos jik) over neighbours j and k of one species, without any harmonics."""
    radial = scipy_splines(basis, n=basis.n_radial, cutoff=basis.triplet_cutoff)
    index = [basis.species.index(s) for s in atoms.get_chemical_symbols()]
    squares = np.zeros((len(atoms), basis.l_max + 1, len(basis.species), basis.n_radial))
    bonds = [(i, j, d, float(np.linalg.norm(d))) for i, j, d in pairs_within(atoms, basis.triplet_cutoff)]
    values = [radial(r)[0] for *_, r in bonds]
    for (i, j, d, r), b in zip(bonds, values, strict=True):
        for (ii, k, e, q), c in zip(bonds, values, strict=True):
            if i == ii and index[j] == index[k]:
                cosine = np.clip(d @ e / (r * q), -1, 1)
                squares[i, :, index[j]] += np.outer(legendre.legval(cosine, np.eye(basis.l_max + 1)), b * c)
    return np.sqrt(np.maximum(squares, 0)).reshape(len(atoms), -1)


@pytest.mark.parametrize("structure", [triclinic, sheet, molecule])
@pytest.mark.parametrize(("n_species", "n_radial", "l_max"), [(1, 5, 3), (2, 8, 4), (3, 9, 0)])
def test_powers_equal_their_sums_over_pairs(n_species: int, n_radial: int, l_max: int, structure: object) -> None:
    basis = small_basis(n_species, n_radial=n_radial, l_max=l_max)
    atoms = structure(SPECIES[n_species], seed=3)  # type: ignore[operator]
    expected = powers_by_pairs(basis, atoms)
    found = FeatureBuilder(basis).neighbourhoods(atoms)
    assert found.species.tolist() == [basis.species.index(s) for s in atoms.get_chemical_symbols()]
    # Squared, since the root of round-off is large.
    np.testing.assert_allclose(found.powers**2, expected**2, rtol=0, atol=1e-11 * (expected**2).max())
    assert (expected > 0.01).mean() > 0.2


def test_distances_equal_the_formula() -> None:
    rng = np.random.default_rng(0)
    basis = small_basis(2, n_radial=4, l_max=1)  # 16 powers, in tables with padding
    frames = [
        Neighbourhoods(
            rng.normal(size=(30, 16)) @ rng.normal(size=(16, 16)),
            rng.integers(0, 2, 30).astype(np.int32),
            lambda values: np.roll(values, 1),  # each atom has one neighbour
        )
        for _ in range(6)
    ]

    def raw(train: list[Neighbourhoods], frame: Neighbourhoods) -> FloatArray:
        x, s = np.concatenate([f.powers for f in train]), np.concatenate([f.species for f in train])
        out = np.empty(len(frame.powers))
        for k, (p, species) in enumerate(zip(frame.powers, frame.species, strict=True)):
            own = x[s == species]
            c = np.cov(own.T, bias=True)
            c += np.diag(WIDENING * np.diag(c) + SMALLEST**2)
            delta = p - own.mean(axis=0)
            out[k] = np.sqrt(delta @ np.linalg.solve(c, delta) / 16)
        return out

    support = Support.of(frames, n_species=2)
    left_out = [raw(frames[:k] + frames[k + 1 :], frames[k]) for k in range(6)]
    np.testing.assert_allclose(support.raw, np.concatenate(left_out), rtol=1e-8)
    species = np.concatenate([f.species for f in frames])
    for s in (0, 1):
        own = np.concatenate(left_out)[species == s]
        expected = min(MARGIN * np.quantile(own, QUANTILE), CAP * np.median(own))
        assert support.threshold(s) == pytest.approx(expected, rel=1e-8)
    thresholds = np.array([support.threshold(0), support.threshold(1)])
    around = np.concatenate([np.roll(r / thresholds[f.species], 1) for r, f in zip(left_out, frames, strict=True)])
    np.testing.assert_allclose(support.around, around, rtol=1e-8)
    expected = min(MARGIN * np.quantile(around, QUANTILE), CAP * np.median(around))
    assert support.around_threshold == pytest.approx(expected, rel=1e-8)
    tables = support.tables(basis)
    place = np.concatenate([8 * g + np.arange(4) for g in range(4)])
    for s in (0, 1):
        assert (np.delete(tables.whitening[s], place, axis=0) == 0).all()
        own = frames[0].species == s
        y = (frames[0].powers[own] - tables.centre[s, place]) @ tables.whitening[s][np.ix_(place, place)]
        expected = raw(frames, frames[0])[own] / support.threshold(s)
        np.testing.assert_allclose(np.linalg.norm(y, axis=1), expected, rtol=1e-8)


def test_python_and_the_core_agree_on_any_number_of_threads() -> None:
    model = small_model().fit([labelled(zincblende(6.1, rattle=0.1, seed=k, cubic=True), k) for k in range(4)])
    atoms = zincblende(6.1, cubic=True).repeat((5, 5, 4))  # a thread asks for 256 atoms
    atoms.positions += np.random.default_rng(1).normal(scale=0.15, size=atoms.positions.shape)
    thresholds = np.array([model.support.threshold(s) for s in range(2)])
    frame = model.features.neighbourhoods(atoms)
    own = model.support.raw_distances(frame) / thresholds[frame.species]
    sums, weights = np.zeros(len(atoms)), np.zeros(len(atoms))
    for i, j, r in zip(*neighbor_list("ijd", atoms, 3.9), strict=True):
        sums[i] += (1 - r / 3.9) ** 2 * own[j]
        weights[i] += (1 - r / 3.9) ** 2
    expected = np.maximum(own, sums / weights / model.support.around_threshold)
    assert (expected > own).any()
    assert (expected == own).any()
    np.testing.assert_allclose(model.support.distances(frame), expected, rtol=1e-12)
    one = model.predict(atoms, uncertainty="live")
    np.testing.assert_allclose(one.support_distance, expected, rtol=1e-9)
    assert one.outside is not None
    assert one.outside.tolist() == (expected > 1).tolist()
    many = SplinePotential(model.basis, model.mean.tables, support=model.mean.support, n_threads=3)
    np.testing.assert_array_equal(many.evaluate(atoms, support=True).support_distance, one.support_distance)


# ---- what it is good for


def test_fresh_frames_are_inside_and_others_outside(silicon: FeatureBuilder) -> None:
    support = Support.of([silicon.neighbourhoods(a) for a in crystals(12, seed=0)], n_species=1)
    assert (distances(support, silicon, crystals(12, seed=1)) > 1).mean() <= 0.01
    assert (distances(support, silicon, crystals(2, seed=2, rattle=0.25)) > 1).mean() > 0.9
    for strain in (-0.05, 0.04):
        assert (distances(support, silicon, crystals(2, seed=3, strain=strain)) > 1).mean() > 0.9
    vacancy = crystals(1, seed=4)[0]
    near = np.argsort(vacancy.get_distances(0, range(64), mic=True))[1:5]
    del vacancy[0]
    assert (distances(support, silicon, [vacancy])[near - 1] > 1).all()


def test_a_distance_that_no_training_frame_has_is_outside(silicon: FeatureBuilder) -> None:
    """No training distance lies between the first two shells; there the atoms are few, and their density is zero."""
    train = crystals(12, seed=0, rattle=0.05)
    support = Support.of([silicon.neighbourhoods(a) for a in train], n_species=1)
    atoms = crystals(1, seed=9, rattle=0.05)[0]
    bond = atoms.get_distance(0, int(np.argsort(atoms.get_distances(0, range(64), mic=True))[1]), mic=True, vector=True)
    atoms.positions[0] -= 0.6 * bond / np.linalg.norm(bond)
    assert distances(support, silicon, [atoms])[0] > 2


def test_atoms_without_neighbours_are_inside_where_all_training_atoms_are_such(silicon: FeatureBuilder) -> None:
    alone = [Atoms("Si", positions=[[x, 0, 0]], cell=[20.0, 20.0, 20.0], pbc=True) for x in (0.0, 1.0, 2.0)]
    support = Support.of([silicon.neighbourhoods(atoms) for atoms in alone], n_species=1)
    assert (distances(support, silicon, alone) == 0).all()
    assert (distances(support, silicon, crystals(1, seed=1)) > 1).all()


def test_a_few_odd_frames_do_not_open_the_support(silicon: FeatureBuilder) -> None:
    odd = [
        Atoms("Si64", np.random.default_rng(k).uniform(0, 10.86, (64, 3)), cell=3 * [10.86], pbc=True) for k in (0, 1)
    ]
    frames = [silicon.neighbourhoods(a) for a in [*crystals(12, seed=0), *odd]]
    support = Support.of(frames, n_species=1)
    assert support.threshold(0) == pytest.approx(CAP * np.median(support.raw))
    assert MARGIN * np.quantile(support.raw, QUANTILE) > 2 * support.threshold(0)


# ---- updates and files


def test_an_update_adds_frames_and_measures_them_before(silicon: FeatureBuilder) -> None:
    first = [silicon.neighbourhoods(a) for a in crystals(4, seed=0)]
    more = [silicon.neighbourhoods(a) for a in crystals(2, seed=5, rattle=0.2)]
    before, whole = Support.of(first, n_species=1), Support.of(first + more, n_species=1)
    after = before.updated(more)
    for name in ("counts", "sums", "products"):
        np.testing.assert_allclose(getattr(after, name), getattr(whole, name), rtol=1e-12)
    np.testing.assert_array_equal(after.raw[:256], before.raw)
    np.testing.assert_array_equal(after.raw[256:], np.concatenate([before.raw_distances(f) for f in more]))


def test_frames_that_are_added_move_inside() -> None:
    cold = [labelled(zincblende(6.1, rattle=0.03, seed=k, cubic=True), k) for k in range(6)]
    hot = [labelled(zincblende(6.3, rattle=0.2, seed=k, cubic=True), k) for k in range(10, 18)]
    model = small_model().fit(cold)
    share = evaluate(model, hot[:2]).outside_support
    model.update(hot[2:])
    later = evaluate(model, hot[:2]).outside_support
    assert share is not None
    assert later is not None
    assert share > 0.9
    assert later < 0.5


def test_one_frame_gives_no_threshold_and_none_is_made_up() -> None:
    model = small_model().fit([labelled(triclinic(seed=1), 1)])
    assert model.predict(triclinic(seed=2)).support_distance is None
    model.update([labelled(triclinic(seed=k), k) for k in (2, 3)])
    assert model.predict(triclinic(seed=2)).support_distance is not None


def test_a_species_without_training_atoms_is_outside() -> None:
    model = small_model().fit(
        [labelled(Atoms("Cu4", np.random.default_rng(k).normal(scale=2, size=(4, 3))), k) for k in (1, 2, 3)]
    )
    found = model.predict(molecule(seed=1)).support_distance
    assert found is not None
    iodine = np.array(molecule(seed=1).get_chemical_symbols()) == "I"
    assert np.isinf(found[iodine]).all()
    assert (found > 1).all()  # the others have such neighbours


def test_levels_and_calculators() -> None:
    model = small_model().fit([labelled(triclinic(seed=k), k) for k in (1, 2)])
    atoms = triclinic(seed=3)
    expected = model.predict(atoms).support_distance
    assert expected is not None
    np.testing.assert_array_equal(model.predict(atoms, uncertainty="live").support_distance, expected)
    assert model.predict(atoms, uncertainty="none").support_distance is None
    for level in ("live", "exact"):
        atoms.calc = model.calculator(uncertainty=level)
        atoms.get_potential_energy()
        np.testing.assert_allclose(atoms.calc.results["support_distance"], expected, rtol=1e-12)
    atoms.calc = model.calculator(uncertainty="none")
    atoms.get_potential_energy()
    assert "support_distance" not in atoms.calc.results


def test_files_of_earlier_versions_say_that_they_have_none(tmp_path: Path) -> None:
    frames = [labelled(triclinic(seed=k), k) for k in (1, 2, 3)]
    model = small_model().fit(frames[:2])
    model.save(tmp_path / "new.trepid")
    tensors, settings = read_model(tmp_path / "new.trepid")
    assert any(name.startswith("support.") for name in tensors)
    bare = {name: array for name, array in tensors.items() if not name.startswith("support.")}
    write_model(tmp_path / "old.trepid", bare, settings)
    old = BayesianForceField.load(tmp_path / "old.trepid", n_threads=1)
    atoms = triclinic(seed=5)
    np.testing.assert_array_equal(old.predict(atoms).forces, model.predict(atoms).forces)
    assert old.predict(atoms).support_distance is None
    assert evaluate(old, frames).outside_support is None
    old.update(frames[2:])  # the statistics of one frame alone would call the others outside
    assert old.predict(atoms).support_distance is None
    old.optimize(frames, max_iterations=1)
    assert old.predict(atoms).support_distance is not None


def test_statistics_of_unequal_size_are_refused() -> None:
    whole = Support.empty(2, 6)
    with pytest.raises(ValueError, match="differ in size"):
        replace(whole, products=whole.products[:, :-1])


def test_an_unknown_element_changes_nothing() -> None:
    model = small_model().fit([labelled(triclinic(seed=k), k) for k in (1, 2)])
    before = model.support
    with pytest.raises(DataError, match="Si"):
        model.update([labelled(molecule(("Si",), seed=3), 3)])
    assert model.support is before
