"""phonopy's objects in memory: a harmonic reference from a `phonopy.Phonopy` and the other way round.

Vocabulary
----------
compact     force constants of the atoms of one primitive cell only, (n_primitive, n, 3, 3)
matrix      phonopy's supercell matrix has the new cell vectors as columns, `HarmonicReference.supercell_matrix` as rows

phonopy builds the supercell itself and so chooses the order of its atoms; here atoms are matched by position. Non-analytical
corrections are left out: sigma^A compares forces in one supercell, and the force constants of that supercell hold what its
periodic images do.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from trepid.anharmonicity.harmonic import HarmonicReference
from trepid.anharmonicity.matching import match_atoms
from trepid.arrays import FloatArray, IntArray
from trepid.errors import DataError

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

MATCH_A = 0.01
"""Positions of phonopy's supercell and ours agree within this, A."""

# phonopy keeps the numbers of a calculation in the units of its code; these work in eV and A.
_EV_CODES = (None, "vasp", "aims", "castep", "crystal", "lammps", "pwmat")


_SAYS_NOTHING = (
    ".*Point group symmetries",  # of supercell and crystal differ: more displacements
    ".*generalized regular grid",  # another mesh of the same density
    ".*[Pp]oint-group symmetry reduction is disabled",  # more wave vectors
    ".*primitive_matrix defaulted",
)
"""Warnings of phonopy about how it computes, not about what comes out."""


@contextmanager
def quiet_phonopy() -> Iterator[None]:
    """Without warnings of phonopy that ask nothing of the user."""
    with warnings.catch_warnings():
        for message in _SAYS_NOTHING:
            warnings.filterwarnings("ignore", message=message)
        yield


def run_mesh(phonon: Phonopy, mesh: float | tuple[int, int, int]) -> None:
    """Frequencies on a mesh of wave vectors, a length (A) or three numbers, into `phonon.mesh`."""
    with quiet_phonopy():
        phonon.run_mesh(mesh)


def from_phonopy(phonon: Phonopy) -> HarmonicReference:
    """Harmonic reference of a `phonopy.Phonopy` with force constants, its atoms in the order of phonopy's supercell.

    Parameters
    ----------
    phonon : phonopy.Phonopy
        Not changed. Force constants full or compact, taken as they are; non-analytical corrections are left out.

    Raises
    ------
    DataError
        It has no force constants, or its units are not eV and A.
    """
    require_ev(phonon.calculator, "the Phonopy object")
    if phonon.force_constants is None:
        raise DataError("the Phonopy object has no force constants; call its produce_force_constants() first")
    return reference_of(phonon, phonon.force_constants, where="the Phonopy object")


def to_phonopy(reference: HarmonicReference) -> Phonopy:
    """`phonopy.Phonopy` with the force constants of a harmonic reference, for band structures, densities of states and so on.

    The atoms are in the order of phonopy's supercell, whatever theirs in `reference`; the primitive cell is found by symmetry.
    Masses are those of `reference`.

    Raises
    ------
    DataError
        The supercell of `reference` is not the one its unit cell and matrix make.
    """
    unitcell = reference.supercell if reference.unitcell is None else reference.unitcell
    matrix = np.eye(3, dtype=np.int64) if reference.unitcell is None else np.asarray(reference.supercell_matrix).T
    phonon = make_phonon(phonopy_cell(unitcell), matrix)
    ours = match_atoms(
        atoms_of(phonon.supercell),
        reference.supercell,
        tolerance_A=MATCH_A,
        where="the supercell of phonopy",
        names="the harmonic reference",
    )
    phonon.force_constants = np.ascontiguousarray(reference.force_constants[np.ix_(ours, ours)])
    return phonon


def reference_of(phonon: Phonopy, constants: Any, *, where: str) -> HarmonicReference:
    """Harmonic reference of phonopy's cells and force constants (full or compact), eV/A^2; `where` names them in errors."""
    return HarmonicReference(
        supercell=atoms_of(phonon.supercell),
        force_constants=_full(phonon, np.asarray(constants, dtype=np.float64), where),
        unitcell=atoms_of(phonon.unitcell),
        supercell_matrix=np.array(phonon.supercell_matrix, dtype=np.int64).T,
    )


def require_ev(calculator: str | None, where: str) -> None:
    """Raise DataError where phonopy's numbers come from a code that does not work in eV and A."""
    if calculator not in _EV_CODES:
        raise DataError(f"{where}: in the units of {calculator}; convert it to eV and A first")


def make_phonon(
    unitcell: PhonopyAtoms, matrix: IntArray, *, primitive_matrix: Any = None, symprec: float = 1e-5
) -> Phonopy:
    """Phonopy object; `matrix` has the new cell vectors as columns, the primitive cell is found by symmetry if not given."""
    from phonopy import Phonopy
    from phonopy.structure.cells import guess_primitive_matrix

    with quiet_phonopy():
        if primitive_matrix is None:
            # What "auto" does, and what phonopy's major versions 2 to 4 all do with a matrix without a warning.
            primitive_matrix = guess_primitive_matrix(unitcell, symprec=symprec)
        return Phonopy(unitcell, matrix, primitive_matrix=primitive_matrix, symprec=symprec)


def force_constants_of(phonon: Phonopy, dataset: Any) -> FloatArray:
    """Force constants (n, n, 3, 3) of displacements and forces in phonopy's form, symmetrised, eV/A^2."""
    phonon.dataset = dataset
    phonon.produce_force_constants(show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    return np.array(phonon.force_constants, dtype=np.float64)


def atoms_of(cell: PhonopyAtoms) -> Atoms:
    """Cell of phonopy as Atoms, periodic, masses included."""
    return Atoms(
        symbols=cell.symbols, scaled_positions=cell.scaled_positions, cell=cell.cell, masses=cell.masses, pbc=True
    )


def phonopy_cell(atoms: Atoms) -> PhonopyAtoms:
    """Atoms as cell of phonopy, masses included."""
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(wrap=False),
        masses=atoms.get_masses(),
    )


def _full(phonon: Phonopy, constants: FloatArray, where: str) -> FloatArray:
    """Force constants between all pairs, from compact ones by the translations of the primitive cell."""
    n, primitive = len(phonon.supercell), phonon.primitive
    if constants.shape == (n, n, 3, 3):
        return constants
    n_primitive = len(primitive.p2s_map)
    if constants.shape != (n_primitive, n, 3, 3):
        raise DataError(
            f"{where}: force constants have shape {constants.shape}; ({n}, {n}, 3, 3), or ({n_primitive}, {n}, 3, 3) in the "
            "compact form, is expected"
        )
    atoms = atoms_of(phonon.supercell)
    full = np.empty((n, n, 3, 3))
    row_of = {int(atom): row for row, atom in enumerate(primitive.p2s_map)}
    maps: dict[bytes, IntArray] = {}
    for i, origin in enumerate(int(k) for k in primitive.s2p_map):
        shift = atoms.positions[i] - atoms.positions[origin]
        key = np.mod(np.round(atoms.cell.scaled_positions(shift), 4), 1.0).tobytes()
        if key not in maps:
            shifted = atoms.copy()
            shifted.positions -= shift
            maps[key] = match_atoms(shifted, atoms, tolerance_A=MATCH_A, where="a shifted supercell")
        full[i] = constants[row_of[origin]][maps[key]]
    return full
