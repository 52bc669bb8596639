"""Worker for trepid itself: the Bayesian force field with its default settings, under the Python that runs the benchmark."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from peer_worker import Z_95, Job, Predicted, frames_of, work

from trepid.potentials.bayesian import BayesianForceField

MODEL = "model.trepid"


def fit(job: Job) -> None:
    """Train with the default settings."""
    BayesianForceField(job.species, seed=job.seed, n_threads=1).fit(frames_of("train.extxyz")).save(MODEL)


def predictor(job: Job) -> Callable[[Atoms], Predicted]:
    """With the interval of `trepid evaluate`: exact uncertainty and residual noise."""
    model = BayesianForceField.load(MODEL, n_threads=1)

    def predict(atoms: Atoms) -> Predicted:
        p = model.predict(atoms)
        assert p.forces_uncertainty is not None
        std = np.hypot(p.forces_uncertainty, model.noise.of_forces(p.forces)[:, None])
        rank = np.linalg.norm(p.forces_uncertainty, axis=1)
        return Predicted(p.energy, p.forces, half_width=Z_95 * std, rank=rank)

    return predict


def calculator(job: Job) -> Calculator:
    """The mean alone."""
    return BayesianForceField.load(MODEL, n_threads=1).calculator(uncertainty="none")


if __name__ == "__main__":
    work(fit, predictor, calculator)
