"""Force constants from finite displacements, through phonopy: any potential, reference or ASE calculator.

phonopy finds by symmetry which displacements are needed, and fits the force constants. Forces that the crystal at rest already
has (a structure that is not relaxed) are taken off before: they do not come from a displacement, and would
enter one-sided displacements as force / displacement, 0.01 eV/A as 1 eV/A^2.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trepid.anharmonicity.force_source import ForceSource, force_function
from trepid.anharmonicity.harmonic import HarmonicReference
from trepid.anharmonicity.matching import match_atoms
from trepid.anharmonicity.phonopy_objects import MATCH_A, atoms_of, force_constants_of, make_phonon, phonopy_cell
from trepid.arrays import IntArray
from trepid.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

RESIDUAL_FORCE_eV_per_A = 0.01
"""Largest residual force of a relaxed structure; above it a warning is logged."""


def build_supercell(crystal: Atoms, supercell: Sequence[int] | Sequence[Sequence[int]]) -> tuple[Atoms, IntArray]:
    """Supercell in the order ASE gives it, and its matrix, whose rows are the new cell vectors in the old ones.

    Raises
    ------
    ConfigError
        `supercell` is neither three whole numbers of 1 or more nor a 3x3 matrix of whole numbers with positive determinant.
    """
    from ase.build import make_supercell

    matrix = np.array(supercell)
    right = "give three whole numbers of 1 or more, such as 2 2 2, or a 3x3 matrix of whole numbers"
    if matrix.dtype.kind not in "iu" or matrix.shape not in ((3,), (3, 3)):
        raise ConfigError(f"supercell is {supercell}; {right}")
    if matrix.ndim == 1:
        if matrix.min() < 1:
            raise ConfigError(f"supercell is {supercell}; {right}")
        return crystal.repeat(matrix.tolist()), np.diag(matrix).astype(np.int64)
    if np.linalg.det(matrix) < 0.5:
        raise ConfigError(f"supercell is {supercell}: the determinant of the matrix must be positive")
    return make_supercell(crystal, matrix), matrix.astype(np.int64)


def harmonic_reference(
    crystal: Atoms,
    supercell: Sequence[int] | Sequence[Sequence[int]],
    source: ForceSource,
    *,
    displacement_A: float = 0.01,
    symprec: float = 1e-5,
    warn: bool = True,
) -> HarmonicReference:
    """Harmonic reference of a crystal on a source of forces.

    Parameters
    ----------
    crystal : Atoms
        The unit cell, relaxed on `source`: a residual force above 0.01 eV/A is warned about. It is taken off the force
        constants, but sigma^A of frames compares -Phi u with forces that still hold it, and comes out too large.
    supercell : three ints or (3, 3) ints
        Repetitions, or rows that give the new cell vectors. The atoms come in the order of `Atoms.repeat` or
        `ase.build.make_supercell`.
    source : Potential, Reference, SplinePotential or ASE calculator
    displacement_A : float
        How far atoms are displaced, A. Small against thermal motion, large against the noise of the forces.
    symprec : float
        Tolerance of the symmetry search, A.
    warn : bool
        Warn about residual forces.

    Returns
    -------
    HarmonicReference
        Its force constants are symmetric and obey the acoustic sum rule.

    Raises
    ------
    ConfigError
        The supercell or the displacement is out of range, or the source cannot compute this crystal.
    DataError
        The crystal has no three cell vectors.
    """
    if not 0 < displacement_A <= 0.5:
        raise ConfigError(f"displacement {displacement_A} A: above 0 and at most 0.5 A is expected")
    bare = crystal.copy()
    bare.calc = None
    bare.set_constraint()
    if bare.cell.rank != 3:
        raise DataError("phonons need three cell vectors; give a sheet or a wire empty space around it")
    atoms, matrix = build_supercell(bare, supercell)
    phonon = make_phonon(phonopy_cell(bare), matrix.T, symprec=symprec)
    phonon.generate_displacements(distance=displacement_A)
    forces_of = force_function(source)

    # Computed in phonopy's order and cell, with the periodicity and whatever else the crystal carries.
    sites = match_atoms(atoms_of(phonon.supercell), atoms, tolerance_A=MATCH_A, where="the supercell of phonopy")
    ours = np.argsort(sites)
    rest = forces_of(atoms)[sites]
    residual = float(np.linalg.norm(rest, axis=1).max())
    if warn and residual > RESIDUAL_FORCE_eV_per_A:
        logger.warning(
            "the crystal is not relaxed: forces of up to %.3g eV/A at rest (wanted: below %g). They are taken off the force "
            "constants, but sigma^A will be too large; relax the structure first",
            residual,
            RESIDUAL_FORCE_eV_per_A,
        )
    dataset = phonon.dataset
    for entry in dataset["first_atoms"]:
        frame = atoms.copy()
        frame.positions[sites[entry["number"]]] += entry["displacement"]
        entry["forces"] = forces_of(frame)[sites] - rest
    constants = force_constants_of(phonon, dataset)
    return HarmonicReference(
        supercell=atoms,
        force_constants=constants[np.ix_(ours, ours)],
        unitcell=bare,
        supercell_matrix=matrix,
        residual_force_eV_per_A=residual,
    )
