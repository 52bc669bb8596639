"""The model of torch-sim: its own validator, batches, molecular dynamics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

torch = pytest.importorskip("torch")
torch_sim = pytest.importorskip("torch_sim")

from torch_sim.models.interface import validate_model_outputs  # noqa: E402

from potential_systems import random_potential, small_basis, zincblende  # noqa: E402
from trepid.errors import ConfigError  # noqa: E402
from trepid.potentials.bayesian import BayesianForceField  # noqa: E402
from trepid.potentials.bayesian.basis import Basis  # noqa: E402
from trepid.torch.simulation import TorchSimModel  # noqa: E402

CPU = torch.device("cpu")


def test_passes_the_validator_of_torch_sim() -> None:
    basis = Basis.create(["Si", "Fe"], pair_cutoff=4.6, triplet_cutoff=3.9, n_pair=7, n_radial=5, l_max=3)
    model = TorchSimModel(random_potential(basis, rank=16), device=CPU, dtype=torch.float64)
    validate_model_outputs(model, CPU, torch.float64)


def test_results_are_those_of_the_core() -> None:
    potential = random_potential(small_basis(2), rank=16)
    frames = [zincblende(cubic=True, rattle=0.1, seed=k) for k in range(2)]
    found = TorchSimModel(potential)(torch_sim.io.atoms_to_state(frames, CPU, torch.float64))
    for k, atoms in enumerate(frames):
        expected, of_k = potential.evaluate(atoms, live=True), slice(8 * k, 8 * k + 8)
        assert found["energy"][k].item() == pytest.approx(expected.energy, abs=1e-10)
        np.testing.assert_allclose(found["forces"][of_k], expected.forces, atol=1e-10)
        np.testing.assert_allclose(found["forces_uncertainty"][of_k], expected.forces_uncertainty, rtol=1e-4)


def test_energy_is_conserved() -> None:
    potential = random_potential(small_basis(2))
    model = TorchSimModel(potential)
    start = zincblende(cubic=True, rattle=0.05)
    state = torch_sim.io.atoms_to_state([start, start], CPU, torch.float64)
    rng = np.random.default_rng(0)
    momenta = torch.as_tensor(rng.normal(scale=0.5, size=(16, 3)))
    step, energies = 0.05, []
    found = model(state)
    for _ in range(60):  # velocity Verlet, in A sqrt(u/eV)
        momenta = momenta + 0.5 * step * found["forces"]
        state.positions = state.positions + step * momenta / state.masses[:, None]
        found = model(state)
        momenta = momenta + 0.5 * step * found["forces"]
        energies.append((found["energy"].sum() + 0.5 * (momenta**2 / state.masses[:, None]).sum()).item())
    moved = (state.positions - torch.as_tensor(np.concatenate([start.positions, start.positions]))).abs().max()
    assert moved > 0.05
    assert np.ptp(energies) < 1e-3 * 0.5 * (momenta**2 / state.masses[:, None]).sum().item()
    assert 1 <= model.evaluator.neighbours.n_builds < 20


def test_model_file_and_switches(small_cui_model: BayesianForceField, tmp_path: Path) -> None:
    small_cui_model.save(tmp_path / "m.trepid")
    model = TorchSimModel.load(tmp_path / "m.trepid", uncertainty=False)
    model.compute_stress = model.compute_forces = False
    state = torch_sim.io.atoms_to_state([bulk("CuI", "zincblende", a=6.1, cubic=True)], CPU, torch.float64)
    assert set(model(state)) == {"energy"}
    with pytest.raises(ConfigError, match="no live directions"):
        TorchSimModel(random_potential(small_basis(2)), uncertainty=True)
