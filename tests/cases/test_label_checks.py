"""Inputs that users met: labels that contradict each other, were never computed, or are counted twice are said."""

from __future__ import annotations

from pathlib import Path

import pytest

from trepid.data import LabelKeys, read_frames
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
        ("gradients_instead_of_forces", "forces have the other sign than energies and stresses demand (slope -0.9"),
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
