"""Events of long trajectories: time and memory of `trepid events`, and whether its intervals hold the true rate.

    python benchmarks/event_counting.py [--frames 100000] [--repeats 300]

The trajectory is CuI, 64 atoms, vibrating, drifting and breathing, with a Cu that goes to an empty site and back; it is written as
extended XYZ and as LAMMPS dump, and every event in it is known. Rates are of onsets drawn here: independent ones, and bursts at
random times with a geometric number of onsets.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write

from trepid.events.counting import class_rate
from trepid.events.sites import Sites

UNIT = bulk("CuI", "zincblende", a=6.19, cubic=True)
DT_FS, MOVE_EVERY, PIECE = 20.0, 100, 1000
BURSTS = (
    (100.0, 0.2, 1.0, 1.0),
    (100.0, 0.05, 1.0, 1.0),
    (100.0, 0.2, 4.0, 2.0),
    (100.0, 0.1, 4.0, 2.0),
    (100.0, 0.1, 3.0, 10.0),
    (100.0, 0.5, 3.0, 1.0),
    (100.0, 0.05, 5.0, 2.0),
)
"""Observed time (ps), bursts per ps, mean number of onsets in a burst, its length (ps)."""


def write_trajectory(folder: Path, n_frames: int) -> int:
    """Both files; gives the number of events."""
    crystal = UNIT.repeat(2)
    sites, symbols = Sites.of(crystal), list(map(str, crystal.symbols))
    atom = symbols.index("Cu")
    hole = min(
        (k for k in range(sites.n_atoms, sites.n_sites) if sites.kinds[k] == "empty 4Cu6I"),
        key=lambda k: sites.distance(atom, k),
    )
    way = (sites.positions[hole] - sites.positions[atom]) @ np.linalg.inv(sites.cell)
    way = (way - np.rint(way)) @ sites.cell
    rng, n_events = np.random.default_rng(0), 0
    with (folder / "md.extxyz").open("w") as xyz, (folder / "md.lammpstrj").open("w") as dump:
        for first in range(0, n_frames, PIECE):
            frame = np.arange(first, min(first + PIECE, n_frames))
            phase, inside = np.divmod(frame, MOVE_EVERY)
            part = np.clip((inside - 50) / 4.0, 0.0, 1.0)
            part = np.where(phase % 2 == 0, part, 1.0 - part)
            n_events += int((inside == 54).sum())
            r = np.repeat(crystal.positions[None], len(frame), axis=0) + rng.normal(0, 0.15, (len(frame), 64, 3))
            r[:, atom] += part[:, None] * way
            r += 0.002 * frame[:, None, None]
            scale = 1 + 0.01 * np.sin(frame / 45.0)
            for k, x, s in zip(frame, r, scale, strict=True):
                length = 12.38 * s
                xyz.write(f'64\nLattice="{length} 0 0 0 {length} 0 0 0 {length}" Properties=species:S:1:pos:R:3 ')
                xyz.write(f'pbc="T T T" time_fs={DT_FS * k}\n')
                xyz.write(
                    "".join(f"{e} {a:.8f} {b:.8f} {c:.8f}\n" for e, (a, b, c) in zip(symbols, x * s, strict=True))
                )
                dump.write(f"ITEM: TIMESTEP\n{10 * k}\nITEM: NUMBER OF ATOMS\n64\nITEM: BOX BOUNDS pp pp pp\n")
                dump.write(f"0 {length}\n" * 3 + "ITEM: ATOMS id element xu yu zu\n")
                rows = zip(symbols, x * s, strict=True)
                dump.write("".join(f"{i} {e} {a:.8f} {b:.8f} {c:.8f}\n" for i, (e, (a, b, c)) in enumerate(rows, 1)))
    write(folder / "cui.extxyz", UNIT)
    return n_events


def measure(folder: Path, name: str, *options: str) -> tuple[float, float, float, int]:
    """Wall and CPU time (s), largest memory (MB) of one command line, and the events it found."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "trepid",
        "events",
        name,
        "--structure",
        "cui.extxyz",
        "-o",
        f"{name}.events",
        *options,
    ]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = len((folder / f"{name}.events" / "events.csv").read_text().splitlines()) - 1
    return time.perf_counter() - began, cpu, after.ru_maxrss / 1024, found


def bursts(rng: np.random.Generator, time_ps: float, per_ps: float, size: float, width_ps: float) -> np.ndarray:
    """Onsets in the observed time of bursts that begin at random."""
    centres = rng.uniform(-width_ps, time_ps + width_ps, rng.poisson(per_ps * (time_ps + 2 * width_ps)))
    onsets = [c + rng.uniform(0, width_ps, rng.geometric(1 / size)) for c in centres]
    joined = np.concatenate([*onsets, np.empty(0)])
    return joined[(joined >= 0) & (joined <= time_ps)]


def coverage(repeats: int) -> None:
    """Share of the 95 % intervals that hold the true rate."""
    rng = np.random.default_rng(1)
    print("bursts/ps  onsets in one  length, ps  expected onsets  holds the rate  Poisson alone  blocks used")
    for time_ps, per_ps, size, width in BURSTS:
        true, hits = per_ps * size, np.zeros(3)
        for k in range(repeats):
            rate = class_rate(bursts(rng, time_ps, per_ps, size, width), time_ps, seed=k)
            inside = [r.low_per_ps <= true <= r.high_per_ps for r in (rate.used, rate.poisson)]
            hits += [*inside, rate.blocks is not None]
        used, exact, blocks = hits / repeats
        print(
            f"{per_ps:9g}  {size:13g}  {width:10g}  {true * time_ps:15g}  {used:14.3f}  {exact:13.3f}  {blocks:11.3f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trepid-") as name:
        folder = Path(name)
        n_events = write_trajectory(folder, given.frames)
        for file, options in (("md.extxyz", ()), ("md.lammpstrj", ("--interval", "20"))):
            wall, cpu, memory, found = measure(folder, file, *options)
            size = (folder / file).stat().st_size / 1e6
            print(
                f"{file}: {given.frames} frames, {size:.0f} MB: {wall:.0f} s wall, {cpu:.0f} s CPU, {memory:.0f} MB of memory, "
                f"{found} of {n_events} events",
                flush=True,
            )
    coverage(given.repeats)


if __name__ == "__main__":
    main()
