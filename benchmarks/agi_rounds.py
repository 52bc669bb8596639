"""Rounds against a ground truth: the AgI-like toy as the hidden reference, a start without any event.

The start is 75 event-free frames at 400 K. A campaign may compute 60 labels more; its walkers run on the model. Figures:

path       energy of the way of one Ag to the neighbouring empty site, images relaxed once with the reference (top ~0.62 eV)
rate       onsets of "an Ag more than 1.7 A from its site" at 500 K, model against reference, with Poisson intervals
forces     mean absolute error on frames with an event over that on frames without
flagged    share of frames with an event (500 K) whose P_U exceeds 1/2, the statistics taken from event-free frames at 400 K, as
           a campaign takes them from its coldest walk; in brackets with event-free frames at 500 K instead. "site empty" is the
           share of them in which an atom has left its site, which needs no model, and that of the frames without an event

    python benchmarks/agi_rounds.py truth            # makes the data (a minute)
    python benchmarks/agi_rounds.py naive            # the Bayesian force field trained on the start only
    python benchmarks/agi_rounds.py run nequip       # one campaign; `--list` shows all
    python benchmarks/agi_rounds.py table            # all results so far
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from _common import HERE, RESULTS, Report
from _ground_truth import (
    FloatArray,
    Rate,
    Truth,
    Unstable,
    append_result,
    flagged,
    judge_frames,
    judge_path,
    models,
    n_labels,
    run_campaign,
    simulate,
)
from _toy import (
    EVENT_DISTANCE_A,
    LATTICE_CONSTANT_A,
    TIMESTEP_FS,
    Trajectory,
    toy_commands,
    toy_crystal,
    toy_md,
)
from ase import Atoms
from ase.constraints import FixAtoms
from ase.geometry import find_mic
from ase.optimize import FIRE
from numpy.typing import NDArray

from trepid.data import read_frames, write_frames
from trepid.events.sites import Sites
from trepid.potentials import Potential, load_potential
from trepid.potentials.bayesian import BayesianForceField
from trepid.reference import Reference, make_reference

RUNS = HERE.parent / "runs" / "agi"
N_START, N_POOR, START_K = 75, 15, 400
RATE_K = 500
REFERENCE_RATE_PS = 2000.0
N_IMAGES = 9
N_TEST = 40
EXTRA_LABELS = 60

NEQUIP = {
    "kind": "committee",
    "backend": "nequip",
    "members": 3,
    # Forces of the toy reach 9.5 A: a Bayesian force field is wrong by 15 meV/A with cutoffs of 5 A, and by 1.2 with 6.5 A.
    "settings": {"r_max_A": 6.5, "max_epochs": 150},
}
CAMPAIGNS: dict[str, dict[str, Any]] = {
    "nequip": {"potential": NEQUIP},
    "nequip, probes": {
        "potential": NEQUIP,
        "acquisition": {"probes": 6},
    },
    "nequip, random": {
        "potential": NEQUIP,
        "acquisition": {"kind": "random"},
    },
    "nequip, hot": {
        "potential": NEQUIP,
        "acquisition": {"kind": "hot"},
    },
    "nequip, published": {
        "potential": NEQUIP,
        "acquisition": {"viability": "gaussian", "batch": "bernoulli", "events": False},
    },
    "bayesian committee": {
        "potential": {"kind": "committee", "backend": "bayesian", "members": 5, "subset_fraction": 0.5}
    },
    "bayesian": {"potential": {"kind": "bayesian", "pair_cutoff_A": 8.0, "triplet_cutoff_A": 5.5}},
}


def reference_settings() -> dict[str, Any]:
    return {"engine": "lammps", "commands": toy_commands(RUNS / "truth"), "atom_types": {"Ag": 1, "I": 2}}


def event_free(trajectory: Trajectory) -> list[int]:
    """Frames without an event now or within 2 ps."""
    near = 2.0
    times = trajectory.times_ps
    bad = times[trajectory.event]
    return [k for k, t in enumerate(times) if not np.any(np.abs(bad - t) < near)]


def spread(indices: list[int], n: int) -> list[int]:
    """N of them, evenly."""
    return [indices[k] for k in np.linspace(0, len(indices) - 1, n).round().astype(int)]


def path_images(crystal: Atoms, reference: Reference, *, lattice_A: float = LATTICE_CONSTANT_A) -> list[Atoms]:
    """One Ag on its way to the neighbouring empty site, everything else relaxed by the reference."""
    calculator = Truth(reference)
    silver = int(np.flatnonzero(crystal.symbols == "Ag")[0])
    distances = crystal.get_distances(silver, range(len(crystal)), mic=True)
    anchor = int(np.argmax(distances * (crystal.symbols == "I")))
    images, previous = [], crystal.copy()
    for fraction in np.linspace(0, 1, N_IMAGES):
        image = previous.copy()
        image.positions[silver] = crystal.positions[silver] + [fraction * lattice_A / 2, 0, 0]
        image.set_constraint(FixAtoms([silver, anchor]))
        image.calc = calculator
        FIRE(image, logfile=None).run(fmax=0.01, steps=500)
        image.calc = None
        image.set_constraint()
        images.append(reference.label(image))
        previous = images[-1]
    return images


def truth() -> None:
    """Make the frames to start from, the images, the test frames and the rate of the reference."""
    folder = RUNS / "truth"
    folder.mkdir(parents=True, exist_ok=True)
    crystal, commands = toy_crystal(2), toy_commands(folder)
    calm = toy_md(commands, crystal, temperature_K=START_K, duration_ps=200, sample_every=50, seed=11)
    quiet = event_free(calm)
    write_frames(folder / "start75.extxyz", [calm.frame(k) for k in spread(quiet, N_START)])
    write_frames(folder / "start15.extxyz", [calm.frame(k) for k in spread(quiet, N_POOR)])
    write_frames(folder / "path.extxyz", path_images(crystal, make_reference(**reference_settings())))
    again = toy_md(commands, crystal, temperature_K=START_K, duration_ps=100, sample_every=50, seed=13)
    write_frames(folder / "calm.extxyz", [again.frame(k) for k in spread(event_free(again), N_TEST)])
    hot = toy_md(commands, crystal, temperature_K=RATE_K, duration_ps=REFERENCE_RATE_PS, seed=12)
    events = np.flatnonzero(hot.event).tolist()
    write_frames(folder / "events.extxyz", [hot.frame(k) for k in spread(events, N_TEST)])
    write_frames(folder / "clean.extxyz", [hot.frame(k) for k in spread(event_free(hot), N_TEST)])
    n_onsets = onsets_of(hot.silver_away)
    record = {"n": n_onsets, "time_ps": REFERENCE_RATE_PS}
    (folder / "rate.json").write_text(json.dumps(record))
    print(f"{len(quiet)} quiet frames at {START_K} K; {n_onsets} onsets in {REFERENCE_RATE_PS:g} ps at {RATE_K} K")


def onsets_of(away: NDArray[np.bool_]) -> int:
    """How often an Ag left its site, from (n_frames, n_silver) flags; one that stays away counts once."""
    flags = np.vstack([np.zeros((1, away.shape[1]), dtype=int), away.astype(int)])
    return int(np.sum(np.diff(flags, axis=0) == 1))


def count_onsets(positions: FloatArray, crystal: Atoms) -> int:
    """Onsets of events in positions (n_frames, n_atoms, 3)."""
    silver, iodine = crystal.symbols == "Ag", crystal.symbols == "I"
    u = find_mic((positions - crystal.positions).reshape(-1, 3), crystal.cell)[0].reshape(positions.shape)
    u -= u[:, iodine].mean(axis=1, keepdims=True)
    u = find_mic(u.reshape(-1, 3), crystal.cell)[0].reshape(positions.shape)
    return onsets_of(np.linalg.norm(u[:, silver], axis=2) > EVENT_DISTANCE_A)


def site_empty(crystal: Atoms, frames: list[Atoms]) -> float:
    """Share of frames in which an atom has left its site, as `trepid.events` counts."""
    sites = Sites.of(crystal)
    return float(np.mean([not sites.occupancy(sites.assign(frame)).pristine for frame in frames]))


def judge(name: str, potential: Potential, *, labels: int, hours: float, rate_ps: float) -> dict[str, Any]:
    """All figures of one model."""
    folder, crystal = RUNS / "truth", toy_crystal(2)
    path = judge_path(potential, read_frames(folder / "path.extxyz"))
    calm = judge_frames(potential, read_frames(folder / "clean.extxyz"))
    events = judge_frames(potential, read_frames(folder / "events.extxyz"))
    truth_top, model_top, std = path.top
    record: dict[str, Any] = {
        "name": name,
        "labels": labels,
        "hours": hours,
        "path top eV": model_top,
        "path std eV": std,
        "path top, truth eV": truth_top,
        "path error eV": path.largest_error,
        "MAE calm meV/A": 1000 * calm.mae,
        "MAE events meV/A": 1000 * events.mae,
        "flagged": flagged(events, judge_frames(potential, read_frames(folder / "calm.extxyz"))),
        "(500 K)": flagged(events, calm),
        "site empty": site_empty(crystal, read_frames(folder / "events.extxyz")),
        "site empty, calm": site_empty(crystal, read_frames(folder / "clean.extxyz")),
    }
    if rate_ps > 0:
        truth_rate = Rate(**json.loads((folder / "rate.json").read_text()))
        record |= {"rate, truth": truth_rate.interval[0], **rate_of(potential, crystal, rate_ps)}
    return record


def rate_of(potential: Potential, crystal: Atoms, duration_ps: float) -> dict[str, Any]:
    """Onsets of events in a simulation on the model and their rate per 100 ps, or how it ended."""
    try:
        positions = simulate(
            potential,
            crystal,
            temperature_K=RATE_K,
            timestep_fs=TIMESTEP_FS,
            duration_ps=duration_ps,
            equilibration_ps=5.0,
        )
    except Unstable as end:
        return {"onsets": f"{count_onsets(end.positions, crystal)}, then unstable {end}"}
    found = Rate(count_onsets(positions, crystal), duration_ps)
    rate, low, high = found.interval
    return {"onsets": found.n, "rate /100 ps": rate, "rate low": low, "rate high": high}


def settings_of(
    name: str, *, start: str = "start75.extxyz", extra: int = EXTRA_LABELS, seed: int = 0
) -> dict[str, Any]:
    """Campaign file of one entry of CAMPAIGNS."""
    crystal_file = RUNS / "truth" / "crystal.extxyz"
    write_frames(crystal_file, toy_crystal(2))
    n_start = len(read_frames(RUNS / "truth" / start))
    chosen = CAMPAIGNS[name]
    walkers = {
        "temperatures_K": [400, 500, 600],
        "duration_ps": 10.0,
        "timestep_fs": TIMESTEP_FS,
        "check_every": 10,
        "walk_on": "member" if chosen["potential"]["kind"] == "committee" else "mean",
    }
    return {
        "structure": str(crystal_file),
        "mode": "rounds",
        "reference": reference_settings(),
        "potential": chosen["potential"],
        "start": {"kind": "frames", "file": str(RUNS / "truth" / start)},
        "walkers": walkers,
        "acquisition": {"labels_per_round": 15, **chosen.get("acquisition", {})},
        "rounds": {"max_rounds": 5, "max_labels": n_start + extra},
        "execution": {"workers": 2},
        "output": {"directory": "run"},
        "seed": seed,
    }


def run(name: str, *, rate_ps: float) -> None:
    """One campaign, and the figures of its first and last models."""
    folder = RUNS / name.replace(", ", "-").replace(" ", "-")
    began = time.perf_counter()
    directory = run_campaign(settings_of(name), folder)
    hours = (time.perf_counter() - began) / 3600
    files = models(directory)
    for label, file, labels in (("before", files[0], N_START), ("after", files[-1], n_labels(directory))):
        record = judge(f"{name}, {label}", load_potential(file), labels=labels, hours=hours, rate_ps=rate_ps)
        append_result(RESULTS / "agi_rounds_rows.json", record)
        print(record)


def naive(*, rate_ps: float) -> None:
    """The Bayesian force field trained on the frames to start from and nothing else."""
    settings = CAMPAIGNS["bayesian"]["potential"]
    for file, n in (("start15.extxyz", N_POOR), ("start75.extxyz", N_START)):
        model = BayesianForceField(
            ["Ag", "I"], pair_cutoff=settings["pair_cutoff_A"], triplet_cutoff=settings["triplet_cutoff_A"]
        ).fit(read_frames(RUNS / "truth" / file))
        record = judge(f"bayesian, {n} naive frames", model, labels=n, hours=0.0, rate_ps=rate_ps)
        append_result(RESULTS / "agi_rounds_rows.json", record)
        print(record)


def table() -> None:
    """All results so far."""
    report = Report("agi_rounds")
    rows = json.loads((RESULTS / "agi_rounds_rows.json").read_text())
    keys = list(dict.fromkeys(key for row in rows for key in row))
    report.table(
        "AgI-like toy, 75 event-free frames and at most 60 labels", [{k: r.get(k) for k in keys} for r in rows]
    )
    report.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("truth", "naive", "run", "table"))
    parser.add_argument("name", nargs="?", choices=tuple(CAMPAIGNS), help="campaign to run")
    parser.add_argument("--rate-ps", type=float, default=200.0, help="simulated time for the event rate, ps; 0: none")
    options = parser.parse_args()
    if options.part == "run":
        if options.name is None:
            parser.error(f"run needs a name: {', '.join(CAMPAIGNS)}")
        run(options.name, rate_ps=options.rate_ps)
    elif options.part == "naive":
        naive(rate_ps=options.rate_ps)
    else:
        {"truth": truth, "table": table}[options.part]()


if __name__ == "__main__":
    main()
