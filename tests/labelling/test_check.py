"""Corrupted labels of CuI frames against the predictions of a Bayesian force field; outliers are not corruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st

from label_fakes import corrupted
from trepid.campaign.start import initial_frames
from trepid.data.frames import LabelKeys, Labels, attach_labels, labels_of, read_frames, write_frames
from trepid.labelling.check import (
    LabelChecker,
    LabelHistory,
    Limits,
    agree,
    check_label,
    check_start,
    net_force,
)
from trepid.potentials.base import Noise, Prediction
from trepid.potentials.bayesian import BayesianForceField
from trepid.runs.label_files import LabelledFrame, Origin, PriorPrediction
from trepid.runs.ledger_events import Doubt, Reason

KEYS = LabelKeys()


@pytest.fixture(scope="module")
def frames(data_dir: Path) -> tuple[list[Atoms], list[Atoms]]:
    """Frames near the crystal, and frames with a displaced Cu."""
    everything = read_frames(data_dir / "cui_gfn1_64.extxyz")
    calm = [atoms for atoms in everything if not atoms.info.get("displaced_cu", 0)]
    return calm, [atoms for atoms in everything if atoms.info.get("displaced_cu", 0)]


@pytest.fixture(scope="module")
def model(frames: tuple[list[Atoms], list[Atoms]]) -> BayesianForceField:
    """Trained on six frames without a displaced Cu."""
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.5, triplet_cutoff=4.5, n_pair=14, n_radial=6, l_max=3, n_threads=1
    )
    return model.fit(frames[0][:6])


def labelled(atoms: Atoms, model: BayesianForceField | None = None) -> LabelledFrame:
    """A labelled frame, with the prediction of a model."""
    origin = Origin(Reason.UNCERTAINTY, 0, 0.0, 300.0, stage=0)
    before = PriorPrediction() if model is None else PriorPrediction(model.predict(atoms), model.noise)
    return LabelledFrame(1, atoms, KEYS, origin, seconds=0.0, attempt=1, before=before)


def test_what_is_flagged(frames: tuple[list[Atoms], list[Atoms]], model: BayesianForceField) -> None:
    calm, displaced = frames
    history = LabelHistory.of([labelled(atoms) for atoms in calm[:6]])
    kinds = {  # corruption: the doubt that it raises, in most cases
        "sign": Doubt.SIGN,
        "order": Doubt.ORDER,
        "unit": Doubt.FACTOR,
        "noise": Doubt.NET_FORCE,
        "huge": Doubt.NET_FORCE,
        "axes": None,
        "other": None,
    }
    tested = calm[6:30] + displaced
    alarms = caught = named = 0
    for k, atoms in enumerate(tested):
        labels, prediction = labels_of(atoms), model.predict(atoms)
        alarms += check_label(atoms, labels, prediction, model.noise, history) is not None
        for how, doubt in kinds.items():
            bad = corrupted(labels, how, np.random.default_rng(k))
            found = check_label(atoms, bad, prediction, model.noise, history)
            caught += found is not None
            named += found is not None and (doubt is None or found.doubt is doubt)
            assert found is None or "\n" not in found.message
    # The outliers among these, frames with a displaced Cu, are correct labels.
    assert alarms <= 0.05 * len(tested)
    assert caught == len(kinds) * len(tested)
    assert named >= 0.95 * caught


def test_a_shifted_energy_is_detected(frames: tuple[list[Atoms], list[Atoms]], model: BayesianForceField) -> None:
    calm, _ = frames
    history = LabelHistory.of([labelled(atoms, model) for atoms in calm[6:12]])
    for atoms in calm[12:20]:
        labels, prediction = labels_of(atoms), model.predict(atoms)
        assert labels.energy is not None
        bad = replace(labels, energy=labels.energy + 1.0)
        found = check_label(atoms, bad, prediction, model.noise, history)
        assert found is not None
        assert found.doubt is Doubt.ENERGY
        assert found.doubt.believable
        # A shift of the energy zero, common to all frames, is not suspicious.
        shifted = replace(history, energy_errors=history.energy_errors + 1.0 / 64)
        assert check_label(atoms, bad, prediction, model.noise, shifted) is None
        # Nor is it after a model trained since then has corrected the zero; any other energy still is.
        assert check_label(atoms, labels, prediction, model.noise, shifted) is None
        worse = replace(labels, energy=labels.energy - 1.0)
        assert check_label(atoms, worse, prediction, model.noise, shifted) is not None


def test_without_a_model_net_force_and_energy_are_checked(frames: tuple[list[Atoms], list[Atoms]]) -> None:
    calm, _ = frames
    history = LabelHistory.of([labelled(atoms) for atoms in calm[:5]])
    atoms, labels = calm[7], labels_of(calm[7])
    assert check_label(atoms, labels, None, None, history) is None
    for how, doubt in (("noise", Doubt.NET_FORCE), ("huge", Doubt.NET_FORCE), ("unit", Doubt.ENERGY)):
        found = check_label(atoms, corrupted(labels, how, np.random.default_rng(0)), None, None, history)
        assert found is not None
        assert found.doubt is doubt


def test_a_reference_with_net_forces_is_accepted(frames: tuple[list[Atoms], list[Atoms]]) -> None:
    calm, _ = frames
    rng = np.random.default_rng(1)

    def on_a_grid(atoms: Atoms) -> Atoms:
        labels = labels_of(atoms)
        assert labels.forces is not None
        return attach_labels(atoms, replace(labels, forces=labels.forces + rng.normal(scale=0.03, size=(64, 3))), KEYS)

    history = LabelHistory.of([labelled(on_a_grid(atoms)) for atoms in calm[:5]])
    noisy = on_a_grid(calm[6])
    assert check_label(noisy, labels_of(noisy), None, None, LabelHistory()) is not None
    assert check_label(noisy, labels_of(noisy), None, None, history) is None


def test_an_overconfident_model_does_not_reject_small_errors(frames: tuple[list[Atoms], list[Atoms]]) -> None:
    calm, _ = frames
    atoms, labels = calm[0], labels_of(calm[0])
    assert labels.forces is not None
    assert labels.energy is not None
    error = np.random.default_rng(0).normal(scale=0.05, size=(64, 3))
    overconfident = Prediction(labels.energy, labels.forces + error, forces_uncertainty=np.full((64, 3), 1e-4))
    assert check_label(atoms, labels, overconfident, None, LabelHistory()) is None
    bad = corrupted(labels, "order", np.random.default_rng(0))
    assert check_label(atoms, bad, overconfident, None, LabelHistory()) is not None
    assert check_label(atoms, labels, overconfident, None, LabelHistory(), limits=Limits(relative=0.01)) is not None


def start(n: int = 5) -> tuple[Atoms, list[Atoms]]:
    """A copper crystal and displaced, strained copies of it, labelled by EMT."""
    from ase.build import bulk

    crystal = bulk("Cu", cubic=True) * (2, 2, 2)
    made = []
    for frame in initial_frames(crystal, n, displacement_A=0.08, strain=0.01, seed=4):
        calculator = EMT()
        calculator.calculate(frame)
        results = calculator.results
        made.append(attach_labels(frame, Labels(results["free_energy"], results["forces"], results["stress"]), KEYS))
    return crystal, made


@pytest.mark.parametrize("how", ["sign", "order", "unit", "energy"])
@pytest.mark.parametrize("which", [0, 3])
def test_initial_labels_are_compared_with_each_other(how: str, which: int) -> None:
    crystal, made = start()
    assert check_start(made, crystal, KEYS) == [None] * len(made)
    bad = corrupted(labels_of(made[which]), how, np.random.default_rng(3))
    made[which] = attach_labels(made[which], bad, KEYS)
    found = check_start(made, crystal, KEYS)
    assert [k for k, suspicion in enumerate(found) if suspicion is not None] == [which]
    doubtful = found[which]
    assert doubtful is not None
    assert doubtful.doubt is (Doubt.ENERGY if how == "energy" else Doubt.STIFFNESS)
    checker = LabelChecker(crystal=crystal)
    frames = [labelled(atoms) for atoms in made]
    assert checker.start(frames) == found
    frames[which] = replace(frames[which], confirmed=doubtful.doubt)
    assert checker.start(frames) == [None] * len(made)


def test_frames_far_from_the_crystal_are_skipped() -> None:
    crystal, made = start()
    made[1].positions[0] += 1.5
    assert check_start(made, crystal, KEYS) == [None] * len(made)
    assert check_start(made, crystal[:4], KEYS) == [None] * len(made)


@given(
    st.floats(1e-3, 10.0),
    st.sampled_from([1e-9, 1e-6, 1e-2, 1.0]),
    st.integers(0, 100),
)
@settings(max_examples=60)
def test_labels_agree_when_and_only_when_they_are_the_same(size: float, change: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    forces = rng.normal(scale=size, size=(8, 3))
    first = Labels(-3.0, forces)
    second = Labels(-3.0, forces + change * size * rng.choice([-1.0, 1.0], size=(8, 3)))
    assert agree(first, first, None)
    assert agree(first, second, None) == agree(second, first, None)
    assert agree(first, second, None) == (change <= 1e-3)
    assert not agree(first, Labels(-3.1, forces), Noise(1e-4, 1e-3, 1e-3))


def test_a_labelled_frame_is_read_back(
    frames: tuple[list[Atoms], list[Atoms]], model: BayesianForceField, tmp_path: Path
) -> None:
    write_frames(tmp_path / "label.extxyz", labelled(frames[1][0], model).to_atoms())
    back = LabelledFrame.from_atoms(read_frames(tmp_path / "label.extxyz")[0], KEYS)
    prediction, noise = back.prediction, back.noise
    expected = model.predict(frames[1][0])
    assert prediction is not None
    assert noise is not None
    np.testing.assert_array_equal(prediction.forces, expected.forces)
    np.testing.assert_array_equal(prediction.forces_uncertainty, expected.forces_uncertainty)
    assert noise.forces == model.noise.forces
    assert noise.large_force == model.noise.large_force
    assert (back.number, back.origin) == (1, Origin(Reason.UNCERTAINTY, 0, 0.0, 300.0, stage=0))
    assert LabelledFrame.from_atoms(frames[0][0], KEYS, number=7).prediction is None


def test_net_force_is_as_large_as_random_errors() -> None:
    errors = np.random.default_rng(0).normal(scale=0.1, size=(2000, 64, 3))
    values = [net_force(error) for error in errors]
    assert np.mean(np.square(values)) == pytest.approx(3 * 0.1**2, rel=0.05)
