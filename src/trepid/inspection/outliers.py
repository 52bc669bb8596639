"""Single frames whose forces or stresses are not those that the others demand, and the factors on their noise.

A frame is judged by the prediction of a quick fit, relative to how well that predicts the frames most like it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trepid.arrays import FloatArray, rms
from trepid.data.checks import Finding, Level, numbers_of
from trepid.data.frames import Labels
from trepid.inspection.confusion import Confusion, explained_forces
from trepid.inspection.likeness import Likeness
from trepid.inspection.quick_fit import QuickFit

FEWEST = 5
"""Frames; fewer are not judged."""
FEWEST_ATOMS = 4
"""The forces of fewer are along one line, and a correlation means nothing."""
POOR = 0.5
"""Error over force from which on an explanation is looked for ..."""
NO_BETTER = 0.9
"""... and from which on a frame without one is an outlier: zero would predict it as well."""
TIMES = 4.0
"""Where the error is this times that of similar frames."""
SPREADS = 12.0
"""Of the deviations of stresses from similar frames."""
ATOM_SHARE = 0.6
"""Of its error that the forces of a frame fail to cancel, where the label of one atom is wrong."""
ATOM_TIMES = 3.0
"""Error of that atom over the rms force of the frame."""

MANY = 4
"""Frames of one sort from which on they are told together."""
_SORTS = {
    Confusion.SIGN: "with the other sign",
    Confusion.FACTOR: "in another unit",
    Confusion.ORDER: "in another order of the atoms",
}
WEIGHT = 10.0
"""Factor on the noise of an outlier, in units of its deviation over the usual one. With 1 a wrong energy still raised the noise of
energies tenfold, with 3 to 100 errors on fresh frames were those of a fit without the label within 10 % (CuI, GFN1-xTB)."""


@dataclass(frozen=True)
class Outlier:
    """One wrong label.

    Attributes
    ----------
    kind : str
        energy, forces or stress.
    finding : Finding
    factor : float
        On its noise.
    sort : str
        What is wrong, where it can be the same in many frames; else empty.
    """

    kind: str
    finding: Finding
    factor: float
    sort: str = ""


def force_outliers(labels: Sequence[Labels], fit: QuickFit, likeness: Likeness) -> list[Outlier]:
    """Frames whose forces are wrong altogether, or on one atom."""
    if len(fit.frames) < FEWEST:
        return []
    errors, usual, atoms = [], [], []
    for number, predicted in zip(fit.frames, fit.forces, strict=True):
        forces = _forces(labels[number])
        size = max(rms(forces), rms(predicted))
        norms = np.linalg.norm(forces - predicted, axis=1)
        errors.append(rms(forces - predicted) / size)
        usual.append(float(np.median(norms)))
        atoms.append(int(np.argmax(norms)))
    error, typical = np.array(errors), float(np.median(usual))
    similar = np.median(error[likeness.nearest], axis=1)
    found = []
    for k, number in enumerate(fit.frames):
        forces, predicted = _forces(labels[number]), fit.forces[k]
        worst = float(np.linalg.norm(forces[atoms[k]] - predicted[atoms[k]]))
        net = float(np.linalg.norm(forces.sum(axis=0)))
        factor = WEIGHT * max(1.0, worst / max(typical, 1e-6))
        if error[k] > POOR and error[k] > TIMES * similar[k]:
            cause = explained_forces(forces, predicted) if len(forces) >= FEWEST_ATOMS else None
            if cause is not None:
                sort = f"the forces are those that other frames demand {_SORTS[cause.confusion]}"
                text = f"the forces are those that other frames demand {cause.text}"
                found.append(Outlier("forces", Finding(Level.WARNING, int(number), text), factor, sort))
                continue
            nearest = float(error[likeness.nearest[k][:2]].max())
            if error[k] > NO_BETTER and error[k] > TIMES * nearest and not likeness.alone[k]:
                found.append(
                    _outlier(
                        number,
                        f"the forces differ by {rms(forces - predicted):.3g} eV/A (rms) from those that other frames "
                        f"demand, forces of {rms(predicted):.3g} eV/A",
                        factor,
                    )
                )
                continue
        if net > ATOM_SHARE * worst and worst > ATOM_TIMES * rms(predicted) and worst > 10 * usual[k]:
            found.append(
                _outlier(
                    number,
                    f"the force on atom {atoms[k]} (counted from 0) is {worst:.3g} eV/A from what other frames demand, and "
                    f"the forces do not cancel ({net:.3g} eV/A)",
                    factor,
                )
            )
    return found


def told(outliers: Sequence[Outlier]) -> list[Finding]:
    """One finding for each, or one for all of a kind with the same explanation where they are many."""
    groups: dict[str, list[Outlier]] = {}
    for outlier in outliers:
        groups.setdefault(outlier.sort or str(id(outlier)), []).append(outlier)
    findings = []
    for sort, own in groups.items():
        numbers = sorted(k for k in (outlier.finding.frame for outlier in own) if k is not None)
        if len(own) < MANY:
            findings += [outlier.finding for outlier in own]
        else:
            findings.append(Finding(Level.WARNING, None, f"in {len(own)} frames {sort} (frames {numbers_of(numbers)})"))
    return findings


def well_predicted(labels: Sequence[Labels], fit: QuickFit) -> frozenset[int]:
    """Frames whose largest force the fit predicts, within half of it: large, but not wrong."""
    found = []
    for number, predicted in zip(fit.frames, fit.forces, strict=True):
        forces = _forces(labels[number])
        norms = np.linalg.norm(forces, axis=1)
        atom = int(np.argmax(norms))
        if np.linalg.norm(forces[atom] - predicted[atom]) < POOR * norms[atom]:
            found.append(int(number))
    return frozenset(found)


def stress_outliers(labels: Sequence[Labels], fit: QuickFit, likeness: Likeness) -> list[Outlier]:
    """Frames whose stress is far from what it is in similar frames."""
    stresses = np.array([np.full(6, np.nan) if labels[k].stress is None else labels[k].stress for k in fit.frames])
    known = np.isfinite(stresses).all(axis=1) & np.isfinite(fit.stresses).all(axis=1)
    if known.sum() < FEWEST or not known.all():
        return []
    residual = stresses - fit.stresses
    deviation = np.sqrt(np.mean((residual - np.median(residual[likeness.nearest], axis=1)) ** 2, axis=1))
    unlike = np.sqrt(np.mean((fit.stresses - np.median(fit.stresses[likeness.nearest], axis=1)) ** 2, axis=1))
    usual = float(np.median(deviation))
    spread = 1.4826 * float(np.median(np.abs(fit.stresses - np.median(fit.stresses, axis=0))))
    limit = np.maximum(max(SPREADS * usual, 6 * float(np.quantile(deviation, 0.75)), spread), 2 * unlike)
    found = []
    for k in np.flatnonzero((deviation > limit) & ~likeness.alone):
        own, expected = stresses[k], fit.stresses[k]
        cosine = float(own @ expected / (np.linalg.norm(own) * np.linalg.norm(expected) + 1e-300))
        sign = ": it has the other sign" if cosine < -0.9 and 0.5 < rms(own) / rms(expected) < 2 else ""
        finding = Finding(
            Level.WARNING,
            int(fit.frames[k]),
            f"the stress is {deviation[k]:.3g} eV/A^3 (rms) from what forces and similar frames demand (usual "
            f"{usual:.2g}){sign}",
        )
        found.append(Outlier("stress", finding, WEIGHT * float(deviation[k] / max(usual, 1e-12))))
    return found


def _outlier(number: int, message: str, factor: float) -> Outlier:
    return Outlier("forces", Finding(Level.WARNING, int(number), message), factor)


def _forces(labels: Labels) -> FloatArray:
    assert labels.forces is not None
    return labels.forces
