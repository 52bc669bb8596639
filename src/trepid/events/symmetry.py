"""The space group of a crystal as maps of space, to tell which of its places are equivalent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from trepid.arrays import FloatArray
from trepid.data.supercells import padded_box, symmetry_dataset


@dataclass(frozen=True, eq=False)
class Operations:
    """Symmetry operations, x -> R x + t in Cartesian coordinates.

    Attributes
    ----------
    rotations : (n, 3, 3) array
    translations : (n, 3) array
        A. The translations inside of a supercell are operations of their own.
    box : (3, 3) array
        A, vectors in rows. Images are modulo its vectors; those without periodicity are longer than the crystal.
    middle : (3,) array
        A, the middle of the atoms. Without periodicity, an image is the one nearest to it.
    pbc : (3,) array of bool
    """

    rotations: FloatArray
    translations: FloatArray
    box: FloatArray
    middle: FloatArray
    pbc: NDArray[np.bool_]

    def images(self, points: FloatArray) -> FloatArray:
        """Images of points under every operation, (n, n_points, 3), A.

        Parameters
        ----------
        points : (n_points, 3) array
            A.
        """
        images = np.einsum("nij,pj->npi", self.rotations, points) + self.translations[:, None]
        from_middle = (images - self.middle) @ np.linalg.inv(self.box)
        return np.asarray(images - np.where(self.pbc, 0.0, np.rint(from_middle)) @ self.box, dtype=np.float64)


def operations_of(crystal: Atoms, *, tolerance_A: float) -> Operations:
    """Symmetry operations of a crystal by spglib (A. Togo et al., Sci. Technol. Adv. Mater. Methods 4, 2384822 (2024)).

    Parameters
    ----------
    crystal : Atoms
        At rest.
    tolerance_A : float
        Largest distance of an atom from the image of another.

    Returns
    -------
    Operations
        The identity alone where spglib finds no symmetry.
    """
    box = padded_box(crystal)
    inverse = np.linalg.inv(box)
    middle = 0.5 * (crystal.positions.min(axis=0) + crystal.positions.max(axis=0))
    found = symmetry_dataset(crystal, box, tolerance_A=tolerance_A)
    rotations, translations = np.eye(3)[None], np.zeros((1, 3))
    if found is not None:
        rotations = box.T @ np.asarray(found.rotations, dtype=np.float64) @ inverse.T
        translations = np.asarray(found.translations, dtype=np.float64) @ box
    return Operations(rotations, translations, box, middle, np.array(crystal.pbc))
