"""All checks of labelled frames: those of each frame (`trepid.data.checks`), and those that need a quick fit."""

from __future__ import annotations

from collections.abc import Sequence

from ase import Atoms

from trepid.data.checks import (
    CheckLimits,
    Finding,
    Level,
    check_frames,
    energy_outliers,
    sorted_findings,
    stress_sizes,
)
from trepid.data.frames import LabelKeys, Labels, labels_of
from trepid.errors import DataError
from trepid.inspection import energies
from trepid.inspection.consistency import BEST_QUALITY, contradictions, energy_slope, plausible, stress_slope
from trepid.inspection.energies import Residuals, energy_groups, outlier_findings
from trepid.inspection.likeness import Likeness
from trepid.inspection.quick_fit import quick_fit

_DEFAULT_KEYS = LabelKeys()
_DEFAULT_LIMITS = CheckLimits()


def inspect_frames(
    frames: Sequence[Atoms], keys: LabelKeys = _DEFAULT_KEYS, *, limits: CheckLimits = _DEFAULT_LIMITS, seed: int = 0
) -> list[Finding]:
    """Find problems in labelled frames: those of `check_frames`, and labels that contradict each other.

    Parameters
    ----------
    frames : sequence of Atoms
    keys : LabelKeys
    limits : CheckLimits
    seed : int
        Of the sample of frames for the quick fit.

    Returns
    -------
    list of Finding
        Sorted by frame, those that concern the whole set first. Empty: nothing found.
    """
    findings = check_frames(frames, keys, limits=limits, values=False)
    labels = [_labels(atoms, keys) for atoms in frames]
    wrong = {finding.frame for finding in findings if finding.level is Level.ERROR}
    sound = [Labels() if number in wrong else known for number, known in enumerate(labels)]
    fit = quick_fit(frames, sound, seed=seed) if None not in wrong else None
    if fit is None or fit.quality > BEST_QUALITY:
        findings += energy_outliers(frames, labels, limits)
        findings += [f for number, known in enumerate(labels) for f in stress_sizes(number, known, limits)]
        return sorted_findings(findings)
    contradicted = contradictions(frames, sound, fit)
    findings += contradicted
    stress = stress_slope(sound, fit)
    if stress is None:
        findings += [f for number, known in enumerate(labels) for f in stress_sizes(number, known, limits)]
    likeness = Likeness.of(frames, fit)
    residuals = Residuals.of(sound, fit, likeness)
    slope = energy_slope(sound, fit)
    if residuals is None:
        findings += energy_outliers(frames, labels, limits)
    elif slope is None or plausible(slope):
        findings += energy_groups(residuals, fit, likeness)
        findings += outlier_findings(energies.energy_outliers(residuals, fit, likeness))
    return sorted_findings(findings)


def _labels(atoms: Atoms, keys: LabelKeys) -> Labels:
    try:
        return labels_of(atoms, keys)
    except DataError:  # a finding already
        return Labels()
