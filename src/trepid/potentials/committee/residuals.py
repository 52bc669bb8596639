"""Residuals of members on frames that they were not trained on, frame by frame, and the noise inferred from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from trepid.data import Labels
from trepid.errors import BackendError
from trepid.potentials.base import FloatArray
from trepid.workers.scripts.worker_weights import trust_in

OUTLIER = 2.0
"""A frame counts in the noise at most as if its residuals were this many times the typical ones."""


@dataclass(frozen=True)
class Residuals:
    """Label less prediction, one entry per frame that has the label; of networks, labels of strong forces count less.

    Attributes
    ----------
    energy : tuple of float
        eV.
    n_atoms : tuple of int
        Of these frames.
    forces, stress : tuple of float
        Mean square over the components of a frame, (eV/A)^2 and (eV/A^3)^2.
    n_forces : tuple of int
        Numbers of force components.
    """

    energy: tuple[float, ...] = ()
    n_atoms: tuple[int, ...] = ()
    forces: tuple[float, ...] = ()
    n_forces: tuple[int, ...] = ()
    stress: tuple[float, ...] = ()

    def with_frame(
        self, labels: Labels, energy: float, forces: FloatArray, stress: FloatArray | None, *, strong: float = 0.0
    ) -> Residuals:
        """Add a frame; residuals of labels stronger than `strong` (eV/A) count less, as in the training of networks.

        Raises
        ------
        BackendError
            A prediction is not finite.
        """
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise BackendError("the trained model gives energies or forces that are not finite")
        trust = np.ones(len(forces)) if labels.forces is None else trust_in(labels.forces, strong)
        found = self
        if labels.energy is not None:
            off = float(trust.min()) * (labels.energy - energy)
            found = replace(found, energy=(*found.energy, off), n_atoms=(*found.n_atoms, len(forces)))
        if labels.forces is not None:
            square = float(((trust[:, None] * (labels.forces - forces)) ** 2).mean())
            found = replace(found, forces=(*found.forces, square), n_forces=(*found.n_forces, labels.forces.size))
        if labels.stress is not None and stress is not None:
            square = float(((trust.min() * (labels.stress - stress)) ** 2).mean())
            found = replace(found, stress=(*found.stress, square))
        return found


def typical_rms(mean_squares: Sequence[float], n: ArrayLike) -> float:
    """Root mean square over frames of which none counts as more than `OUTLIER` times the typical one; NaN without frames.

    Unstable walks leave frames among the labels that no later model describes. They would dominate the noise of all
    others. Typical is the median over frames; that of a mean of n squares is below its expectation, by (1 - 2 / 9n)^3
    (Wilson and Hilferty 1931).

    Parameters
    ----------
    mean_squares : sequence of float
        Mean over the components of each frame.
    n : int or sequence of int
        Numbers of components.
    """
    if not mean_squares:
        return float("nan")
    squares = np.asarray(mean_squares, dtype=np.float64)
    weights = np.broadcast_to(np.asarray(n, dtype=np.float64), squares.shape)
    typical = float(np.median(squares / (1 - 2 / (9 * weights)) ** 3))
    return float(np.sqrt(np.average(np.minimum(squares, OUTLIER**2 * typical), weights=weights)))
