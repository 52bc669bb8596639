r"""Leave-one-frame-out residuals, exact from the Cholesky factor, and the error bars that follow from them.

Maximum evidence calls everything that the functional form cannot describe "noise", the same for every label. Most of it
is model error, which grows where a frame has leverage: with the frame left out of the training, the error of its labels
follows the posterior variance. With whitened rows of one frame, Psi = diag(1 / (sigma m)) Phi U L^-T, and H = Psi Psi^T,

.. math::

    r' = (1 - H)^{-1} r, \qquad v' = \mathrm{diag}[(1 - H)^{-1} H], \qquad
    (1 - H)^{-1} = 1 + \Psi (1 - \Psi^T \Psi)^{-1} \Psi^T

are residual and posterior variance of its labels (in units of sigma m) under the posterior without the frame
(Woodbury identity; the hyperparameters are those of all frames). The error bar of a label is then split as

.. math::

    \sigma_i^2 = (s_0 m_i)^2 + \tau^2 v_i

with the noise s_0 and the scale tau >= 1 of the posterior standard deviation, both by maximum likelihood of the
leave-one-frame-out residuals. The mean and the evidence do not change.

Vocabulary
----------
residual      label - prediction without the frame of the label, in the unit of the label
variance      posterior variance of the label without its frame, without noise
multiplier    m: the noise of the label is m sigma (`statistics`), the weight of its frame in the fit left out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

from trepid.errors import NumericsError
from trepid.potentials.base import FloatArray, LeftOutError, Noise
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.statistics import LabelKind, LabelRows

FEWEST_LABELS = 30
"""Fewer labels of a kind do not determine its error bar: it then takes the scale of the forces."""
LARGEST_SCALE = 50.0
"""Largest tau of the search."""
MOST_MEDIANS_BAR, MOST_MEDIANS_RESIDUAL = 30.0, 6.0
"""An error bar, and the size of a residual, count in typical figures as at most so many medians of all. The largest bars of the
training sets of a campaign of CuI from 300 to 600 K are at 3 to 26 medians, those of one frame of 25 with a Cu pushed onto an I at
a thousand. Six medians of residuals are four standard deviations of a normal distribution."""


def limited_rms(values: FloatArray, medians: float) -> float:
    """Root mean square of values, (n,), none of them counted as larger than so many medians of their sizes."""
    sizes = np.abs(values)
    return float(np.sqrt(np.mean(np.minimum(sizes, medians * np.median(sizes)) ** 2)))


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Labels of one kind, predicted without their frame.

    Attributes
    ----------
    residual, variance, multiplier : (n,) arrays
        See the vocabulary; eV, eV/A or eV/A^3, and their squares.
    """

    residual: FloatArray
    variance: FloatArray
    multiplier: FloatArray

    @classmethod
    def empty(cls) -> LeftOut:
        """Of no label."""
        return cls(np.empty(0), np.empty(0), np.empty(0))

    def __len__(self) -> int:
        return len(self.residual)

    @classmethod
    def concatenate(cls, parts: Sequence[LeftOut]) -> LeftOut:
        """The labels of all parts, in their order."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*(part._arrays for part in parts), strict=True)))

    @property
    def rms(self) -> float:
        """Root mean square residual: the error to expect on fresh frames of the same kind."""
        return float(np.sqrt(np.mean(self.residual**2))) if len(self) else float("nan")

    @property
    def error(self) -> LeftOutError:
        """Size of the residuals: the part beyond the posterior variance is the misfit, squares add up."""
        beyond = np.mean(self.residual**2 - self.variance) if len(self) else 0.0
        usual = limited_rms(self.residual, MOST_MEDIANS_RESIDUAL) if len(self) else float("nan")
        return LeftOutError(self.rms, float(np.sqrt(max(beyond, 0.0))), usual)

    @property
    def array(self) -> FloatArray:
        """(n, 3): the columns of a model file."""
        return np.stack(self._arrays, axis=1)

    @classmethod
    def from_array(cls, array: FloatArray) -> LeftOut:
        """Read what `array` gave."""
        residual, variance, multiplier = np.asarray(array, dtype=np.float64).reshape(-1, 3).T
        return cls(residual, variance, multiplier)

    @property
    def _arrays(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        return self.residual, self.variance, self.multiplier


@dataclass(frozen=True)
class ErrorBar:
    """Error bar of the labels of one kind: sqrt((noise m)^2 + scale^2 variance).

    Attributes
    ----------
    noise : float
        s_0, in the unit of the label.
    scale : float
        tau, the factor of the posterior standard deviation.
    """

    noise: float
    scale: float

    def std(self, variance: FloatArray, multiplier: FloatArray) -> FloatArray:
        """Error bar of labels with these posterior variances and noise multipliers, in the unit of the label."""
        return np.asarray(np.hypot(self.noise * multiplier, self.scale * np.sqrt(variance)))

    def typical(self, left_out: LeftOut) -> float:
        """Root mean square error bar of these labels, in the unit of the label; a few wild labels do not set it.

        Thresholds are multiples of it: with one frame of colliding atoms in the plain root mean square nothing would be above them.
        """
        return limited_rms(self.std(left_out.variance, left_out.multiplier), MOST_MEDIANS_BAR)

    def log_score(self, left_out: LeftOut) -> float:
        """Mean logarithm of the Gaussian density of these residuals, in nats a label: errors and their bars in one figure."""
        std = self.std(left_out.variance, left_out.multiplier)
        return float(-np.mean(np.log(std) + (left_out.residual / std) ** 2 / 2) - np.log(2 * np.pi) / 2)


def leave_frame_out(posterior: Posterior, labels: Sequence[LabelRows]) -> dict[LabelKind, LeftOut]:
    """Labels of one training frame, predicted by the posterior without that frame.

    Parameters
    ----------
    posterior : Posterior
        Of a training set that contains the frame.
    labels : sequence of LabelRows
        All labels of the frame.

    Raises
    ------
    NumericsError
        Without the frame the posterior precision is not positive definite in double precision.
    """
    sigma = np.concatenate([part.kind.noise(posterior.hyper.noise) * part.multipliers for part in labels])
    rows = np.concatenate([part.rows for part in labels])
    psi = posterior.rotated_labels(rows).T / sigma[:, None]
    residual = (np.concatenate([part.residuals for part in labels]) - rows @ posterior.mean) / sigma
    if len(psi) <= psi.shape[1]:
        leverage = psi @ psi.T
        factor = _factor(np.eye(len(psi)) - leverage)
        without = cho_solve(factor, residual, check_finite=False)
        variance = np.diagonal(cho_solve(factor, leverage, check_finite=False))
    else:  # more labels than directions: the same by the inverse of the smaller matrix
        factor = _factor(np.eye(psi.shape[1]) - psi.T @ psi)
        without = residual + psi @ cho_solve(factor, psi.T @ residual, check_finite=False)
        variance = np.einsum("ij,ij->i", psi, cho_solve(factor, psi.T, check_finite=False).T)
    found, start = {}, 0
    for part in labels:
        own = slice(start, start + len(part.residuals))
        found[part.kind] = LeftOut(
            without[own] * sigma[own], np.maximum(variance[own], 0.0) * sigma[own] ** 2, part.own_multipliers
        )
        start = own.stop
    return found


def _factor(matrix: FloatArray) -> tuple[FloatArray, bool]:
    try:
        return cho_factor(matrix, lower=True, check_finite=False)
    except LinAlgError as error:
        raise NumericsError(
            "leaving a frame out of the training set leaves no positive definite posterior precision: the frame alone "
            "determines some coefficients; add frames"
        ) from error


def fit_error_bar(left_out: LeftOut, *, noise: float, least_scale: float = 1.0) -> ErrorBar:
    """Noise and scale of maximum likelihood for these residuals.

    Parameters
    ----------
    left_out : LeftOut
        At least one label.
    noise : float
        By maximum evidence; the search starts there, and goes from a 400th of it to seven times it.
    least_scale : float
        Lower end of the search for the scale.
    """
    r2, v, m = left_out.residual**2, left_out.variance, left_out.multiplier

    def objective(x: FloatArray) -> tuple[float, FloatArray]:
        s2, t2 = np.exp(2 * x[0]) * m**2, np.exp(2 * x[1]) * v
        total = s2 + t2
        slope = (1 - r2 / total) / total
        value = 0.5 * float(np.mean(np.log(total) + r2 / total))
        return value, np.array([float(np.mean(slope * s2)), float(np.mean(slope * t2))])

    start = np.log(noise)
    low, high = np.log(least_scale), np.log(LARGEST_SCALE)
    box = [(start - 6.0, start + 2.0), (low, high)]
    first = [min(low + more, high) for more in (0.1, 1.0, 2.0)]
    found = [minimize(objective, [start, scale], jac=True, method="L-BFGS-B", bounds=box) for scale in first]
    best = min(found, key=lambda result: result.fun)
    return ErrorBar(noise=float(np.exp(best.x[0])), scale=float(np.exp(best.x[1])))


def noise_factor(basis: Basis, scale: float) -> float:
    """Factor on the noises of maximum evidence with which labels enter the posterior: the scale with quadruplets, else 1.

    The evidence takes labels for independent, while the misfit that it calls noise is shared by those of a frame; a scale tau
    says that tau^2 labels tell as much as one should. A rich form follows such labels too closely: with labels that count
    1 / tau^2 of one, quadruplets lose 5 % on left-out frames, and gain on hot and strained ones. Pairs and triplets alone gain
    nothing. docs/sizes.md has the figures.
    """
    return scale if basis.channels is not None else 1.0


def predict_labels(posterior: Posterior, labels: Sequence[LabelRows]) -> dict[LabelKind, LeftOut]:
    """Labels of one frame that is not in the training set, predicted by a posterior."""
    return {
        part.kind: LeftOut(
            part.residuals - part.rows @ posterior.mean,
            posterior.standard_deviation(part.rows) ** 2,
            part.own_multipliers,
        )
        for part in labels
    }


def joined(*parts: Mapping[LabelKind, LeftOut]) -> dict[LabelKind, LeftOut]:
    """Left-out labels of several sets of frames, by kind."""
    kinds = [kind for kind in LabelKind if any(kind in part for part in parts)]
    return {kind: LeftOut.concatenate([part[kind] for part in parts if kind in part]) for kind in kinds}


def error_bars(left_out: Mapping[LabelKind, LeftOut], evidence: Noise) -> dict[LabelKind, ErrorBar]:
    """Error bars of all kinds; those with too few labels keep their noise, with the scale of the forces.

    The scale of energies and stresses is at least that of the forces: all follow from the same coefficients, and the energies
    of the training frames, one a frame and all alike, tell little about the energy of an event.

    Without any left-out label (a single training frame) the noise is that of the evidence, and the scale is 1.

    Parameters
    ----------
    left_out : mapping of LabelKind to LeftOut
    evidence : Noise
        By maximum evidence.
    """
    bars = {}
    forces = left_out.get(LabelKind.FORCES)
    scale = 1.0
    if forces is not None and len(forces) >= FEWEST_LABELS:
        bars[LabelKind.FORCES] = fit_error_bar(forces, noise=evidence.forces)
        scale = bars[LabelKind.FORCES].scale
    for kind in LabelKind:
        noise = kind.noise(evidence)
        labels = left_out.get(kind)
        if kind not in bars and labels is not None and len(labels) >= FEWEST_LABELS:
            bars[kind] = fit_error_bar(labels, noise=noise, least_scale=scale)
        bars.setdefault(kind, ErrorBar(noise=noise, scale=scale))
    return bars
