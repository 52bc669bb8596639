"""How good the model of a round was before it learned, and is after it: errors, calibration, sigma^A."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trepid.acquisition.calibration import calibration, scaled_calibration
from trepid.campaign.label_check import prediction_of
from trepid.runs.round_files import Calibrated, RoundRecord, SigmaA
from trepid.campaign.walkers import Walk
from trepid.data.frames import LabelKeys, labels_of
from trepid.evaluation import Comparison, collect
from trepid.potentials.base import FloatArray

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.anharmonicity.harmonic import HarmonicReference

ALL = "all"
"""Name under which the calibration of all species together is kept."""
MIN_LOOKS = 10
"""Looks below which a walk gives no sigma^A."""


def compare_before_training(frames: Sequence[Atoms], keys: LabelKeys) -> Comparison | None:
    """What the model said of these labelled frames before it was trained on them; None where it said nothing of any."""
    known = [(frame, *prediction_of(frame)) for frame in frames]
    told = [(frame, prediction, noise) for frame, prediction, noise in known if prediction is not None]
    if not told:
        return None
    return collect(
        [frame for frame, _, _ in told],
        [labels_of(frame, keys, require=("forces",)) for frame, _, _ in told],
        [prediction for _, prediction, _ in told],
        [noise for _, _, noise in told],
    )


def calibrate(comparison: Comparison | None, earlier: Sequence[RoundRecord]) -> dict[str, Calibrated]:
    """Calibration of the forces by species, as announced and with the factor that the round before asked for.

    Parameters
    ----------
    comparison : Comparison or None
        Of the labels of this round, predicted before training.
    earlier : sequence of RoundRecord
        The factor is the scale of the last one with labels: it has seen none of those it is judged on. Only of that one, as
        the first models are wrong in a way of their own, which all rounds pooled would never forget.
    """
    std = None if comparison is None else comparison.forces_std
    if comparison is None or std is None or not (std > 0).all():
        return {}
    errors, found = comparison.forces_error, {}
    for name in [ALL, *sorted(set(comparison.symbols.tolist()))]:
        mask = np.ones(len(errors), dtype=bool) if name == ALL else comparison.symbols == name
        factor = latest_scale(earlier, name)
        found[name] = Calibrated(
            before=calibration(errors[mask], std[mask]),
            factor=factor,
            after=scaled_calibration(errors[mask], std[mask], factor),
        )
    return found


def latest_scale(records: Sequence[RoundRecord], name: str) -> float | None:
    """Calibration scale of the last of these rounds that knows one of a species, or of all; None where none does."""
    known = [record.calibration[name].before.scale for record in records if name in record.calibration]
    return known[-1] if known else None


def typical_force(frames: Sequence[Atoms], keys: LabelKeys) -> float:
    """Root mean square, over atoms, of the norm of the labelled forces, eV/A."""
    forces: list[FloatArray] = [frame.arrays[keys.forces] for frame in frames]
    return float(np.sqrt(np.mean(np.concatenate([(f**2).sum(axis=1) for f in forces]))))


def sigma_a_of_walks(
    walks: Sequence[Walk], harmonic: HarmonicReference, *, equilibrate_ps: float
) -> tuple[SigmaA, ...]:
    """sigma^A at every temperature, from the equilibrium looks of its walks without bias on the model that was walked on."""
    from trepid.anharmonicity.blocking import block_error
    from trepid.anharmonicity.measure import force_sums

    found = []
    for temperature in sorted({walk.summary.temperature_K for walk in walks}):
        series = []
        for walk in walks:
            if walk.summary.temperature_K != temperature or walk.summary.biased:
                continue
            looks = np.flatnonzero(walk.equilibrium(equilibrate_ps))
            for k in looks:
                frame = harmonic.supercell.copy()
                frame.set_positions(walk.positions[k].astype(np.float64))
                parts = force_sums(walk.forces[k], harmonic.forces(frame, check_order=False))
                series.append([float(parts.anharmonic.sum()), float(parts.total.sum())])
        if len(series) < MIN_LOOKS:
            continue
        sums = np.array(series)
        error = block_error(sums, lambda mean: float(np.sqrt(mean[0] / mean[1])))
        value = float(np.sqrt(sums[:, 0].sum() / sums[:, 1].sum()))
        found.append(SigmaA(temperature, value, error.error if np.isfinite(error.error) else None))
    return tuple(found)
