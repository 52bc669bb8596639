"""The PyTorch form of the force field against the C++ core and against its own derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from potential_systems import (  # noqa: E402
    SPECIES,
    molecule,
    random_potential,
    sheet,
    small_basis,
    triclinic,
    with_channels,
    with_mixed_triplets,
)
from trepid.errors import DataError  # noqa: E402
from trepid.potentials.bayesian import BayesianForceField  # noqa: E402
from trepid.potentials.bayesian.basis import Basis  # noqa: E402
from trepid.potentials.bayesian.spline_potential import SplinePotential  # noqa: E402
from trepid.torch.evaluation import Batch, BatchEvaluator, evaluate  # noqa: E402

BASES = {
    "one species": small_basis(1),
    "triplets of degree 0": small_basis(2, l_max=0),
    "triplets of degree 8, padded channels": small_basis(2, l_max=8, n_radial=9),
    "quadruplets": with_channels(small_basis(2, l_max=4), n=3),
    "quadruplets of two channels": with_channels(small_basis(1, l_max=2), n=2),
    "mixed triplets": with_mixed_triplets(small_basis(3)),
    "mixed triplets and quadruplets": with_channels(with_mixed_triplets(small_basis(3, l_max=4)), n=3),
}


def charged(basis: Basis) -> SplinePotential:
    """Random coefficients and charges, whose product of charges is positive."""
    base = Basis.create(
        basis.species,
        pair_cutoff=4.6,
        triplet_cutoff=3.9,
        n_pair=7,
        n_radial=5,
        l_max=3,
        charges={"Cu": 1.0, "I": -1.0},
    )
    potential = random_potential(base, rank=16)
    return SplinePotential(base, replace(potential.tables, charge_product=np.array([0.3])), n_threads=1)


def batch_of(frames: list[Atoms], evaluator: BatchEvaluator) -> Batch:
    return Batch(
        torch.as_tensor(np.concatenate([a.positions for a in frames])),
        torch.as_tensor(np.array([a.cell[:] for a in frames])),
        tuple(bool(p) for p in frames[0].pbc),
        evaluator.species_of(torch.as_tensor(np.concatenate([a.numbers for a in frames]))),
        torch.as_tensor(np.repeat(np.arange(len(frames)), [len(a) for a in frames])),
    )


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("make", [triclinic, sheet, molecule])
def test_agrees_with_the_core(name: str, make: object) -> None:
    basis = BASES[name]
    potential, atoms = random_potential(basis, rank=16), make(basis.species)  # type: ignore[operator]
    ours, theirs = evaluate(potential, atoms, live=True), potential.evaluate(atoms, live=True)
    scale = abs(theirs.forces).max()
    assert ours.energy.item() == pytest.approx(theirs.energy, abs=1e-10 * scale)
    np.testing.assert_allclose(ours.forces.numpy(), theirs.forces, atol=1e-12 * scale)
    if theirs.stress is not None:
        stress = ours.stress[0].numpy()[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        np.testing.assert_allclose(stress, theirs.stress, atol=1e-12 * scale)
    # The core sums the live directions in single precision.
    assert ours.forces_uncertainty is not None
    assert theirs.forces_uncertainty is not None
    np.testing.assert_allclose(
        ours.forces_uncertainty.numpy(), theirs.forces_uncertainty, atol=2e-5 * theirs.forces_uncertainty.max()
    )


def test_charges_agree_with_the_core() -> None:
    potential, atoms = charged(small_basis(2)), triclinic()
    ours, theirs = evaluate(potential, atoms), potential.evaluate(atoms)
    assert ours.energy.item() == pytest.approx(theirs.energy, abs=1e-9)
    np.testing.assert_allclose(ours.forces.numpy(), theirs.forces, atol=1e-10)
    stress = ours.stress[0].numpy()[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(stress, theirs.stress, atol=1e-10)
    with pytest.raises(DataError, match="periodic in all three"):
        evaluate(potential, sheet())


def test_trained_model_with_support(small_cui_model: BayesianForceField, cui_hops: list[Atoms]) -> None:
    atoms = cui_hops[0]
    ours, theirs = evaluate(small_cui_model.mean, atoms, live=True), small_cui_model.predict(atoms, uncertainty="live")
    np.testing.assert_allclose(ours.forces.numpy(), theirs.forces, atol=1e-11)
    assert ours.support_distance is not None
    assert theirs.support_distance is not None
    assert theirs.support_distance.max() > 1
    np.testing.assert_allclose(ours.support_distance.numpy(), theirs.support_distance, rtol=1e-10)
    np.testing.assert_allclose(ours.forces_uncertainty.numpy(), theirs.forces_uncertainty, rtol=5e-3)  # type: ignore[union-attr]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=4)
def test_a_batch_is_its_structures(seed: int) -> None:
    potential = random_potential(BASES["quadruplets"], rank=16)
    frames = [triclinic(seed=seed + k, n=3 + k) for k in range(3)]
    evaluator = BatchEvaluator(potential)
    together = evaluator(batch_of(frames, evaluator), live=True)
    first = 0
    for k, atoms in enumerate(frames):
        alone, of_k = evaluate(potential, atoms, live=True), slice(first, first + len(atoms))
        first += len(atoms)
        assert together.energy[k].item() == pytest.approx(alone.energy.item(), abs=1e-10)
        torch.testing.assert_close(together.forces[of_k], alone.forces, atol=1e-10, rtol=0)
        torch.testing.assert_close(together.stress[k], alone.stress[0], atol=1e-10, rtol=0)
        torch.testing.assert_close(together.forces_uncertainty[of_k], alone.forces_uncertainty, atol=1e-10, rtol=0)


def test_forces_are_the_gradient_of_the_energy() -> None:
    potential, atoms, step = random_potential(BASES["mixed triplets and quadruplets"]), triclinic(SPECIES[3]), 1e-5
    forces = evaluate(potential, atoms).forces.numpy()
    for i, axis in ((0, 0), (2, 1), (4, 2)):
        energies = []
        for sign in (+1, -1):
            moved = atoms.copy()
            moved.positions[i, axis] += sign * step
            energies.append(evaluate(potential, moved).energy.item())
        assert forces[i, axis] == pytest.approx((energies[1] - energies[0]) / (2 * step), abs=2e-6 * abs(forces).max())


def test_the_list_is_kept_within_the_skin_and_made_again_beyond() -> None:
    potential, atoms = random_potential(small_basis(2)), triclinic()
    evaluator = BatchEvaluator(potential, skin=0.6)
    for shift, builds in ((0.0, 1), (0.2, 1), (0.5, 2)):
        moved = atoms.copy()
        moved.positions[1, 0] += shift
        found = evaluator(batch_of([moved], evaluator))
        np.testing.assert_allclose(found.forces.numpy(), potential.evaluate(moved).forces, atol=1e-10)
        assert evaluator.neighbours.n_builds == builds
    moved.set_cell(1.01 * moved.cell[:])
    found = evaluator(batch_of([moved], evaluator))
    np.testing.assert_allclose(found.forces.numpy(), potential.evaluate(moved).forces, atol=1e-10)
    assert evaluator.neighbours.n_builds == 3


def test_an_unknown_element_is_named() -> None:
    with pytest.raises(DataError, match="element Xe is unknown to this model, which describes Cu, I"):
        evaluate(random_potential(small_basis(2)), Atoms("Xe", cell=[5, 5, 5], pbc=True))
