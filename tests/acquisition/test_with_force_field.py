"""What acquisition needs of the Bayesian force field: energies of atoms and information rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from potential_systems import shared
from trepid import BayesianForceField
from trepid.acquisition.batch import greedy_batch
from trepid.data import read_frames
from trepid.potentials.bayesian import features
from trepid.potentials.bayesian.statistics import LabelKind


@pytest.fixture(scope="module")
def frames(data_dir: Path) -> list[Atoms]:
    return read_frames(data_dir / "cui_gfn1_64.extxyz")


@pytest.fixture(scope="module")
def clean(frames: list[Atoms]) -> list[Atoms]:
    return [a for a in frames if not a.info["displaced_cu"]]


@pytest.fixture(scope="module")
def hops(frames: list[Atoms]) -> list[Atoms]:
    return [a for a in frames if a.info["displaced_cu"]]


@pytest.fixture(scope="module")
def model(clean: list[Atoms]) -> BayesianForceField:
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=12, n_radial=5, l_max=3, n_threads=1
    )
    return model.fit(clean[:8])


@pytest.mark.parametrize("uncertainty", ["none", "live", "exact"])
def test_shares_add_up_to_the_energy(model: BayesianForceField, hops: list[Atoms], uncertainty: str) -> None:
    p = model.predict(hops[0], uncertainty=uncertainty)
    assert p.atom_energies is not None
    assert p.atom_energies.shape == (64,)
    assert p.atom_energies.sum() == pytest.approx(p.energy, rel=1e-12)
    doubled = model.predict(hops[0] * (2, 1, 1), uncertainty="none").atom_energies
    np.testing.assert_allclose(doubled, np.tile(p.atom_energies, 2), atol=1e-9)


def test_information_rows_have_the_predicted_covariance(model: BayesianForceField, hops: list[Atoms]) -> None:
    # The posterior of the evidence: neither the scale of the error bars nor the share of the neighbours changes what a label
    # is worth.
    rows, scale = model.information_rows(hops[0]), model.error_bars[LabelKind.FORCES].scale
    bars = np.sqrt(shared(scale**2 * (rows**2).sum(axis=1), hops[0], reach=model.basis.triplet_cutoff))
    np.testing.assert_allclose(bars.reshape(-1, 3), model.predict(hops[0]).forces_uncertainty, rtol=1e-8)
    [(_, phi)] = model.features.force_rows(hops[0])
    np.testing.assert_allclose(rows @ rows.T, model.posterior.covariance(phi), atol=1e-12)


def test_thin_rows_are_those_of_the_most_uncertain_atoms(
    model: BayesianForceField, hops: list[Atoms], monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = model.information_rows(hops[1])
    worst = np.sort(np.argsort(-(everything**2).reshape(64, -1).sum(axis=1))[:5])
    expected = everything.reshape(64, 3, -1)[worst].reshape(15, -1)
    np.testing.assert_allclose(model.information_rows(hops[1], n_atoms=5), expected, atol=1e-12)
    assert model.information_rows(hops[1], n_atoms=1000).shape == everything.shape
    monkeypatch.setattr(features, "CHUNK_BYTES", 24 * model.basis.layout.size * 7)  # seven atoms at a time
    np.testing.assert_allclose(model.information_rows(hops[1], n_atoms=5), expected, atol=1e-12)
    np.testing.assert_allclose(model.information_rows(hops[1]), everything, atol=1e-12)


def test_the_gain_is_what_the_posterior_really_loses(clean: list[Atoms], hops: list[Atoms]) -> None:
    """A second gain, after the first frame was learnt by the model itself: forces only, one noise, same hyperparameters."""
    stripped = []
    for a in [*clean[:6], *hops[:3]]:
        b = a.copy()
        b.calc = None
        b.info.clear()
        stripped.append(b)
    model = BayesianForceField(["Cu", "I"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=12, n_radial=5, l_max=3)
    model.fit(stripped[:6])
    learnt, asked = stripped[6:8]
    noise = [np.repeat(model.hyperparameters.noise.of_forces(a.arrays["REF_forces"]), 3) for a in (learnt, asked)]
    batch = greedy_batch([model.information_rows(a) for a in (learnt, asked)], 2, noise=noise, first=[0])
    model.update([learnt])
    rows = model.information_rows(asked) / noise[1][:, None]
    after = np.linalg.slogdet(np.eye(len(rows)) + rows @ rows.T)[1]
    assert batch.gains[1] == pytest.approx(after, rel=1e-6)


def test_greedy_prefers_unseen_configurations(model: BayesianForceField, clean: list[Atoms], hops: list[Atoms]) -> None:
    """Among clean frames and frames with a displaced Cu the latter teach most, and a copy does not get in twice."""
    candidates = [*clean[10:20], hops[0], hops[0], hops[1], hops[2]]
    rows = [model.information_rows(a, n_atoms=16) for a in candidates]
    batch = greedy_batch(rows, 3, noise=model.label_noise)
    assert (batch.indices >= 10).all()
    assert len({int(k) for k in batch.indices} & {10, 11}) <= 1


def test_the_uncertainty_of_a_difference_forgets_what_is_shared(model: BayesianForceField, hops: list[Atoms]) -> None:
    moved = hops[0].copy()
    assert model.energy_difference_uncertainty(hops[0], moved) == pytest.approx(0.0, abs=1e-12)
    moved.positions[0] += [0.5, 0.0, 0.0]
    here = model.energy_difference_uncertainty(moved, hops[0])
    assert here > 0
    larger = hops[0] * (2, 1, 1)
    changed = larger.copy()
    changed.positions[0] += [0.5, 0.0, 0.0]
    assert model.energy_difference_uncertainty(changed, larger) == pytest.approx(here, rel=1e-6)
