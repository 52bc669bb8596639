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
from trepid.anharmonicity.phonopy_objects import (
    MATCH_A,
    atoms_of,
    force_constants_of,
    make_phonon,
    phonopy_cell,
    quiet_phonopy,
)
from trepid.arrays import FloatArray, IntArray
from trepid.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

RESIDUAL_FORCE_eV_per_A = 0.01
"""Largest residual force of a relaxed structure; above it a warning is logged."""
RELAX_FIRST = "Relax it first: 'trepid phonons MODEL STRUCTURE --relax' writes relaxed.extxyz"
"""Advice for a crystal that is not at rest."""


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
        The unit cell, relaxed on `source`: a residual force above 0.01 eV/A is warned about. The forces at rest are taken off
        the force constants and kept: sigma^A of forces that hold them needs `HarmonicReference.expansion_at`.
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
    displaced = DisplacedCrystal(crystal, supercell, displacement_A=displacement_A, symprec=symprec)
    reference = displaced.reference(*displaced.force_constants(source))
    residual = reference.residual_force_eV_per_A
    if warn and residual is not None and residual > RESIDUAL_FORCE_eV_per_A:
        logger.warning(
            "the crystal is not relaxed: forces of up to %.3g eV/A at rest (wanted: below %g); its phonons and sigma^A are about a "
            "point that is no minimum. %s",
            residual,
            RESIDUAL_FORCE_eV_per_A,
            RELAX_FIRST,
        )
    return reference


class DisplacedCrystal:
    """A crystal and the displacements that its force constants need: found once, for any number of force fields.

    Attributes
    ----------
    crystal : Atoms
        The unit cell.
    atoms : Atoms
        The supercell in the order of ASE.
    matrix : (3, 3) array of int
        Its rows are the vectors of the supercell in those of the unit cell.
    phonon : phonopy.Phonopy
        With the displacements; the force constants last computed.

    Parameters and errors as `harmonic_reference`.
    """

    def __init__(
        self,
        crystal: Atoms,
        supercell: Sequence[int] | Sequence[Sequence[int]],
        *,
        displacement_A: float = 0.01,
        symprec: float = 1e-5,
    ) -> None:
        if not 0 < displacement_A <= 0.5:
            raise ConfigError(f"displacement {displacement_A} A: above 0 and at most 0.5 A is expected")
        self.crystal = crystal.copy()
        self.crystal.calc = None
        self.crystal.set_constraint()
        if self.crystal.cell.rank != 3:
            raise DataError("phonons need three cell vectors; give a sheet or a wire empty space around it")
        self.atoms, self.matrix = build_supercell(self.crystal, supercell)
        self.phonon = make_phonon(phonopy_cell(self.crystal), self.matrix.T, symprec=symprec)
        with quiet_phonopy():
            self.phonon.generate_displacements(distance=displacement_A)
        # Forces are computed in our order and cell, with the periodicity and whatever else the crystal carries.
        self._sites = match_atoms(
            atoms_of(self.phonon.supercell), self.atoms, tolerance_A=MATCH_A, where="the supercell of phonopy"
        )

    def force_constants(self, source: ForceSource) -> tuple[FloatArray, FloatArray]:
        """Force constants (n, n, 3, 3), eV/A^2, and forces at rest (n, 3), eV/A, in the order of phonopy."""
        forces_of = force_function(source)
        rest = forces_of(self.atoms)[self._sites]
        dataset = self.phonon.dataset
        for entry in dataset["first_atoms"]:
            frame = self.atoms.copy()
            frame.positions[self._sites[entry["number"]]] += entry["displacement"]
            entry["forces"] = forces_of(frame)[self._sites] - rest
        return force_constants_of(self.phonon, dataset), rest

    def reference(self, constants: FloatArray, rest_forces: FloatArray | None = None) -> HarmonicReference:
        """Force constants and forces at rest, in the order of phonopy, as a harmonic reference in the order of ASE."""
        ours = np.argsort(self._sites)
        return HarmonicReference(
            supercell=self.atoms,
            force_constants=constants[np.ix_(ours, ours)],
            unitcell=self.crystal,
            supercell_matrix=self.matrix,
            rest_forces=None if rest_forces is None else rest_forces[ours],
        )
