"""`trepid fit`: train a Bayesian force field on labelled frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.choices import DEFAULT_SPEED, ChargeChoice, Speed, Triplets
from trepid.cli import options
from trepid.cli.figures import EV_PER_A3_IN_GPA, emit_figures, emit_steps, say_step, warn_of_compositions
from trepid.cli.labels import LabelFiles, label_keys
from trepid.cli.output import emit, emit_json, emit_table, free_path, say

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.potentials.base import Noise
    from trepid.potentials.bayesian.size_search import SizeStep


def command(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="Model file to write.")],
    train: Annotated[
        list[Path] | None, typer.Argument(metavar="TRAIN...", help="Labelled frames (extxyz).", show_default=False)
    ] = None,
    speed: Annotated[
        Speed,
        typer.Option(
            help="Sizes chosen by the data: fast: the default sizes, with quadruplets (1.4 times the time per MD step) where "
            "they pay; balanced: up to about 2 times the time per MD step of the defaults; accurate: up to 6 times. A fit with "
            "a search of sizes takes several times as long."
        ),
    ] = DEFAULT_SPEED,
    pair_cutoff: Annotated[
        float | None, typer.Option(help="Fix the range of the pair energy, A (default 6).", show_default=False)
    ] = None,
    triplet_cutoff: Annotated[
        float | None, typer.Option(help="Fix the range of both legs of a triplet, A (default 5).", show_default=False)
    ] = None,
    n_pair: Annotated[
        int | None, typer.Option(help="Fix the number of splines of a pair energy (default 20).", show_default=False)
    ] = None,
    n_radial: Annotated[
        int | None, typer.Option(help="Fix the number of radial splines of triplets (default 8).", show_default=False)
    ] = None,
    l_max: Annotated[
        int | None, typer.Option(help="Fix the highest degree in the angle (default 4).", show_default=False)
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=3,
            help="Fix the number of channels of quadruplets (four-body energies); 0: none. Default: 3 where the frames "
            "ask for it.",
            show_default=False,
        ),
    ] = None,
    triplets: Annotated[
        Triplets,
        typer.Option(
            help="full: a triplet energy for every three species; mixed: from channels that mix the species; auto: mixed "
            "from three species on."
        ),
    ] = Triplets.AUTO,
    charges: Annotated[
        str,
        typer.Option(
            metavar="off|auto|El=Q,...",
            help="Coulomb energy of effective charges: off; auto: charges in the ratio of the neutral formula of two elements, "
            "kept if evidence and left-out error gain; or formal charges such as Cu=1,I=-1, kept in any case.",
        ),
    ] = ChargeChoice.AUTO.value,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            metavar="FILE",
            help="Repeat the fit of this settings file, which is written beside every model; no TRAIN, sizes or keys.",
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            metavar="TYPE=W",
            help="Weight of the frames with this config_type, 1 for ordinary ones: a frame of weight 4 counts as four. May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    ood: options.Ood = None,
    energy_key: options.EnergyKey = options.ENERGY_KEY,
    forces_key: options.ForcesKey = options.FORCES_KEY,
    stress_key: options.StressKey = options.STRESS_KEY,
    virial_key: options.VirialKey = None,
    strict: options.Strict = False,
    no_check: options.NoCheck = False,
    seed: options.Seed = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check the frames; train and write nothing.")
    ] = False,
    json: options.Json = False,
    force: options.Force = False,
) -> None:
    """Train a Bayesian force field on labelled frames, hyperparameters included.

    Every frame needs forces; energies and stresses are used where present. The error of the forces on fresh frames of the same
    kind is estimated without a test set: each training frame is left out in turn, exactly and at little cost. All settings are
    written to MODEL.settings.yaml.

    JSON keys: model, settings (file), n_frames, species, sizes, steps (terms and sizes that were tried), noise_energy,
    noise_forces, noise_stress (null for a kind of label that no frame has), uncertainty_scale (factor of the posterior standard
    deviation of the forces), left_out_forces_rmse (eV/A), on_bounds (hyperparameters), log_evidence, seconds, and with --ood
    its figures.
    """
    from trepid.config import FitSettings
    from trepid.data.noise_factors import with_weights
    from trepid.errors import ConfigError

    for name, value in (("--pair-cutoff", pair_cutoff), ("--triplet-cutoff", triplet_cutoff)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name} {value:g}: a cutoff must be above 0 A")
    if pair_cutoff is not None and triplet_cutoff is not None and triplet_cutoff > pair_cutoff:
        raise ConfigError(f"--triplet-cutoff {triplet_cutoff:g} is above --pair-cutoff {pair_cutoff:g}; it must not be")
    if settings is None and not train:
        raise ConfigError("name one or more files of labelled frames, or a settings file with --settings")
    from trepid.potentials.bayesian.charge_choice import parsed_charges

    chosen_charges, weights = parsed_charges(charges), _parsed_weights(weight or [])
    repeated = None
    if settings is not None:
        _only_repeats(context)
        repeated = FitSettings.read(settings)
    inputs = [*(train or []), *(path for path in (settings, ood) if path is not None)]
    if repeated is not None:
        inputs += [training.file for training in repeated.train]
    free_path(output, force=force, inputs=inputs)
    settings_file = free_path(output.with_name(f"{output.name}.settings.yaml"), force=force, inputs=inputs)

    keys = label_keys(energy_key, forces_key, stress_key, virial_key)
    paths = train or []
    if repeated is not None and settings is not None:
        from trepid.potentials.bayesian.fit_settings import unchanged_files, untrained_model

        model = untrained_model(repeated, source=settings)
        keys, paths, weights = model.keys, unchanged_files(repeated), dict(repeated.weights)
    weighted = not no_check if repeated is None else repeated.outliers_weigh_less
    labels = LabelFiles(keys, check=weighted or not no_check, strict=strict)
    read = [(path, labels.read(path)) for path in paths]
    files = [(path, len(own)) for path, own in read]
    frames = [frame for _, own in read for frame in own]
    species = sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()})
    second = None if ood is None else _second_set(labels.read(ood), ood, known=frames)
    labels.tell()
    if weighted:
        frames = [frame for _, own in read for frame in labels.weighted(own)]
    if weights:
        frames = with_weights(frames, weights)
        say("weights: " + ", ".join(f"{name} {value:g}" for name, value in weights.items()))
    n_atoms = sum(len(frame) for frame in frames)
    say(f"{len(frames)} frames, {n_atoms} atoms, species {' '.join(species)}")
    if dry_run:
        return

    from trepid.evaluation import evaluate
    from trepid.potentials.bayesian.fit_settings import search_in, settings_of_fit, write_settings
    from trepid.potentials.bayesian.sized_fit import fit_with_sizes
    from trepid.potentials.bayesian.sizes import GivenSizes, Sizes
    from trepid.potentials.bayesian.statistics import LabelKind
    from trepid.verdict import verdict_of_fit

    begun = perf_counter()
    steps: tuple[SizeStep, ...] = ()
    if repeated is not None:
        start = model.hyperparameters
        model.fit(frames)
        model.size_search = search_in(repeated)
    else:
        given = GivenSizes(pair_cutoff, triplet_cutoff, n_pair, n_radial, l_max, channels, triplets)
        fitted = fit_with_sizes(
            frames,
            species,
            given=given,
            speed=speed,
            keys=keys,
            charges=chosen_charges,
            seed=seed,
            progress=say_step,
        )
        model, start, steps = fitted.model, fitted.choice.start, fitted.choice.steps
        if fitted.choice.reason:
            say(fitted.choice.reason)
    command_line = " ".join(["trepid", "fit", *(str(path) for path, _ in files), "-o", str(output)])
    write_settings(
        settings_of_fit(model, start, files, command=command_line, outliers_weigh_less=weighted, weights=weights),
        settings_file,
    )
    model.save(output)
    seconds = perf_counter() - begun
    say(f"wrote {output} and {settings_file.name} in {seconds:.1f} s")
    for text in model.on_bounds:
        say(f"warning: hyperparameter on the bound of its range: {text}")
    kinds = {kind for kind, sums in model.statistics.kinds.items() if sums.count}
    noise, scale = model.noise, model.error_bars[LabelKind.FORCES].scale
    left_out = model.left_out.get(LabelKind.FORCES)
    if second is not None:
        warn_of_compositions(model, second, str(ood))
    figures = None if second is None else evaluate(model, second, keys=keys)
    sizes = Sizes.of(model.basis)
    verdict = replace(verdict_of_fit(model, labels=" ".join(str(path) for path, _ in files)), model=str(output))
    if json:
        emit_json(
            {
                "model": str(output),
                "settings": str(settings_file),
                "n_frames": model.n_frames,
                "species": list(model.species),
                "sizes": asdict(sizes),
                "steps": [asdict(step) for step in steps],
                "noise_energy": noise.energy if LabelKind.ENERGY in kinds else None,
                "noise_forces": noise.forces,
                "noise_stress": noise.stress if LabelKind.STRESS in kinds else None,
                "uncertainty_scale": scale,
                "left_out_forces_rmse": None if left_out is None else left_out.rms,
                "on_bounds": model.on_bounds,
                "log_evidence": model.log_evidence,
                "seconds": seconds,
                "verdict": verdict.as_dict(),
                **({} if figures is None else {"ood": figures.as_dict()}),
            }
        )
        return
    emit_steps(steps)
    rows = [
        ("sizes", str(sizes)),
        *_noises(noise, energies=LabelKind.ENERGY in kinds, stresses=LabelKind.STRESS in kinds),
        ("scale of the uncertainty", f"{scale:.3g} times the posterior standard deviation"),
        ("log evidence", f"{model.log_evidence:.6g}"),
    ]
    if left_out is not None:
        rows.insert(1, ("force RMSE, frame left out", f"{1000 * left_out.rms:.2f} meV/A per component"))
    emit_table(rows)
    emit("\n".join(verdict.sentences()))
    if figures is not None:
        say(f"{ood}:")
        emit_figures({"ood": figures})


def _noises(noise: Noise, *, energies: bool, stresses: bool) -> list[tuple[str, str]]:
    """Rows of the noises of the kinds of label that there were."""
    rows = [("residual noise of forces", f"{1000 * noise.forces:.3g} meV/A per component, in every predicted error")]
    if energies:
        rows.append(("residual noise of energies", f"{1000 * noise.energy:.3g} meV per square root of an atom"))
    if stresses:
        rows.append(("residual noise of stresses", f"{EV_PER_A3_IN_GPA * noise.stress:.3g} GPa per component"))
    return rows


def _parsed_weights(given: Sequence[str]) -> dict[str, float]:
    """Weights of options TYPE=W; their size is checked where they are used."""
    from trepid.errors import ConfigError

    weights: dict[str, float] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name or not (math.isfinite(value) and value > 0):
            raise ConfigError(f"--weight {text}: give a config_type and a positive number, such as --weight melt=0.5")
        if name in weights:
            raise ConfigError(f"--weight {text}: {name} has the weight {weights[name]:g} already")
        weights[name] = value
    return weights


def _only_repeats(context: typer.Context) -> None:
    """Refuse options that contradict --settings, or that it would ignore."""
    from trepid.errors import ConfigError

    allowed = {"output", "settings", "ood", "strict", "no_check", "dry_run", "json", "force"}
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in allowed and source is not None and source.name == "COMMANDLINE":
            word = "TRAIN" if name == "train" else "--" + name.replace("_", "-")
            raise ConfigError(f"{word} cannot be given with --settings, which repeats a fit as it was")


def _second_set(frames: list[Atoms], path: Path, *, known: list[Atoms]) -> list[Atoms]:
    """Frames of the second test set; they may hold no element that the training frames lack."""
    from trepid.errors import DataError

    species = {symbol for frame in known for symbol in frame.get_chemical_symbols()}
    for k, frame in enumerate(frames):
        foreign = sorted(set(frame.get_chemical_symbols()) - species)
        if foreign:
            raise DataError(f"frame {k} of {path} contains {' '.join(foreign)}, which no training frame does")
    return frames
