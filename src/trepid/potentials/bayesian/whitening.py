r"""The prior factor U of all coefficients, turned so that the labels see as few of its columns as possible.

A spline that no distance of the training set reaches has features of exactly zero in every label: its row and column of
the Gram matrices vanish. On CuI crystals these are more than half of all coefficients. With the other rows of a block of
the prior factor, U_s (seen, whitened), and

.. math::

    U_s = (T \; 0)\, Q^T, \qquad U Q = (V \; W),

Q orthogonal, the prior covariance U U^T is unchanged, and the labels depend on the directions V alone, through T: what is
cubic in the number of directions is done for those. The directions W keep their prior. Nothing is approximated.

Vocabulary
----------
seen coefficient   one with a feature that is not zero in every training label
seen direction     a column of V: a direction of whitened space that the labels depend on
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.terms.base import Factor


def to_whitened(rows: FloatArray, factors: Sequence[Factor]) -> FloatArray:
    """Rows @ U for rows (m, raw); U is block-diagonal."""
    out = np.empty((len(rows), sum(f.u.shape[1] for f in factors)))
    start = 0
    for f in factors:
        own = out[:, start : start + f.u.shape[1]]
        if f.is_diagonal:
            np.multiply(rows[:, f.columns], f.diagonal, out=own)
        else:
            own[:] = rows[:, f.columns] @ f.u
        start += f.u.shape[1]
    return out


def from_whitened(columns: FloatArray, factors: Sequence[Factor], size: int) -> FloatArray:
    """U @ columns for columns (whitened, ...); returns (size, ...)."""
    out = np.zeros((size, *columns.shape[1:]))
    start = 0
    for f in factors:
        stop = start + f.u.shape[1]
        own = columns[start:stop]
        out[f.columns] = (own.T * f.diagonal).T if f.is_diagonal else f.u @ own
        start = stop
    return out


def seen_within(seen: NDArray[np.intp], columns: slice) -> tuple[slice, NDArray[np.intp]]:
    """Seen coefficients of a block `columns` of all: their slice among the seen ones, and their indices in the block.

    Parameters
    ----------
    seen : (n,) array
        Rising indices of the seen coefficients among all.
    columns : slice
    """
    first, stop = np.searchsorted(seen, [columns.start, columns.stop])
    return slice(first, stop), seen[first:stop] - columns.start


def seen_factors(factors: Sequence[Factor], seen: NDArray[np.intp]) -> list[Factor]:
    """The factors T of the seen coefficients; their slices count seen coefficients only.

    Parameters
    ----------
    factors : sequence of Factor
        U, in the order of the raw coefficients.
    seen : (n,) array
        Rising indices of the seen coefficients among all.
    """
    out = []
    for f in factors:
        own, rows = seen_within(seen, f.columns)
        if f.is_diagonal:
            out.append(Factor(own, np.diag(f.diagonal[rows]), is_diagonal=True))
            continue
        u, n = f.u[rows], len(rows)
        if n < u.shape[1]:
            u = qr(u.T, mode="r", check_finite=False)[0][:n].T
        out.append(Factor(own, u))
    return out


def turned_factors(factors: Sequence[Factor], seen: NDArray[np.intp]) -> tuple[list[Factor], list[Factor]]:
    """The factors V of the seen directions, in the order of those of `seen_factors`, and W of the others."""
    reached, rest = [], []
    for f in factors:
        rows = seen_within(seen, f.columns)[1]
        u, n = f.u, len(rows)
        if f.is_diagonal:
            seen_first = np.concatenate([rows, np.delete(np.arange(len(u)), rows)])
            u = u[:, seen_first]
        elif n < u.shape[1]:
            q, r = qr(u[rows].T, check_finite=False)
            u = u @ q
            u[rows, :n], u[rows, n:] = r[:n].T, 0.0  # what they are without rounding
        reached.append(Factor(f.columns, u[:, :n], is_diagonal=f.is_diagonal and n == len(u)))
        rest.append(Factor(f.columns, u[:, n:]))
    return reached, rest
