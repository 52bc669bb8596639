"""Worker for GAP (package quippy-ase): pairs and SOAP, fitted by its program gap_fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from peer_worker import ENERGY_KEY, FORCES_KEY, Job, Predicted, work
from quippy.potential import Potential

MODEL = "gap.xml"


def fit(job: Job) -> None:
    """Run gap_fit."""
    s = job.settings
    pairs = (
        f"distance_2b cutoff={s['pair_cutoff_A']} covariance_type=ard_se delta={s['pair_delta']} theta_uniform=1.0 "
        f"sparse_method=uniform n_sparse={s['n_sparse_pair']} add_species=T"
    )
    soap = (
        f"soap l_max={s['l_max']} n_max={s['n_max']} cutoff={s['soap_cutoff_A']} cutoff_transition_width=0.5 atom_sigma=0.5 "
        f"zeta=4 delta={s['soap_delta']} covariance_type=dot_product sparse_method=cur_points n_sparse={s['n_sparse']} "
        "add_species=T"
    )
    command = [
        str(Path(sys.executable).with_name("gap_fit")),
        "atoms_filename=train.extxyz",
        f"gp_file={MODEL}",
        f"gap={{{pairs} : {soap}}}",
        f"default_sigma={{{s['sigma_energy']} {s['sigma_force']} 0 0}}",
        f"energy_parameter_name={ENERGY_KEY}",
        f"force_parameter_name={FORCES_KEY}",
        "virial_parameter_name=none",
        "e0_method=average",
        "do_copy_at_file=F",
        "sparse_separate_file=T",
        f"rnd_seed={job.seed + 1}",
    ]
    subprocess.run(command, check=True)


def predictor(job: Job) -> Callable[[Atoms], Predicted]:
    """Forces, and the local variance of the Gaussian process (of site energies) as rank."""
    potential = Potential(param_filename=MODEL)

    def predict(atoms: Atoms) -> Predicted:
        potential.calculate(atoms, properties=["energy", "forces"], calc_args="local_gap_variance")
        return Predicted(
            energy=float(potential.results["energy"]),
            forces=np.array(potential.results["forces"]),
            rank=np.array(potential.extra_results["atoms"]["local_gap_variance"]),
        )

    return predict


def calculator(job: Job) -> Potential:
    """The mean alone."""
    return Potential(param_filename=MODEL)


if __name__ == "__main__":
    work(fit, predictor, calculator)
