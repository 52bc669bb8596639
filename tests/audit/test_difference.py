"""The difference of two surfaces, learned from labels: a sum over neighbours is taken over to frames that no label is of."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential

from audit_fakes import ChangedEMT, copper
from trepid.audit import Role, Wanted
from trepid.audit.correction import ENERGY_NOISE_EV, DifferenceProcess, coordinates
from trepid.audit.difference import CorrectedCalculator, LearnedDifference
from trepid.audit.event_class import LabelledPoint
from trepid.audit.model import PotentialModel
from trepid.data.frames import LabelKeys, Labels, attach_labels
from trepid.potentials.base import Prediction
from trepid.potentials.bayesian import BayesianForceField


def answer(calculator: Calculator, atoms: Atoms) -> tuple[float, np.ndarray]:
    frame = atoms.copy()
    frame.calc = calculator
    return float(frame.get_potential_energy()), frame.get_forces()


def point(number: int, atoms: Atoms, model: Calculator, truth: Calculator) -> LabelledPoint:
    energy, forces = answer(model, atoms)
    wanted = Wanted(Role.IMAGE, atoms, Prediction(energy=energy, forces=forces), 0.0, None)
    return LabelledPoint(wanted, number, Labels(*answer(truth, atoms), None))


def displaced(seed: int, size_A: float) -> Atoms:
    frame = copper()[0]
    frame.positions += size_A * np.random.default_rng(seed).normal(size=frame.positions.shape)
    return frame


MODEL, TRUTH = MorsePotential(epsilon=0.25, r0=2.6, rho0=4.0, rcut1=4.0, rcut2=4.8), EMT()


@pytest.fixture(scope="module")
def points() -> list[LabelledPoint]:
    return [point(k, displaced(k, 0.1), MODEL, TRUTH) for k in range(3)]


@pytest.fixture(scope="module")
def difference(points: list[LabelledPoint]) -> LearnedDifference:
    return LearnedDifference(points, copper()[0])


def test_it_knows_frames_that_a_process_in_all_coordinates_does_not(
    points: list[LabelledPoint], difference: LearnedDifference
) -> None:
    origin = copper()[0]
    alone = DifferenceProcess(
        np.array([coordinates(p.wanted.atoms, origin) for p in points]),
        np.array([p.energy - p.wanted.prediction.energy for p in points]),
        np.array([(p.forces - p.wanted.prediction.forces).ravel() for p in points]),
    )
    errors, alone_errors, bars = [], [], []
    for seed in range(10, 16):
        frame = displaced(seed, 0.1)
        true = answer(TRUTH, frame)[0] - answer(MODEL, frame)[0] - points[0].energy + points[0].wanted.prediction.energy
        at_label = difference(points[0].wanted.atoms)[0]
        errors.append(difference(frame)[0] - at_label - true)
        alone_errors.append(
            alone(coordinates(frame, origin))[0] - alone(coordinates(points[0].wanted.atoms, origin))[0] - true
        )
        bars.append(1.96 * difference.std(frame, points[0].wanted.atoms))
    assert np.sqrt(np.mean(np.square(errors))) < 0.3 * np.sqrt(np.mean(np.square(alone_errors)))
    assert sum(np.abs(errors) > bars) <= 1


def test_labels_are_reproduced_and_certain(points: list[LabelledPoint], difference: LearnedDifference) -> None:
    first = points[0]
    for each in points:
        gap = each.energy - each.wanted.prediction.energy - (first.energy - first.wanted.prediction.energy)
        found = difference(each.wanted.atoms)[0] - difference(first.wanted.atoms)[0]
        assert found == pytest.approx(gap, abs=2 * ENERGY_NOISE_EV)
        assert difference.std(each.wanted.atoms, first.wanted.atoms) < 0.01


def test_forces_of_model_plus_difference_are_minus_the_gradient(difference: LearnedDifference) -> None:
    frame, step = displaced(20, 0.05), 1e-4
    corrected = CorrectedCalculator(MODEL, difference)
    forces = answer(corrected, frame)[1]
    for atom, axis in ((0, 0), (7, 1), (20, 2)):
        energies = []
        for sign in (1, -1):
            moved = frame.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(answer(corrected, moved)[0])
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-5)


def test_a_model_that_is_right_leaves_nothing_to_learn() -> None:
    same = [point(k, displaced(k, 0.1), ChangedEMT(), TRUTH) for k in range(2)]
    difference = LearnedDifference(same, copper()[0])
    energy, forces = difference(displaced(9, 0.1))
    assert energy == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(forces, 0.0, atol=1e-9)
    assert difference.std(displaced(9, 0.1), same[0].wanted.atoms) > 0.0


def test_a_force_field_learns_the_labels_itself_and_stays_as_it_is() -> None:
    """Far from the labels the difference is as large as the force field expects: no hole of another prior opens there."""
    origin = copper()[0]
    frames = []
    for seed in range(4):
        frame = displaced(seed, 0.03)
        energy, forces = answer(TRUTH, frame)
        frames.append(attach_labels(frame, Labels(energy, forces, None), LabelKeys()))
    field = BayesianForceField(["Cu"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=12, n_radial=5, l_max=2, n_threads=1)
    model = PotentialModel(field.fit(frames))
    points = [point(k, displaced(20 + k, 0.12), model.calculator(), TRUTH) for k in range(2)]
    far, fresh = displaced(30, 0.4), displaced(31, 0.12)
    before = field.predict(fresh)
    difference = LearnedDifference(points, origin, model=model)
    after = field.predict(fresh)
    assert field.n_frames == 4
    assert after.energy == before.energy
    np.testing.assert_array_equal(after.forces, before.forces)

    zero = points[0].wanted.atoms
    true = answer(TRUTH, fresh)[0] - points[0].energy
    predicted = field.predict(fresh).energy - field.predict(zero).energy
    error = predicted + difference(fresh)[0] - difference(zero)[0] - true
    assert abs(error) < 0.3 * abs(predicted - true)
    assert abs(error) < 3 * difference.std(fresh, zero)
    assert abs(difference(far)[0] - difference(zero)[0]) < 3 * field.energy_difference_uncertainty(far, zero)
    sum_of_both = CorrectedCalculator(model.calculator(), difference)
    np.testing.assert_allclose(answer(sum_of_both, zero)[1], points[0].forces, atol=0.02)
