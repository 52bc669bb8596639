"""The energy of a hop and its error bar, on variants of the AgI-like toy: before an event was seen, and after learning.

Each variant has its own lattice constant and repulsions. A Bayesian force field is trained on 15 event-free frames at 400 K, and
another learns on the fly from scratch (400 K, then 600 K). Both are held against the path of one Ag to the neighbouring empty
site, relaxed with the reference: largest error of the energy relative to the first image, and there the error in units of the
announced standard deviation of this energy difference.

Trajectories are chaotic: another processor gives other frames from the same seed. One draw of 15 frames says little about the
error before an event was seen, so every variant has several, each from a trajectory of its own.

    python benchmarks/agi_variants.py [NAME ...] [--draws N]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from _common import HERE, Report  # first: it sets one thread, before BLAS is loaded

# isort: split

from _ground_truth import n_labels, run_campaign
from _toy import TIMESTEP_FS, toy_commands, toy_crystal, toy_md
from agi_rounds import N_POOR, START_K, event_free, path_images, spread
from ase import Atoms

from trepid.data import write_frames
from trepid.potentials.bayesian import BayesianForceField
from trepid.reference import make_reference

RUNS = HERE.parent / "runs" / "agi-variants"
CUTOFFS = {"pair_cutoff": 8.0, "triplet_cutoff": 5.5}
INTERVAL_95 = 1.96
SEED = 11
"""Of the first trajectory of a variant."""


@dataclass(frozen=True)
class Variant:
    """One toy: its lattice constant (A) and factors on the repulsions of Ag-I and I-I."""

    name: str
    lattice_A: float = 6.5
    stiffness: float = 1.0
    iodine_stiffness: float = 1.0


VARIANTS = (
    Variant("toy"),
    Variant("short", lattice_A=6.4),
    Variant("long", lattice_A=6.6),
    Variant("stiff", stiffness=1.1),
    Variant("iodine", iodine_stiffness=1.1),
)


@dataclass(frozen=True)
class PathFigures:
    """A model against the path: energies relative to the first image, eV.

    Attributes
    ----------
    top : float
        Largest energy of the reference.
    error, std : float
        Largest error, and the announced standard deviation at that image.
    inside : float
        Share of the images whose error is inside the announced 95 % interval.
    """

    top: float
    error: float
    std: float
    inside: float


def judge(model: BayesianForceField, images: list[Atoms]) -> PathFigures:
    """Largest error on the path and its bar."""
    truth = np.array([a.info["REF_energy"] for a in images])
    energies = np.array([model.predict(a, uncertainty="none").energy for a in images])
    error = np.abs((energies - energies[0]) - (truth - truth[0]))[1:]
    std = np.array([model.energy_difference_uncertainty(a, images[0]) for a in images[1:]])
    worst = int(np.argmax(error))
    return PathFigures(
        float((truth - truth[0]).max()),
        float(error[worst]),
        float(std[worst]),
        float((error <= INTERVAL_95 * std).mean()),
    )


def naive(commands: list[str], crystal: Atoms, seed: int) -> BayesianForceField:
    """The model of event-free frames of one trajectory."""
    calm = toy_md(commands, crystal, temperature_K=START_K, duration_ps=60, sample_every=50, seed=seed)
    frames = [calm.frame(k) for k in spread(event_free(calm), N_POOR)]
    return BayesianForceField(["Ag", "I"], **CUTOFFS, n_threads=1).fit(frames)


def learn(variant: Variant, settings: dict[str, Any]) -> tuple[BayesianForceField, int]:
    """On the fly, from the crystal alone; gives the model and its number of labels."""
    folder = RUNS / variant.name
    folder.mkdir(parents=True, exist_ok=True)
    write_frames(folder / "crystal.extxyz", [toy_crystal(2, lattice_A=variant.lattice_A)])
    campaign = {
        "structure": {"file": "crystal.extxyz"},
        "reference": settings,
        "potential": {f"{name}_A": value for name, value in CUTOFFS.items()},
        "dynamics": {
            "timestep_fs": TIMESTEP_FS,
            "stages": [{"temperature_K": 400, "duration_ps": 5.0}, {"temperature_K": 600, "duration_ps": 15.0}],
        },
        "learning": {"max_labels": 60},
        "output": {"directory": "run"},
    }
    run = run_campaign(campaign, folder)
    return BayesianForceField.load(run / "model.trepid", n_threads=1), n_labels(run)


def main() -> None:
    names = [variant.name for variant in VARIANTS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"of {', '.join(names)}; default: all")
    parser.add_argument(
        "--draws", type=int, default=4, metavar="N", help="sets of naive frames of each variant [%(default)d]"
    )
    parser.add_argument("--naive", action="store_true", help="leave out the campaigns")
    arguments = parser.parse_args()
    chosen = arguments.variants or names
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"{', '.join(unknown)}: there are {', '.join(names)}")
    report, rows = Report("agi_variants"), []
    for variant in VARIANTS:
        if variant.name not in chosen:
            continue
        crystal = toy_crystal(2, lattice_A=variant.lattice_A)
        commands = toy_commands(RUNS / variant.name, variant.stiffness, iodine_stiffness=variant.iodine_stiffness)
        settings = {"engine": "lammps", "commands": commands, "atom_types": {"Ag": 1, "I": 2}}
        images = path_images(crystal, make_reference(**settings), lattice_A=variant.lattice_A)
        models = [(f"naive, draw {k + 1}", naive(commands, crystal, SEED + k), N_POOR) for k in range(arguments.draws)]
        if not arguments.naive:
            models.append(("learnt on the fly", *learn(variant, settings)))
        for name, model, n in models:
            found = judge(model, images)
            rows.append(
                {
                    "variant": variant.name,
                    "model": name,
                    "labels": n,
                    "highest energy, eV": found.top,
                    "largest error, eV": found.error,
                    "its std, eV": found.std,
                    "images inside": found.inside,
                }
            )
            print(rows[-1], flush=True)
    report.table("path of a hop", rows)
    report.write()


if __name__ == "__main__":
    main()
