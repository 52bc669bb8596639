from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from campaign_fakes import LoggedReference, SpringPotential, crystal
from rounds_fakes import SMALL, EnsembleSprings
from trepid.acquisition.uncertainty import UncertaintyMeasure
from trepid.campaign.walks import Keep, Keeper, WalkJob, run_walk
from trepid.choices import Engine, Thermostat
from trepid.data.frames import write_frames
from trepid.data.geometry import fused_atoms
from trepid.dynamics.driver import MDParameters
from trepid.dynamics.interrupt import Interrupted
from trepid.dynamics.sanity import SanityLimits
from trepid.errors import ConfigError, DataError
from trepid.potentials import load_potential
from trepid.potentials.base import Prediction
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.biased import BiasedPotential
from trepid.runs.walk_files import Candidate, Walk, WalkEnd, read_walk

STIFF = (3.0, 3.3, 3.6)


@pytest.fixture
def job(tmp_path: Path) -> WalkJob:
    EnsembleSprings(STIFF).save(tmp_path / "model.json")
    write_frames(tmp_path / "crystal.extxyz", crystal())
    return WalkJob(
        model_file=tmp_path / "model.json",
        crystal_file=tmp_path / "crystal.extxyz",
        output=tmp_path / "walk-00.npz",
        round=1,
        walker=0,
        seed=(1, 2, 1, 0),
        parameters=MDParameters(300.0, 2.0, relaxation_time_fs=50.0),
        n_steps=400,
        check_every=5,
        limits=SanityLimits(5.0, 20.0),
        max_candidates=20,
        keep=Keep.MOST_UNCERTAIN,
        measure=UncertaintyMeasure.FORCE_MAX,
        untrusted_eV_per_A=10.0,
        untrusted_steps=50,
        load=EnsembleSprings.load,
    )


def walk(job: WalkJob, **changes: object) -> Walk:
    """Run the job with other fields; those of its parameters and limits may be named too."""
    parts = {
        part: replace(old, **{name: changes.pop(name) for name in list(changes) if name in old.__dataclass_fields__})
        for part, old in (("parameters", job.parameters), ("limits", job.limits))
    }
    job = replace(job, **parts, **changes)  # type: ignore[arg-type]
    run_walk(job)
    return read_walk(job.output)


def test_a_walk_stores_every_check_and_keeps_few_candidates(job: WalkJob) -> None:
    found = walk(job)
    assert found.summary.end is WalkEnd.FINISHED
    assert found.summary.time_ps == pytest.approx(0.8)
    assert found.steps.tolist() == list(range(5, 401, 5))
    assert 10 <= len(found.candidates) <= 20
    assert 150 < found.temperature_K[20:].mean() < 500
    model = EnsembleSprings(STIFF)
    for candidate in found.candidates:
        prediction, check = model.predict(candidate.atoms), candidate.check
        assert candidate.uncertainty == pytest.approx(prediction.frame_uncertainty, rel=1e-9)
        np.testing.assert_allclose(candidate.prediction.forces, prediction.forces, atol=1e-12)
        np.testing.assert_allclose(candidate.prediction.forces_uncertainty, prediction.forces_uncertainty, atol=1e-12)
        assert found.steps[check] == candidate.step
        np.testing.assert_allclose(found.positions[check], candidate.atoms.positions, atol=1e-5)
        np.testing.assert_allclose(found.atom_energies[check], candidate.prediction.atom_energies, atol=1e-5)


def test_the_most_uncertain_check_is_kept(job: WalkJob) -> None:
    found = walk(job, max_candidates=4)
    kept = [candidate.uncertainty for candidate in found.candidates]
    assert max(kept) == found.uncertainty.max()


def test_a_walk_depends_on_its_job_alone(job: WalkJob, tmp_path: Path) -> None:
    one = walk(job)
    other = walk(job, output=tmp_path / "again.npz")
    np.testing.assert_array_equal(one.positions, other.positions)
    elsewhere = walk(job, output=tmp_path / "other.npz", seed=(1, 2, 1, 1))
    assert not np.allclose(one.positions[-1], elsewhere.positions[-1], atol=1e-3)


def test_a_complete_walk_is_not_computed_again(job: WalkJob) -> None:
    run_walk(job)
    before = job.output.stat().st_mtime_ns
    result = run_walk(replace(job, model_file=Path("nowhere")))
    assert result.summary.n_steps == 400
    assert job.output.stat().st_mtime_ns == before


def test_jobs_can_be_pickled(job: WalkJob) -> None:
    assert pickle.loads(pickle.dumps(job)) == job


def test_a_walk_ends_after_a_signal(job: WalkJob) -> None:
    with pytest.raises(Interrupted):
        run_walk(job, lambda: True)
    assert not job.output.exists()


# ---------------------------------------------------------------------- ends before their time


def test_too_hot(job: WalkJob) -> None:
    # Beyond 2 / omega, 89 fs here, the integrator is unstable.
    hot = walk(job, thermostat=Thermostat.NVE, timestep_fs=120.0, check_every=1, max_force_eV_per_A=1e9)
    assert hot.summary.end is WalkEnd.UNSTABLE
    assert hot.summary.n_steps < 400
    assert "over 5 times the target" in hot.summary.message
    assert hot.temperature_K.max() <= 1500


def test_a_force_too_large(job: WalkJob) -> None:
    found = walk(job, max_force_eV_per_A=0.2, temperature_K=600.0)
    assert found.summary.end is WalkEnd.UNSTABLE
    assert "predicted force" in found.summary.message
    assert all(np.linalg.norm(f, axis=1).max() <= 0.2 + 1e-5 for f in found.forces)


def test_uncertain_for_long(job: WalkJob) -> None:
    model = EnsembleSprings((1.0, 8.0))
    model.save(job.model_file)
    found = walk(job, untrusted_eV_per_A=0.4, untrusted_steps=20, temperature_K=600.0)
    assert found.summary.end is WalkEnd.UNTRUSTED
    above = found.forces_uncertainty_max > 0.4
    assert above[-5:].all()
    (edge,) = [candidate for candidate in found.candidates if candidate.edge]
    assert above[edge.check]
    assert not above[edge.check - 1]


def test_an_excursion_that_is_over_soon_ends_nothing(job: WalkJob) -> None:
    EnsembleSprings((1.0, 8.0)).save(job.model_file)
    found = walk(job, untrusted_eV_per_A=1.0, untrusted_steps=10_000, temperature_K=300.0)
    assert found.summary.end is WalkEnd.FINISHED
    assert not any(candidate.edge for candidate in found.candidates)


def test_fused_atoms_are_named() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    assert fused_atoms(atoms, factor=0.5) == ""
    atoms.positions[1] = atoms.positions[0] + [0.0, 0.0, 1.0]
    assert fused_atoms(atoms, factor=0.5) == "atoms 0 (Na) and 1 (Cl) have fused: 1.00 A apart"
    # Across the border of the cell as well.
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.positions[0] += [0.05, 0.0, 0.0]
    atoms.positions[1] = atoms.positions[0] - [0.9, 0.0, 0.0]
    assert "0.90 A apart" in fused_atoms(atoms, factor=0.5)


# ---------------------------------------------------------------------- committees


def test_walking_on_a_member(job: WalkJob) -> None:
    EnsembleSprings((2.0, 9.0)).save(job.model_file)
    one, other = (walk(job, member=k, output=job.output.with_name(f"m{k}.npz")) for k in (0, 1))
    assert not np.allclose(one.positions[-1], other.positions[-1], atol=1e-3)
    # Equipartition: softer springs swing further.
    assert (one.positions[40:] - crystal().positions).std() > 1.3 * (other.positions[40:] - crystal().positions).std()


def test_a_bias_raises_the_spread_of_the_members(job: WalkJob) -> None:
    EnsembleSprings((2.0, 5.0)).save(job.model_file)
    plain = walk(job, n_steps=600)
    biased = walk(job, n_steps=600, bias=(0.8, 5.0), output=job.output.with_name("biased.npz"))
    assert biased.uncertainty[40:].mean() > 1.15 * plain.uncertainty[40:].mean()


def test_the_bias_force_is_the_gradient_of_its_energy() -> None:
    potential = BiasedPotential(EnsembleSprings((2.0, 5.0, 4.0)), crystal(), strength=0.7, largest_eV=0.3)
    atoms = crystal()
    atoms.rattle(0.1, seed=1)
    forces = potential.predict(atoms).forces
    for atom, axis in ((0, 0), (3, 2)):
        energies = []
        for step in (1e-5, -1e-5):
            moved = atoms.copy()
            moved.positions[atom, axis] += step
            energies.append(potential.predict(moved).energy)
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / 2e-5, rel=1e-5)


@pytest.fixture(scope="module")
def force_field() -> BayesianForceField:
    """Copper with EMT, which it has only seen hardly displaced."""
    frames = []
    for k in range(2):
        atoms = crystal()
        atoms.rattle(0.02, seed=k)
        frames.append(LoggedReference().label(atoms))
    small = {key.removesuffix("_A"): value for key, value in SMALL.items()}
    return BayesianForceField(["Cu"], seed=0, **small).fit(frames)


def test_a_bias_raises_the_uncertainty_of_a_force_field(job: WalkJob, force_field: BayesianForceField) -> None:
    force_field.save(job.model_file)
    plain, biased = (
        [
            walk(
                job,
                load=load_potential,
                seed=(seed,),
                bias=bias,
                n_steps=200,
                timestep_fs=4.0,
                output=job.output.with_name(f"{seed}-{bias is None}.npz"),
            )
            for seed in (1, 2)
        ]
        for bias in (None, (5.0, 0.5))
    )
    for one, other in zip(plain, biased, strict=True):
        assert other.uncertainty[10:].mean() > 1.3 * one.uncertainty[10:].mean()
        assert other.uncertainty.max() > one.uncertainty.max()
    assert [w.summary.biased for w in (*plain, *biased)] == [False] * 2 + [True] * 2
    # Predictions are those of the model without the bias.
    for candidate in biased[0].candidates:
        expected, stored = force_field.predict(candidate.atoms), candidate.prediction
        assert stored.energy == pytest.approx(expected.energy, abs=1e-9)
        np.testing.assert_allclose(stored.forces, expected.forces, atol=1e-9)
        assert stored.atom_energies.sum() == pytest.approx(expected.energy, abs=1e-6)
        assert biased[0].energy[candidate.check] == pytest.approx(expected.energy, abs=1e-9)


def test_the_bias_force_of_a_force_field_is_the_gradient_of_its_energy(force_field: BayesianForceField) -> None:
    potential = BiasedPotential(force_field, crystal(), strength=5.0, largest_eV=0.3)
    atoms = crystal()
    atoms.rattle(0.1, seed=1)
    plain, found = force_field.predict(atoms), potential.predict(atoms)
    assert plain.energy - 0.3 < found.energy < plain.energy - 0.005
    np.testing.assert_array_equal(found.forces_uncertainty, plain.forces_uncertainty)
    atoms.calc = potential.calculator()
    np.testing.assert_array_equal(atoms.get_forces(), found.forces)
    pushes = np.abs(found.forces - plain.forces)
    atom, axis = np.unravel_index(int(pushes.argmax()), pushes.shape)
    energies = []
    for step in (1e-3, -1e-3):
        moved = atoms.copy()
        moved.positions[atom, axis] += step
        energies.append(potential.predict(moved).energy)
    gradient = (energies[0] - energies[1]) / 2e-3
    assert found.forces[atom, axis] == pytest.approx(-gradient, abs=0.02 * pushes.max())


def test_predictions_of_a_biased_committee_are_without_the_bias(job: WalkJob) -> None:
    model = EnsembleSprings((2.0, 5.0))
    model.save(job.model_file)
    biased = walk(job, bias=(0.8, 5.0))
    assert biased.summary.biased
    for candidate in biased.candidates:
        assert candidate.prediction.energy == pytest.approx(model.predict(candidate.atoms).energy, rel=1e-9)


def test_a_bias_needs_directions_and_the_engine_ase(job: WalkJob) -> None:
    with pytest.raises(ConfigError, match="engine ase; walkers.engine is lammps"):
        walk(job, bias=(1.0, 1.0), engine=Engine.LAMMPS)
    sites = crystal()
    SpringPotential(sites).save(job.model_file)
    with pytest.raises(ConfigError, match="needs a Bayesian force field or a committee"):
        walk(job, bias=(1.0, 1.0), load=lambda path: SpringPotential.load(path, sites))


def test_sigma_a_needs_a_committee_and_force_constants(job: WalkJob) -> None:
    with pytest.raises(ConfigError, match="force constants"):
        walk(job, measure=UncertaintyMeasure.SIGMA_A)


# ---------------------------------------------------------------------- thinning


def check(number: int, uncertainty: float) -> Candidate:
    prediction = Prediction(energy=0.0, forces=np.zeros((1, 3)))
    return Candidate(Atoms("H"), prediction, 0, number, number, float(number), 300.0, 300.0, uncertainty)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200), st.integers(4, 30))
def test_thinning_keeps_the_peak_in_order_and_within_bounds(values: list[float], most: int) -> None:
    keeper, first = Keeper(most, Keep.MOST_UNCERTAIN), Keeper(most, Keep.FIRST)
    for number, value in enumerate(values):
        keeper.offer(check(number, value))
        first.offer(check(number, value))
    numbers = [kept.check for kept in keeper.kept]
    assert numbers == sorted(numbers)
    assert len(numbers) <= most
    assert max(kept.uncertainty for kept in keeper.kept) == max(values)
    evenly = np.diff([kept.check for kept in first.kept])
    assert len(set(evenly.tolist())) <= 1


def test_a_damaged_walk_is_named(job: WalkJob) -> None:
    run_walk(job)
    job.output.write_bytes(job.output.read_bytes()[:100])
    with pytest.raises(DataError, match=r"walk-00\.npz"):
        read_walk(job.output)


# ---------------------------------------------------------------------- early ends and settings


def test_a_walk_that_is_unstable_at_its_first_check_is_complete_and_empty(job: WalkJob) -> None:
    found = walk(job, max_force_eV_per_A=1e-9)
    assert found.summary.end is WalkEnd.UNSTABLE
    assert "predicted force" in found.summary.message
    assert found.candidates == []
    assert found.positions.shape == found.forces.shape == (0, 8, 3)
    assert found.steps.shape == found.energy.shape == (0,)
    assert not found.equilibrium(0.0).any()


def test_a_measure_that_the_potential_does_not_offer_is_no_instability(job: WalkJob) -> None:
    class Single(EnsembleSprings):
        def predict(self, atoms, *, uncertainty="exact"):  # type: ignore[no-untyped-def]
            return replace(super().predict(atoms, uncertainty=uncertainty), energy_uncertainty=None)

    with pytest.raises(DataError, match="energy uncertainty"):
        walk(job, measure=UncertaintyMeasure.ENERGY, load=Single.load)
