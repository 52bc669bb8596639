"""Fast readers of trajectories in extended XYZ and LAMMPS dumps: numbers only, without an object per frame.

The readers of `trepid.data.reading` keep everything a labelled frame has; a trajectory of 100 000 frames needs positions,
cells, times and perhaps forces. What one frame shares with the one before (header, elements, order) is looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

import ase.units
import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from trepid.arrays import FloatArray, IntArray
from trepid.data.extxyz_reader import parse_header
from trepid.data.trajectory_frames import RawFrame, Reading, columns_of, table
from trepid.errors import DataError

FORCE_COLUMNS = ("forces", "force", "REF_forces")
"""Names of force columns in extended XYZ, where the user gives none."""
_LATTICE = re.compile(rb'\blattice="([^"]*)"', re.IGNORECASE)
_PROPERTIES = re.compile(rb"\bproperties=(\S+)", re.IGNORECASE)
_TIME = re.compile(rb"\btime_fs=(\S+)")
_STEP = re.compile(rb"\bstep=(\d+)\b")


class _Layout:
    """Columns of the rows of a frame in extended XYZ."""

    def __init__(self, properties: str, forces: str | None) -> None:
        fields = properties.split(":")
        at, start = {}, 0
        for name, count in zip(fields[::3], fields[2::3], strict=True):
            at[name] = start
            start += int(count)
        self.width, self.positions = start, at["pos"]
        self.by_number = "species" not in at
        self.species = at["Z"] if self.by_number else at["species"]
        named = (forces,) if forces else ()
        wanted = [name for name in (*named, *FORCE_COLUMNS) if name in at] if forces is not None else []
        self.forces = at[wanted[0]] if wanted else None
        self.momenta = at.get("momenta")


def read_extxyz_frames(file: IO[bytes], reading: Reading) -> Iterator[RawFrame]:
    """Frames of an extended or plain XYZ file.

    Raises
    ------
    DataError
        A line is no part of a frame, or cannot be parsed.
    """
    header_key: tuple[bytes, bytes] | None = None
    layout = _Layout("species:S:1:pos:R:3", None)
    cell: FloatArray | None = None
    species: list[bytes] = []
    symbols: tuple[str, ...] = ()
    per_momentum = np.empty(0)
    number, n_lines = 0, 0
    for line in file:
        n_lines += 1
        if not line.strip():
            continue
        n_atoms = _count(line, reading, number, n_lines)
        header = file.readline()
        rows = table(file, n_atoms)
        if rows is None:
            reading.cut_off(number)
            return
        n_lines += n_atoms + 1
        key = _shared(header)
        if key != header_key:
            layout, cell = _header(header, reading, number)
            header_key = key
        tokens = b" ".join(rows).split()
        if len(tokens) != n_atoms * layout.width:
            raise DataError(
                f"{reading.where(number)}: {len(tokens)} values in {n_atoms} rows; {layout.width} a row are expected"
            )
        if tokens[layout.species :: layout.width] != species:
            species = tokens[layout.species :: layout.width]
            symbols = _symbols(species, layout.by_number, reading.where(number))
            # Momenta are in the units of ASE, whose time unit is not fs.
            per_momentum = ase.units.fs / atomic_masses[[atomic_numbers[symbol] for symbol in symbols]]
        time, step = _TIME.search(header), _STEP.search(header)
        try:
            yield RawFrame(
                positions=columns_of(tokens, layout.positions, layout.width),
                cell=cell,
                symbols=symbols,
                time_fs=float(time[1].strip(b'"')) if time else None,
                step=int(step[1]) if step else None,
                forces=None if layout.forces is None else columns_of(tokens, layout.forces, layout.width),
                velocities=None
                if layout.momenta is None or not reading.velocities
                else columns_of(tokens, layout.momenta, layout.width) * per_momentum[:, None],
            )
        except ValueError as error:
            raise DataError(f"{reading.where(number)}: {error}") from error
        number += 1


def _count(line: bytes, reading: Reading, number: int, n_lines: int) -> int:
    text = line.strip()
    if text.isdigit() and 0 < int(text) < 10**9:
        return int(text)
    raise DataError(
        f"{reading.path}: line {n_lines}: expected the number of atoms of frame {number} (counted from 0), found "
        f"{text[:40].decode(errors='replace')!r}"
    )


def _shared(header: bytes) -> tuple[bytes, bytes]:
    """What decides the cell and the columns of a frame."""
    lattice, properties = _LATTICE.search(header), _PROPERTIES.search(header)
    # Without the usual form of a lattice the whole header decides: it is parsed again where it differs.
    return lattice[1] if lattice else header, properties[1] if properties else b""


def _header(header: bytes, reading: Reading, number: int) -> tuple[_Layout, FloatArray | None]:
    try:
        text = header.decode().strip()
        info = parse_header(text) if "=" in text else {}
        lattice = info.get("Lattice")
        # The parser gives the vectors as columns.
        cell = None if lattice is None else np.ascontiguousarray(np.asarray(lattice, dtype=np.float64).T)
        return _Layout(str(info.get("Properties", "species:S:1:pos:R:3")), reading.forces), cell
    except DataError as error:
        raise DataError(f"{reading.where(number)}: {error}") from error
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{reading.where(number)}: the header cannot be read: {error}") from error


def _symbols(tokens: list[bytes], by_number: bool, where: str) -> tuple[str, ...]:
    names = [token.decode(errors="replace") for token in tokens]
    if by_number:
        names = [chemical_symbols[int(name)] if name.isdigit() and int(name) < 119 else name for name in names]
    for name in set(names):
        if name not in atomic_numbers:
            raise DataError(f"{where}: {name!r} is not an element")
    return tuple(names)


# ---------------------------------------------------------------------- LAMMPS

_FS = {"real": 1.0, "metal": 1000.0}
_FORCE = {"real": 0.0433641042, "metal": 1.0}
"""eV/A of the unit of a force: kcal/mol/A."""
_COORDINATES = (("xu", "yu", "zu"), ("x", "y", "z"), ("xsu", "ysu", "zsu"), ("xs", "ys", "zs"))


class _Dump:
    """What the sections of a dump have said so far."""

    def __init__(self) -> None:
        self.units = ""
        self.step: int | None = None
        self.time: float | None = None
        self.n_atoms: int | None = None
        self.cell: FloatArray | None = None
        self.origin = np.zeros(3)
        self.columns: list[str] = []
        self.order: IntArray | None = None
        self.ids: list[int] = []
        self.kinds: list[bytes] = []
        self.named: tuple[tuple[str, ...] | None, tuple[int, ...] | None] = (None, None)


def read_lammps_frames(file: IO[bytes], reading: Reading) -> Iterator[RawFrame]:
    """Frames of a text dump of LAMMPS, atoms in the order of their ids.

    Coordinates are unwrapped (`xu`), wrapped (`x`) or scaled (`xs`, `xsu`); boxes are orthogonal, triclinic or general.

    Raises
    ------
    DataError
        A column that is needed is missing, units other than metal and real, atoms that come and go, or text that is no dump.
    """
    state, number = _Dump(), 0
    for line in file:
        section = line.split()
        if not section:
            continue
        if not line.endswith(b"\n"):
            reading.cut_off(number)
            return
        if section[0] != b"ITEM:":
            raise DataError(f"{reading.where(number)}: expected 'ITEM:', found {line[:40].decode(errors='replace')!r}")
        name = b" ".join(section[1:])
        if not name.startswith(b"ATOMS"):
            n_rows = 3 if name.startswith(b"BOX") else 1
            rows = table(file, n_rows)
            if rows is None:
                # A file that ends here has no atoms of this frame; one that holds a header alone has no frame at all.
                reading.cut_off(number)
                return
            _note(state, name.decode(errors="replace"), rows, reading, number)
            continue
        if state.n_atoms is None:
            raise DataError(f"{reading.where(number)}: no 'ITEM: NUMBER OF ATOMS' before the atoms")
        rows = table(file, state.n_atoms)
        if rows is None:
            reading.cut_off(number)
            return
        try:
            yield _atoms(state, [token.decode() for token in section[2:]], rows, reading, number)
        except (ValueError, UnicodeDecodeError) as error:
            raise DataError(f"{reading.where(number)}: {error}") from error
        state.time = None  # LAMMPS writes it before the step
        number += 1


def _note(state: _Dump, name: str, rows: list[bytes], reading: Reading, number: int) -> None:
    """A section that is not the atoms."""
    try:
        if name == "UNITS":
            state.units = rows[0].strip().decode()
            if state.units not in _FS:
                raise DataError(f"{reading.path}: units {state.units}; dumps in units metal or real can be read")
        elif name == "TIMESTEP":
            state.step = int(rows[0])
        elif name == "TIME":
            state.time = float(rows[0])
        elif name == "NUMBER OF ATOMS":
            count = int(rows[0])
            if state.n_atoms is not None and count != state.n_atoms:
                raise DataError(
                    f"{reading.where(number)} has {count} atoms, the one before {state.n_atoms}: dump all atoms in every frame"
                )
            state.n_atoms = count
        elif name.startswith("BOX BOUNDS"):
            state.cell, state.origin = _box(name, np.array([[float(x) for x in row.split()] for row in rows]))
    except (ValueError, IndexError) as error:
        raise DataError(f"{reading.where(number)}: ITEM: {name}: {error}") from error


def _box(name: str, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cell vectors and origin of a box: orthogonal, triclinic by tilts, or general by vectors."""
    if "abc origin" in name:
        return rows[:, :3].copy(), rows[:, 3].copy()
    low, high = rows[:, 0].copy(), rows[:, 1].copy()
    xy, xz, yz = rows[:, 2] if "xy xz yz" in name else (0.0, 0.0, 0.0)
    # The bounds of a triclinic box are those of the orthogonal box around it (LAMMPS, Howto triclinic).
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    size = high - low
    return np.array([[size[0], 0.0, 0.0], [xy, size[1], 0.0], [xz, yz, size[2]]]), low


def _atoms(state: _Dump, columns: list[str], rows: list[bytes], reading: Reading, number: int) -> RawFrame:
    """The frame whose atoms have just been read."""
    n_columns, tokens = len(columns), b" ".join(rows).split()
    if len(tokens) != len(rows) * n_columns:
        raise DataError(f"{reading.where(number)}: {len(tokens)} values in {len(rows)} rows of {n_columns} columns")
    if columns != state.columns:
        state.columns, state.ids, state.order = columns, [], None
        _require_columns(columns, reading)
    if "id" in columns:
        ids = list(map(int, tokens[columns.index("id") :: n_columns]))
        if ids != state.ids:
            order = np.argsort(ids, kind="stable")
            if state.ids and sorted(state.ids) != sorted(ids):
                raise DataError(f"{reading.where(number)}: other atoms than in the frame before, by their ids")
            state.ids, state.order, state.kinds = ids, None if (np.diff(order) == 1).all() else order, []
    kind = next((name for name in ("element", "type") if name in columns), None)
    if kind is not None:
        found = tokens[columns.index(kind) :: n_columns]
        if found != state.kinds:
            state.kinds, state.named = found, _kinds(found, kind, state.order, reading.where(number))
    first = next(names for names in _COORDINATES if names[0] in columns)
    positions = _vectors(tokens, columns, first, state.order)
    cell = state.cell
    if cell is None:
        raise DataError(f"{reading.where(number)}: no 'ITEM: BOX BOUNDS' before the atoms")
    positions = positions @ cell if first[0].startswith("xs") else positions - state.origin
    forces = None
    if reading.forces is not None and "fx" in columns:
        forces = _vectors(tokens, columns, ("fx", "fy", "fz"), state.order) * _FORCE[state.units or "metal"]
    velocities = None
    # Of unknown units they are left out: positions give velocities too.
    if reading.velocities and "vx" in columns and state.units:
        velocities = _vectors(tokens, columns, ("vx", "vy", "vz"), state.order) / _FS[state.units]
    return RawFrame(
        positions=positions,
        cell=cell,
        symbols=state.named[0],
        types=state.named[1],
        time_fs=state.time * _FS[state.units] if state.time is not None and state.units else None,
        step=state.step,
        forces=forces,
        velocities=velocities,
    )


def _require_columns(columns: list[str], reading: Reading) -> None:
    names = ", ".join(columns)
    if not any(set(triple) <= set(columns) for triple in _COORDINATES):
        raise DataError(f"{reading.path}: no coordinates among the columns {names}; dump xu yu zu, x y z or xs ys zs")
    if "element" not in columns and "type" not in columns:
        raise DataError(f"{reading.path}: neither element nor type among the columns {names}")
    if "id" not in columns:
        reading.remarks.append(
            f"{reading.path}: no column id, so that the atoms are taken in the order of the file, which LAMMPS may change"
        )


def _vectors(tokens: list[bytes], columns: list[str], names: tuple[str, ...], order: IntArray | None) -> FloatArray:
    n = len(columns)
    found = np.empty((len(tokens) // n, 3))
    for k, name in enumerate(names):
        found[:, k] = list(map(float, tokens[columns.index(name) :: n]))
    return found if order is None else found[order]


def _kinds(
    tokens: list[bytes], kind: str, order: IntArray | None, where: str
) -> tuple[tuple[str, ...] | None, tuple[int, ...] | None]:
    """Elements, or numbers of types, in the order of the ids."""
    if order is not None:
        tokens = [tokens[k] for k in order]
    if kind == "element" and all(token.decode(errors="replace") in atomic_numbers for token in set(tokens)):
        return _symbols(tokens, False, where), None
    if kind == "element" and not all(token.isdigit() for token in set(tokens)):
        odd = next(token for token in tokens if token.decode(errors="replace") not in atomic_numbers)
        raise DataError(f"{where}: {odd.decode(errors='replace')!r} in the column element is not an element")
    return None, tuple(map(int, tokens))
