"""Rounds with the Bayesian force field on CuI, GFN1-xTB, 64 atoms, compared with a path and frames it is never trained on.

The start is 15 frames at 300 K, drawn from the harmonic crystal (force constants by the reference) and labelled; no frame has
an event. A campaign may compute 40 labels more; its walkers run on the model, at 300 to 800 K. Figures:

path       energy of the way of one Cu to the neighbouring empty site: 9 images, relaxed with the reference, in data/
forces     mean absolute error on the frames with a displaced Cu of the shared data
probes     the same with images on the way to empty sites among the labels, for a horizon of 1 ms; beside it the probes with the
           default horizon of 10 ns, and that of 1 ms without probes
labels     the same campaign with labels at random, from hot MD without uncertainty, and by the published P_U * P_E

    python benchmarks/cui_rounds.py truth            # the frames to start from: 15 labels and the force constants
    python benchmarks/cui_rounds.py run uncertainty  # one campaign
    python benchmarks/cui_rounds.py table            # all results so far
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from _common import HERE, RESULTS, CuI, Report
from _ground_truth import append_result, judge_frames, judge_path, models, n_labels, run_campaign
from ase.build import bulk

from trepid.anharmonicity import harmonic_reference, harmonic_sample, write_phonopy
from trepid.data import read_frames, write_frames
from trepid.potentials import load_potential
from trepid.reference import make_reference

RUNS = HERE.parent / "runs" / "cui"
DATA = HERE.parent / "tests" / "data_files"
N_START, START_K = 15, 300.0
EXTRA_LABELS = 40
CAMPAIGNS: dict[str, dict[str, Any]] = {
    "uncertainty": {},
    "probes": {"probes": 4, "horizon_ns": 1e6},
    "probes-10ns": {"probes": 4},
    "1ms": {"horizon_ns": 1e6},
    "random": {"kind": "random"},
    "hot": {"kind": "hot"},
    "published": {"viability": "gaussian", "batch": "bernoulli", "events": False},
}


def truth() -> None:
    """Label the frames to start from."""
    crystal = bulk("CuI", "zincblende", a=6.19, cubic=True).repeat(2)
    RUNS.mkdir(parents=True, exist_ok=True)
    write_frames(RUNS / "crystal.extxyz", crystal)
    reference = make_reference("tblite")
    primitive = bulk("CuI", "zincblende", a=6.19, cubic=True)
    harmonic = harmonic_reference(primitive, (2, 2, 2), reference, displacement_A=0.03)
    write_phonopy(harmonic, RUNS / "phonopy_params.yaml")
    frames = harmonic_sample(harmonic.in_order_of(crystal), START_K, N_START, 0)
    write_frames(RUNS / "start.extxyz", [reference.label(frame) for frame in frames])
    print(f"{N_START} frames labelled; frequencies up to {harmonic.frequencies_THz.max():.2f} THz")


def settings_of(name: str, seed: int) -> dict[str, Any]:
    """Campaign file of one entry of CAMPAIGNS."""
    return {
        "structure": str(RUNS / "crystal.extxyz"),
        "mode": "rounds",
        "reference": {"engine": "tblite"},
        "potential": {"kind": "bayesian", "pair_cutoff_A": 6.0, "triplet_cutoff_A": 5.0},
        "start": {"kind": "frames", "file": str(RUNS / "start.extxyz")},
        "walkers": {
            "temperatures_K": [300, 550, 800],
            "duration_ps": 20.0,
            "timestep_fs": 2.0,
            "engine": "lammps",
        },
        "acquisition": {"labels_per_round": 10, **CAMPAIGNS[name]},
        "rounds": {"max_rounds": 6, "max_labels": N_START + EXTRA_LABELS},
        "output": {"directory": "run"},
        "seed": seed,
    }


def run(name: str, seed: int) -> None:
    """One campaign, and the figures of its model after every round."""
    if not (RUNS / "crystal.extxyz").exists():
        raise SystemExit("the frames to start from are missing: python benchmarks/cui_rounds.py truth")
    folder = RUNS / (name if seed == 0 else f"{name}-{seed}")
    began = time.perf_counter()
    directory = run_campaign(settings_of(name, seed), folder)
    hours = (time.perf_counter() - began) / 3600
    path, data = read_frames(HERE / "data" / "cui_gfn1_path.extxyz"), CuI.read(DATA)
    files = models(directory)
    for number, file in enumerate(files):
        model = load_potential(file)
        judged = judge_path(model, path)
        last = number == len(files) - 1
        record = {
            "name": f"{name}, seed {seed}, round {number}",
            "labels": n_labels(directory) if last else model.n_frames,
            "hours": hours if last else None,
            "path error eV": judged.largest_error,
            "path std there eV": float(judged.std[np.argmax(np.abs(judged.model - judged.truth))]),
            "path top eV": judged.top[1],
            "truth eV": judged.top[0],
            "MAE displaced Cu meV/A": 1000 * judge_frames(model, data.hops).mae,
            "MAE crystal meV/A": 1000 * judge_frames(model, data.crystal).mae,
        }
        append_result(RESULTS / "cui_rounds_rows.json", record)
        print(json.dumps(record))


def table() -> None:
    """All results so far."""
    report = Report("cui_rounds")
    rows = json.loads((RESULTS / "cui_rounds_rows.json").read_text())
    report.table("CuI, GFN1-xTB, 15 frames at 300 K and at most 40 labels", rows)
    report.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("truth", "run", "table"))
    parser.add_argument("name", nargs="?", choices=tuple(CAMPAIGNS), help="campaign to run")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.part == "run":
        if options.name is None:
            parser.error(f"run needs a name: {', '.join(CAMPAIGNS)}")
        run(options.name, options.seed)
    else:
        {"truth": truth, "table": table}[options.part]()


if __name__ == "__main__":
    main()
