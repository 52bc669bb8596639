"""Three potentials, one campaign: labels, hours and force errors side by side.

`compare.py` makes the test frames (20 frames of harmonic sampling at 400 K, labelled), runs the campaigns that have not
run, and prints a table. `compare.py nequip so3krates` runs only these.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from trepid.anharmonicity import harmonic_reference, harmonic_sample
from trepid.campaign.start import build_crystal
from trepid.config import load_campaign
from trepid.data import read_structure, write_frames
from trepid.reference import make_reference

HERE = Path(__file__).resolve().parent
KINDS = ("bayesian", "nequip", "so3krates")
N_TEST, TEST_K = 20, 400.0


def make_test_frames() -> None:
    """Thermal frames of the harmonic crystal, from a seed that no campaign uses."""
    if (HERE / "test.extxyz").exists():
        return
    (HERE / "test.extxyz").touch()  # the campaign files name it, and are read below
    try:
        crystal = build_crystal(load_campaign(HERE / "bayesian.yaml").structure)
        reference = make_reference("tblite")
        supercell = [[1, 1, 0], [0, 1, 1], [1, 0, 1]]
        harmonic = harmonic_reference(read_structure(HERE / "cui.extxyz"), supercell, reference)
        frames = harmonic_sample(harmonic.in_order_of(crystal), TEST_K, N_TEST, 12345)
        write_frames(HERE / "test.extxyz", [reference.label(frame) for frame in frames])
    except BaseException:
        (HERE / "test.extxyz").unlink()
        raise


def run(kind: str) -> float:
    """Run one campaign, or continue it; gives the wall time of this start, h."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "trepid.cli.main", "learn", str(HERE / f"{kind}.yaml")]
    outcome = subprocess.run(command, cwd=HERE)
    if outcome.returncode:
        raise SystemExit(f"{kind}: trepid learn ended with {outcome.returncode}")
    subprocess.run([sys.executable, "-m", "trepid.cli.main", "report", str(HERE / f"run-{kind}")], check=True)
    return (time.perf_counter() - began) / 3600


def main() -> None:
    """Run the campaigns and print the table."""
    kinds = sys.argv[1:] or list(KINDS)
    make_test_frames()
    hours = {kind: run(kind) for kind in kinds}
    print(f"{'potential':10} {'labels':>6} {'hours':>6}   force MAE on the test frames after each round, meV/A")
    for kind in kinds:
        records = [json.loads(p.read_text()) for p in sorted((HERE / f"run-{kind}" / "rounds").glob("*/round.json"))]
        errors = "  ".join(f"{1000 * record['test']['forces_mae']:6.1f}" for record in records)
        print(f"{kind:10} {records[-1]['n_labels']:6d} {hours[kind]:6.2f}   {errors}")


if __name__ == "__main__":
    main()
