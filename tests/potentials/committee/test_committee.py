from __future__ import annotations

import json
import multiprocessing
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

import trepid
from trepid.errors import BackendError, ConfigError, DataError, ModelFileError
from trepid.potentials import load_potential
from trepid.potentials.base import Prediction, Uncertainty
from trepid.potentials.committee import BayesianSettings, Committee, CommitteeSettings
from trepid.potentials.committee.residuals import typical_rms

Make = Callable[..., Committee]


def same(a: Prediction, b: Prediction) -> None:
    for name in Prediction.__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) is (y is None), name
        if x is not None:
            np.testing.assert_array_equal(x, y, err_msg=name)


def test_spread_is_the_standard_deviation_of_the_members(toy: Make, copper: list[Atoms]) -> None:
    committee = toy(n_members=3, scatter=0.05).fit(copper[:20])
    atoms, reference = copper[22], committee.reference
    p = committee.predict(atoms)
    members = [committee.member(k).predict(atoms) for k in range(3)]
    np.testing.assert_array_equal(p.forces_ensemble, [m.forces for m in members])
    np.testing.assert_array_equal(p.energy_ensemble, [m.energy for m in members])
    np.testing.assert_allclose(p.forces, np.mean([m.forces for m in members], axis=0), rtol=0, atol=1e-14)
    for name in ("forces", "stress", "energy"):
        values = np.array([getattr(m, name) for m in members])
        by_hand = np.sqrt(((values - values.mean(axis=0)) ** 2).sum(axis=0) / 2)
        np.testing.assert_allclose(getattr(p, f"{name}_uncertainty"), by_hand, rtol=1e-12)
    assert p.energy == pytest.approx(np.mean([m.energy for m in members]), abs=1e-12)
    # The energy spread by its definition: relative to the reference structure, from energies without alignment.
    raw = [committee._evaluator.evaluate(a, range(3)).energy for a in (atoms, reference)]
    relative = raw[0] - raw[1] * len(atoms) / len(reference)
    assert p.energy_uncertainty == pytest.approx(relative.std(ddof=1), rel=1e-9)
    assert p.energy == pytest.approx(raw[0].mean(), abs=1e-10)
    assert p.forces_uncertainty.max() > 1e-3
    np.testing.assert_allclose(p.atom_energies.sum(), p.energy, rtol=1e-12)


def test_a_constant_energy_per_atom_is_no_uncertainty(toy: Make, copper: list[Atoms]) -> None:
    plain, shifted = toy(scatter=0.02).fit(copper[:20]), toy(scatter=0.02, shift_by_seed=True).fit(copper[:20])
    big = copper[21].repeat((1, 2, 1))
    for atoms in (copper[22], big):
        p, q = plain.predict(atoms), shifted.predict(atoms)
        np.testing.assert_array_equal(p.forces_uncertainty, q.forces_uncertainty)
        assert q.energy_uncertainty == pytest.approx(p.energy_uncertainty, rel=1e-6)
        assert abs(q.energy - p.energy) > 10
        assert q.energy_ensemble.std() < 1
    assert shifted.predict(shifted.reference).energy_uncertainty == pytest.approx(0, abs=1e-9)


def test_reference_is_the_frame_of_lowest_energy_per_atom_or_the_given_one(toy: Make, copper: list[Atoms]) -> None:
    committee = toy(n_members=1).fit(copper[:12])
    lowest = min(copper[:12], key=lambda a: a.info["REF_energy"] / len(a))
    np.testing.assert_array_equal(committee.reference.positions, lowest.positions)
    given = toy(n_members=1, reference=copper[20]).fit(copper[:12])
    np.testing.assert_array_equal(given.reference.positions, copper[20].positions)
    before = committee.reference
    committee.update([copper[20]])
    np.testing.assert_array_equal(committee.reference.positions, before.positions)


def test_update_continues_from_the_weights_of_each_member(toy: Make, copper: list[Atoms]) -> None:
    committee = toy().fit(copper[:11])
    before = [committee.subset(k).train for k in range(2)]
    assert [r.epochs for r in committee.results] == [1, 1]
    committee.update(copper[11:20]).update(copper[20:22])
    assert committee.n_frames == 22
    assert [r.epochs for r in committee.results] == [3, 3]  # the toy counts its trainings in its weights
    for k in range(2):
        subset = committee.subset(k).train
        assert before[k] == tuple(i for i in subset if i < 11)
        assert committee.results[k].n_train == len(subset)
        assert committee.member(k).n_frames == len(subset)


def test_a_committee_knows_its_training_frames(toy: Make, copper: list[Atoms], tmp_path: Path) -> None:
    toy().fit(copper[:11]).update(copper[11:14]).save(tmp_path / "c.trepid")
    committee = Committee.load(tmp_path / "c.trepid", trust=True)
    frames = [copper[20], copper[3], copper[13], copper[21]]
    assert committee.trained_on(frames) == committee.trained_structures(frames) == [1, 2]
    bare = copper[3].copy()
    bare.info["REF_energy"] += 1.0
    assert committee.trained_on([bare]) == []
    assert committee.trained_structures([bare]) == [0]


def test_training_through_an_executor_is_the_same(toy: Make, copper: list[Atoms]) -> None:
    here = toy(scatter=0.01).fit(copper[:10])
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        there = toy(scatter=0.01).fit(copper[:10], executor=executor)
    assert [r.model for r in here.results] == [r.model for r in there.results]
    same(here.predict(copper[20]), there.predict(copper[20]))


def test_noise_comes_from_frames_that_a_member_is_not_trained_on(toy: Make, copper: list[Atoms]) -> None:
    committee = toy(strong_force=0.0).fit(copper[:20])
    forces, energies = [], []
    for k in range(2):
        member, subset = committee.member(k), committee.subset(k)
        assert subset.held_out
        for i in subset.held_out:
            p = member.predict(copper[i])
            forces.append(float(((p.forces - copper[i].arrays["REF_forces"]) ** 2).mean()))
            energies.append((p.energy - copper[i].info["REF_energy"]) ** 2 / len(copper[i]))
    assert committee.noise.forces == pytest.approx(typical_rms(forces, 3 * len(copper[0])), rel=1e-9)
    assert committee.noise.forces <= np.sqrt(np.mean(forces))
    assert committee.noise.energy == pytest.approx(typical_rms(energies, 1), rel=1e-6)
    assert committee.noise.stress > 0


@pytest.mark.parametrize("n", [1, 6, 192])
def test_the_typical_rms_is_the_rms_of_gaussian_residuals(n: int) -> None:
    squares = (0.3 * np.random.default_rng(0).normal(size=(20_000, n))) ** 2
    assert typical_rms(squares.mean(axis=1).tolist(), n) == pytest.approx(0.3, rel=0.05)
    assert np.isnan(typical_rms([], n))


def test_few_outlier_frames_do_not_dominate_the_noise() -> None:
    calm = [0.01**2] * 18
    assert typical_rms(calm, 192) == pytest.approx(0.01, rel=1e-9)
    for error in (0.5, 50.0):
        assert typical_rms([*calm, error**2, error**2], 192) == pytest.approx(0.01 * np.sqrt(0.9 + 0.1 * 4), rel=0.01)
    # Frames of other sizes count by their components.
    assert typical_rms([1.0, 1.0, 2.0], [300, 300, 600]) == pytest.approx(np.sqrt(1.5), rel=1e-9)


def test_fragmented_frames_do_not_dominate_the_noise(toy: Make, copper: list[Atoms]) -> None:
    plain = toy(n_members=1).fit(copper[:20])

    def torn(frames: Sequence[int]) -> list[Atoms]:
        changed = [atoms.copy() for atoms in copper[:20]]
        for i in frames:
            changed[i].arrays["REF_forces"] = 200 * changed[i].arrays["REF_forces"]
            changed[i].info["REF_energy"] += 1e3
        return changed

    held_out = plain.subset(0).held_out
    assert len(held_out) > 2
    for strong_force in (10.0, 0.0):  # one is an outlier, whatever its weight
        assert toy(n_members=1, strong_force=strong_force).fit(torn(held_out[:1])).noise.forces < 2 * plain.noise.forces
    # Where all are fragmented, the weights limit the noise: they count as forces of ten times the typical one.
    typical = np.sqrt(np.mean([np.mean(a.arrays["REF_forces"] ** 2) for a in copper]))
    assert toy(n_members=1).fit(torn(held_out)).noise.forces < 10 * typical
    assert toy(n_members=1, strong_force=0.0).fit(torn(held_out)).noise.forces > 100 * typical


def test_save_and_load_change_nothing(toy: Make, copper: list[Atoms], tmp_path: Path) -> None:
    committee = toy(scatter=0.02).fit(copper[:10])
    committee.save(tmp_path / "c.trepid")
    loaded = load_potential(tmp_path / "c.trepid", trust=True)
    assert isinstance(loaded, trepid.Committee)
    with loaded:
        same(loaded.predict(copper[20]), committee.predict(copper[20]))
        assert loaded.noise == committee.noise
        assert loaded.settings == committee.settings
        loaded.save(tmp_path / "again.trepid")
        assert (tmp_path / "again.trepid").read_bytes() == (tmp_path / "c.trepid").read_bytes()
        # Further training does not depend on the way through the file.
        loaded.update(copper[10:14])
        committee.update(copper[10:14])
        assert [r.model for r in loaded.results] == [r.model for r in committee.results]


def test_a_file_can_be_opened_where_the_backend_is_not_installed(
    toy: Make, copper: list[Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.trepid"
    toy().fit(copper[:10]).save(path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(entries["manifest.json"])
    manifest["settings"]["model"]["script"] = str(tmp_path / "gone.py")
    entries["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    committee = Committee.load(path, trust=True)
    assert committee.n_frames == 10
    with pytest.raises(BackendError, match=r"gone\.py does not exist"):
        committee.predict(copper[20])


def test_damaged_files_are_errors_of_one_line(toy: Make, copper: list[Atoms], tmp_path: Path) -> None:
    path = tmp_path / "c.trepid"
    toy().fit(copper[:10]).save(path)
    good = path.read_bytes()
    damaged = {
        "cut": good[: len(good) // 2],
        "short": good[:10],
        "flipped": good[:3000] + bytes([good[3000] ^ 1]) + good[3001:],
        "manifest": good.replace(b'"version": 3', b'"version": 7'),
    }
    for name, data in damaged.items():
        path.write_bytes(data)
        with pytest.raises(ModelFileError) as caught:
            load_potential(path)
        assert "\n" not in str(caught.value), name
        assert str(path) in str(caught.value), name
    with pytest.raises(ModelFileError, match="does not exist"):
        Committee.load(tmp_path / "nothing.trepid")
    path.write_bytes(b"something else")
    with pytest.raises(ModelFileError, match="not a committee file"):
        Committee.load(path)


def test_versions_and_missing_members(toy: Make, copper: list[Atoms], tmp_path: Path) -> None:
    path = tmp_path / "c.trepid"
    toy().fit(copper[:10]).save(path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}

    def rewritten(**changed: bytes | None) -> Path:
        with zipfile.ZipFile(tmp_path / "d.trepid", "w") as archive:
            for name, data in {**entries, **changed}.items():
                if data is not None:
                    archive.writestr(name, data)
        return tmp_path / "d.trepid"

    manifest = json.loads(entries["manifest.json"])
    newer = json.dumps({**manifest, "version": 99}).encode()
    with pytest.raises(ModelFileError, match="version 99"):
        Committee.load(rewritten(**{"manifest.json": newer}))
    with pytest.raises(ModelFileError, match="members/1"):
        Committee.load(rewritten(**{"members/1": None}))
    unknown = json.dumps({**manifest, "settings": {**manifest["settings"], "colour": "red"}}).encode()
    with pytest.raises(ModelFileError, match="colour"):
        Committee.load(rewritten(**{"manifest.json": unknown}))


def test_calculators(toy: Make, copper: list[Atoms]) -> None:
    committee = toy(scatter=0.02).fit(copper[:10])
    atoms = copper[20].copy()
    p = committee.predict(atoms)
    atoms.calc = committee.calculator(every=2)
    np.testing.assert_array_equal(atoms.get_forces(), p.forces)
    np.testing.assert_array_equal(atoms.calc.results["forces_uncertainty"], p.forces_uncertainty)
    np.testing.assert_array_equal(atoms.get_stress(), p.stress)
    atoms.positions[0] += 0.01
    atoms.get_forces()
    assert "forces_uncertainty" not in atoms.calc.results
    atoms.calc.reset_neighbors()
    atoms.get_forces()
    assert "forces_uncertainty" in atoms.calc.results
    atoms = copper[20].copy()
    atoms.calc = committee.member(1).calculator()
    assert atoms.get_potential_energy() == p.energy_ensemble[1]
    assert "forces_uncertainty" not in atoms.calc.results
    bare = Atoms("Cu2", [[0, 0, 0], [2.3, 0, 0]], calculator=committee.calculator(uncertainty=Uncertainty.NONE))
    bare.get_forces()
    with pytest.raises(PropertyNotImplementedError, match="without a cell has no stress"):
        bare.get_stress()


def test_uncertainty_needs_two_members(toy: Make, copper: list[Atoms]) -> None:
    committee = toy(n_members=1).fit(copper[:10])
    assert committee.predict(copper[20], uncertainty="none").forces_uncertainty is None
    with pytest.raises(ConfigError, match="at least 2 members"):
        committee.predict(copper[20])
    with pytest.raises(ConfigError, match="no uncertainty"):
        committee.member(0).predict(copper[20], uncertainty="exact")


def test_user_errors_are_reported(toy: Make, copper: list[Atoms]) -> None:
    committee = toy()
    with pytest.raises(DataError, match="not been trained"):
        committee.predict(copper[0])
    with pytest.raises(DataError, match="at least one"):
        committee.fit([])
    without = copper[1].copy()
    del without.info["REF_energy"]
    with pytest.raises(DataError, match=r"frame 1 .*REF_energy"):
        committee.fit([copper[0], without])
    silver = copper[1].copy()
    silver.symbols[0] = "Ag"
    with pytest.raises(DataError, match="Ag"):
        committee.fit([copper[0], silver])
    committee.fit(copper[:6])
    with pytest.raises(DataError, match="Ag"):
        committee.predict(silver)
    with pytest.raises(ConfigError, match="members 0 to 1"):
        committee.member(3)
    with pytest.raises(ConfigError, match="with its committee"):
        committee.member(0).fit(copper)
    with pytest.raises(ConfigError, match="not an element"):
        Committee(["Qq"])


def test_bayesian_members(copper: list[Atoms], tmp_path: Path) -> None:
    model = BayesianSettings(pair_cutoff_A=4.0, triplet_cutoff_A=3.0, n_pair=8, n_radial=4, l_max=1)
    settings = CommitteeSettings(n_members=2, subset_fraction=0.6, validation_fraction=0.0, model=model)
    committee = Committee(["Cu"], settings=settings).fit(copper[:10])
    members = [committee.member(k).predict(copper[20]) for k in range(2)]
    p = committee.predict(copper[20])
    np.testing.assert_allclose(p.forces_uncertainty, abs(members[0].forces - members[1].forces) / np.sqrt(2), rtol=1e-9)
    error = p.forces - copper[20].arrays["REF_forces"]
    assert np.sqrt((error**2).mean()) < 0.3 * np.sqrt((copper[20].arrays["REF_forces"] ** 2).mean())
    committee.save(tmp_path / "b.trepid")
    same(Committee.load(tmp_path / "b.trepid").predict(copper[20]), p)
    committee.update(copper[10:14])
    assert [r.n_train for r in committee.results] == [len(committee.subset(k).train) for k in range(2)]
    # The same subset, fitted at once by a separate force field: hyperparameters of another search.
    alone = trepid.BayesianForceField(
        ["Cu"], pair_cutoff=4.0, triplet_cutoff=3.0, n_pair=8, n_radial=4, l_max=1, live_rank=0
    )
    alone.fit([copper[i] for i in committee.subset(0).train])
    forces = committee.member(0).predict(copper[20]).forces
    assert abs(alone.predict(copper[20], uncertainty="none").forces - forces).max() < 0.03 * abs(forces).max()
