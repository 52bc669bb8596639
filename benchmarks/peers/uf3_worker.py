"""Worker for UF3 (package uf3): pairs and triplets on cubic B-splines, regularisation by cross-validation on training frames."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
from peer_worker import ENERGY_KEY, FORCES_KEY, Job, frames_of, of_calculator, work
from uf3.data import composition
from uf3.forcefield.calculator import UFCalculator
from uf3.regression import least_squares
from uf3.representation import bspline, process

MODEL = "model.json"
RIDGE_1B = 1e-4
"""Strength for the energies of the species, which frames of one composition do not determine; this release squares it, and the
square of its default, 1e-8, is lost in rounding."""


def basis(job: Job) -> bspline.BSplineBasis:
    """Splines with the package's resolution; cutoffs of the job."""
    s = job.settings
    system = composition.ChemicalSystem(element_list=list(job.species), degree=3)
    pair, trio = float(s["pair_cutoff_A"]), float(s["triplet_cutoff_A"])
    return bspline.BSplineBasis(
        system,
        r_min_map={p: float(s["r_min_A"]) for p in system.interactions_map[2]}
        | {t: [float(s["r_min_A"])] * 3 for t in system.interactions_map[3]},
        r_max_map=dict.fromkeys(system.interactions_map[2], pair)
        | {t: [trio, trio, 2 * trio] for t in system.interactions_map[3]},
        resolution_map={p: int(s["n_pair"]) for p in system.interactions_map[2]}
        | {t: [int(s["n_triplet"])] * 2 + [2 * int(s["n_triplet"])] for t in system.interactions_map[3]},
    )


def fit(job: Job) -> None:
    """Least squares; the strengths of the regularisation by cross-validation."""
    splines = basis(job)
    frames = frames_of("train.extxyz")
    rows = []
    for atoms in frames:
        forces = atoms.arrays[FORCES_KEY]
        rows.append(
            {
                "geometry": atoms,
                "energy": float(atoms.info[ENERGY_KEY]),
                "size": len(atoms),
                "fx": forces[:, 0],
                "fy": forces[:, 1],
                "fz": forces[:, 2],
            }
        )
    table = pd.DataFrame(rows, index=[f"frame_{k}" for k in range(len(rows))])
    features = process.BasisFeaturizer(splines).evaluate(table, progress="none")
    n_elements = len(job.species)
    parts = {
        name: least_squares.dataframe_to_tuples(features.loc[[name]], n_elements=n_elements, energy_key="energy")
        for name in table.index
    }
    grid = list(itertools.product(job.settings["ridge"], job.settings["curvature"]))
    errors = [_cross_validated(splines, parts, ridge, curvature, job) for ridge, curvature in grid]
    if not np.isfinite(errors).any():
        raise RuntimeError("the equations are singular for every strength of the regularisation")
    ridge, curvature = grid[int(np.argmin(errors))]
    model = _fitted(splines, list(parts.values()), ridge, curvature, job)
    model.to_json(MODEL)
    Path("report.json").write_text(json.dumps({"ridge": ridge, "curvature": curvature}), encoding="utf-8")


def _fitted(splines, parts, ridge: float, curvature: float, job: Job) -> least_squares.WeightedLinearModel:
    regularizer = splines.get_regularization_matrix(
        ridge_map={1: RIDGE_1B, 2: ridge, 3: ridge}, curvature_map={1: 0.0, 2: curvature, 3: curvature}
    )
    model = least_squares.WeightedLinearModel(splines, regularizer=regularizer)
    x_e, y_e, x_f, y_f = (np.concatenate([part[k] for part in parts]) for k in range(4))
    model.fit(x_e, y_e, x_f, y_f, weight=float(job.settings["energy_weight"]))
    return model


def _cross_validated(splines, parts, ridge: float, curvature: float, job: Job) -> float:
    """Mean squared force error over folds of whole frames, (eV/A)^2; infinite where the equations are singular."""
    n_folds = int(job.settings["n_folds"])
    values, total, count = list(parts.values()), 0.0, 0
    for fold in range(n_folds):
        held_out = values[fold::n_folds]
        kept = [part for k, part in enumerate(values) if k % n_folds != fold]
        try:
            model = _fitted(splines, kept, ridge, curvature, job)
        except np.linalg.LinAlgError:
            return np.inf
        for part in held_out:
            error = model.predict(part[2]) - part[3]
            total += float(error @ error)
            count += error.size
    return total / count


def calculator(job: Job) -> UFCalculator:
    """The package's own calculator for ASE."""
    return UFCalculator(least_squares.WeightedLinearModel.from_json(MODEL))


if __name__ == "__main__":
    work(fit, lambda job: of_calculator(calculator(job)), calculator)
