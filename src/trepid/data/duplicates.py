"""The same structure more than once: copies, translated ones, and those with atoms wrapped into another cell.

Positions count relative to the first atom, and along periodic directions as points on a circle, so that neither a common
translation nor the choice of the periodic image matters. Atoms must be in the same order, and cells are compared as they are.

Copies tell nothing new. A model that counts each as data of its own is too sure of itself, so that training counts them once.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from trepid.arrays import FloatArray
from trepid.data.frames import LabelKeys, Labels, labels_of

TOLERANCE = 1e-4
"""A, of coordinates and cell components of frames that are the same."""
ENERGY_TOLERANCE, FORCE_TOLERANCE = 1e-2, 1e-2
"""eV and eV/A: labels of one structure that differ by more contradict each other."""
N_PROJECTIONS = 8
FINGERPRINT_SIZE = N_PROJECTIONS + 3
FINGERPRINT_TOLERANCE = 1e-5
"""A: rms difference of coordinates up to which fingerprints are equal; exact copies differ by rounding, 1e-12."""


def structure_vector(atoms: Atoms) -> FloatArray:
    """Coordinates, A, that are equal for copies of a structure; cell components last."""
    cell = atoms.cell.array
    relative = atoms.positions - atoms.positions[0]
    flat = abs(np.linalg.det(cell)) < 1e-6 * float(np.prod(np.maximum(atoms.cell.lengths(), 1e-3)))
    if not atoms.pbc.any() or flat:
        return np.concatenate([relative.ravel(), cell.ravel()])
    lengths = atoms.cell.lengths()
    fractions = relative @ np.linalg.inv(cell)
    angle = 2 * np.pi * fractions
    radius = lengths / (2 * np.pi)
    along = np.where(atoms.pbc, radius * np.cos(angle), fractions * lengths)
    across = np.where(atoms.pbc, radius * np.sin(angle), 0.0)
    return np.concatenate([along.ravel(), across.ravel(), cell.ravel()])


def copies(frames: Sequence[Atoms], *, tolerance: float = TOLERANCE) -> list[tuple[int, int]]:
    """Pairs (first, later) of frames with the same structure; each later one once, with the earliest it equals."""
    groups: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
    for number, atoms in enumerate(frames):
        if len(atoms) and np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all():
            groups[atoms.numbers.tobytes(), atoms.pbc.tobytes()].append(number)
    found = []
    for members in groups.values():
        by_length: dict[int, list[int]] = defaultdict(list)
        vectors = {number: structure_vector(frames[number]) for number in members} if len(members) > 1 else {}
        for number, vector in vectors.items():  # a cell of lower rank has a vector of another length
            by_length[len(vector)].append(number)
        for own in by_length.values():
            seen: set[int] = set()
            for a, b in coincident(np.array([vectors[number] for number in own]), tolerance):
                if b not in seen:  # the third copy is reported once, not once for each of the others
                    seen.add(b)
                    found.append((own[a], own[b]))
    return sorted(found, key=lambda pair: pair[1])


def coincident(points: FloatArray, tolerance: float) -> list[tuple[int, int]]:
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


def difference(first: Labels, second: Labels) -> str:
    """Difference of two labels of one structure; empty if they agree."""
    if first.energy is not None and second.energy is not None:
        off = abs(first.energy - second.energy)
        if off > ENERGY_TOLERANCE:
            return f"its energy differs by {off:.3g} eV"
    if first.forces is not None and second.forces is not None:
        largest = float(np.abs(first.forces - second.forces).max())
        if largest > FORCE_TOLERANCE:
            return f"its forces differ by up to {largest:.3g} eV/A"
    return ""


def fingerprint(atoms: Atoms, labels: Labels) -> FloatArray:
    """Numbers (FINGERPRINT_SIZE,) by which a training frame is recognised later.

    One from the elements and the periodicity, then projections of the structure on random directions, then one number for the
    energy per atom (eV) and one for the forces (eV/A); NaN for a label that is missing.
    """
    digest = hashlib.sha256(atoms.numbers.astype("<i8").tobytes() + atoms.pbc.tobytes()).digest()
    identity = int.from_bytes(digest[:6], "little")
    vector = structure_vector(atoms)
    rng = np.random.default_rng(identity)
    projections = rng.normal(size=(N_PROJECTIONS, len(vector))) @ vector
    energy = np.nan if labels.energy is None else labels.energy / len(atoms)
    forces = np.nan
    if labels.forces is not None:
        forces = float(rng.normal(size=labels.forces.size) @ labels.forces.ravel()) / np.sqrt(labels.forces.size)
    return np.array([float(identity), *projections, energy, forces])


def is_known(print_: FloatArray, others: FloatArray, *, n_atoms: int) -> bool:
    """Whether a fingerprint is among others (n, FINGERPRINT_SIZE), with labels that do not differ.

    A label that the others lack is new; one that is lacking here is not.
    """
    reach = FINGERPRINT_TOLERANCE * 4 * np.sqrt(6 * n_atoms + 9)
    structure = slice(1, 1 + N_PROJECTIONS)
    alike = others[others[:, 0] == print_[0]]
    alike = alike[(np.abs(alike[:, structure] - print_[structure]) <= reach).all(axis=1)]
    energy, forces = alike[:, -2] - print_[-2], alike[:, -1] - print_[-1]
    same_energy = np.isnan(print_[-2]) | (np.abs(energy) * n_atoms <= ENERGY_TOLERANCE)
    same_forces = np.isnan(print_[-1]) | (np.abs(forces) <= FORCE_TOLERANCE)
    return bool((same_energy & same_forces).any())


def distinct(frames: Sequence[Atoms], keys: LabelKeys, *, trained: FloatArray | None = None) -> list[int]:
    """Numbers of the frames that tell something new: no copies of earlier ones, nor of those of a training set.

    A copy with other labels, or with a kind of label that the earlier frame lacks, is kept.

    Parameters
    ----------
    frames : sequence of Atoms
    keys : LabelKeys
    trained : (n, FINGERPRINT_SIZE) array, optional
        Fingerprints of earlier training frames.

    Raises
    ------
    DataError
        A label is not a finite number; the message names the frame.
    """
    labels = [labels_of(atoms, keys, where=f"frame {k} (counted from 0)") for k, atoms in enumerate(frames)]
    again = {
        later
        for first, later in copies(frames)
        if set(labels[later].kinds) <= set(labels[first].kinds) and not difference(labels[first], labels[later])
    }
    if trained is not None:
        again |= set(known_among(frames, keys, trained))
    return [k for k in range(len(frames)) if k not in again]


def fingerprints(frames: Sequence[Atoms], keys: LabelKeys) -> FloatArray:
    """Fingerprints (n, FINGERPRINT_SIZE) of frames."""
    found = [fingerprint(atoms, labels_of(atoms, keys)) for atoms in frames]
    return np.array(found).reshape(-1, FINGERPRINT_SIZE)


def known_among(frames: Sequence[Atoms], keys: LabelKeys, trained: FloatArray) -> list[int]:
    """Numbers of the frames that are among those of these fingerprints (n, FINGERPRINT_SIZE)."""
    if not len(trained):
        return []
    return [
        k
        for k, atoms in enumerate(frames)
        if len(atoms) and is_known(fingerprint(atoms, labels_of(atoms, keys)), trained, n_atoms=len(atoms))
    ]


def known_structures(frames: Sequence[Atoms], trained: FloatArray) -> list[int]:
    """Numbers of the frames with a structure of those of these fingerprints (n, FINGERPRINT_SIZE), whatever their labels."""
    return [
        k
        for k, atoms in enumerate(frames)
        if len(atoms) and is_known(fingerprint(atoms, Labels()), trained, n_atoms=len(atoms))
    ]
