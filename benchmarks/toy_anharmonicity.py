"""sigma^A and event onsets of the AgI-like toy from its own molecular dynamics, against harmonic frames of the same crystal.

Target: sigma^A of frames without an event 0.47/0.56/0.63/0.68 at 300/400/500/600 K within 0.03; with an event - /0.85/0.89/0.96
and onsets per 100 ps 0/3/11/34, from single runs. Harmonic frames need no molecular dynamics: the last columns show their
deviation.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from _common import Report, parse
from _toy import LATTICE_CONSTANT_A, SPECIES, toy_commands, toy_crystal, toy_md
from ase.build import bulk

from trepid.anharmonicity import (
    HarmonicReference,
    harmonic_reference,
    harmonic_sample,
    measure_anharmonicity,
    one_shot_sample,
    sigma_a,
)
from trepid.anharmonicity.ensemble import forces_of_frames
from trepid.reference import Reference, make_reference

TARGET = {300: 0.47, 400: 0.56, 500: 0.63, 600: 0.68}
TOLERANCE = 0.03
DURATION_PS = 100.0
SEEDS = (1, 2, 3)


def row(reference: Reference, harmonic: HarmonicReference, commands: list[str], temperature_K: int) -> dict[str, Any]:
    """All figures of one temperature; runs of three seeds one after the other."""
    crystal = toy_crystal(2)
    symbols = crystal.get_chemical_symbols()
    runs = [
        toy_md(commands, crystal, temperature_K=temperature_K, duration_ps=DURATION_PS, seed=seed) for seed in SEEDS
    ]
    u, f = np.concatenate([run.displacements for run in runs]), np.concatenate([run.forces for run in runs])
    event = np.concatenate([run.event for run in runs])
    f2 = harmonic.forces_at(u)
    quiet = measure_anharmonicity(f[~event], f2[~event], symbols)
    frames = harmonic_sample(harmonic, temperature_K, 30, 0)
    drawn = measure_anharmonicity(
        forces_of_frames(reference, frames), [harmonic.forces(frame) for frame in frames], symbols, correlated=False
    )
    shot = one_shot_sample(harmonic, temperature_K)
    return {
        "T K": temperature_K,
        "no event": quiet.sigma_a,
        "+-": quiet.error.error,
        "target": TARGET[temperature_K],
        "Ag": quiet.per_species["Ag"],
        "I": quiet.per_species["I"],
        "with event": sigma_a(f[event], f2[event]) if event.any() else None,
        "event %": 100 * float(event.mean()),
        "onsets": sum(run.n_onsets for run in runs) * 100.0 / (DURATION_PS * len(runs)),
        "harmonic frames": drawn.sigma_a,
        "+- ": drawn.error.error,
        "one shot": sigma_a(forces_of_frames(reference, [shot])[0], harmonic.forces(shot)),
    }


def main() -> None:
    parse(__doc__ or "")
    report = Report("toy_anharmonicity")
    with tempfile.TemporaryDirectory() as folder:
        commands = toy_commands(folder)
        types = {symbol: number for number, symbol in enumerate(SPECIES, 1)}
        reference = make_reference("lammps", commands=commands, atom_types=types)
        cell = bulk("AgI", "zincblende", a=LATTICE_CONSTANT_A, cubic=True)
        harmonic = harmonic_reference(cell, (2, 2, 2), reference).following("I")
        frequencies = harmonic.frequencies_THz
        print(f"phonons {frequencies.min():.3f} to {frequencies.max():.3f} THz, {harmonic.modes.n_imaginary} imaginary")
        rows = [row(reference, harmonic, commands, temperature_K) for temperature_K in TARGET]
        reference.close()
    report.table(f"sigma^A of the AgI toy, 64 atoms, {len(SEEDS)} runs of {DURATION_PS:g} ps; onsets per 100 ps", rows)
    worst = max(abs(float(r["no event"]) - float(r["target"])) for r in rows)
    print(f"largest difference {worst:.3f}: {'within' if worst <= TOLERANCE else 'NOT within'} {TOLERANCE}")
    report.write()


if __name__ == "__main__":
    main()
