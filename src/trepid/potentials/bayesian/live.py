"""Live directions: a low-rank root of the posterior covariance, chosen for configurations outside the training set.

A^-1 ~ G G^T with R columns. Ordered by the training distribution, the leading columns would describe the training frames.
They are ordered instead by a measure over *environments as an event creates them*: training structures, strained and
rattled, with one atom displaced towards a random place; the rows of the measure are the force features of that atom and its
nearest neighbours. Such an environment changes coherent sums of many triplets, which a measure over single random pairs
and triplets misses (on CuI with a displaced Cu, 16 directions capture 0.93 of the force standard deviation with
environments and 0.70 with single pairs and triplets). Truncation makes the live variance a lower bound of the exact one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.posterior import Posterior

SAMPLES = 40
"""Perturbed environments."""
NEAREST = 8
"""Neighbours of the displaced atom whose force rows enter too."""
PUSH = (0.5, 2.5)
"""Range of the displacement of this atom, A."""
RATTLE = (0.02, 0.3)
"""Range of the standard deviation of the other displacements, A."""
STRAIN = 0.02
"""Largest isotropic strain."""
MAX_TEMPLATES = 4
"""Training structures kept as templates: the first of each composition and size."""


def extend_templates(templates: list[Atoms], frames: Sequence[Atoms]) -> list[Atoms]:
    """Templates with the first frame of each new composition and size added, up to MAX_TEMPLATES."""
    out = list(templates)
    known = {tuple(sorted(t.numbers)) for t in out}
    for atoms in frames:
        key = tuple(sorted(atoms.numbers))
        if len(out) < MAX_TEMPLATES and key not in known:
            known.add(key)
            out.append(Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc))
    return out


def environment_rows(
    features: FeatureBuilder, templates: Sequence[Atoms], *, seed: int, samples: int = SAMPLES
) -> FloatArray:
    """Force features (rows, raw) of perturbed templates; independent of labels and hyperparameters."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(samples):
        atoms, chosen = perturbed(features.basis, templates[k % len(templates)], rng)
        rows.append(features.force_rows_of(atoms, chosen))
    return np.concatenate(rows)


def shared_environment_rows(basis: Basis, templates: Sequence[Atoms], *, seed: int) -> FloatArray:
    """`environment_rows`, read-only; not computed again while the arguments are those of the last call.

    A campaign reads its model back after every label, nearly always with the templates it had before.
    """
    arrays = ((t.numbers.astype(np.int64), t.positions, t.cell[:], t.pbc) for t in templates)
    return _environment_rows(basis, tuple(tuple(a.tobytes() for a in each) for each in arrays), seed)


@lru_cache(maxsize=1)
def _environment_rows(basis: Basis, templates: tuple[tuple[bytes, ...], ...], seed: int) -> FloatArray:
    """Templates as the bytes of numbers, positions, cell and periodicity."""
    atoms = [
        Atoms(
            numbers=np.frombuffer(numbers, np.int64),
            positions=np.frombuffer(positions).reshape(-1, 3),
            cell=np.frombuffer(cell).reshape(3, 3),
            pbc=np.frombuffer(pbc, np.bool_),
        )
        for numbers, positions, cell, pbc in templates
    ]
    rows = environment_rows(FeatureBuilder(basis), atoms, seed=seed)
    rows.flags.writeable = False
    return rows


def perturbed(basis: Basis, template: Atoms, rng: np.random.Generator) -> tuple[Atoms, NDArray[np.intp]]:
    """A strained, rattled template with one displaced atom, and that atom with its nearest neighbours."""
    atoms = template.copy()
    if atoms.cell.rank > 0:
        atoms.set_cell(atoms.cell[:] * (1 + rng.uniform(-STRAIN, STRAIN)), scale_atoms=True)
    atoms.positions += rng.normal(scale=rng.uniform(*RATTLE), size=(len(atoms), 3))
    i = int(rng.integers(len(atoms)))
    others = np.delete(np.arange(len(atoms)), i)
    origin, symbols = atoms.positions[i].copy(), atoms.get_chemical_symbols()
    contact = np.array([basis.plausible_contact(symbols[i], symbols[j]) for j in others])
    distance = _distances(atoms, i, others)
    # Atoms that were this close already may stay so.
    contact = np.minimum(contact, 0.95 * distance)
    reach = PUSH[1]
    while True:
        direction = rng.normal(size=3)
        atoms.positions[i] = origin + direction / np.linalg.norm(direction) * rng.uniform(
            min(PUSH[0], reach / 2), reach
        )
        distance = _distances(atoms, i, others)
        if (distance >= contact).all():
            break
        reach *= 0.98  # a dense structure leaves little room
    return atoms, np.concatenate([[i], others[np.argsort(distance)[:NEAREST]]])


def _distances(atoms: Atoms, i: int, others: NDArray[np.intp]) -> FloatArray:
    if len(others) == 0:
        return np.zeros(0)
    return get_distances(atoms.positions[i], atoms.positions[others], cell=atoms.cell, pbc=atoms.pbc)[1][0]


def live_directions(posterior: Posterior, rows: FloatArray, rank: int) -> FloatArray:
    """Coefficient vectors (raw, rank) for the measure `rows`; their squared forces add up to the live variance."""
    rotated = posterior.rotated(rows)
    gram = rotated.T @ rotated
    if rank + 1 < len(gram) and gram.any():  # without any neighbour all force rows vanish
        start = np.random.default_rng(0).standard_normal(len(gram))
        values, vectors = eigsh(gram, k=rank, which="LA", v0=start)
    else:
        values, vectors = np.linalg.eigh(gram)
    order = np.argsort(values)[::-1]
    order = order[values[order] > 1e-12 * values[order[0]]][:rank]
    directions = rotated @ vectors[:, order] / np.sqrt(values[order])
    return np.pad(posterior.spread(directions), ((0, 0), (0, rank - len(order))))
