"""Feature rows: chunks, choices of atoms, residuals after the prior mean, weights of frames with large forces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import Atoms

from potential_systems import labelled, molecule, random_potential, small_basis, triclinic
from trepid.data import LabelKeys, Labels, attach_labels, labels_of
from trepid.errors import DataError
from trepid.potentials.base import Noise
from trepid.potentials.bayesian import features as features_module
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.potentials.bayesian.statistics import LabelKind, SufficientStatistics
from trepid.potentials.bayesian.terms.pair import PairTerm
from trepid.potentials.bayesian.terms.triplet import TripletTerm

REFERENCES = np.array([-3.0, 1.5])


@pytest.fixture(scope="module")
def basis() -> Basis:
    return small_basis(2)


@pytest.fixture(scope="module")
def features(basis: Basis) -> FeatureBuilder:
    return FeatureBuilder(basis)


def repulsion(basis: Basis) -> SplinePotential:
    return SplinePotential(basis, make_tables(basis, np.zeros(basis.layout.size), reference_energies=np.zeros(2)))


def add(
    features: FeatureBuilder,
    atoms: Atoms,
    *,
    statistics: SufficientStatistics | None = None,
    large_force: float = math.inf,
) -> SufficientStatistics:
    statistics = statistics or SufficientStatistics(features.basis.layout.size)
    noise = Noise(1.0, 1.0, 1.0, large_force=large_force)
    features.add(statistics, atoms, keys=LabelKeys(), reference_energies=REFERENCES, noise=noise)
    return statistics


@pytest.mark.parametrize("atoms_per_chunk", [1, 3, 100])
def test_chunks_do_not_matter(features: FeatureBuilder, monkeypatch: pytest.MonkeyPatch, atoms_per_chunk: int) -> None:
    atoms = triclinic(n=7)
    whole = np.concatenate([rows for _, rows in features.force_rows(atoms)])
    monkeypatch.setattr(features_module, "CHUNK_BYTES", atoms_per_chunk * 24 * features.basis.layout.size)
    chunks = list(features.force_rows(atoms))
    assert len(chunks) == -(-7 // min(atoms_per_chunk, 7))
    assert [c.start for c, _ in chunks] == list(range(0, 7, atoms_per_chunk))
    np.testing.assert_allclose(np.concatenate([rows for _, rows in chunks]), whole, atol=1e-12)


def test_rows_of_chosen_atoms_come_in_the_given_order(features: FeatureBuilder) -> None:
    atoms = triclinic(n=6)
    whole = np.concatenate([rows for _, rows in features.force_rows(atoms)]).reshape(6, 3, -1)
    chosen = np.array([4, 0, 3])
    np.testing.assert_allclose(features.force_rows_of(atoms, chosen).reshape(3, 3, -1), whole[chosen], atol=1e-12)


def test_energy_row_counts_atoms(features: FeatureBuilder) -> None:
    atoms = triclinic(n=5)
    np.testing.assert_array_equal(features.composition(atoms), [3, 2])
    np.testing.assert_array_equal(features.frame_rows(atoms).energy[0, :2], [3, 2])


def test_residual_is_the_label_without_repulsion_and_reference_energies(basis: Basis, features: FeatureBuilder) -> None:
    atoms = triclinic(seed=1)
    atoms.positions[1] = atoms.positions[0] + [0, 0, 1.2]  # inside the repulsion
    atoms = labelled(atoms)
    prior, labels = repulsion(basis).evaluate(atoms), labels_of(atoms)
    assert prior.energy > 1
    rest = features.residual(atoms, labels, REFERENCES)
    assert labels.energy is not None
    assert rest.energy == pytest.approx(labels.energy - prior.energy - (3 * -3.0 + 2 * 1.5))
    np.testing.assert_allclose(rest.forces, labels.forces - prior.forces)
    np.testing.assert_allclose(rest.stress, labels.stress - prior.stress)


def test_labels_of_a_potential_are_explained_by_its_coefficients(basis: Basis, features: FeatureBuilder) -> None:
    """Labels computed with a potential have the statistics of its coefficients: projection = gram @ coefficients."""
    potential, statistics = random_potential(basis), SufficientStatistics(basis.layout.size)
    for atoms in (triclinic(seed=2), molecule(seed=2)):
        p = potential.evaluate(atoms)
        frame = attach_labels(atoms, Labels(p.energy, p.forces, p.stress))
        features.add(
            statistics,
            frame,
            keys=LabelKeys(),
            reference_energies=np.linspace(-1.0, 2.0, 2),  # those of random_potential
            noise=Noise(1.0, 1.0, 1.0, large_force=2.0),
        )
    coefficients = np.concatenate([*_raw(potential)])
    for s in statistics.kinds.values():
        expected = s.gram @ coefficients
        np.testing.assert_allclose(s.projection, expected, atol=1e-9 * np.abs(expected).max())
        assert s.squared == pytest.approx(coefficients @ expected, rel=1e-9)
    assert statistics.kinds[LabelKind.STRESS].count == 6
    assert statistics.kinds[LabelKind.FORCES].count == 33
    assert statistics.n_frames == 2


def _raw(potential: SplinePotential) -> list[np.ndarray]:
    """Raw coefficients read back from the tables."""
    basis, tables = potential.basis, potential.tables
    out = [tables.offset - np.linspace(-1.0, 2.0, 2)]
    out += [tables.pair[p.a, p.b, : basis.n_pair] for p in basis.layout.term(PairTerm).blocks]
    padded = tables.triplet.shape[-1] // len(basis.species)
    for t in basis.layout.term(TripletTerm).blocks:
        n, m = t.products(basis.n_radial)
        out += [tables.triplet[t.centre, degree, t.a * padded + n, t.b * padded + m] for degree in range(t.n_degrees)]
    return out


def test_large_forces_lose_weight(features: FeatureBuilder) -> None:
    """Noise of a force grows as sqrt(1 + |F|^2 / large^2); energy and stress follow the largest force of the frame."""
    atoms = labelled(triclinic(seed=3))
    forces = atoms.arrays["REF_forces"]
    forces[0] = (0.0, 30.0, 40.0)
    multiplier = np.sqrt(1 + (np.linalg.norm(forces, axis=1) / 5.0) ** 2)
    assert multiplier[0] == pytest.approx(np.sqrt(101))
    plain, weighted = add(features, atoms), add(features, atoms, large_force=5.0)
    rows = np.concatenate([part for _, part in features.force_rows(atoms)]) / np.repeat(multiplier, 3)[:, None]
    np.testing.assert_allclose(weighted.kinds[LabelKind.FORCES].gram, rows.T @ rows, atol=1e-10)
    for kind in (LabelKind.ENERGY, LabelKind.STRESS):
        np.testing.assert_allclose(plain.kinds[kind].gram, 101 * weighted.kinds[kind].gram, rtol=1e-10)
        assert plain.kinds[kind].squared == pytest.approx(101 * weighted.kinds[kind].squared)
    assert weighted.kinds[LabelKind.FORCES].log_multiplier == pytest.approx(3 * np.log(multiplier).sum())


def test_energy_noise_grows_with_the_root_of_the_atoms(features: FeatureBuilder) -> None:
    atoms = labelled(triclinic(n=4))
    energy = add(features, atoms).kinds[LabelKind.ENERGY]
    row = features.frame_rows(atoms).energy[0]
    np.testing.assert_allclose(energy.gram, np.outer(row, row) / 4, atol=1e-12)
    assert energy.log_multiplier == pytest.approx(np.log(2))


def test_frames_add_up(features: FeatureBuilder) -> None:
    first, second = labelled(triclinic(seed=1), 1), labelled(molecule(seed=2), 2)
    both = add(features, second, statistics=add(features, first))
    expected = add(features, first)
    expected.merge(add(features, second))
    assert both.n_frames == expected.n_frames == 2
    for kind, s in expected.kinds.items():
        np.testing.assert_allclose(both.kinds[kind].gram, s.gram, atol=1e-10)
        np.testing.assert_allclose(both.kinds[kind].projection, s.projection, atol=1e-10)
        assert both.kinds[kind].count == s.count


@pytest.mark.parametrize("kinds", [("energy",), ("forces",), ("stress",), ("energy", "stress")])
def test_labels_that_are_not_there_are_not_used(features: FeatureBuilder, kinds: tuple[str, ...]) -> None:
    labels = labels_of(labelled(triclinic()))
    partial = Labels(**{kind: getattr(labels, kind) for kind in kinds})
    statistics = add(features, attach_labels(triclinic(), partial))
    assert {kind.value for kind in statistics.kinds} == set(kinds)


def test_frames_without_use_are_refused(features: FeatureBuilder) -> None:
    with pytest.raises(DataError, match="no label: none of REF_energy, REF_forces, REF_stress"):
        add(features, triclinic())
    open_ended = labelled(molecule())
    open_ended.info["REF_stress"] = np.zeros(6)
    with pytest.raises(DataError, match="stress label but no cell"):
        add(features, open_ended)
