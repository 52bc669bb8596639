"""A crystal in the conventions of LAMMPS: a lower-triangular box, atom types, velocities in A/ps; and the way back.

LAMMPS takes cell vectors a = (lx, 0, 0), b = (xy, ly, 0), c = (xz, yz, lz). With the rows of a cell H as vectors, such
a box is the Cholesky factor L of its metric, H H^T = L L^T, and R = L^-1 H turns the frame of LAMMPS into the one of
the crystal: x = x_lammps R.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from ase.data import chemical_symbols
from numpy.typing import NDArray

from trepid.arrays import FloatArray, IntArray
from trepid.data.atomic import atomic_write
from trepid.data.formula import formula_of
from trepid.errors import ConfigError, DataError, NumericsError

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms


VELOCITY = 1000 * units.fs
"""ASE velocities times this are A/ps."""
MARGIN = 1.0
"""Room that the box leaves beyond the outermost atoms along directions without periodicity, A; LAMMPS then fits it."""
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class Box:
    """The box of LAMMPS and the turn that leads back.

    Attributes
    ----------
    vectors : (3, 3) array
        Rows a, b, c; lower triangular, positive diagonal, A.
    rotation : (3, 3) array
        Orthogonal; row vectors of LAMMPS times this are those of the crystal.
    pbc : (bool, bool, bool)
        Periodicity along a, b, c.
    origin : (3,) array
        Lowest corner in the frame of LAMMPS, A; zero along periodic directions.
    """

    vectors: FloatArray
    rotation: FloatArray
    pbc: tuple[bool, bool, bool]
    origin: FloatArray

    @classmethod
    def of(cls, atoms: Atoms) -> Box:
        """Box of a structure.

        Raises
        ------
        DataError
            The vectors of its periodic directions are missing or linearly dependent.
        """
        periodic = np.asarray(atoms.pbc, dtype=bool)
        cell = _completed(np.array(atoms.cell, dtype=np.float64), periodic)
        vectors = np.linalg.cholesky(cell @ cell.T)
        # Round-off is no tilt: LAMMPS is faster in a box without.
        vectors[np.abs(vectors) < 1e-12 * vectors.max()] = 0.0
        rotation = np.linalg.solve(vectors, cell)
        origin = np.zeros(3)
        if not periodic.all():
            # Along a unit normal the box reaches from the lowest atom to the highest.
            x = atoms.get_positions() @ np.linalg.inv(rotation)
            for k in np.flatnonzero(~periodic):
                low, high = x[:, k].min() - MARGIN, x[:, k].max() + MARGIN
                vectors[k, k], origin[k] = high - low, low
        return cls(
            np.asarray(vectors, dtype=np.float64),
            rotation,
            (bool(periodic[0]), bool(periodic[1]), bool(periodic[2])),
            origin,
        )

    @property
    def boundary(self) -> str:
        """Argument of the `boundary` command."""
        return " ".join("p" if periodic else "s" for periodic in self.pbc)

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest x, y, z before tilting, A."""
        return self.origin, self.origin + np.diag(self.vectors)

    @property
    def tilts(self) -> tuple[float, float, float]:
        """Tilt factors xy, xz, yz, A."""
        return float(self.vectors[1, 0]), float(self.vectors[2, 0]), float(self.vectors[2, 1])

    @property
    def skewed(self) -> bool:
        """Whether the box needs tilt factors."""
        return any(self.tilts)

    def to_lammps(self, vectors: FloatArray) -> FloatArray:
        """Row vectors (n, 3) of the crystal in the frame of LAMMPS."""
        return np.ascontiguousarray(vectors @ np.linalg.inv(self.rotation))

    def from_lammps(self, vectors: FloatArray) -> FloatArray:
        """Row vectors (n, 3) of LAMMPS in the frame of the crystal."""
        return vectors @ self.rotation

    def wrap(self, positions: FloatArray) -> tuple[FloatArray, IntArray]:
        """Positions (n, 3) inside the box and the numbers (n, 3) of periods they were away, in the frame of LAMMPS.

        LAMMPS wraps by itself but loses count of an atom that round-off puts on the upper face, so none is left there.
        """
        fractions = (positions - self.origin) @ np.linalg.inv(self.vectors)
        images = np.where(self.pbc, np.floor(fractions + 1e-12), 0)
        inside = np.where(self.pbc, np.maximum(fractions - images, 0.0), fractions)
        if not np.isfinite(inside).all():
            raise NumericsError("a position is not finite")
        return np.ascontiguousarray(inside @ self.vectors + self.origin), images.astype(np.int64)

    def stress_from_lammps(self, pressure: FloatArray) -> FloatArray:
        """Stress (6,), eV/A^3, Voigt xx yy zz yz xz xy, tension positive, of pxx pyy pzz pyz pxz pxy in bar."""
        tensor = np.empty((3, 3))
        for value, (i, j) in zip(pressure, _VOIGT, strict=True):
            tensor[i, j] = tensor[j, i] = -value * 1e-4 * units.GPa
        turned = self.rotation.T @ tensor @ self.rotation
        return np.array([turned[i, j] for i, j in _VOIGT])


def _completed(cell: FloatArray, periodic: NDArray[np.bool_]) -> FloatArray:
    """The cell with unit normals in place of the vectors along which nothing repeats."""
    kept = cell[periodic]
    lengths = np.linalg.norm(kept, axis=1)
    if np.any(lengths == 0) or np.linalg.matrix_rank(kept / np.where(lengths > 0, lengths, 1)[:, None]) < len(kept):
        raise DataError("the structure is periodic along a cell vector that is zero or depends on the others")
    normals = np.linalg.svd(np.vstack([kept, np.zeros((3, 3))]))[2][len(kept) :]
    out = cell.copy()
    out[~periodic] = normals
    return out


@dataclass(frozen=True)
class System:
    """Atoms as LAMMPS numbers and names them; atom k of the structure has the ID k + 1.

    Attributes
    ----------
    box : Box
    elements : tuple of str
        Of atom types 1, 2, ...
    masses : tuple of float
        Of the types, g/mol.
    types : (n_atoms,) array of int32
        From 1.
    """

    box: Box
    elements: tuple[str, ...]
    masses: tuple[float, ...]
    types: NDArray[np.int32]

    @classmethod
    def of(cls, atoms: Atoms) -> System:
        """Describe a structure; isotopes of an element become types of their own.

        Raises
        ------
        DataError
            See `Box.of`.
        ConfigError
            It carries constraints.
        """
        if atoms.constraints:
            raise ConfigError("the structure carries constraints; every atom moves here: remove them from its file")
        kinds = sorted(set(zip(atoms.numbers.tolist(), atoms.get_masses().tolist(), strict=True)))
        index = {kind: k + 1 for k, kind in enumerate(kinds)}
        pairs = zip(atoms.numbers.tolist(), atoms.get_masses().tolist(), strict=True)
        return cls(
            box=Box.of(atoms),
            elements=tuple(chemical_symbols[number] for number, _ in kinds),
            masses=tuple(mass for _, mass in kinds),
            types=np.array([index[pair] for pair in pairs], dtype=np.int32),
        )

    def make_box(self, *, triclinic: bool = False) -> str:
        """Commands that make the box, empty; a triclinic one where it is tilted or may become so."""
        low, high = self.box.bounds
        sides = " ".join(f"{a:.17g} {b:.17g}" for a, b in zip(low, high, strict=True))
        tilted = "prism {} {:.17g} {:.17g} {:.17g}".format(sides, *self.box.tilts)
        shape = tilted if triclinic or self.box.skewed else f"block {sides}"
        masses = "\n".join(f"mass {k} {mass:.17g}" for k, mass in enumerate(self.masses, start=1))
        return f"region box {shape} units box\ncreate_box {len(self.elements)} box\n{masses}\n"


def write_data_file(
    path: Path,
    atoms: Atoms,
    system: System,
    *,
    charges: Mapping[str, float] | None = None,
    triclinic: bool = False,
) -> None:
    """Write a LAMMPS data file with velocities, every number to the last bit.

    Parameters
    ----------
    path : Path
        Replaced atomically.
    atoms : ase.Atoms
    system : System
        Description of the same atoms.
    charges : mapping of str to float, optional
        By element, e: the file is then one of atom style charge.
    triclinic : bool
        The box may become tilted, where it is not tilted already.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    box = system.box
    header = [f"{formula_of(atoms)}, written by trepid", ""]
    header += [f"{len(atoms)} atoms", f"{len(system.elements)} atom types", ""]
    header += [f"{low:.17g} {high:.17g} {name}lo {name}hi" for name, low, high in zip("xyz", *box.bounds, strict=True)]
    if triclinic or box.skewed:
        header.append("{:.17g} {:.17g} {:.17g} xy xz yz".format(*box.tilts))
    header += ["", "Masses", ""]
    header += [
        f"{k} {mass:.17g}  # {element}"
        for k, (mass, element) in enumerate(zip(system.masses, system.elements, strict=True), start=1)
    ]
    numbers = np.arange(1, len(atoms) + 1)
    positions = box.to_lammps(atoms.get_positions())
    velocities = box.to_lammps(atoms.get_velocities()) * VELOCITY
    with atomic_write(path) as file:
        style = "atomic" if charges is None else "charge"
        file.write("\n".join([*header, "", f"Atoms  # {style}", "", ""]))
        fmt = "%d %d %.17g %.17g %.17g"
        own = np.zeros((len(atoms), 0))
        if charges is not None:
            own, fmt = np.array([[charges[symbol]] for symbol in atoms.symbols]), f"{fmt} %.17g"
        np.savetxt(file, np.column_stack([numbers, system.types, own, positions]), fmt=fmt)
        file.write("\nVelocities\n\n")
        np.savetxt(file, np.column_stack([numbers, velocities]), fmt="%d %.17g %.17g %.17g")
