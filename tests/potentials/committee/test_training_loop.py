"""The training loop of the torch workers, as far as it is arithmetic on labels; trained networks are tested with the backends."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trepid.workers.environments import WORKERS

pytest.importorskip("torch")

SCALE = 0.3
"""Root mean square force of the first frames, eV/A."""


@pytest.fixture
def loop_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the loop with a given `strong_force`, eV/A."""
    monkeypatch.syspath_prepend(str(WORKERS))
    import worker_training

    module: ModuleType = worker_training
    settings = {"energy_weight": 1.0, "forces_weight": 1.0, "stress_weight": 0.0}
    model = SimpleNamespace(network=None, scale=SCALE, shifts=np.array([-3.0]), device="cpu")
    return lambda strong: module._Loop(model, settings, strong_force=strong)


def frame(forces: np.ndarray | None, n: int = 4, energy: float = -12.0) -> SimpleNamespace:
    return SimpleNamespace(
        species=np.zeros(n, dtype=np.int64),
        edges=np.array([[0, 1], [1, 0]]),
        vectors=np.ones((2, 3)),
        volume=0.0,
        energy=energy,
        forces=forces,
        stress=None,
    )


def test_strong_forces_count_as_the_strongest_that_is_trusted(loop_of: Any) -> None:
    forces = np.zeros((4, 3))
    forces[:, 0] = [0.01, 0.3, 3.0, 300.0]
    of_frame, of_atoms = loop_of(3.0)._trust(frame(forces))
    assert of_atoms[:2] == pytest.approx([1.0, 1.0], abs=6e-3)
    assert of_atoms[2] == pytest.approx(np.sqrt(0.5))
    assert of_atoms[3] * 300.0 == pytest.approx(3.0, rel=1e-3)
    assert of_frame == of_atoms[3]
    of_frame, of_atoms = loop_of(0.0)._trust(frame(forces))
    assert (of_frame, of_atoms.tolist()) == (1.0, [1.0] * 4)
    assert loop_of(3.0)._trust(frame(None))[1].tolist() == [0.0] * 4


def test_a_batch_carries_these_weights_and_those_of_the_kinds(loop_of: Any) -> None:
    forces = np.zeros((4, 3))
    forces[3, 1] = 3.0
    calm, torn, bare = frame(np.zeros((4, 3))), frame(forces, energy=-10.0), frame(None)
    batch = loop_of(3.0)._batch([calm, torn, bare], 4)
    half = np.sqrt(0.5)
    # The loss is a mean over what has a label: 3 energies per root of 4 atoms, 8 atoms with 3 components.
    energy, force = 1 / np.sqrt(3) / 2, 1 / np.sqrt(24)
    assert batch.energy_factor.numpy() == pytest.approx([energy, half * energy, energy, 0.0])
    assert batch.forces_factor.numpy() == pytest.approx([force] * 7 + [half * force] + [0.0] * 4)
    assert batch.energy.numpy() == pytest.approx([0.0, 2.0 / SCALE, 0.0, 0.0])
    assert batch.strain is None
