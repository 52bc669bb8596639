"""The toy: zincblende AgI with a pair potential, written as LAMMPS tables; and fifteen frames of it at 400 K, without any event.

Writes the tables, crystal.extxyz, train.extxyz and reference.yaml into this folder. The potential is that of
benchmarks/_toy.py: Parrinello-Rahman-Vashishta form, damped charges of +-0.6 e.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))

from _toy import toy_commands, toy_crystal, toy_md  # noqa: E402

from trepid.data import write_frames  # noqa: E402


def main() -> None:
    """Write the files."""
    crystal = toy_crystal(2)
    commands = toy_commands(HERE)
    write_frames(HERE / "crystal.extxyz", [crystal])
    run = toy_md(commands, crystal, temperature_K=400, duration_ps=12, sample_every=50, seed=11)
    calm = np.flatnonzero(~run.event)
    chosen = calm[np.linspace(0, len(calm) - 1, 15).round().astype(int)]
    write_frames(HERE / "train.extxyz", [run.frame(int(k)) for k in chosen])
    settings = {"reference": {"engine": "lammps", "commands": commands, "atom_types": {"Ag": 1, "I": 2}}}
    (HERE / "reference.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    print(f"{len(chosen)} frames without an event, of {len(run.times_ps)}")


if __name__ == "__main__":
    main()
