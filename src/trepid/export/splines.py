"""Uniform cubic B-splines between clamped ends, and a local projection of functions onto them.

Vocabulary
----------
grid         `n` intervals of one length; `n + 3` cubic splines, numbered from the left; the first and last knot count four
             times, so spline 0 alone is not zero at the left end; the first and last three carry value, slope and curvature
             there
projection   a matrix that takes a function's values at `samples` to spline coefficients: coefficient i is that of the
             least-squares fit over the support of spline i alone. It returns a spline unchanged. A global fit has the same
             order of accuracy, but carries what the function does in one place to every other one; here nothing travels
             further than four intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline

from trepid.potentials.base import FloatArray

DEGREE = 3
POINTS = 4
"""Gauss-Legendre points per interval: the inner products of cubic splines are exact."""
DECIMALS = 6
"""Decimals of a knot, so that a file holds them exactly and in few characters."""


@dataclass(frozen=True)
class Grid:
    """A uniform grid of cubic splines.

    Attributes
    ----------
    start, step : float
        First knot and interval length, A, with at most DECIMALS decimals.
    n : int
        Number of intervals.
    """

    start: float
    step: float
    n: int

    @classmethod
    def ending_at(cls, end: float, *, step: float, n: int) -> Grid:
        """Grid of n intervals that ends at `end`, A; lengths are rounded to DECIMALS."""
        step = round(step, DECIMALS)
        return cls(round(end - n * step, DECIMALS), step, n)

    @property
    def end(self) -> float:
        """Last knot, A."""
        return round(self.start + self.n * self.step, DECIMALS)

    @property
    def size(self) -> int:
        """Number of splines."""
        return self.n + DEGREE

    @property
    def knots(self) -> FloatArray:
        """All knots, repeated ends included, (n + 7,), A."""
        inner = np.round(self.start + self.step * np.arange(self.n + 1), DECIMALS)
        return np.pad(inner, DEGREE, mode="edge")

    @property
    def samples(self) -> FloatArray:
        """Where the projection samples a function, (POINTS n,), A."""
        points, _ = np.polynomial.legendre.leggauss(POINTS)
        return (self.start + self.step * (np.arange(self.n)[:, None] + (points + 1) / 2)).ravel()

    def projection(self, *, vanish_at_start: bool, vanish_at_end: bool) -> FloatArray:
        """Matrix (size, POINTS n) from values at `samples` to coefficients.

        Parameters
        ----------
        vanish_at_start, vanish_at_end : bool
            Whether value, slope and curvature shall be zero at that end: its three coefficients stay out of the fit.
        """
        values = BSpline.design_matrix(self.samples, self.knots, DEGREE).toarray()
        weights = np.sqrt(np.tile(np.polynomial.legendre.leggauss(POINTS)[1], self.n))
        first = DEGREE if vanish_at_start else 0
        stop = self.size - DEGREE if vanish_at_end else self.size
        matrix = np.zeros((self.size, POINTS * self.n))
        for i in range(first, stop):
            left, right = max(0, i - DEGREE), min(self.n, i + 1)  # intervals of the support
            rows = slice(POINTS * left, POINTS * right)
            columns = slice(max(left, first), min(right + DEGREE, stop))
            fit = np.linalg.pinv(weights[rows, None] * values[rows, columns])
            matrix[i, rows] = fit[i - columns.start] * weights[rows]
        return matrix
