"""The AgI-like toy at 400 K: training frames of two models, and what they and the truth do in molecular dynamics.

Writes into this folder crystal.extxyz, naive.trepid (three frames of the harmonic crystal at 100 K), repaired.trepid (24 frames of
molecular dynamics at 600 K more), phonopy_params.yaml of the truth, and two trajectories at constant energy of each of the three.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))

from _toy import toy_commands, toy_crystal  # noqa: E402

from phonons import SUPERCELL, toy_model_run, toy_models, toy_truth_run  # noqa: E402
from trepid.anharmonicity import harmonic_reference, write_phonopy  # noqa: E402
from trepid.data import write_frames  # noqa: E402
from trepid.reference import make_reference  # noqa: E402

TEMPERATURE_K, DURATION_PS = 400.0, 24.0


def main() -> None:
    """Write the files."""
    commands = toy_commands(HERE)
    write_frames(HERE / "crystal.extxyz", [toy_crystal(1)])
    truth = make_reference("lammps", commands=commands, atom_types={"Ag": 1, "I": 2})
    harmonic = harmonic_reference(toy_crystal(1), SUPERCELL, truth)
    write_phonopy(harmonic, HERE / "phonopy_params.yaml")
    naive, repaired = toy_models(commands, truth, harmonic)
    truth.close()
    how = {"temperature_K": TEMPERATURE_K, "duration_ps": DURATION_PS}
    for seed in (1, 2):
        toy_truth_run(commands, HERE / f"truth-{seed}.lammpstrj", **how, seed=seed)
        for name, model in (("naive", naive), ("repaired", repaired)):
            toy_model_run(model, HERE / f"{name}-{seed}.extxyz", **how, seed=10 + seed)
    naive.save(HERE / "naive.trepid")
    repaired.save(HERE / "repaired.trepid")


if __name__ == "__main__":
    main()
