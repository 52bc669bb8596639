"""Models and calculators can be pickled and copied; a copy gives the same bits, in another process as well."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from trepid import _native
from trepid.errors import DataError
from trepid.potentials.base import Prediction
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.biased import BiasedCalculator, BiasedPotential
from trepid.potentials.committee import Committee, CommitteeSettings, ScriptSettings
from trepid.potentials.committee.settings import BayesianSettings
from trepid.testing import ExactGP

TOY = Path(__file__).parents[1] / "potentials" / "committee" / "toy_worker.py"
SIZES = {"pair_cutoff": 4.5, "triplet_cutoff": 3.5}
SMALL = {"n_pair": 8, "n_radial": 4, "l_max": 2}
Copy = Callable[[Any], Any]
COPIES = [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))]


def frame(seed: int, *, labels: bool = False) -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.positions += np.random.default_rng(seed).normal(0.0, 0.08, atoms.positions.shape)
    if labels:
        atoms.calc = EMT()
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.calc = None
        atoms.info |= {"REF_energy": energy, "REF_stress": stress}
        atoms.arrays["REF_forces"] = forces
    return atoms


FRAMES = [frame(seed, labels=True) for seed in range(8)]


@pytest.fixture(scope="module")
def model() -> BayesianForceField:
    return BayesianForceField(["Cu"], **SIZES, **SMALL, n_threads=1).fit(FRAMES[:5])


@pytest.fixture(scope="module")
def bayesian_committee() -> Committee:
    settings = CommitteeSettings(n_members=2, model=BayesianSettings(4.5, 3.5, **SMALL))
    return Committee(["Cu"], settings=settings).fit(FRAMES)


@pytest.fixture
def script_committee() -> Committee:
    settings = CommitteeSettings(backend="script", n_members=2, model=ScriptSettings(script=str(TOY)))
    with Committee(["Cu"], settings=settings) as committee:
        yield committee.fit(FRAMES)


def same(a: Prediction, b: Prediction) -> None:
    for name in Prediction.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def same_results(a: Any, b: Any) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("made", COPIES, ids=["deepcopy", "pickle"])
def test_a_trained_model(model: BayesianForceField, made: Copy) -> None:
    """With the posterior of the optimiser, which may differ in the last bit from the one a file gives."""
    other = made(model)
    for level in ("exact", "live", "none"):
        same(other.predict(frame(20), uncertainty=level), model.predict(frame(20), uncertainty=level))
    assert other.log_evidence == model.log_evidence
    assert other.to_bytes() == model.to_bytes()
    assert other.sample(1, 3)[0].predict(frame(20)).energy == model.sample(1, 3)[0].predict(frame(20)).energy
    before = model.n_frames
    other.update(FRAMES[5:6])
    assert (other.n_frames, model.n_frames) == (before + 1, before)


@pytest.mark.parametrize("made", COPIES, ids=["deepcopy", "pickle"])
def test_an_untrained_model(made: Copy) -> None:
    untrained = BayesianForceField(["Cu"], **SIZES, **SMALL, n_threads=1)
    other = made(untrained)
    with pytest.raises(DataError, match="has not been trained"):
        other.predict(frame(1))
    same(other.fit(FRAMES[:3]).predict(frame(20)), untrained.fit(FRAMES[:3]).predict(frame(20)))


@pytest.mark.parametrize("made", COPIES, ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("kind", ["none", "live", "exact", "every", "sample", "biased", "committee", "member"])
def test_atoms_with_a_calculator_in_the_middle_of_a_run(
    model: BayesianForceField, bayesian_committee: Committee, made: Copy, kind: str
) -> None:
    """The copy has the neighbour list of the original, built at earlier positions: its sums have the same order."""
    atoms = frame(21)
    atoms.calc = {
        "every": lambda: model.calculator(every=2),
        "sample": lambda: model.sample(1, 0)[0].calculator(),
        "biased": lambda: BiasedCalculator(model, atoms, strength=1.0, largest_eV=0.5),
        "committee": lambda: bayesian_committee.calculator(),
        "member": lambda: bayesian_committee.member(1).calculator(),
    }.get(kind, lambda: model.calculator(uncertainty=kind))()
    rng = np.random.default_rng(4)
    for _ in range(3):
        atoms.positions += rng.normal(0.0, 0.02, atoms.positions.shape)
        atoms.get_forces()
    other = made(atoms)
    assert other.calc is not atoms.calc
    same_results(other.calc.results, atoms.calc.results)
    steps = rng.normal(0.0, 0.02, (3, *atoms.positions.shape))
    for step in steps:
        atoms.positions += step
        atoms.get_forces()
    for step in steps:  # afterwards: what they shared would be at other positions now
        other.positions += step
        other.get_forces()
    same_results(other.calc.results, atoms.calc.results)


@pytest.mark.parametrize("made", COPIES, ids=["deepcopy", "pickle"])
def test_committees(bayesian_committee: Committee, script_committee: Committee, made: Copy) -> None:
    for committee in (bayesian_committee, script_committee):
        expected = committee.predict(frame(22))
        with made(committee) as other:
            same(other.predict(frame(22)), expected)
            same(other.member(1).predict(frame(22)), committee.member(1).predict(frame(22)))
        same(committee.predict(frame(22)), expected)


@pytest.mark.parametrize("made", COPIES, ids=["deepcopy", "pickle"])
def test_a_committee_read_from_a_file(bayesian_committee: Committee, tmp_path: Path, made: Copy) -> None:
    bayesian_committee.save(tmp_path / "c.trepid")
    loaded = Committee.load(tmp_path / "c.trepid")
    same(made(loaded).predict(frame(22)), bayesian_committee.predict(frame(22)))


@pytest.mark.parametrize("made", COPIES, ids=["deepcopy", "pickle"])
def test_biased_potentials_and_the_exact_process(model: BayesianForceField, made: Copy) -> None:
    biased = BiasedPotential(model, frame(0), strength=1.0, largest_eV=0.5)
    same(made(biased).predict(frame(23)), biased.predict(frame(23)))
    exact = ExactGP(["Cu"], pair_cutoff=3.5, triplet_cutoff=3.0)
    exact.fit([bulk_pair(0), bulk_pair(1)])
    same(made(exact).predict(bulk_pair(2)), exact.predict(bulk_pair(2)))


def bulk_pair(seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.positions += np.random.default_rng(seed).normal(0.0, 0.05, atoms.positions.shape)
    atoms.calc = EMT()
    forces = atoms.get_forces()
    atoms.calc = None
    atoms.arrays["REF_forces"] = forces
    return atoms


@pytest.mark.parametrize("made", COPIES, ids=["deepcopy", "pickle"])
def test_native_objects(model: BayesianForceField, made: Copy) -> None:
    potential, atoms = model.mean, frame(24)
    neighbours = potential.neighbors(skin=0.5).update(atoms, potential.index(atoms))
    moved = np.ascontiguousarray(atoms.positions + 0.01)
    assert neighbours.move(moved, np.ascontiguousarray(atoms.cell[:]))
    arguments = {**model.basis.native, "rank": 16, **potential.tables.native, **potential.support.arrays}
    evaluator, other = _native.Evaluator(**arguments), made(neighbours)
    assert (other.n_atoms, other.n_ghosts, other.n_pairs) == (
        neighbours.n_atoms,
        neighbours.n_ghosts,
        neighbours.n_pairs,
    )
    for a, b in zip(
        evaluator.compute(neighbours, True, True, 1), made(evaluator).compute(other, True, True, 1), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    far = np.ascontiguousarray(moved + np.eye(len(moved), 3))
    assert other.move(far, np.ascontiguousarray(atoms.cell[:])) is False  # it knows where it was built
    rows = _native.FeatureRows(**model.basis.native, **model.basis.native_channels)
    chosen = np.arange(len(atoms), dtype=np.int32)
    for a, b in zip(
        rows.compute(neighbours, chosen, True, True, True),
        made(rows).compute(neighbours, chosen, True, True, True),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def forces_of(atoms: Atoms) -> np.ndarray:
    return atoms.get_forces()


def test_another_process(model: BayesianForceField) -> None:
    atoms = frame(25)
    atoms.calc = model.calculator()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        theirs = pool.submit(forces_of, atoms).result(timeout=120)
    np.testing.assert_array_equal(theirs, atoms.get_forces())


def test_threads_share_a_model(model: BayesianForceField) -> None:
    """Each with a calculator of its own: those of ASE keep the last frame, and serve one thread at a time."""
    expected = [model.predict(frame(seed), uncertainty="live").forces for seed in range(30, 34)]

    def work(k: int) -> float:
        calculator, largest = model.calculator(uncertainty="live"), 0.0
        for step in range(20):
            which = (k + step) % len(expected)
            atoms = frame(30 + which)
            atoms.calc = calculator
            largest = max(largest, float(np.abs(atoms.get_forces() - expected[which]).max()))
        return largest

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(work, range(8))) < 1e-9


def test_threads_share_a_calculator(model: BayesianForceField) -> None:
    """They wait for each other: every one gets the forces of its own atoms."""
    calculator = model.calculator(uncertainty="live")
    systems = [frame(seed) for seed in range(30, 34)]
    expected = [model.predict(atoms, uncertainty="live").forces for atoms in systems]

    def work(k: int) -> float:
        atoms, largest = systems[k].copy(), 0.0
        atoms.calc = calculator
        for _ in range(50):
            largest = max(largest, float(np.abs(atoms.get_forces() - expected[k]).max()))
        return largest

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(work, range(4))) < 1e-9
