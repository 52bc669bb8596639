from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from trepid.potentials.committee import Backend, Committee, CommitteeSettings, ScriptSettings

TOY = Path(__file__).parent / "toy_worker.py"


def label(atoms: Atoms) -> Atoms:
    """EMT labels under the default keys."""
    computed = atoms.copy()
    computed.calc = EMT()
    atoms.info["REF_energy"] = float(computed.get_potential_energy())
    atoms.arrays["REF_forces"] = computed.get_forces()
    atoms.info["REF_stress"] = computed.get_stress()
    return atoms


@pytest.fixture(scope="session")
def copper() -> list[Atoms]:
    """24 rattled and strained copper cells of 8 atoms."""
    rng = np.random.default_rng(3)
    frames = []
    for k in range(24):
        atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.03 + 0.004 * k, (8, 3))
        frames.append(label(atoms))
    return frames


@pytest.fixture
def toy() -> Callable[..., Committee]:
    """Committee of toy potentials with options; closed afterwards."""
    made: list[Committee] = []

    def make(
        *,
        n_members: int = 2,
        reference: Atoms | None = None,
        seed: int = 0,
        strong_force: float = 10.0,
        **options: Any,
    ) -> Committee:
        settings = CommitteeSettings(
            backend=Backend.SCRIPT,
            n_members=n_members,
            subset_fraction=0.7,
            validation_fraction=0.1,
            seed=seed,
            model=ScriptSettings(script=str(TOY), options=options, strong_force=strong_force),
        )
        made.append(Committee(["Cu"], settings=settings, reference=reference))
        return made[-1]

    yield make
    for committee in made:
        committee.close()
