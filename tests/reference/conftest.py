"""Systems to label."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import bulk


@pytest.fixture
def copper() -> Atoms:
    """Eight-atom copper, displaced."""
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=0)
    return atoms


@pytest.fixture
def cui() -> Atoms:
    """Sixteen-atom CuI, displaced: the smallest crystal that tblite takes."""
    atoms = bulk("CuI", "zincblende", a=6.19) * (2, 2, 2)
    atoms.rattle(0.08, seed=1)
    return atoms


@pytest.fixture
def misbehaving() -> str:
    """Name of the module of calculators that fail; tests/fakes is on the path."""
    return "misbehaving"
