"""A worker as a user may write one: energies linear in three pair functions, fitted by least squares in numpy.

Options make it misbehave: see `misbehave`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase.neighborlist import neighbor_list
from worker_server import Evaluation, TrainRequest, serve

CUTOFF = 4.5
DECAYS = (1.0, 1.7, 2.6)


def features(atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energy (k,), force (k, n, 3) and strain (k, 6) of the pair functions exp(-c r) (1 - r / cutoff)^2."""
    i, r, d = neighbor_list("idD", atoms, CUTOFF)
    energy, forces, strain = [], [], []
    for c in DECAYS:
        decay, tail = np.exp(-c * r), 1 - r / CUTOFF
        slope = decay * (-c * tail**2 - 2 * tail / CUTOFF)
        pull = (slope / r)[:, None] * d
        energy.append(0.5 * (decay * tail**2).sum())
        forces.append(np.array([np.bincount(i, pull[:, k], len(atoms)) for k in range(3)]).T)
        tensor = 0.5 * d.T @ pull
        strain.append(tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])
    return np.array(energy), np.array(forces), np.array(strain)


def misbehave(options: dict[str, Any], verb: str) -> None:
    """`die`: verb in which to die, `times`: as often as this file holds."""
    if options.get("die") != verb:
        return
    counter = Path(options["times"])
    left = int(counter.read_text())
    if left:
        counter.write_text(str(left - 1))
        print("the toy is about to exit as requested", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(7)


class Toy:
    def __init__(self, path: Path) -> None:
        saved = json.loads(path.read_text())
        self.shift, self.weights, self.options = saved["shift"], np.array(saved["weights"]), saved["options"]

    def evaluate(self, atoms, *, stress: bool) -> Evaluation:
        misbehave(self.options, "evaluate")
        print("a stray print must not disturb the channel")  # noqa: T201
        energy, forces, strain = features(atoms)
        if self.options.get("wrong_shape"):
            return Evaluation(0.0, np.zeros((1, 3)))
        total = float(energy @ self.weights) + self.shift * len(atoms)
        tensor = np.tensordot(self.weights, strain, 1) / atoms.get_volume() if stress else None
        return Evaluation(total, np.tensordot(self.weights, forces, 1), tensor, np.full(len(atoms), total / len(atoms)))


def train(request: TrainRequest) -> dict[str, Any]:
    options = request.settings["options"]
    misbehave(options, "train")
    if options.get("fail"):
        raise ValueError("this toy refuses to train,\nwith a message of two lines")
    rows, labels = [], []
    for atoms in request.train:
        energy, forces, _ = features(atoms)
        rows += [
            np.append(energy, len(atoms))[None],
            np.c_[forces.reshape(len(DECAYS), -1).T, np.zeros(3 * len(atoms))],
        ]
        labels += [[atoms.info["REF_energy"]], atoms.arrays["REF_forces"].ravel()]
    solution = np.linalg.lstsq(np.concatenate(rows), np.concatenate(labels), rcond=None)[0]
    noise = np.random.default_rng(request.seed).normal(size=len(solution))
    solution = solution * (1 + options.get("scatter", 0.0) * noise)
    if options.get("shift_by_seed"):
        solution[-1] += request.seed % 1000
    started = 0 if request.initial is None else json.loads(request.initial.read_text())["rounds"]
    saved = {"shift": solution[-1], "weights": solution[:-1].tolist(), "options": options, "rounds": started + 1}
    request.output.write_text(json.dumps(saved))
    return {"epochs": started + 1}


if __name__ == "__main__":
    serve("toy", "1", train, Toy)
