from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms

from trepid.data import read_frames
from trepid.potentials.bayesian import BayesianForceField

MAX_FORCE = 4.0
"""eV/A: crystal frames with a larger force on an atom are not thermal."""


@pytest.fixture(scope="session")
def cui_frames(data_dir: Path) -> list[Atoms]:
    return read_frames(data_dir / "cui_gfn1_64.extxyz")


@pytest.fixture(scope="session")
def cui_crystal(cui_frames: list[Atoms]) -> list[Atoms]:
    """Frames of the undisturbed crystal without violent forces."""
    calm = [a for a in cui_frames if (a.arrays["REF_forces"] ** 2).sum(axis=1).max() < MAX_FORCE**2]
    return [a for a in calm if not a.info.get("displaced_cu", 0)]


@pytest.fixture(scope="session")
def cui_hops(cui_frames: list[Atoms]) -> list[Atoms]:
    """Frames with one Cu on its way to an empty site."""
    return [a for a in cui_frames if a.info.get("displaced_cu", 0)]


@pytest.fixture(scope="session")
def silicon_frames(data_dir: Path) -> list[Atoms]:
    """10 frames at 300 K, then 10 at 1000 K; an exactly 2+3-body truth."""
    return read_frames(data_dir / "si_sw_64.extxyz")


@pytest.fixture(scope="session")
def stanene_frames(data_dir: Path) -> list[Atoms]:
    return read_frames(data_dir / "sn_pbe_8_train.extxyz")


@pytest.fixture(scope="session")
def small_cui_model(cui_crystal: list[Atoms]) -> BayesianForceField:
    """Two species on a small basis, trained on eight frames. Do not change it: take a copy by saving and loading."""
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.5, triplet_cutoff=4.5, n_pair=14, n_radial=6, l_max=3, n_threads=1
    )
    return model.fit(cui_crystal[:8])


@pytest.fixture(scope="session")
def cui_model(cui_crystal: list[Atoms]) -> BayesianForceField:
    """The default basis, trained on the first 20 crystal frames: the model of the accuracy figures. Do not change it."""
    return BayesianForceField(["Cu", "I"], n_threads=1).fit(cui_crystal[:20])
