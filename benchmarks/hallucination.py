"""Hallucinated events: a crystal without hops, a model of few labels with hops, and their number after learning.

The AgI-like toy with stiffer iodine (H of I-I times 1.3) has no hop in three runs of 500 ps at 400 K: an Ag may move by
1.7 A, but returns at once. (Raising H of Ag-I instead does not stop the hops at the fixed lattice constant: 0 to 3 Frenkel
pairs per 500 ps at 1.0, 1.2 and 1.3 times.) A hop is an event that `trepid.events` finds and that is no excursion.

For every seed: 15 frames of a short run at 400 K, the model trained on them, 200 ps on it, the rounds, 200 ps again.

    python benchmarks/hallucination.py truth
    python benchmarks/hallucination.py run bayesian --seed 0
    python benchmarks/hallucination.py table
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

import numpy as np
from _common import HERE, RESULTS, Report
from _ground_truth import Unstable, append_result, models, n_labels, run_campaign, simulate
from _toy import TIMESTEP_FS, toy_commands, toy_crystal, toy_md
from ase import Atoms

from trepid.data import write_frames
from trepid.events.detection import EventKind, detect_events
from trepid.events.sites import Sites
from trepid.potentials import Potential, load_potential

RUNS = HERE.parent / "runs" / "hallucination"
IODINE_STIFFNESS = 1.3
TEMPERATURE_K = 400.0
N_START, START_PS = 15, 3.0
TRUTH_PS, JUDGED_PS = 500.0, 200.0
SAMPLE_EVERY = 5
POTENTIALS: dict[str, dict[str, Any]] = {
    "bayesian": {"kind": "bayesian", "pair_cutoff_A": 8.0, "triplet_cutoff_A": 5.5},
    "nequip": {"kind": "committee", "backend": "nequip", "members": 3},
}


def commands() -> list[str]:
    return toy_commands(RUNS / "truth", iodine_stiffness=IODINE_STIFFNESS)


def hops_of(positions: np.ndarray, crystal: Atoms) -> Counter[str]:
    """Events of a trajectory by kind."""
    times = np.arange(1, len(positions) + 1) * SAMPLE_EVERY * TIMESTEP_FS
    events = detect_events(positions, Sites.of(crystal), times_fs=times, cells=crystal.cell.array)
    return Counter(event.kind.value for event in events)


def n_hops(events: Counter[str]) -> int:
    """Events that are no excursions."""
    return sum(events.values()) - events[EventKind.EXCURSION.value]


def truth() -> None:
    """Check that the reference has no hops."""
    crystal = toy_crystal(2)
    for seed in (3, 4, 5):
        run = toy_md(commands(), crystal, temperature_K=TEMPERATURE_K, duration_ps=TRUTH_PS, seed=seed)
        events = hops_of(crystal.positions + run.displacements, crystal)
        print(f"reference, seed {seed}: {n_hops(events)} hops in {TRUTH_PS:g} ps; {dict(events)}")


def judge(potential: Potential, crystal: Atoms, seed: int) -> str | int:
    """Hops in a simulation on the model, or how it ended."""
    try:
        positions = simulate(
            potential,
            crystal,
            temperature_K=TEMPERATURE_K,
            timestep_fs=TIMESTEP_FS,
            duration_ps=JUDGED_PS,
            sample_every=SAMPLE_EVERY,
            seed=[seed, 99],
        )
    except Unstable as end:
        return f"{n_hops(hops_of(end.positions, crystal))}, then unstable {end}"
    return n_hops(hops_of(positions, crystal))


def run(name: str, seed: int, *, start_only: bool) -> None:
    """One seed: the start, the rounds, and hops on the model before and after."""
    crystal = toy_crystal(2)
    folder = RUNS / f"{name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    start = toy_md(
        commands(), crystal, temperature_K=TEMPERATURE_K, duration_ps=START_PS, sample_every=10, seed=100 + seed
    )
    picked = np.linspace(0, len(start.times_ps) - 1, N_START).round().astype(int)
    write_frames(folder / "start.extxyz", [start.frame(k) for k in picked])
    write_frames(folder / "crystal.extxyz", crystal)
    settings = {
        "structure": str(folder / "crystal.extxyz"),
        "mode": "rounds",
        "reference": {"engine": "lammps", "commands": commands(), "atom_types": {"Ag": 1, "I": 2}},
        "potential": POTENTIALS[name],
        "start": {"kind": "frames", "file": str(folder / "start.extxyz")},
        "walkers": {
            "temperatures_K": [400, 500],
            "duration_ps": 20.0,
            "timestep_fs": TIMESTEP_FS,
            "check_every": 10,
            "walk_on": "mean" if name == "bayesian" else "member",
            "engine": "lammps" if name == "bayesian" else "ase",
        },
        "acquisition": {"labels_per_round": 10},
        "rounds": {"max_rounds": 4, "max_labels": N_START + (0 if start_only else 40)},
        "seed": seed,
        "output": {"directory": "run"},
    }
    directory = run_campaign(settings, folder)
    files = models(directory)
    record = {
        "name": f"{name}, seed {seed}",
        "start frames": N_START,
        "labels": n_labels(directory),
        "hops before": judge(load_potential(files[0]), crystal, seed),
        "hops after": None if start_only else judge(load_potential(files[-1]), crystal, seed),
        "time ps": JUDGED_PS,
    }
    append_result(RESULTS / "hallucination_rows.json", record)
    print(record)


def table() -> None:
    """All results so far."""
    report = Report("hallucination")
    rows = json.loads((RESULTS / "hallucination_rows.json").read_text())
    report.table("Stiff AgI-like toy at 400 K; the reference has no hop", rows)
    report.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("truth", "run", "table"))
    parser.add_argument("name", nargs="?", choices=tuple(POTENTIALS), help="potential to learn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--start-only", action="store_true", help="evaluate the model of the start only, without rounds"
    )
    options = parser.parse_args()
    if options.part == "run":
        if options.name is None:
            parser.error(f"run needs a name: {', '.join(POTENTIALS)}")
        run(options.name, options.seed, start_only=options.start_only)
    else:
        {"truth": truth, "table": table}[options.part]()


if __name__ == "__main__":
    main()
