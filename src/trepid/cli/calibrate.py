"""`trepid calibrate`: correct the error bars of a model by new labelled frames, without training it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.cli import options
from trepid.cli.labels import LabelFiles, label_keys
from trepid.cli.output import emit_json, emit_table, free_path, say

if TYPE_CHECKING:
    from trepid.evaluation import Comparison

LARGE_FACTOR = 3.0
"""Above it a warning says that bars alone are not the matter."""


def command(
    model: options.ModelFile,
    frames: Annotated[
        list[Path],
        typer.Argument(
            metavar="FRAMES...",
            help="Labelled frames, two or more, of the kind that the model is to be used on; no training frames.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Model file to write.")],
    energy_key: options.EnergyKey = options.ENERGY_KEY,
    forces_key: options.ForcesKey = options.FORCES_KEY,
    stress_key: options.StressKey = options.STRESS_KEY,
    virial_key: options.VirialKey = None,
    strict: options.Strict = False,
    json: options.Json = False,
    force: options.Force = False,
) -> None:
    """Correct the error bars of a Bayesian force field by new labelled frames, and write it to another file.

    The bars are multiplied by the factor with which their 95 % interval holds the labels of these frames (conformal quantile);
    energies, forces and stresses stay what they are. The factor is in everything that the file gives: predicted errors,
    uncertainties, the live bar in ASE and LAMMPS, draws. It holds for frames of this kind. A factor that MODEL has already is
    replaced, and training drops it.

    JSON keys: model, n_frames (each structure once), n_labels and factors (by energy, forces, stress), before and after
    (forces_coverage_95: share of the force components of FRAMES inside the 95 % interval, 0 to 1; half_width: its mean half
    width, eV/A), species (the factor of the forces that each element alone would have).
    """
    from trepid.data.duplicates import known_structures
    from trepid.errors import DataError
    from trepid.evaluation import compare, interval_factors
    from trepid.potentials.bayesian.force_field import BayesianForceField
    from trepid.potentials.bayesian.leave_one_out import FEWEST_LABELS
    from trepid.potentials.bayesian.statistics import LabelKind
    from trepid.potentials.committee.committee_file import is_committee_file

    free_path(output, force=force, inputs=[model, *frames])
    if is_committee_file(model):
        raise DataError(
            f"{model} is a committee, and its file holds no factors of its bars; 'trepid evaluate MODEL TEST --calibrate-on "
            "FRAMES' gives them for a test set"
        )
    files = LabelFiles(label_keys(energy_key, forces_key, stress_key, virial_key), strict=strict)
    read = [(path, files.read(path)) for path in frames]
    potential = BayesianForceField.load(model)
    files.tell()
    files.require_sound()
    for path, own in read:
        if known := known_structures(own, potential.fingerprints):
            raise DataError(
                f"{path}: frame {known[0]} (counted from 0) is a training frame of {model}: its error there says nothing of "
                "other frames; give new ones"
            )
    if not len(potential.fingerprints):
        say(f"warning: {model} does not tell its training frames: whether these are new was not checked")
    if potential.calibration is not None:
        say(f"{model} was calibrated on {potential.calibration.n_frames} frames before; that factor is replaced")
    given = [frame for _, own in read for frame in own]
    before = compare(potential, given, keys=files.keys)
    found = potential.calibrate(given, keys=files.keys)
    after = compare(potential, given, keys=files.keys)
    forces = found.factors[LabelKind.FORCES]
    species = {name: forces * factor.value for name, factor in interval_factors(after).items()}
    potential.save(output)
    say(f"wrote {output}")
    if forces > LARGE_FACTOR:
        say(
            f"warning: the bars were {forces:.3g} times too narrow here: these frames are far from the training set, and the "
            "model learns more from them than its bars do: train on some of them"
        )
    intervals = {"before": _interval(before), "after": _interval(after)}
    if json:
        emit_json({"model": str(output), **found.as_settings(), **intervals, "species": species})
        return
    rows = []
    for kind, n in found.n_labels.items():
        counted = f"{n} labels of {found.n_frames} frames"
        taken = counted if n >= FEWEST_LABELS else f"that of the forces: {counted}, fewer than {FEWEST_LABELS}"
        rows.append((f"factor, {kind.value}", f"{found.factors[kind]:.3f} ({taken})"))
    rows.append(("forces by element", ", ".join(f"{name} {factor:.2f}" for name, factor in species.items())))
    for name, interval in intervals.items():
        share, half = interval["forces_coverage_95"], interval["half_width"]
        rows.append(
            (f"95 % interval {name}", f"holds {100 * share:.1f} % of these forces, half width {1000 * half:.1f} meV/A")
        )
    emit_table(rows)


def _interval(comparison: Comparison) -> dict[str, float]:
    """Coverage (0 to 1) and mean half width (eV/A) of the 95 % interval of the forces."""
    from trepid.acquisition.calibration import coverage, interval_half_width

    bars = comparison.forces_std
    assert bars is not None  # of exact predictions
    return {
        "forces_coverage_95": coverage(comparison.forces_error, bars, 0.95),
        "half_width": interval_half_width(0.95) * float(bars.mean()),
    }
