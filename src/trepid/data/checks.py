"""Checks of labelled frames before a model is trained on them.

Each check is a function of frames that yields findings; none of them changes anything. An error makes training
impossible; a warning is usually a mistake in the data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from numpy.typing import NDArray

from trepid.data.duplicates import copies, difference
from trepid.data.findings import Finding as Finding
from trepid.data.findings import Level as Level
from trepid.data.findings import numbers_of as numbers_of
from trepid.data.geometry import close_pairs
from trepid.data.labels import LabelKeys, Labels, labels_of
from trepid.data.limits import impossible_geometry
from trepid.data.placeholders import constant_energies, displaced, held_components, repeated, zeroed_atoms
from trepid.errors import DataError


@dataclass(frozen=True)
class CheckLimits:
    """Limits of the checks.

    Attributes
    ----------
    max_force : float
        eV/A. Larger forces degrade a fit on few frames.
    min_distance_ratio : float
        Two atoms closer than this times the sum of their covalent radii.
    net_force_per_atom : float
        eV/A. Forces sum to zero except for the numerical noise of a code.
    max_stress : float
        eV/A^3. 1 eV/A^3 is 160 GPa: more is usually a stress in GPa or kbar.
    energy_deviation : float
        eV per atom, from the median of the frames of the same composition ...
    energy_deviation_spreads : float
        ... and in units of their spread (1.4826 times the median absolute deviation); both must be exceeded.
    duplicate_distance : float
        A. Frames are the same when no coordinate and no cell component differs by more.
    """

    max_force: float = 20.0
    min_distance_ratio: float = 0.5
    net_force_per_atom: float = 0.01
    max_stress: float = 1.0
    energy_deviation: float = 0.5
    energy_deviation_spreads: float = 10.0
    duplicate_distance: float = 1e-4


_DEFAULT_KEYS = LabelKeys()
_DEFAULT_LIMITS = CheckLimits()
_NO_LABELS = Labels()
_FEWEST_FOR_STATISTICS = 5


def check_frames(
    frames: Sequence[Atoms],
    keys: LabelKeys = _DEFAULT_KEYS,
    *,
    limits: CheckLimits = _DEFAULT_LIMITS,
    values: bool = True,
) -> list[Finding]:
    """Find problems in labelled frames.

    Checked are: labels that are not finite or of the wrong shape, frames without labels or with fewer kinds than others,
    forces above `max_force`, forces that do not sum to zero, placeholders (`trepid.data.placeholders`), stresses in the
    wrong unit, outliers of the energy per atom, overlapping atoms, cells missing or flat, periodicity that
    changes, duplicates.

    Parameters
    ----------
    frames : sequence of Atoms
    keys : LabelKeys
    limits : CheckLimits
    values : bool
        Judge energies by their median, and forces and stresses by their size; `trepid.inspection` has better means.

    Returns
    -------
    list of Finding
        Sorted by frame, those that concern the whole set first. Empty: nothing found.
    """
    if not frames:
        return [Finding(Level.ERROR, None, "no frames")]
    labels: list[Labels] = []
    findings: list[Finding] = []
    for number, atoms in enumerate(frames):
        try:
            labels.append(labels_of(atoms, keys, where=f"frame {number}"))
        except DataError as error:
            labels.append(_NO_LABELS)
            findings.append(Finding(Level.ERROR, number, str(error).removeprefix(f"frame {number}: ")))
    unreadable = {finding.frame for finding in findings if finding.frame is not None}
    findings += _label_sets(labels, unreadable)
    findings += _periodicity(frames)
    for number, (atoms, known) in enumerate(zip(frames, labels, strict=True)):
        findings += _geometry(number, atoms, known, limits)
        findings += _forces(number, known, limits)
        if values:
            findings += force_sizes(number, known, limits)
            findings += stress_sizes(number, known, limits)
    findings += _zeroed(frames, labels)
    findings += _zeros(frames, labels)
    findings += _repetitions(frames, labels, limits)
    if values:
        findings += energy_outliers(frames, labels, limits)
    findings += _duplicates(frames, labels, limits)
    return sorted_findings(findings)


def sorted_findings(findings: Iterable[Finding]) -> list[Finding]:
    """By frame, those that concern the whole set first."""
    return sorted(findings, key=lambda finding: -1 if finding.frame is None else finding.frame)


def _label_sets(labels: Sequence[Labels], unreadable: set[int]) -> Iterator[Finding]:
    """Frames without labels, and kinds that only some frames have."""
    readable = [number for number in range(len(labels)) if number not in unreadable]
    labelled = [number for number in readable if labels[number].kinds]
    for number in readable:
        if not labels[number].kinds:
            yield Finding(Level.ERROR, number, "no label under the given keys")
    for kind in ("energy", "forces", "stress"):
        without = [number for number in labelled if kind not in labels[number].kinds]
        if without and len(without) < len(labelled):
            yield Finding(
                Level.WARNING,
                None,
                f"{len(without)} of {len(labelled)} labelled frames have no {kind}, the others do: "
                f"frames {numbers_of(without)}",
            )


def _periodicity(frames: Sequence[Atoms]) -> Iterator[Finding]:
    """Frames that are periodic otherwise than most."""
    groups: dict[tuple[bool, ...], list[int]] = defaultdict(list)
    for number, atoms in enumerate(frames):
        groups[tuple(bool(periodic) for periodic in atoms.pbc)].append(number)
    if len(groups) > 1:
        usual = max(groups, key=lambda pbc: len(groups[pbc]))
        for pbc, members in groups.items():
            if pbc != usual:
                yield Finding(
                    Level.WARNING,
                    None,
                    f"periodic along {_axes(pbc)} in frames {numbers_of(members)}, along {_axes(usual)} in "
                    f"{len(groups[usual])} others",
                )


def _geometry(number: int, atoms: Atoms, labels: Labels, limits: CheckLimits) -> Iterator[Finding]:
    """Cells that are missing or flat, positions that are not finite, overlapping atoms."""
    if len(atoms) == 0:
        yield Finding(Level.ERROR, number, "no atoms")
        return
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        yield Finding(Level.ERROR, number, "positions or cell are not finite")
        return
    impossible = impossible_geometry(atoms)
    if impossible:
        yield Finding(Level.ERROR, number, impossible)
        return
    if not atoms.numbers.all():
        atom = int(np.argmin(atoms.numbers))
        yield Finding(Level.ERROR, number, f"atom {atom} is {atoms.symbols[atom]}, which is not a chemical element")
    lengths = atoms.cell.lengths()
    missing = [axis for axis in range(3) if atoms.pbc[axis] and lengths[axis] == 0.0]
    if missing:
        yield Finding(
            Level.ERROR,
            number,
            f"periodic along {''.join('abc'[axis] for axis in missing)}, but that cell vector is zero",
        )
        return
    if atoms.pbc.all() and abs(atoms.cell.volume) < 1e-6 * float(np.prod(lengths)):
        yield Finding(Level.ERROR, number, "periodic, but the cell vectors lie in one plane")
        return
    if labels.stress is not None and atoms.cell.rank < 3:
        yield Finding(Level.ERROR, number, "has a stress label but no cell volume: stress is undefined there")
    if not atoms.pbc.any() and atoms.cell.rank == 3:
        yield Finding(
            Level.WARNING,
            number,
            "has a cell but is not periodic: it is treated as a cluster; set pbc if it is a crystal",
        )

    radii = covalent_radii[atoms.numbers]
    first, second, distance = close_pairs(atoms, factor=limits.min_distance_ratio)
    if len(distance):
        nearest = int(np.argmin(distance / (radii[first] + radii[second])))
        i, j = sorted((int(first[nearest]), int(second[nearest])))
        yield Finding(
            Level.WARNING,
            number,
            f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) are {distance[nearest]:.3f} A apart, below "
            f"{limits.min_distance_ratio:g} of the sum of their covalent radii ({radii[i] + radii[j]:.2f} A)",
        )


def _forces(number: int, labels: Labels, limits: CheckLimits) -> Iterator[Finding]:
    """Forces that do not cancel."""
    forces = labels.forces
    if forces is None or len(forces) == 0:
        return
    net = float(np.abs(forces.sum(axis=0)).max())
    # Zeros of held atoms are a finding of their own.
    if net > limits.net_force_per_atom * len(forces) and forces.any(axis=1).all():
        yield Finding(
            Level.WARNING,
            number,
            f"forces sum to {net:.3f} eV/A, above {limits.net_force_per_atom:g} eV/A per atom: they should cancel",
        )


def _zeroed(frames: Sequence[Atoms], labels: Sequence[Labels]) -> Iterator[Finding]:
    """Forces of some atoms that a constraint has set to zero; those that the frame itself declares held, and others."""
    declared: dict[int, int] = {}
    others: dict[int, NDArray[np.intp]] = {}
    for number, (atoms, known) in enumerate(zip(frames, labels, strict=True)):
        if known.forces is None or known.forces.all() or not _sound(atoms):
            continue
        held = held_components(atoms, known.forces)
        if held.any():
            declared[number] = int(held.any(axis=1).sum())
        zero = zeroed_atoms(atoms, known.forces)
        zero = zero[~held[zero].all(axis=1)]
        if len(zero):
            others[number] = zero
    if declared:
        yield _once(
            declared,
            f"forces on {_range(list(declared.values()))} held atoms are exactly zero, no labels: they are left out of fits",
        )
    if others:
        first = next(iter(others))
        counts = _range([len(zero) for zero in others.values()])
        yield _once(
            others,
            f"forces on {counts} of {_range([len(frames[k]) for k in others])} atoms are exactly zero (first: atom "
            f"{others[first][0]}): a constraint may have zeroed the labels",
        )


def _zeros(frames: Sequence[Atoms], labels: Sequence[Labels]) -> Iterator[Finding]:
    """Energies, stresses and forces that are exactly zero."""
    with_energy = [k for k, known in enumerate(labels) if known.energy is not None and len(frames[k]) > 1]
    zero = [k for k in with_energy if labels[k].energy == 0.0]
    if zero:
        yield _once(zero, f"energy is exactly zero {_share(zero, with_energy)}: not computed?")
    with_stress = [k for k, known in enumerate(labels) if known.stress is not None]
    zero = [k for k in with_stress if not np.any(labels[k].stress)]
    if zero:
        yield _once(zero, f"stress is exactly zero {_share(zero, with_stress)}: not computed? It is left out of fits")
    with_forces = [k for k, known in enumerate(labels) if known.forces is not None and len(frames[k]) > 1]
    zero = [
        k
        for k in with_forces
        if not np.any(labels[k].forces)
        and _sound(frames[k])
        and not held_components(frames[k], np.zeros((len(frames[k]), 3))).all()
        and displaced(frames[k])
    ]
    if zero:
        yield _once(
            zero,
            f"forces are exactly zero {_share(zero, with_forces)}, whose symmetry does not demand it: not computed?",
        )


def _repetitions(frames: Sequence[Atoms], labels: Sequence[Labels], limits: CheckLimits) -> Iterator[Finding]:
    """Labels of one frame that stand in another."""
    for name, arrays in (
        ("forces", [known.forces for known in labels]),
        ("stress", [known.stress for known in labels]),
    ):
        for first, later in repeated(arrays):
            pair = [frames[first], frames[later]]
            if np.array_equal(pair[0].numbers, pair[1].numbers) and not copies(
                pair, tolerance=limits.duplicate_distance
            ):
                yield Finding(
                    Level.WARNING,
                    later,
                    f"its {name} are those of frame {first}, digit for digit, but the structures differ",
                )
    for energy, members in constant_energies(
        [known.energy for known in labels], [(len(atoms), _composition(atoms)) for atoms in frames]
    ):
        if (
            energy != 0.0
            and len(copies([frames[k] for k in members], tolerance=limits.duplicate_distance)) < len(members) - 1
        ):
            yield Finding(
                Level.WARNING,
                None,
                f"all {len(members)} frames of one composition have the same energy to the last digit, {energy:.6f} eV: "
                "not computed?",
            )


def force_sizes(number: int, labels: Labels, limits: CheckLimits) -> Iterator[Finding]:
    """Forces too large."""
    if labels.forces is None or len(labels.forces) == 0:
        return
    norms = np.linalg.norm(labels.forces, axis=1)
    largest = int(np.argmax(norms))
    if norms[largest] > limits.max_force:
        yield Finding(
            Level.WARNING,
            number,
            f"force on atom {largest} is {norms[largest]:.1f} eV/A, above {limits.max_force:g} eV/A",
        )


def stress_sizes(number: int, labels: Labels, limits: CheckLimits) -> Iterator[Finding]:
    """Stress that looks like another unit."""
    if labels.stress is None:
        return
    largest = float(np.abs(labels.stress).max())
    if largest > limits.max_stress:
        yield Finding(
            Level.WARNING,
            number,
            f"stress component of {largest:.3g} eV/A^3 ({largest / units.GPa:.0f} GPa): is the label in another unit?",
        )


def energy_outliers(frames: Sequence[Atoms], labels: Sequence[Labels], limits: CheckLimits) -> Iterator[Finding]:
    """Energies per atom far from those of the same composition."""
    groups: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for number, (atoms, known) in enumerate(zip(frames, labels, strict=True)):
        if known.energy is not None and len(atoms):
            groups[_composition(atoms)].append(number)
    for members in groups.values():
        if len(members) < _FEWEST_FOR_STATISTICS:
            continue
        per_atom = np.array([labels[number].energy for number in members]) / [len(frames[number]) for number in members]
        median = float(np.median(per_atom))
        deviation = np.abs(per_atom - median)
        spread = 1.4826 * float(np.median(deviation))
        for number, energy, off in zip(members, per_atom, deviation, strict=True):
            if off > limits.energy_deviation and off > limits.energy_deviation_spreads * spread:
                yield Finding(
                    Level.WARNING,
                    number,
                    f"energy of {energy:.3f} eV/atom is {off:.3f} eV/atom from the median of {len(members)} frames of "
                    f"this composition ({median:.3f}, spread {spread:.3f}): another method or unit?",
                )


def _duplicates(frames: Sequence[Atoms], labels: Sequence[Labels], limits: CheckLimits) -> Iterator[Finding]:
    """The same structure twice: counted once with equal labels, an error with different ones."""
    once = []
    for first, second in copies(frames, tolerance=limits.duplicate_distance):
        off = difference(labels[first], labels[second])
        if off:
            yield Finding(Level.ERROR, second, f"same structure as frame {first}, but {off}")
        else:
            once.append((first, second))
    if len(once) == 1:
        ((first, second),) = once
        yield Finding(Level.WARNING, second, f"same structure as frame {first}: counted once")
    elif once:
        yield Finding(
            Level.WARNING,
            None,
            f"{len(once)} frames are copies of others, counted once: "
            + ", ".join(f"{second} of {first}" for first, second in once[:8])
            + (", ..." if len(once) > 8 else ""),
        )


def _once(frames: Collection[int], message: str) -> Finding:
    """A warning about these frames: of the frame where it is one."""
    numbers = sorted(frames)
    if len(numbers) == 1:
        return Finding(Level.WARNING, numbers[0], message)
    return Finding(Level.WARNING, None, f"{message} (frames {numbers_of(numbers)})")


def _share(some: Sequence[int], known: Sequence[int]) -> str:
    return f"in all {len(some)} frames" if len(some) == len(known) else f"in {len(some)} of {len(known)} frames"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _sound(atoms: Atoms) -> bool:
    """Whether neighbours can be looked for; what is wrong else is a finding of its own."""
    finite = np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()
    return bool(len(atoms) and finite and not impossible_geometry(atoms) and _has_cell(atoms))


def _has_cell(atoms: Atoms) -> bool:
    lengths = atoms.cell.lengths()
    if any(periodic and not length > 0 for periodic, length in zip(atoms.pbc, lengths, strict=True)):
        return False
    return bool(not atoms.pbc.all() or abs(atoms.cell.volume) >= 1e-6 * float(np.prod(lengths)))


def _composition(atoms: Atoms) -> tuple[tuple[int, int], ...]:
    """Elements and their counts over the greatest common divisor: a supercell has the composition of its cell."""
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    divisor = int(np.gcd.reduce(counts))
    return tuple((int(number), int(count) // divisor) for number, count in zip(numbers, counts, strict=True))


def _axes(pbc: Iterable[bool]) -> str:
    """Periodic directions for a message."""
    return "".join(axis for axis, periodic in zip("abc", pbc, strict=True) if periodic) or "nothing"
