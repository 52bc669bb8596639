r"""Gaussian process on the difference of two energy surfaces near a path: reference minus model, from a few labels.

The model is the prior mean and the difference a smooth function of all coordinates, known by its value and its gradient at
every label: the reference's surface follows as model plus difference, and with it the reference's minima and saddle points,
as in nudged elastic band calculations accelerated by a Gaussian process (O.-P. Koistinen et al., J. Chem. Phys. 147, 152720
(2017)).

.. math::

    k(x, x') = c^2 + s^2 \exp(-|x - x'|^2 / 2 l^2)

In the span of the differences between the labels all values and gradients are correlated; perpendicular to it every
direction is a process of its own with the covariance :math:`s^2 \exp(-r_{ij}^2/2l^2)/l^2` between the gradients. So only
matrices of the size of the number of labels are factorised (F. de Roos, A. Gessner, P. Hennig, ICML 2021, for n < D).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from trepid.arrays import FloatArray
from trepid.errors import DataError, NumericsError

ENERGY_NOISE_EV, FORCE_NOISE_EV_PER_A = 5e-4, 5e-3
"""One standard deviation of a label: the numerical noise of a self-consistent reference."""
LENGTH_A, LENGTH_SPREAD = 1.0, 0.7
"""Log-normal prior of the length l: distances over which an interatomic potential changes its error."""
LEAST_SCALE_EV = 0.02
"""s is not below this: two labels that happen to agree do not make the model right everywhere."""


@dataclass(frozen=True)
class Scales:
    """Hyperparameters: s (eV) and l (A)."""

    scale_eV: float
    length_A: float


class DifferenceProcess:
    """Posterior of the difference of two energies.

    Parameters
    ----------
    points : (n, d) array
        Coordinates of the labels, A.
    energies : (n,) array
        Differences of the energies, eV.
    forces : (n, d) array
        Differences of the forces, eV/A.
    scales : Scales, optional
        By default those of the largest evidence times the prior of the length.

    Raises
    ------
    DataError
        No label, or shapes that do not go together.
    """

    def __init__(
        self, points: FloatArray, energies: FloatArray, forces: FloatArray, *, scales: Scales | None = None
    ) -> None:
        if points.ndim != 2 or len(points) == 0 or forces.shape != points.shape or energies.shape != (len(points),):
            raise DataError(
                f"labels of shapes {points.shape}, {energies.shape}, {forces.shape}: (n, d), (n,), (n, d) are expected"
            )
        self._points, self._zero = points, float(energies[0])
        self._basis = _span(points - points[0])
        self._inside = (points - points[0]) @ self._basis
        self._y = np.concatenate([energies - energies[0], (forces @ self._basis).ravel()])
        self._rest = forces - forces @ self._basis @ self._basis.T
        self._offset = max(1.0, float(np.ptp(energies)))
        self.scales = scales or self._best()
        self._factorise(self.scales)

    def __call__(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Mean of the difference at x (d,): energy, eV, and forces (d,), eV/A."""
        length2 = self.scales.length_A**2
        gap = x - self._points
        k = self.scales.scale_eV**2 * np.exp(-0.5 * np.sum(gap * gap, axis=1) / length2)
        inner = self._alpha - np.sum(gap * self._gradient, axis=1) / length2
        energy = self._zero + self._offset**2 * float(self._alpha.sum()) + float(k @ inner)
        forces = ((k * inner) @ gap + k @ self._gradient) / length2
        return energy, forces

    def std(self, x: FloatArray, y: FloatArray) -> float:
        """One standard deviation of the difference at x minus the difference at y, eV."""
        variance = self._covariance(x, x) + self._covariance(y, y) - 2 * self._covariance(x, y)
        return math.sqrt(max(variance, 0.0))

    def _covariance(self, x: FloatArray, y: FloatArray) -> float:
        s2, length2 = self.scales.scale_eV**2, self.scales.length_A**2
        prior = self._offset**2 + s2 * math.exp(-0.5 * float(np.sum((x - y) ** 2)) / length2)
        qx, px, wx = self._to_labels(x)
        qy, py, wy = self._to_labels(y)
        known = float(qx @ cho_solve(self._inner, qy)) + float(wx @ wy) * float(px @ cho_solve(self._outer, py))
        return prior - known

    def _to_labels(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Covariances of the energy at x with the labels in the span and, per length, perpendicular to it; the latter way."""
        s2, length2 = self.scales.scale_eV**2, self.scales.length_A**2
        way = x - self._points[0]
        inside = way @ self._basis
        outside = way - self._basis @ inside
        gap = inside - self._inside
        k = s2 * np.exp(-0.5 * (np.sum(gap * gap, axis=1) + float(outside @ outside)) / length2)
        return np.concatenate([k + self._offset**2, (-k[:, None] * gap / length2).ravel()]), -k / length2, outside

    # ------------------------------------------------------------------ factors

    def _matrices(self, scales: Scales) -> tuple[FloatArray, FloatArray]:
        """Covariances of the labels in the span, and of the gradients perpendicular to it."""
        n, m = self._inside.shape
        s2, length2 = scales.scale_eV**2, scales.length_A**2
        gap = self._inside[:, None] - self._inside[None, :]
        k = s2 * np.exp(-0.5 * np.sum(gap * gap, axis=2) / length2)
        inner = np.empty((n * (m + 1), n * (m + 1)))
        inner[:n, :n] = k + self._offset**2
        cross = (-k[:, :, None] * gap / length2).reshape(n, n * m)
        inner[:n, n:], inner[n:, :n] = cross, cross.T
        outer = gap[:, :, :, None] * gap[:, :, None, :] / length2
        block = k[:, :, None, None] / length2 * (np.eye(m) - outer)
        inner[n:, n:] = block.transpose(0, 2, 1, 3).reshape(n * m, n * m)
        noise = np.concatenate([np.full(n, ENERGY_NOISE_EV**2), np.full(n * m, FORCE_NOISE_EV_PER_A**2)])
        inner[np.diag_indices(len(inner))] += noise
        return inner, k / length2 + FORCE_NOISE_EV_PER_A**2 * np.eye(n)

    def _factorise(self, scales: Scales) -> None:
        inner, outer = self._matrices(scales)
        try:
            self._inner, self._outer = cho_factor(inner, lower=True), cho_factor(outer, lower=True)
        except np.linalg.LinAlgError as error:
            raise NumericsError(
                f"the differences of {len(self._points)} labels cannot be interpolated: {error}"
            ) from error
        n, m = self._inside.shape
        weights = cho_solve(self._inner, self._y)
        self._alpha = weights[:n]
        self._gradient = weights[n:].reshape(n, m) @ self._basis.T + cho_solve(self._outer, self._rest)

    def _cost(self, logarithms: FloatArray) -> float:
        """Minus the logarithm of evidence times prior."""
        scales = Scales(*np.exp(logarithms))
        inner, outer = self._matrices(scales)
        try:
            first, second = np.linalg.cholesky(inner), np.linalg.cholesky(outer)
        except np.linalg.LinAlgError:
            return 1e10
        n_free = self._points.shape[1] - self._basis.shape[1]
        a, b = np.linalg.solve(first, self._y), np.linalg.solve(second, self._rest)
        evidence = -0.5 * float(a @ a) - float(np.log(np.diag(first)).sum())
        evidence += -0.5 * float(np.sum(b * b)) - n_free * float(np.log(np.diag(second)).sum())
        return -evidence + 0.5 * ((logarithms[1] - math.log(LENGTH_A)) / LENGTH_SPREAD) ** 2

    def _best(self) -> Scales:
        squares = float(np.sum(self._y[len(self._points) :] ** 2) + np.sum(self._rest**2))
        guess = math.log(max(math.sqrt(squares / self._points.size) * LENGTH_A, 2 * LEAST_SCALE_EV))
        # Most atoms are far from the event and pull s down; the energies tell how large the difference is.
        least = max(LEAST_SCALE_EV, float(np.sqrt(np.mean(self._y[: len(self._points)] ** 2))))
        guess = max(guess, math.log(2 * least))
        bounds = [(math.log(least), math.log(1e3)), (math.log(0.2), math.log(10.0))]
        starts = [np.array([guess, math.log(length)]) for length in (0.6, 1.5)]
        found = [minimize(self._cost, start, method="Nelder-Mead", bounds=bounds) for start in starts]
        return Scales(*(float(value) for value in np.exp(min(found, key=lambda result: float(result.fun)).x)))


def _span(differences: FloatArray) -> FloatArray:
    """Orthonormal basis (d, m) of the rows, without directions shorter than 1e-6 A."""
    _, lengths, rows = np.linalg.svd(differences, full_matrices=False)
    return np.ascontiguousarray(rows[lengths > 1e-6].T)


def coordinates(atoms: Atoms, origin: Atoms) -> FloatArray:
    """Displacements of all atoms from another frame of the same cell, (3 n_atoms,), A."""
    return np.asarray(
        find_mic(atoms.positions - origin.positions, origin.cell, origin.pbc)[0], dtype=np.float64
    ).ravel()
