"""The main output of CP2K for single points: one frame for every energy, with the atoms, forces and stress printed around it.

Coordinates and cell stand before the energy, forces and stress after it. Runs of several steps write their coordinates into
files of their own, and are refused with what converts them. Units: A, Hartree, Hartree/Bohr, GPa or bar; a stress has the sign
of a pressure. Both forms of the tables are read, those up to version 2024 and those after.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms, units

from trepid.data.outputs import Step
from trepid.errors import DataError

_CELL = re.compile(r"^\s*CELL\| Vector ([abc]) \[angstrom\]:?\s+(\S+)\s+(\S+)\s+(\S+)")
_PERIODIC = re.compile(r"^\s*CELL\| Periodicity\s+(\w+)")
_ATOM = re.compile(r"^\s*\d+\s+\d+\s+([A-Z][a-z]?)\S*\s+\d+\s+(\S+)\s+(\S+)\s+(\S+)")
_ENERGY = re.compile(r"^\s*ENERGY\| Total FORCE_EVAL.*?(?:\[a\.u\.\]|\[hartree\]|\(a\.u\.\)):?\s+(\S+)\s*$")
_OLD_FORCE = re.compile(r"^\s*\d+\s+\d+\s+[A-Za-z]+\d*\s+(\S+)\s+(\S+)\s+(\S+)\s*$")
_NEW_FORCE = re.compile(r"^\s*FORCES\|\s+\d+\s+(\S+)\s+(\S+)\s+(\S+)\s+\S+\s*$")
_STRESS_ROW = re.compile(r"^\s*(?:STRESS\|)?\s+([xyzXYZ])\s+(\S+)\s+(\S+)\s+(\S+)\s*$")
_UNITS = {"GPa": units.GPa, "bar": 1e-4 * units.GPa}


def looks_like_cp2k(head: bytes) -> bool:
    """Whether a file is an output of CP2K, by its first lines."""
    return b"CP2K| version string" in head or (b"PROGRAM PROCESS ID" in head and b"CP2K" in head)


@dataclass
class _Frame:
    """What has been printed of one step."""

    symbols: list[str] = field(default_factory=list)
    positions: list[list[float]] = field(default_factory=list)
    energy: float | None = None
    forces: list[list[float]] = field(default_factory=list)
    stress: list[list[float]] = field(default_factory=list)
    problem: str = ""


def read_cp2k(lines: Iterable[str], path: str | Path) -> tuple[list[Atoms], list[Step]]:
    """Frames with the labels `energy`, `forces` and `stress`, and their steps.

    Raises
    ------
    DataError
        The output has no coordinates, or fewer than energies; a table is not readable.
    """
    try:
        cell, periodic, frames = _scan(lines)
    except ValueError as error:
        raise DataError(f"{path}: not readable as an output of CP2K: {error}") from error
    if not any(frame.positions for frame in frames):
        raise DataError(
            f"{path}: an output of CP2K without coordinates, which a run of several steps writes into PROJECT-pos-1.xyz and "
            "PROJECT-frc-1.xyz (Hartree/Bohr): from ase.io import read, write; from ase.units import Hartree, Bohr; "
            "p = read('PROJECT-pos-1.xyz', ':'); f = read('PROJECT-frc-1.xyz', ':'); [a.set_cell(CELL, False) or a.set_pbc(True) "
            "or a.arrays.update(REF_forces=b.positions * Hartree / Bohr) for a, b in zip(p, f)]; write('train.extxyz', p)"
        )
    atoms: list[Atoms] = []
    steps: list[Step] = []
    for frame in frames:
        if not frame.positions and frame.energy is not None:
            raise DataError(
                f"{path}: step {len(steps)} of this output of CP2K has no coordinates, so its labels belong to no frame: take "
                "the coordinates from PROJECT-pos-1.xyz"
            )
        complete = frame.energy is not None and len(frame.forces) == len(frame.symbols)
        steps.append(Step(frame.problem, complete))
        if not complete:
            continue
        one = Atoms(frame.symbols, positions=frame.positions, cell=cell, pbc=periodic)
        one.info["energy"] = frame.energy
        one.arrays["forces"] = np.array(frame.forces) * units.Hartree / units.Bohr
        if len(frame.stress) == 3:
            one.info["stress"] = -np.array(frame.stress)
        atoms.append(one)
    return atoms, steps


def _scan(lines: Iterable[str]) -> tuple[np.ndarray | None, list[bool], list[_Frame]]:
    cell: dict[str, list[float]] = {}
    periodic = [True, True, True]
    frames: list[_Frame] = []
    table, unit = "", 1.0
    for line in lines:
        if (match := _CELL.match(line)) is not None:
            cell[match[1]] = [float(word) for word in match.groups()[1:]]
        elif (match := _PERIODIC.match(line)) is not None:
            periodic = [axis in match[1].upper() and match[1].upper() != "NONE" for axis in "XYZ"]
        elif "ATOMIC COORDINATES IN ANGSTROM" in line.upper():
            frames.append(_Frame())
            table = "atoms"
        elif "SCF run NOT converged" in line and frames:
            frames[-1].problem = "SCF run NOT converged"
        elif (match := _ENERGY.match(line)) is not None:
            if not frames or frames[-1].energy is not None:
                frames.append(_Frame())
            frames[-1].energy = float(match[1]) * units.Hartree
        elif "ATOMIC FORCES in [a.u.]" in line or "FORCES| Atomic forces [hartree/bohr]" in line:
            table = "forces"
            if frames:
                frames[-1].forces = []
        elif (found := re.search(r"stress tensor \[(\w+)\]", line, re.IGNORECASE)) is not None and "/" not in found[1]:
            if found[1] not in _UNITS:
                raise ValueError(f"a stress in {found[1]}; GPa and bar are known")
            table, unit = "stress", _UNITS[found[1]]
            if frames:
                frames[-1].stress = []
        elif table == "atoms" and (match := _ATOM.match(line)) is not None:
            frames[-1].symbols.append(match[1])
            frames[-1].positions.append([float(word) for word in match.groups()[1:]])
        elif table == "forces" and frames and (match := _NEW_FORCE.match(line) or _OLD_FORCE.match(line)) is not None:
            frames[-1].forces.append([float(word) for word in match.groups()])
        elif (
            table == "stress"
            and frames
            and len(frames[-1].stress) < 3
            and (match := _STRESS_ROW.match(line)) is not None
        ):
            frames[-1].stress.append([unit * float(word) for word in match.groups()[1:]])
    vectors = np.array([cell[name] for name in "abc"]) if len(cell) == 3 else None
    return vectors, periodic if vectors is not None else [False] * 3, frames
