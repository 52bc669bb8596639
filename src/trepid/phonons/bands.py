"""Band structure along the path of the crystal's symmetry, with the draws of the model.

Vocabulary
----------
path      straight segments between points of high symmetry (Y. Hinuma et al., Comput. Mater. Sci. 128, 140 (2017), through
          seekpath), in the reciprocal basis of phonopy's primitive cell
branch    frequencies at one wave vector in ascending order; imaginary ones are negative numbers, as phonopy gives them
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from trepid.arrays import FloatArray
from trepid.phonons.drawn import Drawn

if TYPE_CHECKING:
    from phonopy import Phonopy


@dataclass(frozen=True, eq=False)
class BandPath:
    """Wave vectors of a band structure.

    Attributes
    ----------
    segments : tuple of (n_q, 3) arrays
        Fractional, reciprocal basis of the primitive cell; ends included.
    ends : tuple of (str, str)
        Names of the ends of every segment.
    connections : tuple of bool
        Whether a segment goes on where the next begins.
    labels : tuple of str
        In the order in which phonopy writes them.
    """

    segments: tuple[FloatArray, ...]
    ends: tuple[tuple[str, str], ...]
    connections: tuple[bool, ...]
    labels: tuple[str, ...]

    @property
    def qpoints(self) -> FloatArray:
        """All wave vectors, (n_q, 3)."""
        return np.concatenate(self.segments)


@dataclass(frozen=True, eq=False)
class Bands:
    """Frequencies along a path.

    Attributes
    ----------
    path : BandPath
    distances : tuple of (n_q,) arrays
        Along the path, 1/A (without 2 pi), per segment.
    frequencies : Drawn
        (n_q, n_branches), THz, all segments one after the other.
    """

    path: BandPath
    distances: tuple[FloatArray, ...]
    frequencies: Drawn

    def segment(self, k: int) -> Drawn:
        """Frequencies of one segment."""
        start = sum(len(s) for s in self.path.segments[:k])
        return self.frequencies.at(slice(start, start + len(self.path.segments[k])))


def band_path(phonon: Phonopy, n_points: int) -> BandPath:
    """The path of a crystal's symmetry; `n_points` wave vectors on the longest segment, others as dense."""
    import seekpath

    primitive = phonon.primitive
    found = seekpath.get_path_orig_cell((primitive.cell, primitive.scaled_positions, primitive.numbers))
    points = {name: np.array(value, dtype=np.float64) for name, value in found["point_coords"].items()}
    reciprocal = np.linalg.inv(primitive.cell).T
    ends = [(str(a), str(b)) for a, b in found["path"]]
    lengths = [float(np.linalg.norm((points[b] - points[a]) @ reciprocal)) for a, b in ends]
    segments = []
    for (a, b), length in zip(ends, lengths, strict=True):
        n = max(3, round(n_points * length / max(lengths)))
        segments.append(points[a] + np.linspace(0.0, 1.0, n)[:, None] * (points[b] - points[a]))
    connections = [first[1] == second[0] for first, second in pairwise(ends)] + [False]
    labels = []
    for (a, b), goes_on in zip(ends, connections, strict=True):
        labels += [_pretty(a)] if goes_on else [_pretty(a), _pretty(b)]
    return BandPath(
        tuple(segments), tuple((_pretty(a), _pretty(b)) for a, b in ends), tuple(connections), tuple(labels)
    )


def run_bands(phonon: Phonopy, path: BandPath) -> None:
    """Let phonopy compute the bands of a path."""
    phonon.run_band_structure(
        [segment.tolist() for segment in path.segments],
        path_connections=list(path.connections),
        labels=list(path.labels),
    )


def in_turn(phonon: Phonopy, constants: FloatArray, draws: Sequence[FloatArray]) -> Iterator[int]:
    """Set the force constants of every draw (its number from 1), and at last those of the model (0), which stay."""
    for number in [*range(1, len(draws) + 1), 0]:
        phonon.force_constants = constants if number == 0 else draws[number - 1]
        yield number


def bands_of(phonon: Phonopy, constants: FloatArray, draws: Sequence[FloatArray], path: BandPath) -> Bands:
    """Bands of a model and of its draws.

    Parameters
    ----------
    phonon : phonopy.Phonopy
        Cells and corrections; has the bands of the model afterwards.
    constants : (n, n, 3, 3) array
        Force constants of the model in the order of phonopy, eV/A^2.
    draws : sequence of such arrays
    path : BandPath
    """
    frequencies: dict[int, FloatArray] = {}
    for number in in_turn(phonon, constants, draws):
        run_bands(phonon, path)
        frequencies[number] = np.concatenate(phonon.band_structure.frequencies)
    distances = tuple(np.array(d) for d in phonon.band_structure.distances)
    return Bands(path, distances, Drawn.of(frequencies[0], [frequencies[k] for k in range(1, len(draws) + 1)]))


def _pretty(name: str) -> str:
    return "Γ" if name == "GAMMA" else name
