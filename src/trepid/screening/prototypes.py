"""Primitive cells of common structure types from a formula and lattice constants.

Vocabulary
----------
setting      standard setting of the space group (International Tables A), origin choice 2 where there are two
x, z         free coordinates of the type, as fractions of the conventional cell; which ones, `PROTOTYPES` says
formula      elements in the order of the type's own formula: CuAlS2 for chalcopyrite, TiNiSn for half-Heusler (the element
             in the middle is the one between the two sublattices of rock salt)

Coordinates are those of R. W. G. Wyckoff, Crystal Structures (2nd ed., Interscience, 1963) and of the International Tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from ase.data import atomic_numbers
from ase.symbols import string2symbols

from trepid.config.screening import Prototype
from trepid.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

Coordinate: TypeAlias = float | str
"""A number, or the name of a free coordinate: x, z, -x (its negative)."""


@dataclass(frozen=True)
class StructureType:
    """A structure type.

    Attributes
    ----------
    formula : tuple of int
        How often every element stands in the formula, in its order.
    spacegroup : int
    setting : int
        Of `ase.spacegroup`.
    orbits : tuple of (int, tuple)
        Index of an element, and the place of one of its atoms.
    needs_c : bool
        The cell is tetragonal or hexagonal.
    angle : float
        Between a and b, degrees.
    free : mapping of str to float or None
        Free coordinates; None where the material has to give them, else the usual value.
    """

    formula: tuple[int, ...]
    spacegroup: int
    orbits: tuple[tuple[int, tuple[Coordinate, Coordinate, Coordinate]], ...]
    needs_c: bool = False
    angle: float = 90.0
    setting: int = 1
    free: Mapping[str, float | None] = field(default_factory=dict)


_CUBIC_AB2 = ((0, (0.0, 0.0, 0.0)), (1, (0.25, 0.25, 0.25)))
PROTOTYPES: Mapping[Prototype, StructureType] = {
    Prototype.ROCKSALT: StructureType((1, 1), 225, ((0, (0, 0, 0)), (1, (0.5, 0.5, 0.5)))),
    Prototype.ZINCBLENDE: StructureType((1, 1), 216, ((0, (0, 0, 0)), (1, (0.25, 0.25, 0.25)))),
    Prototype.WURTZITE: StructureType(
        (1, 1), 186, ((0, (1 / 3, 2 / 3, 0)), (1, (1 / 3, 2 / 3, "x"))), needs_c=True, angle=120, free={"x": 0.375}
    ),
    Prototype.CESIUM_CHLORIDE: StructureType((1, 1), 221, ((0, (0, 0, 0)), (1, (0.5, 0.5, 0.5)))),
    Prototype.FLUORITE: StructureType((1, 2), 225, _CUBIC_AB2),
    Prototype.ANTIFLUORITE: StructureType((2, 1), 225, ((1, (0, 0, 0)), (0, (0.25, 0.25, 0.25)))),
    Prototype.DIAMOND: StructureType((1,), 227, ((0, (0.125, 0.125, 0.125)),), setting=2),
    Prototype.FCC: StructureType((1,), 225, ((0, (0, 0, 0)),)),
    Prototype.BCC: StructureType((1,), 229, ((0, (0, 0, 0)),)),
    Prototype.CHALCOPYRITE: StructureType(
        (1, 1, 2), 122, ((0, (0, 0, 0)), (1, (0, 0, 0.5)), (2, ("x", 0.25, 0.125))), needs_c=True, free={"x": None}
    ),
    Prototype.PEROVSKITE: StructureType((1, 1, 3), 221, ((0, (0, 0, 0)), (1, (0.5, 0.5, 0.5)), (2, (0.5, 0.5, 0)))),
    # The element in the middle of the formula is at 1/4 1/4 1/4: four neighbours of each of the others.
    Prototype.HALF_HEUSLER: StructureType(
        (1, 1, 1), 216, ((0, (0.5, 0.5, 0.5)), (1, (0.25, 0.25, 0.25)), (2, (0, 0, 0)))
    ),
    Prototype.CADMIUM_IODIDE: StructureType(
        (1, 2), 164, ((0, (0, 0, 0)), (1, (1 / 3, 2 / 3, "x"))), needs_c=True, angle=120, free={"x": 0.25}
    ),
    Prototype.MOLYBDENITE: StructureType(
        (1, 2), 194, ((0, (1 / 3, 2 / 3, 0.25)), (1, (1 / 3, 2 / 3, "x"))), needs_c=True, angle=120, free={"x": None}
    ),
    Prototype.RUTILE: StructureType((1, 2), 136, ((0, (0, 0, 0)), (1, ("x", "x", 0))), needs_c=True, free={"x": None}),
    Prototype.CUPRITE: StructureType((2, 1), 224, ((0, (0, 0, 0)), (1, (0.25, 0.25, 0.25))), setting=2),
    Prototype.LITHARGE: StructureType(
        (1, 1), 129, ((0, (0.25, 0.25, "x")), (1, (0.75, 0.25, 0))), needs_c=True, setting=2, free={"x": None}
    ),
    Prototype.MATLOCKITE: StructureType(
        (1, 1, 1),
        129,
        ((0, (0.25, 0.25, "x")), (1, (0.75, 0.25, 0)), (2, (0.25, 0.25, "z"))),
        needs_c=True,
        setting=2,
        free={"x": None, "z": None},
    ),
    Prototype.COPPER_NITRIDE: StructureType((3, 1), 221, ((0, (0.5, 0, 0)), (1, (0, 0, 0)))),
    Prototype.BORON_NITRIDE: StructureType(
        (1, 1), 194, ((0, (1 / 3, 2 / 3, 0.25)), (1, (1 / 3, 2 / 3, 0.75))), needs_c=True, angle=120
    ),
}
"""Every type with its orbits."""


def build(
    prototype: Prototype,
    formula: str,
    *,
    a: float,
    c: float | None = None,
    x: float | None = None,
    z: float | None = None,
    where: str = "",
) -> Atoms:
    """Primitive cell of a material.

    Parameters
    ----------
    prototype : Prototype
    formula : str
        Elements in the order of the type.
    a, c : float
        Lattice constants of the conventional cell, A.
    x, z : float, optional
        Free coordinates.
    where : str
        How errors name the material.

    Raises
    ------
    ConfigError
        The formula is not of this type, or a lattice constant or coordinate is missing or not wanted.
    """
    from ase.spacegroup import crystal

    kind, name = PROTOTYPES[prototype], where or formula
    elements = _elements(kind, formula, prototype, name)
    if (c is None) == kind.needs_c:
        raise ConfigError(f"{name}: {prototype} {'needs' if kind.needs_c else 'has no'} lattice constant c")
    free = _free(kind, {"x": x, "z": z}, prototype, name)
    cell = [a, a, a if c is None else c, 90, 90, kind.angle]
    symbols = [elements[k] for k, _ in kind.orbits]
    basis = [tuple(_value(part, free) for part in place) for _, place in kind.orbits]
    atoms = crystal(
        symbols,
        basis=basis,
        spacegroup=kind.spacegroup,
        setting=kind.setting,
        cellpar=cell,
        primitive_cell=True,
        symprec=1e-4,
        onduplicates="error",
    )
    atoms.info.clear()
    for extra in [key for key in atoms.arrays if key not in ("numbers", "positions")]:
        del atoms.arrays[extra]
    return atoms


def _elements(kind: StructureType, formula: str, prototype: Prototype, name: str) -> list[str]:
    try:
        symbols = string2symbols(formula)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{name}: formula {formula!r} cannot be read: {error}") from error
    unknown = [symbol for symbol in symbols if symbol not in atomic_numbers]
    if unknown or not symbols:
        raise ConfigError(
            f"{name}: formula {formula!r} cannot be read: {unknown[0] if unknown else 'it'} is no element"
        )
    elements = list(dict.fromkeys(symbols))
    counts = tuple(symbols.count(element) for element in elements)
    if counts != kind.formula:
        wanted = "".join("ABC"[k] + (str(n) if n > 1 else "") for k, n in enumerate(kind.formula))
        raise ConfigError(f"{name}: {formula} is not of the type {prototype}, which has the formula {wanted}")
    return elements


def _free(kind: StructureType, given: Mapping[str, float | None], prototype: Prototype, name: str) -> dict[str, float]:
    wanted = dict(kind.free)
    for key, value in given.items():
        if value is not None and key not in wanted:
            raise ConfigError(f"{name}: {prototype} has no free coordinate {key}; leave it out")
        if key in wanted:
            wanted[key] = wanted[key] if value is None else value
    missing = [key for key, value in wanted.items() if value is None]
    if missing:
        raise ConfigError(f"{name}: {prototype} needs the free coordinate {missing[0]}, a fraction of the cell")
    return {key: float(value) for key, value in wanted.items() if value is not None}


def _value(part: Coordinate, free: Mapping[str, float]) -> float:
    if isinstance(part, str):
        return free[part]
    return float(part)
