"""The one path for labelled frames: which labels a file or a list holds, under which names, and which of them are used.

Every verb and function that takes labels goes through `read_labelled` or `labelled_frames`. The frames that come back have
their labels under the keys asked for, whatever they were called and wherever they were: virials are converted to stresses.

Names
-----
Under the keys asked for. With the default keys, if no frame has any of them, under the names of ASE, where `free_energy` goes
before `energy`: the forces are its derivative, wherever a code tells it from an energy extrapolated to zero smearing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.formats import string2index

from trepid.data.findings import Finding, Level, numbers_of
from trepid.data.frame_geometry import check_extent, check_geometry
from trepid.data.labels import (
    DEFAULT_KEYS,
    KINDS,
    STANDARD_KEYS,
    LabelKeys,
    Labels,
    Place,
    attach_labels,
    calculator_results,
    labels_of,
    places_of,
)
from trepid.data.reading import read_file, where_of
from trepid.errors import DataError

_NO_LABELS_OF_A_REFERENCE = ("predict", "uncert", "std", "error", "kinetic", "noise", "per_atom", "peratom")
"""Parts of names that look like labels and are something else."""
_FORCE_NAMES = ("forces", "force")
_ENERGY_DIFFERENCE = 1e-6
"""eV per atom. Below this two energies are the same for the forces."""
_VIRIAL_DIFFERENCE, _ROUNDING = 1e-3, 1e-5
"""Of a stress and minus virial over volume: relative to the largest component, and in eV/A^3 (digits that codes print)."""


@dataclass(frozen=True)
class KindFound:
    """One kind of label in a set of frames.

    Attributes
    ----------
    kind : str
    key : str
        The name asked for.
    sources : tuple of (str, int)
        Names under which it was found, with the number of frames; a virial is followed by what was done with it.
    similar : tuple of (str, int)
        Names that look like it and are not used, with the number of frames.
    """

    kind: str
    key: str
    sources: tuple[tuple[str, int], ...] = ()
    similar: tuple[tuple[str, int], ...] = ()

    @property
    def n_frames(self) -> int:
        """Frames that have it."""
        return sum(count for _, count in self.sources)


@dataclass(frozen=True)
class LabelReport:
    """Which labels a set of frames has.

    Attributes
    ----------
    name : str
        Of the file or list.
    n_frames, n_atoms : int
    kinds : tuple of KindFound
        Energy, forces, stress.
    notes : tuple of str
        What else one should know, such as names that were taken because no other was there.
    """

    name: str
    n_frames: int
    n_atoms: int
    kinds: tuple[KindFound, ...]
    notes: tuple[str, ...] = ()

    def count(self, kind: str) -> int:
        """Frames that have a label of this kind."""
        return next(found.n_frames for found in self.kinds if found.kind == kind)

    def summary(self) -> str:
        """Names and numbers of each kind of label, and the notes."""
        return "; ".join([", ".join(_text(found, self.n_frames) for found in self.kinds), *self.notes])

    def line(self) -> str:
        """The report in one line."""
        return f"{self.name}: {self.n_frames} frame{'s' * (self.n_frames != 1)}, {self.n_atoms} atoms; {self.summary()}"


@dataclass(frozen=True)
class LabelledFrames:
    """Frames whose labels are under the keys asked for.

    Attributes
    ----------
    frames : list of Atoms
        Without calculators.
    numbers : tuple of int
        Number of each frame in its file, counted from 0.
    report : LabelReport
    findings : list of Finding
        Problems of the file and of the choice of names; the number of a frame is its place in `frames`.
    """

    frames: list[Atoms]
    numbers: tuple[int, ...]
    report: LabelReport
    findings: list[Finding] = field(default_factory=list)


def read_labelled(
    path: str | Path,
    *,
    keys: LabelKeys = DEFAULT_KEYS,
    require: Sequence[str] = ("forces",),
    index: str | int | slice = ":",
) -> LabelledFrames:
    """Read a file of labels in any format.

    Parameters
    ----------
    path : str or Path
    keys : LabelKeys
        Names of the labels.
    require : sequence of {"energy", "forces", "stress"}
        Labels that every frame must have. Labels that are present are always checked.
    index : str, int or slice
        Which frames, counted from 0, as Python slices: ":", "::4", "-1".

    Raises
    ------
    DataError
        The file cannot be read (`read_file`), the index selects nothing, or a frame lacks a required label or has one that is
        not finite or of the wrong shape. The message names the file, the frame and the key.
    """
    file = read_file(path)
    if not file.frames:
        raise DataError(f"{path}: the file holds no frame")
    numbers = selected_frames(len(file.frames), index, path)
    place = {number: position for position, number in enumerate(numbers)}
    findings = [
        finding if finding.frame is None else replace(finding, frame=place[finding.frame])
        for finding in file.findings
        if finding.frame is None or finding.frame in place
    ]
    try:
        labelled = _labelled(
            [file.frames[number] for number in numbers],
            [where_of(path, number) for number in numbers],
            keys=keys,
            require=require,
            name=str(path),
            from_code=file.from_code,
        )
    except DataError as error:
        if not findings:
            raise
        raise DataError(f"{error} ({findings[0].message})") from error
    return replace(labelled, numbers=tuple(numbers), findings=findings + labelled.findings)


def labelled_frames(
    frames: Sequence[Atoms],
    *,
    keys: LabelKeys = DEFAULT_KEYS,
    require: Sequence[str] = ("forces",),
    name: str = "the frames",
) -> LabelledFrames:
    """The same for frames in memory, which are not changed; labels may be in a `SinglePointCalculator`.

    Raises
    ------
    DataError
        A frame lacks a required label, or has one that is not finite or of the wrong shape.
    """
    copies = []
    for number, atoms in enumerate(frames):
        where = f"frame {number} (counted from 0)"
        results = calculator_results(atoms, where=where)
        copy = atoms.copy()  # without calculator
        for kind, value in results.items():
            if kind in ("energy", "free_energy", "stress"):
                copy.info.setdefault(kind, value)
            elif kind == "forces":
                copy.arrays.setdefault(kind, np.array(value))
        copies.append(copy)
    wheres = [f"frame {number} (counted from 0)" for number in range(len(copies))]
    return _labelled(copies, wheres, keys=keys, require=require, name=name)


def _labelled(
    frames: list[Atoms],
    wheres: list[str],
    *,
    keys: LabelKeys,
    require: Sequence[str],
    name: str,
    from_code: bool = False,
) -> LabelledFrames:
    """Choose the names, and put the labels under the keys asked for."""
    for atoms, where in zip(frames, wheres, strict=True):
        check_geometry(atoms, where)
        check_extent(atoms, where)
    used, note = _names_in_use(frames, keys, from_code=from_code)
    own = [_of_this_frame(atoms, keys, used) for atoms in frames]
    places = [places_of(atoms, names, where=where) for atoms, names, where in zip(frames, own, wheres, strict=True)]
    labels = [
        labels_of(atoms, names, where=where, require=require)
        for atoms, names, where in zip(frames, own, wheres, strict=True)
    ]
    kinds = tuple(_found(kind, keys, [place.get(kind) for place in places], frames) for kind in KINDS)
    report = LabelReport(
        name,
        len(frames),
        sum(map(len, frames)),
        kinds,
        tuple(part for part in (note, _periodicity(frames), _not_used(kinds)) if part),
    )
    findings = [
        *_unused(kinds, [set(place) for place in places], frames),
        *_energy_beside(frames, own, labels),
        *_virial_beside(frames, own, labels),
    ]
    result = [
        atoms
        if all(place.name == keys.of(kind) and not place.is_virial for kind, place in where.items())
        else _with_labels(atoms, known, keys)
        for atoms, where, known in zip(frames, places, labels, strict=True)
    ]
    return LabelledFrames(result, tuple(range(len(frames))), report, findings)


def _found(kind: str, keys: LabelKeys, places: Sequence[Place | None], frames: Sequence[Atoms]) -> KindFound:
    """One kind of label, counted by name."""
    sources: dict[str, int] = {}
    taken = {keys.of(kind)}
    for place in places:
        if place is not None:
            text = f"{place.name} (a virial, converted)" if place.is_virial else place.name
            sources[text] = sources.get(text, 0) + 1
            taken.add(place.name)
    return KindFound(kind, keys.of(kind), tuple(sources.items()), _similar(frames, kind, taken=taken))


def _names_in_use(frames: Sequence[Atoms], keys: LabelKeys, *, from_code: bool) -> tuple[LabelKeys, str]:
    """The keys, or the names of ASE in place of default ones that no frame has; and what to say of it.

    In a file of frames all keys must be default and absent; in the output of a code each stands for itself, since all that is
    there is of one calculation.
    """
    present = {kind for atoms in frames for kind in places_of(atoms, keys)}
    absent = {kind for kind in KINDS if keys.of(kind) == DEFAULT_KEYS.of(kind) and kind not in present}
    if not from_code and len(absent) < len(KINDS):
        return keys, ""
    standard = replace(
        keys,
        energy=STANDARD_KEYS.energy if "energy" in absent else keys.energy,
        forces=STANDARD_KEYS.forces if "forces" in absent else keys.forces,
        stress=STANDARD_KEYS.stress if "stress" in absent else keys.stress,
    )
    if not absent or not any(absent & set(places_of(atoms, _of_this_frame(atoms, keys, standard))) for atoms in frames):
        return keys, ""
    return (
        standard,
        "" if from_code else f"no {keys.energy}, {keys.forces} or {keys.stress}: the names of ASE are taken",
    )


def _of_this_frame(atoms: Atoms, keys: LabelKeys, used: LabelKeys) -> LabelKeys:
    """The names in this frame, where those of ASE stand for the keys: there are two of the energy, and of forces."""
    energy, forces = used.energy, used.forces
    if energy != keys.energy and "free_energy" in atoms.info:
        energy = "free_energy"
    if forces != keys.forces:
        forces = next((name for name in _FORCE_NAMES if name in atoms.arrays), forces)
    return replace(used, energy=energy, forces=forces)


def _with_labels(atoms: Atoms, labels: Labels, keys: LabelKeys) -> Atoms:
    """The frame with these labels under `keys`; its constraints and all else stay."""
    labelled = attach_labels(atoms, labels, keys)
    for name, value in atoms.info.items():
        labelled.info.setdefault(name, value)
    labelled.set_constraint(atoms.constraints)
    return labelled


def _energy_beside(frames: Sequence[Atoms], own: Sequence[LabelKeys], labels: Sequence[Labels]) -> Iterator[Finding]:
    """An energy that a free energy beside it shows not to be that of the forces."""
    differing, largest, name, used = [], 0.0, "", ""
    for number, (atoms, keys, known) in enumerate(zip(frames, own, labels, strict=True)):
        if known.energy is None or "energy" not in keys.energy or "free_energy" in keys.energy:
            continue
        beside = keys.energy.replace("energy", "free_energy")
        other = _number(atoms.info.get(beside))
        if other is not None and abs(other - known.energy) > _ENERGY_DIFFERENCE * len(atoms):
            differing.append(number)
            largest, name, used = max(largest, abs(other - known.energy) / len(atoms)), beside, keys.energy
    if differing:
        yield Finding(
            Level.WARNING,
            None,
            f"{name} is there beside {used} and differs from it by up to {1000 * largest:.3g} meV per atom in "
            f"{len(differing)} frames: the forces are the derivative of {name} (--energy-key {name})",
        )


def _virial_beside(frames: Sequence[Atoms], own: Sequence[LabelKeys], labels: Sequence[Labels]) -> Iterator[Finding]:
    """A virial that disagrees with the stress beside it."""
    for number, (atoms, keys, known) in enumerate(zip(frames, own, labels, strict=True)):
        beside = next((name for name in keys.virials if name in atoms.info), None)
        if known.stress is None or keys.stress not in atoms.info or beside is None:
            continue
        bare = Atoms(cell=atoms.cell, pbc=atoms.pbc)
        bare.info[beside] = atoms.info[beside]
        other = labels_of(bare, keys, where=f"frame {number}", require=("stress",)).stress
        assert other is not None
        largest = float(np.abs(known.stress - other).max())
        if largest > _VIRIAL_DIFFERENCE * float(np.abs(known.stress).max()) + _ROUNDING:
            yield Finding(
                Level.WARNING,
                number,
                f"{beside} contradicts {keys.stress}: minus virial over volume differs from the stress by {largest:.3g} "
                "eV/A^3; the stress is used",
            )


def _unused(kinds: Sequence[KindFound], present: Sequence[set[str]], frames: Sequence[Atoms]) -> Iterator[Finding]:
    """Kinds that are missing while something there looks like them."""
    n_frames = len(frames)
    for found in kinds:
        if not found.similar or found.n_frames == n_frames:
            continue
        names = " and ".join(name for name, _ in found.similar)
        verb = "look" if len(found.similar) > 1 else "looks"
        if found.n_frames == 0:
            yield Finding(
                Level.WARNING,
                None,
                f"no frame has {_article(found.kind)} under {found.key}; {names} {verb} like it and "
                f"{'are' if len(found.similar) > 1 else 'is'} not used ({_option(found.kind, found.similar[0][0])})",
            )
        else:
            gaps = [
                number
                for number, (kinds_there, atoms) in enumerate(zip(present, frames, strict=True))
                if found.kind not in kinds_there and any(_has(atoms, name) for name, _ in found.similar)
            ]
            if gaps:
                yield Finding(
                    Level.WARNING,
                    None,
                    f"frames {numbers_of(gaps)} have no {found.kind} under {found.key}, the others do; {names} there "
                    f"{verb} like it and {'are' if len(found.similar) > 1 else 'is'} not used",
                )


def _has(atoms: Atoms, name: str) -> bool:
    return name in atoms.info or name in atoms.arrays


def _similar(frames: Sequence[Atoms], kind: str, *, taken: set[str]) -> tuple[tuple[str, int], ...]:
    """Names that look like a kind of label, with the number of frames."""
    counts: dict[str, int] = {}
    for atoms in frames:
        for name, value in (atoms.arrays if kind == "forces" else atoms.info).items():
            if isinstance(name, str) and name not in taken and _looks_like(name, np.asarray(value), kind, len(atoms)):
                counts[name] = counts.get(name, 0) + 1
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _looks_like(name: str, value: np.ndarray, kind: str, n_atoms: int) -> bool:
    lower = name.lower()
    if value.dtype.kind not in "fi" or any(part in lower for part in _NO_LABELS_OF_A_REFERENCE):
        return False
    if kind == "energy":
        return value.size == 1 and ("energy" in lower or lower in ("toten", "etot", "e_tot"))
    if kind == "forces":
        return value.shape == (n_atoms, 3) and "force" in lower
    return value.size in (6, 9) and ("stress" in lower or "virial" in lower)


def _text(found: KindFound, n_frames: int) -> str:
    """One kind in the line of the report."""
    if not found.sources:
        hint = ""
        if found.similar:
            name = found.similar[0][0]
            hint = f" ({name} looks like it: {_option(found.kind, name)})"
        return f"{found.kind}: none{hint}"
    parts = ", ".join(f"{name} in {count}" for name, count in found.sources)
    return f"{found.kind}: {parts}" + (f" of {n_frames}" if found.n_frames < n_frames else "")


def _option(kind: str, name: str) -> str:
    """The option that would use a name."""
    option = "virial" if kind == "stress" and "virial" in name.lower() and "stress" not in name.lower() else kind
    return f"--{option}-key {name}"


def _not_used(kinds: Sequence[KindFound]) -> str:
    names = [name for found in kinds if found.n_frames for name, _ in found.similar]
    return f"not used: {', '.join(names)}" if names else ""


def _periodicity(frames: Sequence[Atoms]) -> str:
    """What to say of frames without a cell."""
    bare = [number for number, atoms in enumerate(frames) if not atoms.pbc.any()]
    if not bare:
        return ""
    return "not periodic" if len(bare) == len(frames) else f"not periodic: frames {numbers_of(bare)}"


def _article(kind: str) -> str:
    return {"energy": "an energy", "forces": "forces", "stress": "a stress"}[kind]


def _number(value: object) -> float | None:
    array = np.asarray(value)
    return float(array.reshape(())) if array.dtype.kind in "fi" and array.size == 1 else None


def selected_frames(n_frames: int, index: str | int | slice, path: str | Path) -> list[int]:
    """Numbers of the frames that an index picks."""
    try:
        chosen = string2index(index) if isinstance(index, str) else index
    except ValueError:
        chosen = None
    if isinstance(chosen, slice):
        selected = list(range(n_frames)[chosen])
    elif not isinstance(chosen, int):  # ASE takes a word for the name of a database entry
        raise DataError(f"{path}: frame index {index!r} is not a number or a slice such as '::4'")
    elif -n_frames <= chosen < n_frames:
        selected = [range(n_frames)[chosen]]
    else:
        selected = []
    if not selected:
        raise DataError(f"{path}: index {index!r} selects no frame; the file has {n_frames}, counted from 0")
    return selected
