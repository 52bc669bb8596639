"""References that fail or corrupt labels, by the frame and the number of the call; importable by workers. Not a test file."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT

from comparison import frame_hash
from trepid.data.frames import Labels
from trepid.errors import ConfigError
from trepid.reference.base import FailureReason, LabelError, Reference

CORRUPTIONS = ("sign", "order", "unit", "noise", "huge", "other")


def corrupted(labels: Labels, how: str, rng: np.random.Generator) -> Labels:
    """A corrupted label."""
    assert labels.forces is not None
    assert labels.energy is not None
    forces, energy = labels.forces.copy(), labels.energy
    if how == "sign":
        forces = -forces
    elif how == "order":
        forces = forces[rng.permutation(len(forces))]
    elif how == "unit":
        forces, energy = forces / 51.422067, energy / 27.211386
    elif how == "noise":
        forces = forces + rng.normal(scale=0.3, size=forces.shape)
    elif how == "huge":
        forces[rng.integers(len(forces)), rng.integers(3)] += 50.0
    elif how == "axes":
        forces = forces[:, [1, 2, 0]]
    elif how == "other":  # the file of another calculation
        forces, energy = forces[::-1] * 0.7, energy + 1.3
    elif how == "energy":
        energy += 0.7 * len(forces)
    else:
        raise ValueError(how)
    return Labels(energy, forces, labels.stress)


class Unreliable(Reference):
    """EMT whose calls are counted, by frame, in a folder that all processes share.

    Parameters
    ----------
    folder : Path
        Every call leaves a file `FRAME.CALL` in it.
    plan : dict of (int, int) to str
        What happens to the frame with this number of info "number" at this call of it (from 0): "fail", "kill" (the
        process), "config", or a corruption. Calls not named go well.
    delay_s : float
    """

    name = "unreliable"

    def __init__(self, folder: Path, plan: dict[tuple[int, int], str] | None = None, *, delay_s: float = 0.0) -> None:
        self.folder, self.plan, self.delay_s = folder, plan or {}, delay_s

    def describe(self) -> dict[str, str | float | int]:
        return {"engine": self.name, "version": "1"}

    def calls(self, atoms: Atoms) -> int:
        """Calls for this frame so far."""
        return len(list(self.folder.glob(f"{frame_hash(atoms)}.*")))

    def _compute(self, atoms: Atoms) -> Labels:
        call, key = self.calls(atoms), frame_hash(atoms)
        (self.folder / f"{key}.{call}").write_text(str(os.getpid()))
        time.sleep(self.delay_s)
        number = number_of(atoms)
        what = self.plan.get((number, call), self.plan.get((number, -1), ""))
        if what == "fail":
            raise LabelError(FailureReason.NOT_CONVERGED, f"unreliable: frame {number} did not converge")
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "config":
            raise ConfigError("unreliable: cannot do this element")
        calculator = EMT()
        calculator.calculate(atoms)
        results = calculator.results
        labels = Labels(float(results["free_energy"]), np.array(results["forces"]), np.array(results["stress"]))
        return corrupted(labels, what, np.random.default_rng([number, call])) if what else labels


def numbered(atoms: Atoms, number: int) -> Atoms:
    """A copy in which the number of the frame is written into the last bits of a coordinate."""
    copy = atoms.copy()
    copy.positions[0, 0] = np.round(copy.positions[0, 0], 6) + (number + 1) * 1e-10
    return copy


def number_of(atoms: Atoms) -> int:
    """The number that `numbered` gave."""
    x = atoms.positions[0, 0]
    return round((x - np.round(x, 6)) * 1e10) - 1
