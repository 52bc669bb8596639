"""Trajectories of VASP, frame by frame: XDATCAR and vasprun.xml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

import numpy as np
from ase.data import atomic_numbers

from trepid.arrays import FloatArray
from trepid.data.trajectory_frames import RawFrame, Reading, columns_of, table
from trepid.errors import DataError

_PIECE = 1 << 20
"""Bytes of a vasprun.xml that are parsed at once."""
_MD = 0
"""IBRION of molecular dynamics: only then POTIM is a time step."""


def read_xdatcar_frames(file: IO[bytes], reading: Reading) -> Iterator[RawFrame]:
    """Frames of an XDATCAR, with one header for all or, for a cell that changes, one for each.

    It holds no times: POTIM times NBLOCK is to be given.

    Raises
    ------
    DataError
        The header or a row cannot be read.
    """
    number, cell, symbols = 0, None, None
    pending: list[bytes] = []
    for line in file:
        if b"configuration=" not in line:
            pending.append(line)
            continue
        if not line.strip().lower().startswith(b"direct"):
            raise DataError(f"{reading.where(number)}: {line.strip()[:20].decode()!r}; direct coordinates are expected")
        if pending:
            cell, symbols = _xdatcar_header([row for row in pending if row.strip()], reading, number)
            pending = []
        if cell is None or symbols is None:
            raise DataError(f"{reading.where(number)}: no header before the coordinates")
        rows = table(file, len(symbols))
        if rows is None:
            reading.cut_off(number)
            return
        tokens = b" ".join(rows).split()
        if len(tokens) != 3 * len(symbols):
            raise DataError(f"{reading.where(number)}: {len(tokens)} numbers for {len(symbols)} atoms")
        try:
            positions = columns_of(tokens, 0, 3) @ cell
        except ValueError as error:
            raise DataError(f"{reading.where(number)}: {error}") from error
        yield RawFrame(positions, cell, symbols)
        number += 1


def _xdatcar_header(rows: list[bytes], reading: Reading, number: int) -> tuple[FloatArray, tuple[str, ...]]:
    """Cell and elements from the seven lines before the coordinates."""
    try:
        scale = float(rows[1])
        cell = np.array([[float(x) for x in row.split()[:3]] for row in rows[2:5]])
        names, counts = rows[5].decode().split(), [int(x) for x in rows[6].split()]
        # POTCAR names such as Sr_sv or Fe/hash.
        elements = [name.split("/")[0].split("_")[0] for name in names]
        unknown = [name for name in elements if name not in atomic_numbers]
        if unknown:
            raise DataError(f"{reading.where(number)}: {unknown[0]!r} is not an element")
        if len(elements) != len(counts) or cell.shape != (3, 3):
            raise ValueError("elements and counts differ in number")
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"{reading.where(number)}: the header cannot be read as that of an XDATCAR: {error}") from error
    if scale < 0:
        # A negative scale is the volume of the cell.
        scale = float((-scale / abs(np.linalg.det(cell))) ** (1 / 3))
    symbols = tuple(name for name, count in zip(elements, counts, strict=True) for _ in range(count))
    return scale * cell, symbols


def read_vasprun_frames(file: IO[bytes], reading: Reading) -> Iterator[RawFrame]:
    """Ionic steps of a vasprun.xml as they come; each is dropped when it has been used.

    Of molecular dynamics (IBRION 0) the times are multiples of POTIM.

    Raises
    ------
    DataError
        The file is no XML, or holds no ionic step.
    """
    parser: XMLPullParser[Element] = XMLPullParser(events=("start", "end"))
    number, depth, timestep, ibrion = 0, 0, 0.0, None
    symbols: tuple[str, ...] | None = None
    calculation = False
    while piece := file.read(_PIECE):
        try:
            parser.feed(piece)
            events: list[tuple[str, Element]] = list(parser.read_events())  # type: ignore[arg-type] # no other kinds asked for
        except ParseError as error:
            raise DataError(f"{reading.path}: cannot be read as XML: {error}") from error
        for event, element in events:
            if event == "start":
                depth += 1
                calculation = calculation or element.tag == "calculation"
                continue
            depth -= 1
            if element.tag == "i" and element.get("name") == "POTIM":
                timestep = float(element.text or 0.0)
            elif element.tag == "i" and element.get("name") == "IBRION":
                ibrion = int(element.text or -1)
            elif element.tag == "atominfo":
                symbols = _elements(element, reading)
            elif element.tag == "calculation":
                calculation = False
                if symbols is None:
                    raise DataError(f"{reading.path}: an ionic step comes before the list of atoms")
                time = number * timestep if ibrion == _MD and timestep > 0 else None
                frame = _calculation(element, symbols, time, reading, number)
                element.clear()
                yield frame
                number += 1
            elif element.tag == "structure" and not calculation:
                element.clear()
    if depth > 0:
        reading.cut_off(number)


def _elements(atominfo: Element, reading: Reading) -> tuple[str, ...]:
    for array in atominfo.iter("array"):
        if array.get("name") == "atoms":
            return tuple((row[0].text or "").strip() for row in array.iter("rc"))
    raise DataError(f"{reading.path}: the section atominfo names no atoms")


def _calculation(
    element: Element, symbols: tuple[str, ...], time_fs: float | None, reading: Reading, number: int
) -> RawFrame:
    structure = element.find("structure")
    basis = None if structure is None else structure.find("crystal/varray[@name='basis']")
    places = None if structure is None else structure.find("varray[@name='positions']")
    if basis is None or places is None:
        raise DataError(f"{reading.where(number)}: an ionic step without structure")
    cell, fractional = _rows(basis), _rows(places)
    if fractional.shape != (len(symbols), 3):
        raise DataError(f"{reading.where(number)}: {len(fractional)} positions of {len(symbols)} atoms")
    forces = element.find("varray[@name='forces']") if reading.forces is not None else None
    return RawFrame(
        positions=fractional @ cell,
        cell=cell,
        symbols=symbols,
        time_fs=time_fs,
        forces=None if forces is None else _rows(forces),
    )


def _rows(varray: Element) -> FloatArray:
    return np.array([[float(x) for x in (row.text or "").split()] for row in varray.iter("v")])
