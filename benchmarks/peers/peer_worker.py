"""What every worker of `benchmarks/peers.py` shares: the files that it reads and writes, and the clock.

A worker runs under the Python of its peer, where trepid is not installed, so this module needs only numpy and ase. It is
called as `WORKER.py VERB` in a folder that holds

    job.json            species, seed and the settings of the peer
    train.extxyz        frames with REF_energy (eV) and REF_forces (eV/A)
    test-*.extxyz       the same, one file per stratum
    moving.extxyz       successive frames of a crystal in motion, without labels

and writes there: `fit` a model, `predict` one predicted-STRATUM.npz per test file, `time` times.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import read
from numpy.typing import NDArray

ENERGY_KEY, FORCES_KEY = "REF_energy", "REF_forces"
Z_95 = 1.959963984540054
"""Half width of the central 95 % interval of a normal distribution, in standard deviations."""
WARM_UP = 2
"""First calls of a timing, which build neighbour lists and compile."""
LONGEST_S = 8.0
"""CPU time after which a timing takes no further frames, s."""


@dataclass(frozen=True)
class Job:
    """Settings of a peer for one set of frames; files are in the current folder."""

    species: tuple[str, ...]
    seed: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Predicted:
    """What a model says about one frame.

    Attributes
    ----------
    energy : float
        eV.
    forces : (n_atoms, 3) array
        eV/A.
    half_width : (n_atoms, 3) array or None
        Half width of the 95 % interval of the forces, eV/A; None if the model states none.
    rank : (n_atoms,) array or None
        Uncertainty of the atoms in any unit; only its order counts.
    """

    energy: float
    forces: NDArray[np.float64]
    half_width: NDArray[np.float64] | None = None
    rank: NDArray[np.float64] | None = None


def of_calculator(calculator: Calculator) -> Callable[[Atoms], Predicted]:
    """Predictions of an ASE calculator that has no uncertainty."""

    def predict(atoms: Atoms) -> Predicted:
        atoms.calc = calculator
        return Predicted(float(atoms.get_potential_energy()), np.array(atoms.get_forces()))

    return predict


def work(
    fit: Callable[[Job], None],
    predictor: Callable[[Job], Callable[[Atoms], Predicted]],
    calculator: Callable[[Job], Calculator],
) -> None:
    """Do what the command line says.

    Parameters
    ----------
    fit : callable
        Trains on train.extxyz and writes the model into the current folder.
    predictor : callable
        Loads the model and gives its predictions, with uncertainties.
    calculator : callable
        Loads the model as an ASE calculator of energies and forces alone.
    """
    content = json.loads(Path("job.json").read_text(encoding="utf-8"))
    job = Job(tuple(content["species"]), int(content["seed"]), content["settings"])
    verbs = {
        "fit": lambda: fit(job),
        "predict": lambda: _predict(predictor(job)),
        "time": lambda: _time(calculator(job)),
    }
    if len(sys.argv) != 2 or sys.argv[1] not in verbs:
        raise SystemExit(f"usage: {Path(sys.argv[0]).name} {'|'.join(verbs)}")
    verbs[sys.argv[1]]()


def frames_of(path: str | Path) -> list[Atoms]:
    """All frames of an extended XYZ file."""
    frames = read(path, format="extxyz", index=":")
    return frames if isinstance(frames, list) else [frames]


def _predict(predict: Callable[[Atoms], Predicted]) -> None:
    for path in sorted(Path().glob("test-*.extxyz")):
        all_of_them = []
        for labelled in frames_of(path):
            atoms = Atoms(labelled.numbers, labelled.positions, cell=labelled.cell[:], pbc=labelled.pbc)
            all_of_them.append(predict(atoms))
        arrays = {
            "energies": np.array([p.energy for p in all_of_them]),
            "forces": np.concatenate([p.forces for p in all_of_them]),
        }
        widths = [p.half_width for p in all_of_them if p.half_width is not None]
        ranks = [p.rank for p in all_of_them if p.rank is not None]
        if widths:
            arrays["half_width"] = np.concatenate(widths)
        if ranks:
            arrays["rank"] = np.concatenate(ranks)
        target = path.with_name(path.name.replace("test-", "predicted-", 1)).with_suffix(".npz")
        with open(target, "wb") as stream:
            np.savez(stream, **arrays)


def _time(calculator: Calculator) -> None:
    """CPU microseconds per atom of each call on successive frames, on one core."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    frames = frames_of("moving.extxyz")
    moving, per_call = frames[0], []
    moving.calc = calculator
    start = time.process_time()
    for k, frame in enumerate(frames):
        moving.positions = frame.positions
        began = time.process_time()
        moving.get_potential_energy()
        moving.get_forces()
        ended = time.process_time()
        if k >= WARM_UP:
            per_call.append(1e6 * (ended - began) / len(moving))
        if per_call and ended - start > LONGEST_S:
            break
    Path("times.json").write_text(json.dumps({"us_per_atom": per_call, "n_atoms": len(moving)}), encoding="utf-8")
