from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from springs import BondSprings
from trepid.anharmonicity import HarmonicReference, harmonic_reference

A_CUI = 6.19


@pytest.fixture(scope="session")
def zincblende() -> Atoms:
    return bulk("CuI", "zincblende", a=A_CUI, cubic=True)


@pytest.fixture(scope="session")
def spring_crystal(zincblende: Atoms) -> BondSprings:
    """CuI of 64 atoms with springs between first neighbours, across the bond too, so that nothing is loose."""
    return BondSprings(zincblende.repeat((2, 2, 2)), cutoff=A_CUI * np.sqrt(3) / 4 + 0.3)


@pytest.fixture(scope="session")
def reference(zincblende: Atoms, spring_crystal: BondSprings) -> HarmonicReference:
    return harmonic_reference(zincblende, (2, 2, 2), spring_crystal)
