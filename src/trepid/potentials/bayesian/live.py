r"""Live directions: a few coefficient vectors whose squared forces add up to the posterior variance of the forces.

The posterior covariance is A^-1 (in whitened coordinates); the live variance of a force with feature row phi is
|phi^T G|^2 with R columns g_r. With g_r = xi_r / sqrt(R), xi_r drawn from the posterior, this is an unbiased estimate of the exact
variance of *every* configuration: the variance of R draws. Its relative scatter is that of a chi-square, about 1 / sqrt(6 R)
of the norm over x, y and z of an atom. The draws are then tuned: a few steps of L-BFGS on

.. math::

    \sum_i [\log(|\Phi_i^T G|^2 / |\Phi_i^T L^{-T}|^2)]^2,

the squared logarithms of live over exact variance of the atoms i (Phi_i: the three rows of an atom) of perturbed environments:
training structures, strained and rattled, some with one atom displaced towards a random place, some with one atom missing,
some cut along a plane.

With charges the directions hold the coefficient of the Coulomb energy fixed (draws of the posterior given that coefficient) and are
tuned on the whole variance: molecular dynamics then needs no Coulomb forces for the uncertainty.

The leading principal directions, a lower bound, miss most of it: the posterior variance is spread over many directions. On two
truths of `benchmarks/strata.py` 16 of them gave 0.04 and 0.12 of the exact standard deviation of the median atom of the crystal and
0.1 to 0.8 elsewhere; of 16 tuned draws the median atom deviates by 4 to 8 % on every stratum of five truths. The numbers below
were chosen there.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from numpy.typing import NDArray
from scipy.optimize import minimize

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.terms.coulomb import CoulombTerm

SAMPLES = 48
"""Perturbed environments."""
NEAREST = 8
"""Neighbours of the perturbed place whose force rows enter too."""
PUSH = (0.5, 2.5)
"""Range of the displacement of one atom, A."""
RATTLE = (0.01, 0.3)
"""Range of the standard deviation of the other displacements, A; log-uniform."""
STRAIN = 0.06
"""Largest isotropic strain."""
CUT = (0.3, 3.0)
"""Range of the distance of an atom from the plane beyond which the others are removed, A."""
STEPS = 20
"""Iterations of the tuning."""
NEGLIGIBLE = 1e-12
"""Atoms whose variance is below this share of the largest do not enter."""
MAX_TEMPLATES = 4
"""Training structures kept as templates: the first of each composition and size."""


class Defect(Enum):
    """What is done to a strained and rattled template."""

    NONE = "none"
    DISPLACED = "displaced"
    """One atom is moved towards a random place."""
    VACANCY = "vacancy"
    """One atom is removed."""
    SURFACE = "surface"
    """The atoms on one side of a plane are removed."""


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
    """Force features (3 atoms, raw) of perturbed templates; independent of labels and hyperparameters."""
    rng = np.random.default_rng(seed)
    defects = list(Defect)
    rows = []
    for k in range(samples):
        template, defect = templates[k % len(templates)], defects[k // len(templates) % len(defects)]
        atoms, chosen = perturbed(features.basis, template, rng, defect=defect)
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


def perturbed(
    basis: Basis, template: Atoms, rng: np.random.Generator, *, defect: Defect = Defect.DISPLACED
) -> tuple[Atoms, NDArray[np.intp]]:
    """A strained, rattled template with a defect, and the atoms next to it (the displaced one first)."""
    atoms = template.copy()
    if atoms.cell.rank > 0:
        atoms.set_cell(atoms.cell[:] * (1 + rng.uniform(-STRAIN, STRAIN)), scale_atoms=True)
    atoms.positions += rng.normal(scale=np.exp(rng.uniform(*np.log(RATTLE))), size=(len(atoms), 3))
    i = int(rng.integers(len(atoms)))
    others = np.delete(np.arange(len(atoms)), i)
    if defect is Defect.DISPLACED:
        _displace(atoms, i, others, basis, rng)
    distances, vectors = _distances(atoms, i, others)
    near = others[np.argsort(distances, kind="stable")]
    if len(others) == 0 or defect in (Defect.NONE, Defect.DISPLACED):
        return atoms, np.concatenate([[i], near[:NEAREST]])
    kept = np.ones(len(atoms), dtype=bool)
    if defect is Defect.VACANCY:
        kept[i] = False
    else:
        normal = rng.normal(size=3)
        kept[others] = vectors @ (normal / np.linalg.norm(normal)) > -rng.uniform(*CUT)
        near = np.concatenate([[i], near])
    near = near[kept[near]][: NEAREST + 1]
    return atoms[kept], (np.cumsum(kept) - 1)[near]


def _displace(atoms: Atoms, i: int, others: NDArray[np.intp], basis: Basis, rng: np.random.Generator) -> None:
    origin, symbols = atoms.positions[i].copy(), atoms.get_chemical_symbols()
    contact = np.array([basis.plausible_contact(symbols[i], symbols[j]) for j in others])
    # Atoms that were this close already may stay so.
    contact = np.minimum(contact, 0.95 * _distances(atoms, i, others)[0])
    reach = PUSH[1]
    while True:
        direction = rng.normal(size=3)
        atoms.positions[i] = origin + direction / np.linalg.norm(direction) * rng.uniform(
            min(PUSH[0], reach / 2), reach
        )
        if (_distances(atoms, i, others)[0] >= contact).all():
            return
        reach *= 0.98  # a dense structure leaves little room


def _distances(atoms: Atoms, i: int, others: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """Distances (n,) and vectors (n, 3) from atom i."""
    if len(others) == 0:
        return np.zeros(0), np.zeros((0, 3))
    vectors, distances = get_distances(atoms.positions[i], atoms.positions[others], cell=atoms.cell, pbc=atoms.pbc)
    return distances[0], vectors[0]


def live_directions(posterior: Posterior, rows: FloatArray, rank: int, *, seed: int = 0) -> FloatArray:
    """Coefficient vectors (raw, rank) whose squared forces add up to the posterior variance.

    Parameters
    ----------
    posterior : Posterior
    rows : (3 n_atoms, raw) array
        Force features of the atoms that the directions are tuned on.
    rank : int
    seed : int
        Of the draws that the tuning starts from.
    """
    rng = np.random.default_rng(seed)
    start = rng.standard_normal((rank, posterior.n_directions)).T / np.sqrt(rank)
    rotated = np.ascontiguousarray(posterior.rotated(rows).T)
    exact = _per_atom(rotated)
    held = posterior.charge_direction
    if held is not None:
        held = held / np.linalg.norm(held)
        rotated -= np.outer(rotated @ held, held)
        start -= np.outer(held, held @ start)
    seen = exact > NEGLIGIBLE * exact.max(initial=0.0)  # an atom without neighbours has no force
    directions = _tuned(start, rotated[np.repeat(seen, 3)], exact[seen]) if seen.any() else start
    spread = posterior.spread(directions)
    if held is not None:
        spread[posterior.basis.layout.term(CoulombTerm).columns] = 0.0  # but for rounding
    return spread


def _per_atom(rows: FloatArray) -> FloatArray:
    """Sum of the squares of the three rows of every atom, (n_atoms,)."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows).reshape(-1, 3).sum(axis=1))


def _tuned(start: FloatArray, rows: FloatArray, exact: FloatArray) -> FloatArray:
    """Directions (n, rank) after STEPS iterations from `start`; the rows (3 n_atoms, n) have the variances `exact`."""

    def objective(x: FloatArray) -> tuple[float, FloatArray]:
        forces = rows @ x.reshape(start.shape)
        live = _per_atom(forces)
        deviation = np.log(live / exact)
        weight = 4 * deviation / (live * len(exact))
        return float(np.mean(deviation**2)), (rows.T @ (forces * np.repeat(weight, 3)[:, None])).ravel()

    options = {"maxiter": STEPS, "maxcor": 10}
    return np.asarray(minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options).x).reshape(
        start.shape
    )
