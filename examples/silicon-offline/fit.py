"""Fit a Bayesian force field to labelled frames, and compare its error with the predicted uncertainty."""

from __future__ import annotations

from pathlib import Path

from ase.io import read

from trepid import BayesianForceField
from trepid.evaluation import evaluate

HERE = Path(__file__).resolve().parent

train = read(HERE / "train.extxyz", ":")
test = read(HERE / "test.extxyz", ":")

model = BayesianForceField(species=["Si"], pair_cutoff=6.0, triplet_cutoff=6.0)
model.fit(train)

prediction = model.predict(test[0])
print(f"energy of the first test frame: {prediction.energy:.3f} +- {prediction.energy_uncertainty:.3f} eV")
print(f"force uncertainty of its most uncertain atom: {prediction.frame_uncertainty:.3f} eV/A")

figures = evaluate(model, test)
print(f"force MAE on {figures.n_frames} frames: {1000 * figures.forces_mae:.1f} meV/A")
if figures.forces_coverage_95 is not None:
    print(f"inside the 95 % interval: {100 * figures.forces_coverage_95:.0f} % of force components")
