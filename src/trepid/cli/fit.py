"""`trepid fit`: train a Bayesian force field on labelled frames."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from trepid.choices import PAIR_CUTOFF_A, TRIPLET_CUTOFF_A
from trepid.cli import options
from trepid.cli.output import emit_json, emit_table, free_path, say


def command(
    train: Annotated[
        list[Path], typer.Argument(metavar="TRAIN...", help="Labelled frames (extxyz).", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="Model file to write.")],
    pair_cutoff: Annotated[float, typer.Option(help="Range of the pair energy, A.")] = PAIR_CUTOFF_A,
    triplet_cutoff: Annotated[float, typer.Option(help="Range of both legs of a triplet, A.")] = TRIPLET_CUTOFF_A,
    energy_key: options.EnergyKey = options.ENERGY_KEY,
    forces_key: options.ForcesKey = options.FORCES_KEY,
    stress_key: options.StressKey = options.STRESS_KEY,
    seed: options.Seed = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check the frames; train and write nothing.")
    ] = False,
    json: options.Json = False,
    force: options.Force = False,
) -> None:
    """Train a Bayesian force field on labelled frames, hyperparameters included.

    Every frame needs forces; energies and stresses are used where present.
    """
    from trepid.data.frames import LabelKeys, read_frames
    from trepid.errors import ConfigError

    for name, value in (("--pair-cutoff", pair_cutoff), ("--triplet-cutoff", triplet_cutoff)):
        if not value > 0:
            raise ConfigError(f"{name} {value:g}: a cutoff must be above 0 A")
    if triplet_cutoff > pair_cutoff:
        raise ConfigError(f"--triplet-cutoff {triplet_cutoff:g} is above --pair-cutoff {pair_cutoff:g}; it must not be")
    free_path(output, force=force)
    keys = LabelKeys(energy=energy_key, forces=forces_key, stress=stress_key)
    frames = [frame for path in train for frame in read_frames(path, keys=keys)]
    species = sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()})
    n_atoms = sum(len(frame) for frame in frames)
    say(f"{len(frames)} frames, {n_atoms} atoms, species {' '.join(species)}")
    if dry_run:
        return

    from trepid.potentials.bayesian.force_field import BayesianForceField

    start = perf_counter()
    model = BayesianForceField(species, pair_cutoff=pair_cutoff, triplet_cutoff=triplet_cutoff, keys=keys, seed=seed)
    model.fit(frames)
    model.save(output)
    seconds = perf_counter() - start
    say(f"wrote {output} in {seconds:.1f} s")
    noise = model.noise
    if json:
        emit_json(
            {
                "model": str(output),
                "n_frames": model.n_frames,
                "species": list(model.species),
                "noise_energy": noise.energy,
                "noise_forces": noise.forces,
                "noise_stress": noise.stress,
                "log_evidence": model.log_evidence,
                "seconds": seconds,
            }
        )
        return
    emit_table(
        [
            ("noise of forces", f"{1000 * noise.forces:.3g} meV/A per component"),
            ("noise of energies", f"{1000 * noise.energy:.3g} meV per square root of an atom"),
            ("log evidence", f"{model.log_evidence:.6g}"),
        ]
    )
