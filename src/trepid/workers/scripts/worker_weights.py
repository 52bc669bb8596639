"""Weight of a label by the size of its force: the same in the loss of networks and in the noise of a committee."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def trust_in(forces: NDArray[np.float64], strong: float) -> NDArray[np.float64]:
    """Factor (square root of the weight) of every atom, (n_atoms,): 1 / sqrt(1 + (F / F_strong)^2).

    A residual counts at most as if it were F_strong, so that a few frames of unstable trajectories do not outweigh the crystal.
    For the energy and stress of a frame take the smallest factor of its atoms.

    Parameters
    ----------
    forces : (n_atoms, 3) array
        Labels, eV/A.
    strong : float
        F_strong, eV/A; 0: all weigh the same.
    """
    if strong == 0:
        return np.ones(len(forces))
    return np.asarray(1.0 / np.sqrt(1.0 + (np.linalg.norm(forces, axis=1) / strong) ** 2))
