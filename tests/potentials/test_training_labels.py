"""Which labels a fit counts: copies once, zeros of held atoms never, outliers by their factor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms

from trepid.data import LabelKeys, read_frames
from trepid.data.noise_factors import NoiseFactors, with_noise_factors, with_weights
from trepid.errors import DataError
from trepid.evaluation import compare, evaluate
from trepid.potentials.bayesian import BayesianForceField


@pytest.fixture(scope="module")
def frames(data_dir: Path) -> list[Atoms]:
    return read_frames(data_dir / "sn_pbe_8_train.extxyz")[:8]


def model() -> BayesianForceField:
    return BayesianForceField(["Sn"], pair_cutoff=5, triplet_cutoff=4, n_pair=10, n_radial=5, l_max=2, live_rank=0)


def moved(atoms: Atoms) -> Atoms:
    """The same structure elsewhere, with some atoms in another cell."""
    copy = atoms.copy()
    copy.positions += [0.3, -0.2, 0.0]
    copy.positions[2] += copy.cell[0] - copy.cell[1]
    return copy


def test_copies_count_once_wherever_they_come(frames: list[Atoms], tmp_path: Path) -> None:
    alone = model().fit(frames[:4])
    repeated = model().fit([*frames[:4], frames[0].copy(), moved(frames[1]), frames[0].copy()])
    assert repeated.log_evidence == pytest.approx(alone.log_evidence, rel=1e-6)
    assert repeated.n_frames == 7
    repeated.save(tmp_path / "m.trepid")
    loaded = BayesianForceField.load(tmp_path / "m.trepid")
    before = loaded.log_evidence
    loaded.update([moved(frames[2]), frames[3]])
    assert loaded.log_evidence == pytest.approx(before, rel=1e-12)
    assert loaded.n_frames == 9
    loaded.update([frames[4]])
    assert abs(loaded.log_evidence - before) > 1
    assert loaded.trained_on([frames[5], frames[4], moved(frames[0])]) == [1, 2]


def test_a_copy_with_other_labels_is_no_copy(frames: list[Atoms]) -> None:
    other = frames[0].copy()
    other.arrays["REF_forces"] = other.arrays["REF_forces"] + 0.1
    assert model().fit(frames[:2]).trained_on([other]) == []


def test_a_copy_with_another_kind_of_label_is_data(frames: list[Atoms]) -> None:
    bare = frames[0].copy()
    del bare.info["REF_energy"]
    assert model().fit([bare, frames[1]]).trained_on([frames[0]]) == []
    assert model().fit(frames[:2]).trained_on([bare]) == [0]


def test_zeros_of_held_atoms_are_no_labels(frames: list[Atoms]) -> None:
    held = [atoms.copy() for atoms in frames[:6]]
    for atoms in held:
        atoms.arrays["REF_forces"][:3] = 0.0
    as_labels = model().fit(held)
    for atoms in held:
        atoms.set_constraint(FixAtoms([0, 1, 2]))
    left_out = model().fit(held)
    assert left_out.statistics.kinds["forces"].count == 6 * 5 * 3
    good, bad = (evaluate(m, frames).forces_rmse for m in (left_out, as_labels))
    assert good < 0.5 * bad
    comparison = compare(left_out, held)
    assert len(comparison.forces) == 6 * 5
    assert comparison.atoms_per_frame.tolist() == [8] * 6
    assert (comparison.forces != 0).any(axis=1).all()


def test_a_held_atom_with_a_force_is_a_label(frames: list[Atoms]) -> None:
    held = [atoms.copy() for atoms in frames[:3]]
    for atoms in held:
        atoms.set_constraint(FixAtoms([0, 1, 2]))
    assert model().fit(held).statistics.kinds["forces"].count == 3 * 8 * 3


def test_labels_with_a_large_noise_factor_do_not_matter(frames: list[Atoms]) -> None:
    wrong = frames[0].copy()
    wrong.info["REF_energy"] += 1000.0
    wrong.arrays["REF_forces"] = -wrong.arrays["REF_forces"]
    weighted = with_noise_factors(wrong, NoiseFactors(energy=1e6, forces=1e4))
    without, spoilt, rescued = (
        evaluate(model().fit(own), frames[1:]) for own in (frames[1:], [wrong, *frames[1:]], [weighted, *frames[1:]])
    )
    assert rescued.forces_rmse < 1.2 * without.forces_rmse < 0.5 * spoilt.forces_rmse
    assert rescued.energy_rmse_per_atom < 1.5 * without.energy_rmse_per_atom < 0.1 * spoilt.energy_rmse_per_atom


def test_a_noise_factor_must_be_positive(frames: list[Atoms]) -> None:
    wrong = frames[1].copy()
    wrong.info["energy_noise_factor"] = -1.0
    with pytest.raises(DataError, match=r"frame 1 .*energy_noise_factor is '-1.0'; a positive number is expected"):
        model().fit([frames[0], wrong])


def test_the_default_keys_name_what_the_fixture_has(frames: list[Atoms]) -> None:
    assert LabelKeys().forces in frames[0].arrays
    assert np.isfinite(frames[0].info["REF_energy"])


def test_a_frame_of_weight_four_counts_as_four(frames: list[Atoms]) -> None:
    heavy = with_weights([typed(frames[0], "melt")], {"melt": 4.0})[0]
    one, four = (model().update([atoms]).statistics for atoms in (frames[0], heavy))
    for kind, sums in one.kinds.items():
        np.testing.assert_allclose(four.kinds[kind].gram, 4 * sums.gram, rtol=1e-12, atol=0)
        np.testing.assert_allclose(four.kinds[kind].projection, 4 * sums.projection, rtol=1e-12, atol=0)
        assert four.kinds[kind].count == sums.count


def test_a_weight_draws_the_fit_and_claims_no_smaller_noise(frames: list[Atoms]) -> None:
    given = [typed(atoms, "melt" if k < 3 else "crystal") for k, atoms in enumerate(frames)]
    plain, heavy = (model().fit(own) for own in (given, with_weights(given, {"melt": 25.0})))
    assert evaluate(heavy, given[:3]).forces_rmse < evaluate(plain, given[:3]).forces_rmse
    assert evaluate(heavy, given[3:]).forces_rmse > evaluate(plain, given[3:]).forces_rmse
    for kind, left in heavy.left_out.items():
        np.testing.assert_allclose(left.multiplier, plain.left_out[kind].multiplier, rtol=1e-12)


def test_weights_are_checked(frames: list[Atoms]) -> None:
    given = [typed(frames[0], "melt"), typed(frames[1], "crystal")]
    with pytest.raises(DataError, match=r"weight of metl: no frame has this config_type; did you mean 'melt'\?"):
        with_weights(given, {"metl": 2.0})
    with pytest.raises(DataError, match="no frame has this config_type; types: none"):
        with_weights(frames[:2], {"melt": 2.0})
    with pytest.raises(DataError, match="weight of melt: 0; a positive number is expected"):
        with_weights(given, {"melt": 0.0})
    given[0].info["fit_weight"] = "much"
    with pytest.raises(DataError, match=r"frame 0 .*fit_weight is 'much'; a positive number is expected"):
        model().fit(given)


def typed(atoms: Atoms, name: str) -> Atoms:
    copy = atoms.copy()
    copy.info["config_type"] = name
    return copy
