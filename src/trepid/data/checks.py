"""Checks of labelled frames before a model is trained on them.

Each check is a function of frames that yields findings; none of them changes anything. An error makes training
impossible; a warning is usually a mistake in the data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from trepid.arrays import FloatArray
from trepid.data.findings import Finding, Level
from trepid.data.labels import LabelKeys, Labels, labels_of
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
) -> list[Finding]:
    """Find problems in labelled frames.

    Checked are: labels that are not finite or of the wrong shape, frames without labels or with fewer kinds than others,
    forces above `max_force`, forces that do not sum to zero or that a constraint seems to have zeroed, stresses in the
    wrong unit, outliers of the energy per atom, overlapping atoms, cells missing or flat, periodicity that
    changes, duplicates.

    Parameters
    ----------
    frames : sequence of Atoms
    keys : LabelKeys
    limits : CheckLimits

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
        findings += _stress(number, known, limits)
    findings += _energies(frames, labels, limits)
    findings += _duplicates(frames, labels, limits)
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
                f"frames {_numbers(without)}",
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
                    f"periodic along {_axes(pbc)} in frames {_numbers(members)}, along {_axes(usual)} in "
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
    first, second, distance = neighbor_list("ijd", atoms, limits.min_distance_ratio * radii)
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
    """Forces too large, not balanced, or zeroed."""
    forces = labels.forces
    if forces is None or len(forces) == 0:
        return
    norms = np.linalg.norm(forces, axis=1)
    largest = int(np.argmax(norms))
    if norms[largest] > limits.max_force:
        yield Finding(
            Level.WARNING,
            number,
            f"force on atom {largest} is {norms[largest]:.1f} eV/A, above {limits.max_force:g} eV/A",
        )
    zero = np.flatnonzero(~forces.any(axis=1))
    if len(zero) and len(zero) < len(forces):
        yield Finding(
            Level.WARNING,
            number,
            f"forces on {len(zero)} of {len(forces)} atoms are exactly zero (first: atom {zero[0]}): a constraint "
            "may have zeroed the labels",
        )
    net = float(np.abs(forces.sum(axis=0)).max())
    if net > limits.net_force_per_atom * len(forces):
        yield Finding(
            Level.WARNING,
            number,
            f"forces sum to {net:.3f} eV/A, above {limits.net_force_per_atom:g} eV/A per atom: they should cancel",
        )


def _stress(number: int, labels: Labels, limits: CheckLimits) -> Iterator[Finding]:
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


def _energies(frames: Sequence[Atoms], labels: Sequence[Labels], limits: CheckLimits) -> Iterator[Finding]:
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
    """The same structure twice: harmless with equal labels, an error with different ones."""
    groups: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
    for number, atoms in enumerate(frames):
        groups[atoms.numbers.tobytes(), atoms.pbc.tobytes()].append(number)
    for members in groups.values():
        if len(members) < 2 or len(frames[members[0]]) == 0:
            continue
        points = np.array(
            [
                np.concatenate([frames[number].positions.ravel(), frames[number].cell.array.ravel()])
                for number in members
            ]
        )
        seen: set[int] = set()
        for a, b in _coincident(points, limits.duplicate_distance):
            if b in seen:  # the third copy is reported once, not once for each of the others
                continue
            seen.add(b)
            first, second = members[a], members[b]
            difference = _difference(labels[first], labels[second])
            if difference:
                yield Finding(Level.ERROR, second, f"same structure as frame {first}, but {difference}")
            else:
                yield Finding(Level.WARNING, second, f"same structure as frame {first}")


def _coincident(points: FloatArray, tolerance: float) -> list[tuple[int, int]]:
    """Pairs a < b of rows that differ by at most `tolerance` in every component, in order of b.

    Rows that agree also agree when projected on a line, so only neighbours along one random line are compared: n log n
    instead of all pairs.
    """
    finite = np.asarray(np.isfinite(points).all(axis=1))
    line = np.random.default_rng(0).normal(size=points.shape[1])
    reach = tolerance * float(np.abs(line).sum())
    projection = np.where(finite, np.where(finite[:, None], points, 0.0) @ line, np.inf)
    order = np.argsort(projection, kind="stable")
    pairs = []
    for position, i in enumerate(order):
        for j in order[position + 1 :]:
            if not finite[j] or projection[j] - projection[i] > reach:
                break
            if np.abs(points[i] - points[j]).max() <= tolerance:
                pairs.append((int(min(i, j)), int(max(i, j))))
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))


def _difference(first: Labels, second: Labels) -> str:
    """Difference of two labels of one structure; empty if they agree."""
    if first.energy is not None and second.energy is not None and abs(first.energy - second.energy) > 1e-2:
        return f"its energy differs by {abs(first.energy - second.energy):.3g} eV"
    if first.forces is not None and second.forces is not None:
        largest = float(np.abs(first.forces - second.forces).max())
        if largest > 1e-2:
            return f"its forces differ by up to {largest:.3g} eV/A"
    return ""


def _composition(atoms: Atoms) -> tuple[tuple[int, int], ...]:
    """Elements and their counts over the greatest common divisor: a supercell has the composition of its cell."""
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    divisor = int(np.gcd.reduce(counts))
    return tuple((int(number), int(count) // divisor) for number, count in zip(numbers, counts, strict=True))


def _axes(pbc: Iterable[bool]) -> str:
    """Periodic directions for a message."""
    return "".join(axis for axis, periodic in zip("abc", pbc, strict=True) if periodic) or "nothing"


def _numbers(frames: Sequence[int], most: int = 8) -> str:
    """Frame numbers for a message, the first few."""
    shown = ", ".join(str(number) for number in frames[:most])
    return shown if len(frames) <= most else f"{shown}, ... ({len(frames)} in all)"
