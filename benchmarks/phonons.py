"""Phonons and lifetimes of models against truths that are known, with their bars.

silicon    a Stillinger-Weber truth: bands of a model trained on its frames, with 95 % intervals, over several training sets
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _common import Report
from ase import Atoms
from ase.build import bulk

from trepid import BayesianForceField
from trepid.anharmonicity import harmonic_reference, harmonic_sample
from trepid.lammps.installation import find_installation
from trepid.phonons.analysis import PhononSettings, analyse_phonons
from trepid.reference import Reference, make_reference

SILICON_A = 5.431
SUPERCELL = (2, 2, 2)
ACOUSTIC_THz = 0.5
"""Relative errors are of frequencies above this: at Gamma acoustic ones are zero."""


def silicon_truth() -> Reference:
    """Stillinger-Weber silicon of the installed LAMMPS."""
    file = next(find_installation().program.parent.rglob("Si.sw"))
    return make_reference("lammps", commands=["pair_style sw", f"pair_coeff * * {file} Si"], atom_types={"Si": 1})


def silicon_frames(truth: Reference, n: int, seed: int) -> list[Atoms]:
    """Frames of 64 atoms drawn from the harmonic crystal at 300, 600 and 900 K, labelled by the truth."""
    harmonic = harmonic_reference(bulk("Si", cubic=True, a=SILICON_A), SUPERCELL, truth)
    frames = []
    for k, temperature in enumerate((300.0, 600.0, 900.0)):
        frames += harmonic_sample(harmonic, temperature, n // 3, 10 * seed + k)
    return [truth.label(frame) for frame in frames]


def silicon_row(truth: Reference, expected: Any, seed: int, n: int) -> dict[str, Any]:
    """One training set: errors of the frequencies, and how many the intervals hold."""
    model = BayesianForceField(species=["Si"], pair_cutoff=5.0, triplet_cutoff=4.0)
    model.fit(silicon_frames(truth, n, seed))
    settings = PhononSettings(supercell=SUPERCELL, posterior=16, seed=seed)
    found = analyse_phonons(model, bulk("Si", cubic=True, a=SILICON_A), settings)
    value, bar = found.bands.frequencies.value, found.bands.frequencies.bar()
    assert bar is not None
    true = expected.bands.frequencies.value
    high = true > ACOUSTIC_THz
    inside = np.abs(value - true) <= bar + 1e-6
    thermal, truly = found.mesh.thermal, expected.mesh.thermal
    k = int(np.argmin(np.abs(thermal.temperatures_K - 300.0)))
    free, heat = thermal.free_energy.bar(), thermal.heat_capacity.bar()
    assert free is not None
    assert heat is not None
    return {
        "seed": seed,
        "frames": n,
        "largest error %": 100 * float(np.abs(value / true - 1)[high].max()),
        "rms error THz": float(np.sqrt(np.mean((value - true) ** 2))),
        "mean bar THz": float(bar[high].mean()),
        "frequencies held %": 100 * float(inside[high].mean()),
        "q points held %": 100 * float(inside.all(axis=1).mean()),
        "q points held by mean %": 100 * float((inside.mean(axis=1) >= 0.5).mean()),
        "F(300 K) held": bool(abs(thermal.free_energy.value[k] - truly.free_energy.value[k]) <= free[k]),
        "Cv(300 K) held": bool(abs(thermal.heat_capacity.value[k] - truly.heat_capacity.value[k]) <= heat[k]),
    }


def silicon(report: Report, seeds: int, frames: int) -> None:
    truth = silicon_truth()
    expected = analyse_phonons(
        truth, bulk("Si", cubic=True, a=SILICON_A), PhononSettings(supercell=SUPERCELL, posterior=0)
    )
    rows = [silicon_row(truth, expected, seed, frames) for seed in range(1, seeds + 1)]
    truth.close()
    report.table(f"silicon, Stillinger-Weber truth, {frames} frames of 64 atoms; 95 % intervals of 16 draws", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("silicon",))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=15)
    options = parser.parse_args()
    report = Report(f"phonons-{options.part}")
    with tempfile.TemporaryDirectory() as folder:
        _ = Path(folder)
        silicon(report, options.seeds, options.frames)
    report.write()


if __name__ == "__main__":
    main()
