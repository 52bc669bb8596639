"""The ASE calculator."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from potential_systems import (
    labelled,
    molecule,
    random_potential,
    set_temperature,
    small_basis,
    triclinic,
    zincblende,
)
from trepid.errors import ConfigError
from trepid.potentials.base import Prediction
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.calculator import PotentialCalculator


@pytest.fixture(scope="module")
def model() -> BayesianForceField:
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=4.6, triplet_cutoff=3.9, n_pair=6, n_radial=4, l_max=2, n_threads=1
    )
    return model.fit([labelled(triclinic(seed=s), s) for s in range(2)])


def rattled() -> Atoms:
    return zincblende(a=5.6, cubic=True, rattle=0.1)


@pytest.mark.parametrize("level", ["none", "live", "exact"])
def test_results_are_the_prediction(model: BayesianForceField, level: str) -> None:
    atoms = rattled()
    atoms.calc = model.calculator(uncertainty=level)
    expected = model.predict(atoms, uncertainty=level)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-11)
    np.testing.assert_allclose(atoms.get_stress(), expected.stress, atol=1e-13)
    assert atoms.get_potential_energies().sum() == pytest.approx(expected.energy, rel=1e-12)
    results = atoms.calc.results
    wanted = {"none": set(), "live": {"forces"}, "exact": {"energy", "forces", "stress"}}[level]
    assert {name.removesuffix("_uncertainty") for name in results if name.endswith("uncertainty")} == wanted
    for kind in wanted:
        np.testing.assert_allclose(results[f"{kind}_uncertainty"], getattr(expected, f"{kind}_uncertainty"), rtol=1e-4)


def test_live_is_the_default(model: BayesianForceField) -> None:
    atoms = rattled()
    atoms.calc = model.calculator()
    atoms.get_forces()
    assert atoms.calc.results["forces_uncertainty"].shape == (8, 3)


def test_derivatives_by_ase(model: BayesianForceField) -> None:
    atoms = triclinic(seed=60, n=3)
    atoms.calc = model.calculator(uncertainty="none")
    forces, stress = atoms.get_forces(), atoms.get_stress()
    np.testing.assert_allclose(calculate_numerical_forces(atoms, eps=1e-4), forces, atol=2e-6 * np.abs(forces).max())
    np.testing.assert_allclose(calculate_numerical_stress(atoms, eps=1e-5), stress, atol=1e-5 * np.abs(stress).max())


@pytest.mark.parametrize("every", [1, 2, 5])
def test_uncertainty_on_every_nth_configuration(model: BayesianForceField, every: int) -> None:
    atoms = rattled()
    atoms.calc = model.calculator(every=every)
    seen = []
    for _ in range(10):
        atoms.positions[0, 0] += 0.01
        atoms.get_forces()
        atoms.get_potential_energy()  # the same configuration: not counted again
        seen.append("forces_uncertainty" in atoms.calc.results)
    assert seen == [k % every == 0 for k in range(10)]


@pytest.mark.parametrize("every", [0, -3])
def test_every_must_be_positive(model: BayesianForceField, every: int) -> None:
    with pytest.raises(ConfigError, match=f"every is {every}"):
        model.calculator(every=every)


def test_no_cell_no_stress(model: BayesianForceField) -> None:
    atoms = molecule()
    atoms.calc = model.calculator()
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError, match="without a cell has no stress"):
        atoms.get_stress()


class Fixed(PotentialCalculator):
    def predict(self, atoms: Atoms, *, uncertain: bool) -> Prediction:
        return Prediction(energy=1.5, forces=np.zeros((8, 3)))

    def forget(self) -> None: ...


def test_a_property_that_the_potential_does_not_give() -> None:
    atoms = rattled()
    atoms.calc = Fixed(every=None)
    assert atoms.get_potential_energy() == 1.5
    for ask in (atoms.get_stress, atoms.get_potential_energies):
        with pytest.raises(PropertyNotImplementedError, match=r"this potential gives no (stress|energies)"):
            ask()


def test_results_are_not_overwritten_by_the_next_evaluation(model: BayesianForceField) -> None:
    atoms = rattled()
    atoms.calc = model.calculator()
    first = atoms.calc.get_property("forces", atoms)
    kept = first.copy()
    atoms.positions[0] += 0.05
    atoms.get_forces()
    np.testing.assert_array_equal(first, kept)


def test_a_calculator_keeps_the_model_as_it_was(model: BayesianForceField) -> None:
    learner = BayesianForceField(
        ["Cu", "I"], pair_cutoff=4.6, triplet_cutoff=3.9, n_pair=6, n_radial=4, l_max=1, n_threads=1
    ).fit([labelled(triclinic(seed=1), 1)])
    atoms = rattled()
    before = learner.predict(atoms).energy
    calculator = learner.calculator()
    learner.update([labelled(triclinic(seed=2), 2)])
    atoms.calc = calculator
    assert atoms.get_potential_energy() == pytest.approx(before, rel=1e-12)
    assert learner.predict(atoms).energy != pytest.approx(before, rel=1e-6)


def run(atoms: Atoms, steps: int) -> np.ndarray:
    VelocityVerlet(atoms, timestep=1 * units.fs).run(steps)
    return np.concatenate([atoms.positions, atoms.get_momenta()])


def test_resumed_dynamics_are_the_same_to_the_last_bit_after_a_reset(small_cui_model: BayesianForceField) -> None:
    """The list is discarded at a checkpoint, so that the continuation depends on the checkpoint alone."""
    atoms = zincblende(cubic=True).repeat(2)
    set_temperature(atoms, 600)
    atoms.calc = small_cui_model.calculator(every=3)
    run(atoms, 37)
    builds = atoms.calc.neighbors.n_builds
    atoms.calc.reset_neighbors()
    resumed = atoms.copy()
    resumed.calc = small_cui_model.calculator(every=3)
    np.testing.assert_array_equal(run(atoms, 40), run(resumed, 40))
    assert atoms.calc.neighbors.n_builds > builds
    assert ("forces_uncertainty" in atoms.calc.results) == ("forces_uncertainty" in resumed.calc.results)


def test_a_list_is_used_for_many_steps(small_cui_model: BayesianForceField) -> None:
    atoms = zincblende(cubic=True).repeat(2)
    set_temperature(atoms, 300)
    atoms.calc = small_cui_model.calculator(uncertainty="none")
    run(atoms, 60)
    assert atoms.calc.neighbors.n_builds < 15


def test_relaxation_of_atoms_and_cell(small_cui_model: BayesianForceField) -> None:
    """Energy, forces and stress belong together: a variable-cell relaxation converges, to the lattice constant of GFN1-xTB."""
    atoms = zincblende(a=6.3, cubic=True, rattle=0.05)
    atoms.calc = small_cui_model.calculator(uncertainty="none")
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=200)
    assert atoms.cell.lengths() == pytest.approx(6.19, abs=0.06)
    np.testing.assert_allclose(atoms.get_stress(), 0, atol=1e-4)


def test_calculator_of_bare_coefficients() -> None:
    potential = random_potential(small_basis(2), rank=16)
    atoms = rattled()
    atoms.calc = potential.calculator()
    atoms.get_forces()
    assert "forces_uncertainty" not in atoms.calc.results
    atoms.calc = potential.calculator(uncertainty="live", every=1)
    atoms.get_forces()
    assert atoms.calc.results["forces_uncertainty"].min() > 0
