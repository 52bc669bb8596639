"""`trepid evaluate`: errors and calibration of a model on labelled frames it was not trained on."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from trepid.cli import options
from trepid.cli.figures import emit_figures, emit_types, warn_of_compositions
from trepid.cli.labels import LabelFiles, label_keys
from trepid.cli.output import emit, emit_json, free_path, say


class UncertaintyName(str, Enum):
    """Values of `trepid.potentials.base.Uncertainty`; repeated here, so that `--help` needs no import of numpy."""

    NONE = "none"
    LIVE = "live"
    EXACT = "exact"


def command(
    model: options.ModelFile,
    test: Annotated[
        list[Path], typer.Argument(metavar="TEST...", help="Labelled frames (extxyz).", show_default=False)
    ],
    uncertainty: Annotated[
        UncertaintyName,
        typer.Option(help="exact: full posterior; live: estimate from a few directions; none: errors only."),
    ] = UncertaintyName.EXACT,
    ood: options.Ood = None,
    calibrate_on: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Labelled frames, two or more, of the same kind as the test frames: their errors correct the 95 % interval.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the test frames with predictions and bars beside their labels (extxyz).",
            show_default=False,
        ),
    ] = None,
    force: options.Force = False,
    energy_key: options.EnergyKey = options.ENERGY_KEY,
    forces_key: options.ForcesKey = options.FORCES_KEY,
    stress_key: options.StressKey = options.STRESS_KEY,
    virial_key: options.VirialKey = None,
    strict: options.Strict = False,
    no_check: options.NoCheck = False,
    trust: options.Trust = False,
    json: options.Json = False,
) -> None:
    """Compare a model with labelled frames: errors, coverage of its intervals, rank correlation of its uncertainty.

    JSON keys: n_frames, forces_rmse, forces_mae (eV/A), energy_rmse_per_atom (eV), forces_coverage_95 (0 to 1),
    forces_uncertainty_spearman (-1 to 1), outside_support (share of the atoms outside the training data, 0 to 1) and others; ood
    holds the same of the second set, if there is one; corrected holds the interval with the factors of --calibrate-on. A
    figure that is not defined is null. Where frames have a config_type, config_types holds the same of every type.
    verdict.training_frames has the numbers (from 0) of the frames that the model was trained on, null where it does not tell: they
    are in the figures, and the verdict leaves them out.

    The terms of the output (misfit, left out in turn, stratum, running factor, typical force error) are in docs/glossary.md.

    --output adds predicted_energy, predicted_forces, predicted_stress, the standard deviations of their errors (..._std:
    uncertainty and residual noise), forces_uncertainty and support_distance to the frames of TEST.
    """
    from trepid.data.frames import write_frames
    from trepid.evaluation import (
        compare,
        compare_predictions,
        corrected,
        interval_factors,
        of_each_type,
        summarise,
        with_prediction,
    )
    from trepid.potentials import load_potential
    from trepid.verdict import verdict_of_test

    if output is not None:
        free_path(
            output, force=force, inputs=[model, *test, *(path for path in (ood, calibrate_on) if path is not None)]
        )
    keys = label_keys(energy_key, forces_key, stress_key, virial_key)
    files = LabelFiles(keys, check=not no_check, strict=strict)
    sets = {"test": [frame for path in test for frame in files.read(path)]}
    if ood is not None:
        sets["ood"] = files.read(ood)
    calibration = None if calibrate_on is None else files.read(calibrate_on)
    potential = load_potential(model, trust=trust)
    files.tell()
    say(f"evaluating {model} on {' + '.join(str(len(frames)) for frames in sets.values())} frames")
    for name, frames in sets.items():
        warn_of_compositions(potential, frames, name)
    predictions = {
        name: [potential.predict(atoms, uncertainty=uncertainty.value) for atoms in frames]
        for name, frames in sets.items()
    }
    comparisons = {
        name: compare_predictions(frames, predictions[name], potential.noise, keys=keys)
        for name, frames in sets.items()
    }
    figures = {name: summarise(comparison) for name, comparison in comparisons.items()}
    known = {name: potential.trained_structures(frames) for name, frames in sets.items()}
    if any(found is None for found in known.values()):
        say(f"warning: {model} does not tell its training frames: whether these are new was not checked")
    verdicts = {}
    for name, one in comparisons.items():
        own = set(known[name] or ())
        new = [k for k in range(one.n_frames) if k not in own]
        rest = figures[name] if not own else summarise(one.of_frames(new)) if new else None
        verdicts[name] = replace(verdict_of_test(rest, potential, n_known=len(own)), model=str(model))
    types = {name: summarise(one) for name, one in of_each_type(sets["test"], comparisons["test"]).items()}
    if output is not None:
        pairs = zip(sets["test"], predictions["test"], strict=True)
        write_frames(output, [with_prediction(atoms, prediction, potential.noise) for atoms, prediction in pairs])
        say(f"{len(sets['test'])} frames with predictions in {output}")
    intervals = {}
    if calibration is not None:
        given = compare(potential, calibration, keys=keys, uncertainty=uncertainty.value)
        intervals = {
            name: corrected(comparison, interval_factors(given, set(comparison.symbols.tolist())))
            for name, comparison in comparisons.items()
        }
    if json:
        told: dict[str, dict[str, object]] = {
            name: {**figures[name].as_dict(), **({"corrected": intervals[name].as_dict()} if name in intervals else {})}
            for name in figures
        }
        for name in figures:
            told[name]["verdict"] = {**verdicts[name].as_dict(), "training_frames": known[name]}
        of_types = {"config_types": {name: one.as_dict() for name, one in types.items()}} if types else {}
        emit_json({**told["test"], **{name: told[name] for name in told if name != "test"}, **of_types})
        return
    emit_figures(figures, intervals)
    if types:
        emit("")
        emit_types(types)
        emit("")
    for name, one_verdict in verdicts.items():
        if name == "test":
            emit("\n".join(one_verdict.sentences()))
        elif one_verdict.n_known:
            emit(f"{name}: {one_verdict.findings()[0]}")
