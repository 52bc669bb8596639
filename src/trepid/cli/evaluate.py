"""`trepid evaluate`: errors and calibration of a model on labelled frames it was not trained on."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from trepid.cli import options
from trepid.cli.figures import emit_figures, warn_of_compositions
from trepid.cli.labels import LabelFiles, label_keys
from trepid.cli.output import emit, emit_json, say


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
    figure that is not defined is null.
    """
    from trepid.evaluation import compare, corrected, interval_factors, summarise
    from trepid.potentials import load_potential
    from trepid.verdict import verdict_of_test

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
    comparisons = {
        name: compare(potential, frames, keys=keys, uncertainty=uncertainty.value) for name, frames in sets.items()
    }
    figures = {name: summarise(comparison) for name, comparison in comparisons.items()}
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
        for name, one in figures.items():
            told[name]["verdict"] = verdict_of_test(one, potential).as_dict()
        emit_json({**told["test"], **{name: told[name] for name in told if name != "test"}})
        return
    emit_figures(figures, intervals)
    emit(verdict_of_test(figures["test"], potential).text())
