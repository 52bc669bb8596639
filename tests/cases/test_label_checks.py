"""Inputs that users met: labels that contradict each other, were never computed, or are counted twice are said."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms

from trepid.data import LabelKeys, read_frames
from trepid.evaluation import evaluate
from trepid.inspection import inspect_frames
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.statistics import LabelKind

CASES = Path(__file__).parent


def messages(case: str, **keys: str) -> list[str]:
    names = LabelKeys(**keys)
    frames = read_frames(CASES / case / "train.extxyz", keys=names)
    return [finding.message for finding in inspect_frames(frames, names)]


@pytest.mark.parametrize(
    ("case", "start"),
    [
        ("stress_sign_flipped", "stresses have the other sign than the forces demand (slope -0.99"),
        ("gradients_instead_of_forces", "forces have the other sign than energies and stresses demand (slope -"),
        ("stress_all_zero", "stress is exactly zero in all 8 frames: not computed?"),
        ("two_zeros_of_energy_half_half", "energies fall into 2 groups of 8, 8 frames, 0.300 eV/atom apart"),
        ("fixatoms_forces_zeroed", "forces on 6 held atoms are exactly zero, no labels: they are left out of fits"),
        ("duplicated_frames", "15 frames are copies of others, counted once"),
    ],
)
def test_what_is_wrong_is_said_once(case: str, start: str) -> None:
    (message,) = messages(case)
    assert message.startswith(start)


def test_stresses_of_exact_zeros_are_not_learned() -> None:
    frames = read_frames(CASES / "stress_all_zero" / "train.extxyz")
    model = BayesianForceField(["Si"], pair_cutoff=5.0, triplet_cutoff=4.0, n_radial=5, l_max=2).update(frames[:2])
    assert LabelKind.STRESS not in model.statistics.kinds
    assert model.statistics.kinds[LabelKind.ENERGY].count == 2


def test_virials_given_as_stresses_are_recognised_by_the_volume() -> None:
    frames = read_frames(CASES / "virial_given_as_stress" / "train.extxyz")
    for frame in frames:
        frame.info["REF_stress"] = frame.info["REF_virial"]
    found = [finding.message for finding in inspect_frames(frames)]
    assert any(message.startswith("stresses are -V times those that the forces demand") for message in found)


@pytest.fixture(scope="module")
def one_to_one(data_dir: Path) -> BayesianForceField:
    """Trained on CuI alone, which leaves the energies of Cu and I apart open."""
    frames = [atoms for atoms in read_frames(data_dir / "cui_gfn1_64.extxyz") if not atoms.info["displaced_cu"]][:10]
    return BayesianForceField(["Cu", "I"], pair_cutoff=5, triplet_cutoff=4, n_pair=8, n_radial=4, l_max=1).fit(frames)


def test_the_energy_of_another_stoichiometry_is_uncertain_and_said_once(
    one_to_one: BayesianForceField, caplog: pytest.LogCaptureFixture
) -> None:
    vacancy = read_frames(CASES / "energy_of_other_stoichiometry" / "vacancy.extxyz")[0]
    prediction = one_to_one.predict(vacancy)
    assert prediction.energy_uncertainty is not None
    error = abs(prediction.energy - vacancy.info["REF_energy"])
    assert 5 < error < 2 * prediction.energy_uncertainty
    calculator = one_to_one.calculator()
    for step in range(3):
        atoms = vacancy.copy()
        atoms.positions[0, 0] += 0.01 * step
        calculator.calculate(atoms)
    (record,) = caplog.records
    assert "another stoichiometry than all training frames" in record.getMessage()
    caplog.clear()
    calculator.calculate(one_to_one.templates[0])
    assert not caplog.records


def test_a_fit_leaves_out_what_was_never_a_label_and_counts_copies_once() -> None:
    def fitted(frames: list[Atoms]) -> BayesianForceField:
        return BayesianForceField(["Si"], pair_cutoff=5, triplet_cutoff=4).fit(frames)

    truth = read_frames(CASES / "stress_sign_flipped" / "train.extxyz")  # its forces are right
    held = fitted(read_frames(CASES / "fixatoms_forces_zeroed" / "train.extxyz"))
    assert evaluate(held, truth, uncertainty="none").forces_rmse < 5e-3
    frames = read_frames(CASES / "duplicated_frames" / "train.extxyz")
    rest = read_frames(CASES / "duplicated_frames" / "rest.extxyz")
    once, repeated = (evaluate(fitted(own), rest) for own in (frames[:3], frames))
    assert repeated.forces_coverage_95 == once.forces_coverage_95
    assert repeated.forces_calibration_scale == pytest.approx(once.forces_calibration_scale, rel=1e-4)
