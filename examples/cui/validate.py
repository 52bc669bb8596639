"""Test the model of the demo on frames it is not trained on: a new 600 K run on it, labelled by GFN1-xTB.

Run after `trepid learn examples/cui/campaign.yaml`; the labelled frames go to run/validation.extxyz.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from trepid.config import load_campaign
from trepid.data.frames import read_structure, write_frames
from trepid.dynamics.ase_engine import ASEDriver
from trepid.dynamics.driver import MDParameters
from trepid.errors import TrepidError
from trepid.evaluation import compare, corrected, summarise
from trepid.potentials import load_potential
from trepid.reference import make_reference
from trepid.runs.reading import read_run

HERE = Path(__file__).resolve().parent
TEMPERATURE_K = 600.0
TIMESTEP_FS = 2.0
EQUILIBRATION_PS = 2.0
SPACING_PS = 1.0
N_FRAMES = 10
SEED = 20_000
"""Not the seed of the campaign: these frames come from another trajectory."""


def main() -> int:
    """Sample, label, compare; print the figures."""
    campaign = load_campaign(HERE / "campaign.yaml")
    run = campaign.output.directory
    model = load_potential(run / "model.trepid")
    atoms = read_structure(campaign.structure.file).repeat((2, 2, 2))
    parameters = MDParameters(TEMPERATURE_K, TIMESTEP_FS)
    driver = ASEDriver.of_potential(atoms, model, parameters, rng=np.random.default_rng(SEED))
    reference = make_reference(campaign.reference.engine, **campaign.reference.arguments())
    driver.step(round(EQUILIBRATION_PS * 1000 / TIMESTEP_FS))
    frames = []
    for k in range(N_FRAMES):
        driver.step(round(SPACING_PS * 1000 / TIMESTEP_FS))
        frames.append(reference.label(atoms))
        print(f"labelled {k + 1} of {N_FRAMES} fresh frames", file=sys.stderr)
    write_frames(run / "validation.extxyz", frames)
    comparison = compare(model, frames)
    figures, intervals = summarise(comparison), corrected(comparison, read_run(run).factors_now())
    print(f"labels used in training: {model.n_frames}")
    print(
        f"force MAE on {figures.n_frames} fresh frames of a new {TEMPERATURE_K:.0f} K run, labelled by GFN1-xTB: "
        f"{1000 * figures.forces_mae:.1f} meV/A (forces {1000 * figures.forces_rms:.0f} meV/A rms)"
    )
    if figures.forces_coverage_95 is not None:
        print(
            f"inside the 95 % interval: {100 * figures.forces_coverage_95:.1f} % of force components, "
            f"{100 * intervals.coverage_95:.1f} % with the factors from the last labels of the campaign "
            f"({', '.join(f'{name} {factor.value:.2f}' for name, factor in intervals.factors.items())})"
        )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TrepidError as error:
        sys.exit(f"error: {error}")
