"""What a trained model must do as a physical potential: conserve energy, keep atoms apart, have the symmetry of the crystal."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE

from potential_systems import set_temperature, zincblende
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.potentials.bayesian.zbl import zbl_derivative, zbl_energy


@pytest.mark.parametrize("species", [("H", "O"), ("Si",), ("Ga", "Se", "Ag"), ("Cs", "Au")])
def test_the_repulsion_is_that_of_its_definition(species: tuple[str, ...]) -> None:
    """The C++ core and zbl.py at all distances, from fused to switched off."""
    basis = Basis.create(species, l_max=0)
    tables = make_tables(basis, np.zeros(basis.layout.size), reference_energies=np.zeros(len(basis.species)))
    potential = SplinePotential(basis, tables)
    for a, b in combinations_with_replacement(basis.species, 2):
        for r in np.linspace(0.05, 4.2, 84):
            atoms = Atoms([a, b], [[0, 0, 0], [0, 0, r]])
            za, zb = atoms.numbers
            prediction = potential.evaluate(atoms)
            assert prediction.energy == pytest.approx(float(zbl_energy(r, za, zb)), rel=1e-11, abs=1e-14)
            slope = float(zbl_derivative(r, za, zb))
            assert prediction.forces[1, 2] == pytest.approx(-slope, rel=1e-11, abs=1e-13)


def pushed_together(i: int, j: int, distance: float) -> tuple[Atoms, np.ndarray]:
    """The CuI crystal with atom j moved to `distance` from atom i, and the direction from i to j."""
    atoms = zincblende(cubic=True).repeat(2)
    bond = atoms.get_distance(i, j, mic=True, vector=True)
    direction = bond / np.linalg.norm(bond)
    atoms.positions[j] = atoms.positions[i] + distance * direction
    return atoms, direction


def neighbour_of(symbol: str, other: str) -> tuple[int, int]:
    atoms = zincblende(cubic=True).repeat(2)
    i = atoms.get_chemical_symbols().index(symbol)
    candidates = [k for k in range(len(atoms)) if k != i and atoms[k].symbol == other]
    return i, min(candidates, key=lambda k: atoms.get_distance(i, k, mic=True))


@pytest.mark.parametrize("pair", [("Cu", "I"), ("Cu", "Cu"), ("I", "I")])
def test_atoms_pushed_together_are_repelled(small_cui_model: BayesianForceField, pair: tuple[str, str]) -> None:
    i, j = neighbour_of(*pair)
    energies = []
    for distance in (1.4, 1.2, 1.0, 0.8, 0.6, 0.4):
        atoms, direction = pushed_together(i, j, distance)
        prediction = small_cui_model.predict(atoms, uncertainty="none")
        energies.append(prediction.energy)
        if distance <= 1.0:
            assert prediction.forces[j] @ direction > 50
            assert prediction.forces[i] @ direction < -50
    assert (np.diff(energies) > 0).all()


@pytest.mark.parametrize("pair", [("Cu", "I"), ("Cu", "Cu"), ("I", "I")])
def test_atoms_pushed_to_one_angstrom_part_again(small_cui_model: BayesianForceField, pair: tuple[str, str]) -> None:
    i, j = neighbour_of(*pair)
    atoms, _ = pushed_together(i, j, 1.0)
    atoms.calc = small_cui_model.calculator(uncertainty="none")
    FIRE(atoms, logfile=None, maxstep=0.05).run(fmax=0.5, steps=200)
    assert atoms.get_all_distances(mic=True)[np.triu_indices(len(atoms), 1)].min() > 1.9


def energy_trace(model: BayesianForceField, *, steps: int, every: int) -> np.ndarray:
    """Total energy per atom (eV) along a 300 K run of 64 atoms at 1 fs, after 1 ps."""
    atoms = zincblende(cubic=True).repeat(2)
    set_temperature(atoms, 2 * 300)  # half of it goes into the potential energy
    atoms.calc = model.calculator(uncertainty="none")
    dynamics = VelocityVerlet(atoms, timestep=1 * units.fs)
    dynamics.run(1000)
    trace = []
    for _ in range(steps // every):
        dynamics.run(every)
        trace.append(atoms.get_total_energy() / len(atoms))
    assert 200 < atoms.get_temperature() < 400
    return np.array(trace)


def test_energy_is_conserved(small_cui_model: BayesianForceField) -> None:
    """Over 2 ps, neighbour lists renewed on the way; a step in the energy or a force off its gradient would show."""
    trace = energy_trace(small_cui_model, steps=2000, every=5)
    assert np.ptp(trace) < 2e-5
    assert trace.std() > 0


@pytest.mark.slow
def test_energy_drift_in_100_ps(cui_model: BayesianForceField) -> None:
    trace = energy_trace(cui_model, steps=100_000, every=50)
    time_ps = 0.05 * np.arange(len(trace))
    drift = np.polyfit(time_ps, trace, 1)[0] * time_ps[-1]
    assert abs(drift) < 1e-3
    assert np.ptp(trace) < 1e-3


def test_the_uncertainty_rises_with_the_distance_from_the_training_frames(small_cui_model: BayesianForceField) -> None:
    crystal = zincblende(cubic=True).repeat(2)
    noise = np.random.default_rng(0).normal(size=crystal.positions.shape)
    seen = []
    for rattle in (0.05, 0.15, 0.3, 0.45):
        atoms = crystal.copy()
        atoms.positions += rattle * noise
        seen.append(small_cui_model.predict(atoms).frame_uncertainty)
    assert (np.diff(seen) > 0).all()
    assert seen[-1] > 10 * seen[0]
