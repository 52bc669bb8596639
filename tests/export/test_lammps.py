"""The exported file inside LAMMPS: what it computes is what was exported, and close to the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from trepid.data import read_frames
from trepid.export.check import force_error, probe_frames
from trepid.export.uf3 import DEFAULT_KNOTS, resample
from trepid.export.uf3_forces import evaluate
from trepid.export.uf3_format import UF3Export
from trepid.potentials.bayesian.force_field import BayesianForceField

LIMIT = 2e-3
"""Force error at the default knots, eV/A."""


@pytest.fixture(params=["silicon", "cuprous_iodide"])
def model(request: pytest.FixtureRequest) -> BayesianForceField:
    return request.getfixturevalue(request.param)


def test_lammps_computes_what_was_exported(model: BayesianForceField, lammps) -> None:
    exported = resample(model.mean, knots=4)
    for atoms in probe_frames(model, n=2, seed=1):
        sheared = atoms.copy()
        sheared.set_cell(atoms.cell[:] @ np.array([[1.01, 0.02, 0], [0.01, 0.99, -0.03], [0, 0, 1]]), scale_atoms=True)
        result = lammps(exported, sheared)
        energy, forces = evaluate(exported, sheared)
        truth = model.predict(sheared, uncertainty="none")
        assert result.energy == pytest.approx(energy, abs=1e-6)
        assert result.forces == pytest.approx(forces, abs=1e-8)
        assert np.sqrt(((result.forces - truth.forces) ** 2).mean()) < LIMIT
        assert truth.stress is not None
        assert result.stress == pytest.approx(truth.stress, abs=1e-4)


def test_lammps_has_the_energy_of_the_model_without_the_offsets(model: BayesianForceField, lammps) -> None:
    atoms = model.templates[0]
    exported = resample(model.mean, knots=4)
    offsets = sum(exported.offsets[model.species.index(symbol)] for symbol in atoms.get_chemical_symbols())
    truth = model.predict(atoms, uncertainty="none")
    assert lammps(exported, atoms).energy + offsets == pytest.approx(truth.energy, abs=2e-4 * len(atoms))


def test_close_atoms_repel_as_in_the_model(model: BayesianForceField, lammps) -> None:
    exported = resample(model.mean, knots=2)
    species = model.species[-1]
    for r in (0.1, 0.5, 1.0, 1.5):
        dimer = Atoms([species] * 2, positions=[[5, 5, 5], [5, 5, 5 + r]], cell=[20, 20, 20])
        truth = model.predict(dimer, uncertainty="none").forces
        assert lammps(exported, dimer).forces == pytest.approx(truth, rel=1e-2, abs=1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "species"),
    [
        ("si_sw_64", ["Si"]),
        ("cui_gfn1_64", ["Cu", "I"]),
        ("sn_pbe_8_train", ["Sn"]),
    ],
)
def test_default_knots_are_good_enough(data_dir: Path, name: str, species: list[str], lammps) -> None:
    model = BayesianForceField(species).fit(read_frames(data_dir / f"{name}.extxyz"))
    exported = resample(model.mean, knots=DEFAULT_KNOTS)
    frames = probe_frames(model, n=20)
    assert force_error(UF3Export(exported), model.mean, frames).rmse < LIMIT
    squares = [
        (lammps(exported, atoms).forces - model.predict(atoms, uncertainty="none").forces) ** 2 for atoms in frames[:5]
    ]
    assert np.sqrt(np.mean(squares)) < LIMIT
