"""The bias towards uncertain configurations, of a Bayesian force field and of a committee."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator

from trepid.errors import ConfigError, DataError
from trepid.potentials import Noise, Potential, Prediction, Uncertainty
from trepid.potentials.base import directions_of_ensemble
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.potentials.biased import BiasedCalculator, BiasedPotential, uncertainty_bias


class Ensemble(Potential):
    """Force fields drawn from a posterior as a committee. Its predictions carry them only where they are exact."""

    noise = Noise(energy=1e-3, forces=1e-2, stress=1e-4)
    n_frames = 8

    def __init__(self, members: Sequence[SplinePotential]) -> None:
        self.members, self.species = members, members[0].species

    def fit(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> Potential:
        raise NotImplementedError

    def update(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> Potential:
        raise NotImplementedError

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        each = [member.predict(atoms) for member in self.members]
        energies, forces = np.array([p.energy for p in each]), np.array([p.forces for p in each])
        if Uncertainty(uncertainty) is not Uncertainty.EXACT or len(each) == 1:
            return Prediction(energies.mean(), forces.mean(axis=0))
        return Prediction(
            energies.mean(),
            forces.mean(axis=0),
            energy_uncertainty=energies.std(ddof=1),
            forces_uncertainty=forces.std(axis=0, ddof=1),
            energy_ensemble=energies,
            forces_ensemble=forces,
        )

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> Calculator:
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def ensemble(small_cui_model: BayesianForceField) -> Ensemble:
    return Ensemble(small_cui_model.sample(4, seed=3))


@pytest.fixture(params=["force field", "committee"])
def potential(request: pytest.FixtureRequest, small_cui_model: BayesianForceField, ensemble: Ensemble) -> Potential:
    return small_cui_model if request.param == "force field" else ensemble


def test_biased_forces_are_minus_the_gradient_of_the_biased_energy(
    potential: Potential, cui_crystal: list[Atoms]
) -> None:
    atoms = cui_crystal[3].copy()
    for strength, largest in ((1.0, 1.0), (20.0, 0.05)):
        atoms.calc = BiasedCalculator(potential, cui_crystal[0], strength=strength, largest_eV=largest)
        forces = atoms.get_forces()
        rng = np.random.default_rng(0)
        for _ in range(3):
            direction = rng.normal(size=forces.shape)
            direction /= np.linalg.norm(direction)
            energies = []
            for sign in (1, -1):
                there = atoms.copy()
                there.calc = atoms.calc
                there.positions += sign * 1e-3 * direction
                energies.append(there.get_potential_energy())
            assert (energies[1] - energies[0]) / 2e-3 == pytest.approx((forces * direction).sum(), abs=2e-4)


def test_bias_of_a_force_field_is_live_bounded_and_zero_at_the_reference(
    small_cui_model: BayesianForceField, cui_crystal: list[Atoms], cui_hops: list[Atoms]
) -> None:
    calculator = BiasedCalculator(small_cui_model, cui_crystal[0], strength=50.0, largest_eV=0.3)
    for frame, low, high in ((cui_crystal[0], -1e-9, 1e-9), (cui_hops[0], -0.3 - 1e-9, -0.05)):
        atoms = frame.copy()
        atoms.calc = calculator
        energy = atoms.get_potential_energy()
        plain = small_cui_model.predict(frame, uncertainty="none")
        assert low <= calculator.results["bias_energy"] <= high
        assert energy == pytest.approx(plain.energy + calculator.results["bias_energy"], rel=1e-12)
        assert calculator.results["unbiased_energy"] == pytest.approx(plain.energy, rel=1e-12)
        exact = small_cui_model.energy_difference_uncertainty(frame, cui_crystal[0])
        # The square is that of one number along 16 directions: the root scatters by 1 / sqrt(32).
        assert calculator.results["energy_uncertainty"] == pytest.approx(exact, rel=0.5, abs=1e-5)


def test_bias_of_a_committee_follows_its_spread(ensemble: Ensemble, cui_hops: list[Atoms]) -> None:
    atoms = cui_hops[0].copy()
    atoms.calc = BiasedCalculator(ensemble, cui_hops[1], strength=0.5, largest_eV=1e4)
    plain, spread = ensemble.predict(atoms).energy, ensemble.predict(atoms).energy_uncertainty
    assert atoms.get_potential_energy() == pytest.approx(plain - 0.5 * (spread - 1e-3), rel=1e-5)
    assert atoms.calc.results["energy_uncertainty"] == pytest.approx(spread, rel=1e-9)


def test_biased_potential_and_its_calculator_agree_and_keep_the_uncertainty(
    potential: Potential, cui_crystal: list[Atoms], cui_hops: list[Atoms]
) -> None:
    biased = BiasedPotential(potential, cui_crystal[0], strength=5.0, largest_eV=0.3)
    atoms = cui_hops[0].copy()
    plain, found = potential.predict(atoms), biased.predict(atoms, uncertainty="none")
    assert plain.energy - 0.3 - 1e-9 <= found.energy < plain.energy - 0.005
    np.testing.assert_array_equal(found.forces_uncertainty, plain.forces_uncertainty)
    assert found.energy_uncertainty == plain.energy_uncertainty
    atoms.calc = biased.calculator()
    np.testing.assert_array_equal(atoms.get_forces(), found.forces)
    assert atoms.get_potential_energy() == atoms.calc.results["free_energy"] == found.energy
    assert biased.energy_difference_uncertainty(atoms, cui_crystal[0]) == potential.energy_difference_uncertainty(
        atoms, cui_crystal[0]
    )
    assert (biased.n_frames, biased.noise, biased.species) == (8, potential.noise, potential.species)


def test_a_biased_potential_is_neither_trained_nor_saved(ensemble: Ensemble, cui_hops: list[Atoms]) -> None:
    biased = BiasedPotential(ensemble, cui_hops[0], strength=1.0, largest_eV=1.0)
    for wrong in (biased.fit, biased.update):
        with pytest.raises(ConfigError, match="is not trained"):
            wrong([])
    with pytest.raises(ConfigError, match="has no file"):
        biased.save("model")


def test_a_bias_needs_live_directions_and_the_same_atoms(
    small_cui_model: BayesianForceField, cui_crystal: list[Atoms], silicon_frames: list[Atoms]
) -> None:
    with pytest.raises(ConfigError, match="positive"):
        BiasedCalculator(small_cui_model, cui_crystal[0], strength=-1.0)
    atoms = cui_crystal[0][:32]
    atoms.calc = BiasedCalculator(small_cui_model, cui_crystal[0])
    with pytest.raises(DataError, match="other atoms"):
        atoms.get_forces()
    without = BayesianForceField(["Si"], pair_cutoff=4.0, triplet_cutoff=3.0, n_radial=4, l_max=2, live_rank=0).fit(
        silicon_frames[:2]
    )
    with pytest.raises(ConfigError, match="live_rank"):
        BiasedCalculator(without, silicon_frames[0])


def test_a_bias_needs_members_where_there_are_no_live_directions(
    small_cui_model: BayesianForceField, cui_crystal: list[Atoms]
) -> None:
    atoms = cui_crystal[0].copy()
    atoms.calc = BiasedCalculator(Ensemble(small_cui_model.sample(1, seed=0)), atoms)
    with pytest.raises(ConfigError, match="needs a Bayesian force field or a committee"):
        atoms.get_potential_energy()


def test_directions_of_a_committee_give_its_spread() -> None:
    rng = np.random.default_rng(0)
    energies, forces = rng.normal(size=5), rng.normal(size=(5, 4, 3))
    e, f = directions_of_ensemble(energies, forces)
    assert np.linalg.norm(e) == pytest.approx(energies.std(ddof=1))
    bias, push = uncertainty_bias(e, f, strength=0.5, largest_eV=100.0)
    assert bias == pytest.approx(-0.5 * energies.std(ddof=1), rel=5e-3)  # 1 meV is rounded off
    slope = -np.tensordot(e, f, axes=1) / np.linalg.norm(e)  # gradient of U
    assert (push * slope).sum() > 0
    assert uncertainty_bias(np.zeros(5), f, strength=1.0, largest_eV=1.0)[1] == pytest.approx(np.zeros((4, 3)))
    with pytest.raises(DataError):
        directions_of_ensemble(energies[:1], forces[:1])
    with pytest.raises(DataError):
        uncertainty_bias(e, f[:3], strength=1.0, largest_eV=1.0)
