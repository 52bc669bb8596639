"""The networks themselves, where their environments are named by TREPID_<BACKEND>_PYTHON."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from trepid.potentials.committee import Backend, Committee, CommitteeSettings
from trepid.potentials.committee.environments import NETWORKS
from trepid.potentials.committee.settings import MODEL_SETTINGS, PACKAGES
from trepid.workers.environments import variable

SMALL = {
    Backend.NEQUIP: {"n_features": 4, "radial_width": 8},
    Backend.SO3KRATES: {"n_features": 8, "n_heads": 2, "n_radial": 8},
    Backend.MACE: {"n_features": 4, "radial_width": 8, "n_layers": 2},
}
pytestmark = pytest.mark.slow


def small(backend: Backend, *, epochs: int = 30, compile: bool = False, **other: object) -> CommitteeSettings:
    if not os.environ.get(variable(PACKAGES[backend])):
        pytest.skip(f"{variable(PACKAGES[backend])} is not set: no environment with {backend.value}")
    values = {
        "r_max_A": 4.0,
        "max_epochs": epochs,
        "fine_tune_epochs": 10,
        "stress_weight": 0.1,
        **SMALL[backend],
        **other,
    }
    model = MODEL_SETTINGS[backend](compile=compile, **values)  # type: ignore[arg-type]
    return CommitteeSettings(backend=backend, n_members=2, subset_fraction=0.8, validation_fraction=0.2, model=model)


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request: pytest.FixtureRequest, copper: list[Atoms]) -> Iterator[Committee]:
    with Committee(["Cu"], settings=small(request.param, epochs=60)).fit(copper[:20]) as committee:
        yield committee


def test_training_lowers_the_error(trained: Committee, copper: list[Atoms]) -> None:
    labels = np.array([a.arrays["REF_forces"] for a in copper[20:]])
    predictions = [trained.predict(a) for a in copper[20:]]
    rmse = np.sqrt(np.mean((np.array([p.forces for p in predictions]) - labels) ** 2))
    assert rmse < 0.5 * np.sqrt((labels**2).mean())
    assert all(p.forces_uncertainty.min() > 0 for p in predictions)
    energies = [(p.energy - a.info["REF_energy"]) / 8 for p, a in zip(predictions, copper[20:], strict=True)]
    assert np.abs(energies).max() < 0.05


def test_forces_and_stress_are_derivatives_of_the_energy(trained: Committee, copper: list[Atoms]) -> None:
    atoms, member, h = copper[15].copy(), trained.member(0), 2e-2
    p = member.predict(atoms)

    def energy(moved: Atoms) -> float:
        return member.predict(moved).energy

    def slope(change) -> float:
        # Fourth order: float32 energies need a large step.
        e = [energy(change(k * h)) for k in (-2, -1, 1, 2)]
        return (e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * h)

    for i, axis in ((0, 0), (3, 1), (7, 2)):

        def displaced(step: float, i: int = i, axis: int = axis) -> Atoms:
            moved = atoms.copy()
            moved.positions[i, axis] += step
            return moved

        assert -slope(displaced) == pytest.approx(p.forces[i, axis], abs=2e-3)
    for k, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):

        def strained(step: float, a: int = a, b: int = b) -> Atoms:
            strain = np.eye(3)
            strain[a, b] += step / 10
            strain[b, a] = strain[a, b] if a == b else strain[b, a] + step / 10
            moved = atoms.copy()
            moved.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
            return moved

        factor = 1 if a == b else 2
        assert 10 * slope(strained) / factor / atoms.get_volume() == pytest.approx(p.stress[k], abs=3e-4)


def test_symmetries(trained: Committee, copper: list[Atoms]) -> None:
    atoms, member = copper[16].copy(), trained.member(1)
    p = member.predict(atoms)
    order = np.random.default_rng(0).permutation(len(atoms))
    q = member.predict(atoms[order])
    np.testing.assert_allclose(q.forces, p.forces[order], atol=1e-4)
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    turned.positions += 0.7
    r = member.predict(turned)
    assert r.energy == pytest.approx(p.energy, abs=1e-3)
    np.testing.assert_allclose(np.linalg.norm(r.forces, axis=1), np.linalg.norm(p.forces, axis=1), atol=2e-4)
    doubled = member.predict(atoms.repeat((1, 2, 1)))
    assert doubled.energy == pytest.approx(2 * p.energy, abs=1e-3)
    np.testing.assert_allclose(doubled.forces[:8], p.forces, atol=1e-4)
    assert p.atom_energies.sum() == pytest.approx(p.energy, abs=1e-9)
    lonely = member.predict(Atoms("Cu", cell=[20, 20, 20], pbc=True))
    np.testing.assert_array_equal(lonely.forces, 0)


@pytest.mark.parametrize("backend", NETWORKS)
def test_training_is_reproducible_and_continues(backend: Backend, copper: list[Atoms], tmp_path: Path) -> None:
    settings = small(backend, epochs=3)
    with Committee(["Cu"], settings=settings) as one, Committee(["Cu"], settings=settings) as two:
        one.fit(copper[:12]).save(tmp_path / "c.trepid")
        two.fit(copper[:12])
        np.testing.assert_array_equal(one.predict(copper[20]).forces_ensemble, two.predict(copper[20]).forces_ensemble)
        with Committee.load(tmp_path / "c.trepid") as loaded:
            loaded.update(copper[12:18])
            two.update(copper[12:18])
            a, b = loaded.predict(copper[20]), two.predict(copper[20])
            np.testing.assert_array_equal(a.forces_ensemble, b.forces_ensemble)
            assert abs(a.forces - one.predict(copper[20]).forces).max() > 0


def test_compiled_equals_uncompiled(copper: list[Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with (
        Committee(["Cu"], settings=small(Backend.NEQUIP, epochs=3)) as plain,
        Committee(["Cu"], settings=small(Backend.NEQUIP, epochs=3, compile=True)) as fast,
    ):
        plain.fit(copper[:12])
        fast.fit(copper[:12])
        assert not any(r.compiled for r in plain.results)
        assert all(r.compiled for r in fast.results)
        assert len(list((tmp_path / "trepid" / "compiled").glob("*.pt2"))) == 2  # one to train, one to evaluate
        p, q = plain.predict(copper[20]), fast.predict(copper[20])
        np.testing.assert_allclose(q.forces_ensemble, p.forces_ensemble, atol=1e-3)
        big = copper[20].repeat((1, 2, 2))
        np.testing.assert_allclose(fast.predict(big).forces[:8], q.forces, atol=1e-5)
