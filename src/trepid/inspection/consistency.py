"""Whether energies, forces and stresses fit together: sign, unit and normalisation of one kind against the others.

A fit to forces alone predicts energies and stresses (`quick_fit`). The slope of the labels against the predictions is 1 where all
kinds belong together, -1 where one has the wrong sign, 1/27.2 for energies in Hartree, and so on. Models that are only
roughly right have slopes between 0.8 and 1.5, so that only a slope far from 1 counts, and only where its error bar is
small: labels that hardly vary, or that the fit cannot predict, say nothing.

Vocabulary
----------
slope       of labels against predictions, with one intercept per composition (energies) or component (stresses)
hypothesis  what may be wrong: the label is the right value times a factor, which can differ from frame to frame
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from trepid.arrays import FloatArray
from trepid.data.checks import Finding, Level
from trepid.data.confused_units import BOHR, ENERGY_FACTORS, STRESS_FACTORS, UNITS
from trepid.data.frames import Labels
from trepid.inspection.quick_fit import QuickFit

PLAUSIBLE = (0.2, 5.0)
"""Slopes that an imperfect fit to consistent labels can have; potentials of long range in strained cells come to 0.35."""
NEAR = 0.3
"""A hypothesis is named where the slope is its factor within this in the logarithm."""
LEAST_Z = 6.0
"""A slope is judged where it is this times its error, and more where degrees of freedom are few."""
STRAY = 6.0
"""Labels with a residual above this times the median do not count for the slope."""
CALM = 2 / 3
BEST_QUALITY = 0.6
"""Force residual over force above which a fit predicts nothing."""
EXACT_R, EXACT_NEAR = 0.99, 0.1
"""Demanded of a factor that a poor fit could explain: 1.89 (eV per Bohr), and energies per atom in cells of 3 to 5."""
SMALL_CELLS = (3, 4, 5)


@dataclass(frozen=True)
class Slope:
    """Slope of the labels of one kind against their predictions.

    Attributes
    ----------
    value, error : float
        With one standard deviation.
    correlation : float
    n_frames : int
    suspects : tuple of float
        Wrong values in the plausible range.
    calm : float
        The slope of the two thirds of the labels that differ least from the mean; NaN where they do not determine one. A few
        frames of another kind, such as molecules beside a crystal, can make a slope alone.
    """

    value: float
    error: float
    correlation: float
    n_frames: int
    suspects: tuple[float, ...]
    calm: float

    def __str__(self) -> str:
        return f"slope {self.value:.3g} +- {self.error:.2g} over {self.n_frames} frames"


def contradictions(frames: Sequence[Atoms], labels: Sequence[Labels], fit: QuickFit) -> list[Finding]:
    """Kinds of labels that contradict the others."""
    if fit.quality > BEST_QUALITY:
        return []
    energy, stress = energy_slope(labels, fit), stress_slope(labels, fit)
    wrong_energy = energy is not None and not plausible(energy)
    wrong_stress = stress is not None and not plausible(stress)
    if energy is not None and stress is not None and wrong_energy and wrong_stress and _alike(energy, stress):
        return [_forces(energy, f"energies and stresses demand ({energy}; stresses: {stress})")]
    found = []
    if energy is not None and wrong_energy:
        found.append(_energies(labels, fit, energy, settled=stress is not None and not wrong_stress))
    elif energy is None:
        found += _per_atom(labels, fit)
    if stress is not None and wrong_stress:
        found += _stresses(frames, labels, fit, stress, settled=energy is not None and not wrong_energy)
    elif stress is None:
        found += _virials(frames, labels, fit)
    return found


def energy_slope(labels: Sequence[Labels], fit: QuickFit, factors: FloatArray | None = None) -> Slope | None:
    """Slope of the energies; None where the labels do not determine it.

    Parameters
    ----------
    labels : sequence of Labels
        Of all frames.
    fit : QuickFit
    factors : (n,) array, optional
        Of the frames of the fit: the labels are divided by them first.
    """
    energies = [labels[k].energy for k in fit.frames]
    known = np.array([energy is not None for energy in energies])
    if not known.any():
        return None
    y = np.array([energy for energy in energies if energy is not None])
    if factors is not None:
        y = y / factors[known]
    counts = fit.counts[known]
    n_atoms = counts.sum(axis=1)
    # Energies scatter with the root of the number of atoms.
    weights = 1 / np.sqrt(n_atoms)
    sizes = np.unique(n_atoms)
    small = (1 / float(sizes[0]),) if factors is None and len(sizes) == 1 and sizes[0] in SMALL_CELLS else ()
    return _slope(y, fit.energies[known], fit.design[known], weights, n_frames=len(y), per_frame=1, suspects=small)


def stress_slope(labels: Sequence[Labels], fit: QuickFit, factors: FloatArray | None = None) -> Slope | None:
    """Slope of the stresses; None where the labels do not determine it."""
    known = np.array([labels[k].stress is not None for k in fit.frames]) & np.isfinite(fit.stresses).all(axis=1)
    if known.sum() < 3:
        return None
    y = np.array([labels[k].stress for k, own in zip(fit.frames, known, strict=True) if own])
    if factors is not None:
        y = y / factors[known][:, None]
    intercepts = np.tile(np.eye(6), (len(y), 1))
    return _slope(y.ravel(), fit.stresses[known].ravel(), intercepts, np.ones(y.size), n_frames=len(y), per_frame=2)


def _slope(
    y: FloatArray,
    p: FloatArray,
    design: FloatArray,
    weights: FloatArray,
    *,
    n_frames: int,
    per_frame: int,
    suspects: tuple[float, ...] = (),
) -> Slope | None:
    """Slope of y against p beside the columns of `design`, without strays; None where it is not well determined."""
    kept = np.ones(len(y), dtype=bool)
    for _ in range(3):
        w = weights[kept]
        basis, triangle = np.linalg.qr(design[kept] * w[:, None])
        basis = basis[:, np.abs(np.diagonal(triangle)) > 1e-9 * max(np.abs(triangle).max(), 1e-300)]
        free = n_frames * per_frame - basis.shape[1] - 1 - (len(y) - int(kept.sum())) * n_frames * per_frame // len(y)
        if free < 1:
            return None
        left, right = y[kept] * w, p[kept] * w
        left, right = left - basis @ (basis.T @ left), right - basis @ (basis.T @ right)
        size = float(right @ right)
        if not (size > 0 and left @ left > 0):
            return None
        value = float(right @ left) / size
        rest = left - value * right
        scatter = np.abs(rest)
        stray = scatter > STRAY * max(float(np.median(scatter)), 1e-12)
        if not stray.any() or stray.sum() > len(y) // 5 or len(y) < 6:
            break
        kept[np.flatnonzero(kept)[stray]] = False
    value, error, correlation = _line(left, right, free)
    if abs(value) < (LEAST_Z + 30 / free**2) * error:
        return None
    calm = np.abs(right) <= np.quantile(np.abs(right), CALM)
    inner, inner_error, _ = _line(left[calm], right[calm], max(1.0, CALM * free))
    suspects = (*suspects, 1 / BOHR)
    return Slope(value, error, correlation, n_frames, suspects, inner if abs(inner) > 4 * inner_error else float("nan"))


def _line(left: FloatArray, right: FloatArray, free: float) -> tuple[float, float, float]:
    """Slope of `left` against `right` through zero, its error with so many degrees of freedom, and the correlation."""
    size = max(float(right @ right), 1e-300)
    value = float(right @ left) / size
    correlation = float(right @ left) / np.sqrt(size * max(float(left @ left), 1e-300))
    error = abs(value) * np.sqrt(max(1 - correlation**2, 1e-12) / free) / max(abs(correlation), 1e-12)
    return value, float(error), float(correlation)


def plausible(slope: Slope) -> bool:
    """Whether an imperfect fit to consistent labels can have this slope."""
    low, high = PLAUSIBLE
    if low <= slope.value <= high or low <= slope.calm <= high:
        return not any(_is_exactly(slope, suspect) for suspect in slope.suspects)
    return False


def _is_exactly(slope: Slope, suspect: float) -> bool:
    close = all(value > 0 and abs(np.log(value / suspect)) < EXACT_NEAR for value in (slope.value, slope.calm))
    return close and slope.correlation > EXACT_R and slope.error < 0.05 * suspect


def _alike(first: Slope, second: Slope) -> bool:
    """Whether two slopes could be one."""
    ratio = first.value / second.value
    return ratio > 0 and abs(np.log(ratio)) < 2 * NEAR


def _forces(slope: Slope, demand: str) -> Finding:
    """Forces that energies and stresses contradict alike."""
    factor = 1 / slope.value
    return _finding("forces", factor, UNITS, demand, gradients=True)


def _energies(labels: Sequence[Labels], fit: QuickFit, slope: Slope, *, settled: bool) -> Finding:
    """Energies that contradict the forces; `settled`: stresses agree with the forces."""
    per_atom = energy_slope(labels, fit, 1 / fit.counts.sum(axis=1))
    factors: dict[str, float] = dict(ENERGY_FACTORS)
    if per_atom is not None and plausible(per_atom):
        sizes = fit.counts.sum(axis=1)
        factors["energies per atom instead of per frame"] = slope.value / per_atom.value
        if len(np.unique(sizes)) == 1:
            factors["energies per atom instead of per frame"] = 1 / float(sizes[0])
    if settled or slope.value > 0:
        demand = f"the forces demand ({slope})"
        named = dict(factors)
        if not settled:  # the forces may as well be wrong
            named |= {f"forces in {name}": 1 / value for name, value in UNITS.items() if name not in ENERGY_FACTORS}
        return _finding("energies", slope.value, named, demand)
    return _finding("forces", 1 / slope.value, UNITS, f"the energies demand ({slope})", gradients=True)


def _per_atom(labels: Sequence[Labels], fit: QuickFit) -> list[Finding]:
    """Energies per atom of frames of several sizes: as energies of frames they do not follow the forces at all."""
    sizes = fit.counts.sum(axis=1)
    slope = energy_slope(labels, fit, 1 / sizes)
    if len(np.unique(sizes)) == 1 or slope is None or not plausible(slope):
        return []
    return [
        Finding(
            Level.WARNING,
            None,
            f"energies follow the forces only if they are energies per atom ({slope} after multiplication by the number of "
            "atoms); energies of whole frames are expected",
        )
    ]


def _stresses(
    frames: Sequence[Atoms], labels: Sequence[Labels], fit: QuickFit, slope: Slope, *, settled: bool
) -> list[Finding]:
    """Stresses that contradict the forces; `settled`: energies agree with the forces."""
    off, unit = min((abs(np.log(abs(slope.value) / value)), name) for name, value in STRESS_FACTORS.items())
    virial = _virial_slope(frames, labels, fit)
    if virial is not None and abs(np.log(abs(virial.value))) < min(float(off), abs(np.log(abs(slope.value)))):
        return [_virial(virial, or_else=f", or {unit}" if off < NEAR else "")]
    finding = _finding("stresses", slope.value, STRESS_FACTORS, f"the forces demand ({slope})")
    if slope.value < 0 and not settled and off > NEAR:
        return [replace(finding, message=f"{finding.message}, or are the forces gradients?")]
    return [finding]


def _virials(frames: Sequence[Atoms], labels: Sequence[Labels], fit: QuickFit) -> list[Finding]:
    """Stresses that follow the forces only after division by the volume, which varies much."""
    virial = _virial_slope(frames, labels, fit)
    return [] if virial is None else [_virial(virial)]


def _virial_slope(frames: Sequence[Atoms], labels: Sequence[Labels], fit: QuickFit) -> Slope | None:
    """Slope of the stress labels over the volume, where it is about 1 or -1."""
    volumes = np.array([abs(frames[k].cell.volume) for k in fit.frames])
    slope = stress_slope(labels, fit, volumes) if (volumes > 0).all() else None
    return slope if slope is not None and PLAUSIBLE[0] <= abs(slope.value) <= PLAUSIBLE[1] else None


def _virial(slope: Slope, *, or_else: str = "") -> Finding:
    sign = "-" if slope.value < 0 else ""
    return Finding(
        Level.WARNING,
        None,
        f"stresses are {sign}V times those that the forces demand (slope {slope.value:.3g} +- {slope.error:.2g} over "
        f"{slope.n_frames} frames after division by the volume V): virials in eV instead of stresses in eV/A^3{or_else}?",
    )


def _finding(kind: str, factor: float, named: Mapping[str, float], demand: str, *, gradients: bool = False) -> Finding:
    """Labels of a kind that are the demanded ones times `factor`."""
    near = sorted((abs(np.log(abs(factor) / value)), name) for name, value in named.items())
    names = [name for off, name in near if off < NEAR and off < near[0][0] + 0.2]
    why = f": {' or '.join(names)}?" if names else ""
    if factor < 0 and abs(np.log(abs(factor))) < np.log(PLAUSIBLE[1]):
        why = ": gradients instead of forces?" if gradients else ""
        return Finding(Level.WARNING, None, f"{kind} have the other sign than {demand}{why}")
    return Finding(Level.WARNING, None, f"{kind} are {factor:.3g} times what {demand}{why}")
