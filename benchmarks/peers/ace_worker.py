"""Worker for ace-jax: its command `aj fit`, and its ASE calculator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ase import Atoms
from peer_worker import ENERGY_KEY, FORCES_KEY, Z_95, Job, Predicted, of_calculator, work

jax.config.update("jax_enable_x64", True)

from ace_jax import ACECalculator

FOLDER = Path("fit")


def fit(job: Job) -> None:
    """Run `aj fit` as its quickstart does."""
    s = job.settings
    command = [str(Path(sys.executable).with_name("aj")), "fit", "--train", "train.extxyz"]
    command += ["--order", str(s["order"]), "--max-degree", str(s["max_degree"])]
    command += ["--energy-key", ENERGY_KEY, "--force-key", FORCES_KEY, "--e0", "lsq", "--opt", "lbfgs"]
    command += ["--uq", s["uq"], "--seed", str(job.seed), "--out", str(FOLDER)]
    subprocess.run(command, check=True)


def predictor(job: Job) -> Callable[[Atoms], Predicted]:
    """With `--uq ard`: from the 3x3 covariance of the force on an atom, scaled as the fit calibrated it."""
    if job.settings["uq"] != "ard":
        return of_calculator(ACECalculator(str(FOLDER / "model.npz")))
    calc = ACECalculator(str(FOLDER / "model.npz"), posterior=str(FOLDER / "posterior.npz"))

    def predict(atoms: Atoms) -> Predicted:
        atoms.calc = calc
        energy, forces = float(atoms.get_potential_energy()), np.array(atoms.get_forces())
        covariance = np.asarray(calc.get_property("forces_cov", atoms))
        std = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        return Predicted(energy, forces, half_width=Z_95 * std, rank=np.asarray(calc.get_property("forces_std", atoms)))

    return predict


def calculator(job: Job) -> ACECalculator:
    """The mean alone."""
    return ACECalculator(str(FOLDER / "model.npz"))


if __name__ == "__main__":
    work(fit, predictor, calculator)
