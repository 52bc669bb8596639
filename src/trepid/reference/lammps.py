"""Any pair style of the stock LAMMPS as reference: for method studies and tests, milliseconds per label.

Every label starts from an empty LAMMPS (`clear`): box, atoms, then the commands given, then `run 0`. The instance is
kept from label to label, its state is not.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from trepid.data.atomic import write_bytes_atomic
from trepid.data.frames import Labels
from trepid.errors import ConfigError, NumericsError
from trepid.lammps.installation import find_library, installed_release
from trepid.lammps.session import NEIGHBOR, Session
from trepid.lammps.system import System
from trepid.reference.base import FailureReason, LabelError, Reference, has_stress
from trepid.reference.engine import Engine

_OWN = (
    "units", "atom_style", "atom_modify", "boundary", "dimension", "newton", "clear", "quit", "create_box",
    "create_atoms", "delete_atoms", "change_box", "displace_atoms", "read_data", "read_restart", "run", "minimize",
    "timestep", "fix_modify", "velocity", "replicate", "plugin", "shell", "include", "jump", "mass",
)  # fmt: skip
"""Commands that belong to this class, or would make a label depend on something else than the frame."""


class LAMMPSReference(Reference):
    """Energies, forces and stresses of a LAMMPS potential, `units metal`.

    Parameters
    ----------
    commands : sequence of str
        What defines the potential, such as ["pair_style sw", "pair_coeff * * Si.sw Si"]; every command that LAMMPS
        takes between the making of the atoms and a run (pair_modify, kspace_style, fix qeq, ...).
    atom_types : mapping of str to int, optional
        LAMMPS atom type of every element, 1, 2, ... without gaps: {"Ag": 1, "I": 2}. None: the elements of a frame in
        alphabetical order.
    charges : mapping of str to float, optional
        Charge of the ions of every element, e; makes the atom style `charge`.
    files : sequence of path, optional
        Files that the commands name, by the same path or by their last part alone.
    directory : path, optional
        The files are copied there and read from there, so that a run keeps what its labels rest on. None: they are read
        where they are.

    Raises
    ------
    ConfigError
        LAMMPS is not installed, or a parameter is out of range. Commands that LAMMPS refuses are reported by `check`.
    """

    name = "lammps"

    def __init__(
        self,
        commands: Sequence[str],
        *,
        atom_types: Mapping[str, int] | None = None,
        charges: Mapping[str, float] | None = None,
        files: Sequence[str | os.PathLike[str]] = (),
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        self.commands = _commands(commands)
        self.atom_types = None if atom_types is None else _types(atom_types)
        self.charges = None if charges is None else _charges(charges)
        if self.atom_types is not None and self.charges is not None:
            without = [element for element in self.atom_types if element not in self.charges]
            if without:
                raise ConfigError(f"lammps: charges has none for {without[0]}; every element of atom_types needs one")
        find_library()
        self.files = _placed(files, None if directory is None else Path(directory))
        self._digests = {path.name: hashlib.sha256(_content(path)).hexdigest() for path in self.files.values()}
        self._input = "".join(f"{_with_paths(command, self.files)}\n" for command in self.commands)
        self._session: Session | None = None
        self._tried: set[tuple[str, ...]] = set()

    def describe(self) -> dict[str, str | float | int]:
        """Engine, release, commands, types, charges and the checksums of the files."""
        described: dict[str, str | float | int] = {
            "engine": self.name,
            "version": str(installed_release()),
            "commands": "; ".join(self.commands),
        }
        described |= {f"atom_types.{element}": number for element, number in (self.atom_types or {}).items()}
        described |= {f"charges.{element}": charge for element, charge in (self.charges or {}).items()}
        return described | {f"sha256.{name}": digest for name, digest in self._digests.items()}

    def close(self) -> None:
        """End LAMMPS."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def _check(self, atoms: Atoms) -> None:
        elements = tuple(sorted(set(atoms.get_chemical_symbols())))
        types = self._types_for(atoms)
        for element in elements:
            if element not in types:
                raise ConfigError(f"lammps: atom_types has no type for {element}; it has {', '.join(types)}")
            if self.charges is not None and element not in self.charges:
                raise ConfigError(f"lammps: charges has none for {element}; it has {', '.join(self.charges)}")
        # Once for every kind of frame: wrong commands are reported before the first label.
        kind = (*elements, *(str(bool(flag)) for flag in atoms.pbc))
        if kind not in self._tried:
            try:
                self._run(atoms)
            except NumericsError as error:
                raise ConfigError(f"lammps: the commands do not give a label: {error}") from error
            self._tried.add(kind)

    def _compute(self, atoms: Atoms) -> Labels:
        try:
            return self._run(atoms)
        except NumericsError as error:
            raise LabelError(FailureReason.CRASHED, f"lammps: failed: {error}") from error

    def _run(self, atoms: Atoms) -> Labels:
        """One evaluation, from nothing."""
        plain = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        types = self._types_for(plain)
        order = sorted(types, key=types.__getitem__)
        elements = [chemical_symbols[number] for number in plain.numbers]
        system = replace(
            System.of(plain),
            elements=tuple(order),
            masses=tuple(float(Atoms(element).get_masses()[0]) for element in order),
            types=np.array([types[element] for element in elements], dtype=np.int32),
        )
        if self._session is None:
            self._session = Session(plugin=False)
        session, complete = self._session, False
        try:
            style = "atomic" if self.charges is None else "charge"
            session.commands(f"clear\nunits metal\natom_style {style}\natom_modify map yes\nnewton on\nbox tilt large")
            session.create_atoms(plain, system, velocities=False)
            if self.charges is not None:
                session.commands("".join(f"set type {types[el]} charge {self.charges[el]:.17g}\n" for el in order))
            # LAMMPS shrinks the box to a flat molecule or sheet, and cannot divide that into bins.
            neighbor = NEIGHBOR if plain.pbc.all() else NEIGHBOR.replace(" bin", " nsq")
            session.commands(neighbor + self._input + "run 0")
            stress = session.stress(system) if has_stress(plain) else None
            labels = Labels(energy=session.thermo("pe"), forces=session.forces(system), stress=stress)
            complete = True
        finally:
            if not complete:  # an instance in an unknown state is not used again
                self.close()
        return labels

    def _types_for(self, atoms: Atoms) -> dict[str, int]:
        if self.atom_types is not None:
            return self.atom_types
        return {element: k for k, element in enumerate(sorted(set(atoms.get_chemical_symbols())), start=1)}

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process starts a LAMMPS of its own."""
        return {**self.__dict__, "_session": None, "_tried": set()}


def _commands(commands: Sequence[str]) -> tuple[str, ...]:
    """Commands of one line each, with a pair style among them and none that belongs to the class."""
    right = 'a list of LAMMPS commands is expected, such as ["pair_style sw", "pair_coeff * * Si.sw Si"]'
    if isinstance(commands, str) or not isinstance(commands, Sequence) or not all(isinstance(c, str) for c in commands):
        raise ConfigError(f"lammps: commands is {commands!r}; {right}")
    cleaned = tuple(" ".join(command.split()) for command in commands)
    for command in cleaned:
        word = command.partition(" ")[0]
        if word in _OWN:
            raise ConfigError(f"lammps: {word!r} in commands; trepid makes box, atoms and run, give the potential only")
    if not any(command.startswith("pair_style ") for command in cleaned):
        raise ConfigError(f"lammps: no pair_style among the commands {list(cleaned)}; {right}")
    return cleaned


def _types(atom_types: Mapping[str, int]) -> dict[str, int]:
    types = dict(atom_types)
    for element in types:
        if element not in atomic_numbers or element == "X":
            raise ConfigError(f"lammps: atom_types names {element!r}, which is no element")
    values = list(types.values())
    if any(isinstance(value, bool) or not isinstance(value, int) for value in values) or (
        sorted(values) != list(range(1, len(values) + 1))
    ):
        raise ConfigError(f"lammps: atom_types is {types}; give every element one of the numbers 1 to {len(values)}")
    return types


def _charges(charges: Mapping[str, float]) -> dict[str, float]:
    for element, charge in charges.items():
        if element not in atomic_numbers:
            raise ConfigError(f"lammps: charges names {element!r}, which is no element")
        if isinstance(charge, bool) or not isinstance(charge, (int, float)) or not np.isfinite(charge):
            raise ConfigError(f"lammps: the charge of {element} is {charge!r}; a number in units of e is expected")
    return {element: float(charge) for element, charge in charges.items()}


def _placed(files: Sequence[str | os.PathLike[str]], directory: Path | None) -> dict[str, Path]:
    """Files by the words that commands may call them: the path given and its last part."""
    placed: dict[str, Path] = {}
    for file in files:
        source = Path(file).expanduser().resolve()
        if source.name in placed:
            raise ConfigError(f"lammps: two of the files are called {source.name}; rename one")
        target = source
        content = _content(source)
        if directory is not None:
            target = directory.resolve() / source.name
            if target != source and target.exists() and target.read_bytes() != content:
                raise ConfigError(
                    f"lammps: {target} of this run differs from {source}; the labels rest on the first: bring it back, "
                    "or start in another directory"
                )
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_bytes_atomic(target, content)
        placed[os.fspath(file)] = placed[source.name] = target
    return placed


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"lammps: cannot read the file {path}: {error.strerror}") from error


def _with_paths(command: str, files: Mapping[str, Path]) -> str:
    """The command with full paths in place of the names of files; a path with spaces in quotes."""
    words = []
    for word in command.split(" "):
        bare = word.strip("\"'")
        path = files.get(bare)
        words.append(word if path is None else shlex.quote(str(path)))
    return " ".join(words)


_PLAIN = ("pair_style", "pair_coeff", "pair_modify", "kspace_style", "kspace_modify", "special_bonds", "dielectric")
"""Commands that run nothing but LAMMPS itself, unless their style does."""
_RUNS_OTHERS = ("python", "mliap", "kim", "plugin")
"""Styles that do."""


def _code_in(parameters: Mapping[str, Any]) -> str | None:
    """The first command that may run more than LAMMPS: its input is a language, with a shell and an interpreter in it."""
    for command in _commands(parameters["commands"]):
        words = command.split()
        plain = words[0] in _PLAIN and not any(character in command for character in "$\"'`&")
        if not plain or any(word.startswith(_RUNS_OTHERS) for word in words):
            return f"the command {command!r} of LAMMPS"
    return None


ENGINE = Engine("lammps", LAMMPSReference, package="lammps", code_in=_code_in)
