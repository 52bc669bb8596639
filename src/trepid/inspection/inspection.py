"""All checks of labelled frames: those of each frame (`trepid.data.checks`), and those that need a quick fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ase import Atoms

from trepid.data.checks import (
    CheckLimits,
    Finding,
    Level,
    check_frames,
    energy_outliers,
    force_sizes,
    sorted_findings,
    stress_sizes,
)
from trepid.data.duplicates import distinct
from trepid.data.frames import LabelKeys, Labels, labels_of
from trepid.data.noise_factors import NoiseFactors, with_noise_factors
from trepid.errors import DataError
from trepid.inspection import energies
from trepid.inspection.consistency import BEST_QUALITY, contradictions, energy_slope, plausible, stress_slope
from trepid.inspection.energies import Residuals, energy_groups
from trepid.inspection.likeness import Likeness
from trepid.inspection.outliers import Outlier, force_outliers, stress_outliers, told, well_predicted
from trepid.inspection.quick_fit import quick_fit

_DEFAULT_KEYS = LabelKeys()
_DEFAULT_LIMITS = CheckLimits()
_ORDINARY = NoiseFactors()


@dataclass(frozen=True)
class Inspection:
    """What was found in labelled frames.

    Attributes
    ----------
    findings : list of Finding
        Sorted by frame, those that concern the whole set first. Empty: nothing found.
    factors : dict of int to NoiseFactors
        Factors on the noise of labels that others contradict, by the number of the frame: a fit with them (`weighted`) is
        hardly different from one without these labels.
    """

    findings: list[Finding] = field(default_factory=list)
    factors: dict[int, NoiseFactors] = field(default_factory=dict)

    def weighted(self, frames: Sequence[Atoms]) -> list[Atoms]:
        """The frames that were inspected, outliers as copies that carry their factors."""
        return [
            with_noise_factors(atoms, self.factors[number]) if number in self.factors else atoms
            for number, atoms in enumerate(frames)
        ]


def inspect_frames(
    frames: Sequence[Atoms], keys: LabelKeys = _DEFAULT_KEYS, *, limits: CheckLimits = _DEFAULT_LIMITS, seed: int = 0
) -> list[Finding]:
    """Find problems in labelled frames; the findings of `inspect_labels`."""
    return inspect_labels(frames, keys, limits=limits, seed=seed).findings


def inspect_labels(
    frames: Sequence[Atoms], keys: LabelKeys = _DEFAULT_KEYS, *, limits: CheckLimits = _DEFAULT_LIMITS, seed: int = 0
) -> Inspection:
    """Find problems in labelled frames: those of `check_frames`, and labels that contradict others.

    Parameters
    ----------
    frames : sequence of Atoms
    keys : LabelKeys
    limits : CheckLimits
    seed : int
        Of the sample of frames for the quick fit.
    """
    findings = check_frames(frames, keys, limits=limits, values=False)
    labels = [_labels(atoms, keys) for atoms in frames]
    wrong = {finding.frame for finding in findings if finding.level is Level.ERROR}
    outliers: list[Outlier] = []
    by_value = True
    if None not in wrong:
        # Copies would count twice, and broken frames stop the fit.
        once = {k for k in range(len(frames)) if k not in wrong} & set(_distinct(frames, keys, labels))
        judged = _judged(frames, [known if k in once else Labels() for k, known in enumerate(labels)], seed)
        findings, outliers, by_value = findings + judged.findings, judged.outliers, not judged.energies
        for number in range(len(frames)):
            if number not in judged.forces:
                findings += force_sizes(number, labels[number], limits)
        if not judged.stresses:
            findings += [f for number, known in enumerate(labels) for f in stress_sizes(number, known, limits)]
    if by_value:
        findings += energy_outliers(frames, labels, limits)
    findings += told(outliers)
    return Inspection(sorted_findings(findings), _factors(outliers))


@dataclass(frozen=True)
class _Judged:
    """Findings of a quick fit, whether it could judge energies and stresses, and the frames whose forces it predicts."""

    findings: list[Finding] = field(default_factory=list)
    outliers: list[Outlier] = field(default_factory=list)
    energies: bool = False
    stresses: bool = False
    forces: frozenset[int] = frozenset()


def _judged(frames: Sequence[Atoms], labels: Sequence[Labels], seed: int) -> _Judged:
    """Hold the labels against a quick fit."""
    fit = quick_fit(frames, labels, seed=seed)
    if fit is None or fit.quality > BEST_QUALITY:
        return _Judged()
    likeness = Likeness.of(frames, fit)
    findings = contradictions(frames, labels, fit)
    outliers = force_outliers(labels, fit, likeness)
    stress, energy = stress_slope(labels, fit), energy_slope(labels, fit)
    if stress is not None and plausible(stress):
        outliers += stress_outliers(labels, fit, likeness)
    residuals = Residuals.of(labels, fit, likeness, robust=True)
    linear = Residuals.of(labels, fit, likeness, robust=False)
    if residuals is not None and linear is not None and (energy is None or plausible(energy)):
        groups = energy_groups(linear, fit, likeness)
        findings += groups
        if not groups:
            outliers += energies.energy_outliers(residuals, fit, likeness)
    return _Judged(
        findings,
        outliers,
        energies=residuals is not None,
        stresses=stress is not None,
        forces=well_predicted(labels, fit),
    )


def _distinct(frames: Sequence[Atoms], keys: LabelKeys, labels: Sequence[Labels]) -> list[int]:
    try:
        return distinct(frames, keys)
    except DataError:  # a finding already
        return [k for k, known in enumerate(labels) if known.kinds]


def _factors(outliers: Sequence[Outlier]) -> dict[int, NoiseFactors]:
    found: dict[int, NoiseFactors] = {}
    for outlier in outliers:
        if outlier.finding.frame is not None:
            own = found.get(outlier.finding.frame, _ORDINARY)
            found[outlier.finding.frame] = replace(own, **{outlier.kind: outlier.factor})
    return found


def _labels(atoms: Atoms, keys: LabelKeys) -> Labels:
    try:
        return labels_of(atoms, keys)
    except DataError:  # a finding already
        return Labels()
