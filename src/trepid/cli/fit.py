"""`trepid fit`: train a Bayesian force field on labelled frames."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.choices import PAIR_CUTOFF_A, TRIPLET_CUTOFF_A
from trepid.cli import options
from trepid.cli.figures import emit_figures
from trepid.cli.output import emit_json, emit_table, free_path, say

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.data.frames import LabelKeys


def command(
    train: Annotated[
        list[Path], typer.Argument(metavar="TRAIN...", help="Labelled frames (extxyz).", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="Model file to write.")],
    pair_cutoff: Annotated[float, typer.Option(help="Range of the pair energy, A.")] = PAIR_CUTOFF_A,
    triplet_cutoff: Annotated[float, typer.Option(help="Range of both legs of a triplet, A.")] = TRIPLET_CUTOFF_A,
    ood: options.Ood = None,
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

    Every frame needs forces; energies and stresses are used where present. The error of the forces on fresh frames of the same
    kind is estimated without a test set: each training frame is left out in turn, exactly and at little cost.

    JSON keys: model, n_frames, species, noise_energy, noise_forces, noise_stress, uncertainty_scale (factor of the posterior
    standard deviation of the forces), left_out_forces_rmse (eV/A), on_bounds (hyperparameters), log_evidence, seconds, and
    with --ood its figures.
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
    second = None if ood is None else _second_set(ood, keys=keys, known=frames)
    n_atoms = sum(len(frame) for frame in frames)
    say(f"{len(frames)} frames, {n_atoms} atoms, species {' '.join(species)}")
    if dry_run:
        return

    from trepid.evaluation import evaluate
    from trepid.potentials.bayesian.force_field import BayesianForceField
    from trepid.potentials.bayesian.statistics import LabelKind

    start = perf_counter()
    model = BayesianForceField(species, pair_cutoff=pair_cutoff, triplet_cutoff=triplet_cutoff, keys=keys, seed=seed)
    model.fit(frames)
    model.save(output)
    seconds = perf_counter() - start
    say(f"wrote {output} in {seconds:.1f} s")
    for text in model.on_bounds:
        say(f"warning: hyperparameter on the bound of its range: {text}")
    noise, scale = model.noise, model.error_bars[LabelKind.FORCES].scale
    left_out = model.left_out.get(LabelKind.FORCES)
    figures = None if second is None else evaluate(model, second, keys=keys)
    if json:
        emit_json(
            {
                "model": str(output),
                "n_frames": model.n_frames,
                "species": list(model.species),
                "noise_energy": noise.energy,
                "noise_forces": noise.forces,
                "noise_stress": noise.stress,
                "uncertainty_scale": scale,
                "left_out_forces_rmse": None if left_out is None else left_out.rms,
                "on_bounds": model.on_bounds,
                "log_evidence": model.log_evidence,
                "seconds": seconds,
                **({} if figures is None else {"ood": figures.as_dict()}),
            }
        )
        return
    rows = [
        ("noise of forces", f"{1000 * noise.forces:.3g} meV/A per component"),
        ("noise of energies", f"{1000 * noise.energy:.3g} meV per square root of an atom"),
        ("scale of the uncertainty", f"{scale:.3g} times the posterior standard deviation"),
        ("log evidence", f"{model.log_evidence:.6g}"),
    ]
    if left_out is not None:
        rows.insert(0, ("force RMSE, frame left out", f"{1000 * left_out.rms:.2f} meV/A per component"))
    emit_table(rows)
    if figures is not None:
        say(f"{ood}:")
        emit_figures({"ood": figures})


def _second_set(path: Path, *, keys: LabelKeys, known: list[Atoms]) -> list[Atoms]:
    """Frames of the second test set; they may hold no element that the training frames lack."""
    from trepid.data.frames import labels_of, read_frames
    from trepid.errors import DataError

    frames = read_frames(path, keys=keys)
    species = {symbol for frame in known for symbol in frame.get_chemical_symbols()}
    for k, frame in enumerate(frames):
        labels_of(frame, keys, where=f"frame {k} of {path}", require=("forces",))
        foreign = sorted(set(frame.get_chemical_symbols()) - species)
        if foreign:
            raise DataError(f"frame {k} of {path} contains {' '.join(foreign)}, which no training frame does")
    return frames
