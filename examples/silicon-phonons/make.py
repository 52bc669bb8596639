"""Silicon: a model of six frames labelled by the Stillinger-Weber potential, the crystal, and the truth as a file."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from ase.build import bulk

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))

from phonons import SILICON_A, silicon_commands, silicon_frames, silicon_truth  # noqa: E402
from trepid import BayesianForceField  # noqa: E402
from trepid.data import write_frames  # noqa: E402


def main() -> None:
    """Write the files."""
    truth = silicon_truth()
    model = BayesianForceField(species=["Si"], pair_cutoff=5.0, triplet_cutoff=4.0)
    model.fit(silicon_frames(truth, 6, 1))
    truth.close()
    model.save(HERE / "si.trepid")
    write_frames(HERE / "crystal.extxyz", [bulk("Si", cubic=True, a=SILICON_A)])
    settings = {"reference": {"engine": "lammps", "commands": silicon_commands(), "atom_types": {"Si": 1}}}
    (HERE / "sw.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))


if __name__ == "__main__":
    main()
