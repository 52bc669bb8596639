"""Structures, random potentials and an evaluation by brute force, shared by the tests of the Bayesian force field.

The brute force is written from the formulas of `trepid.potentials.bayesian` and shares no code with the C++ core: periodic
images by explicit loops, radial splines by `scipy.interpolate.BSpline`, angles by `numpy.polynomial.legendre`, and a double
loop over the neighbours of every atom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.neighborlist import neighbor_list
from numpy.polynomial import legendre
from scipy.interpolate import BSpline

from trepid.data import Labels, attach_labels
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.potentials.bayesian.terms.base import Term
from trepid.potentials.bayesian.terms.channels import Channels, RadialChannels
from trepid.potentials.bayesian.terms.offset import OffsetTerm
from trepid.potentials.bayesian.terms.pair import PairTerm
from trepid.potentials.bayesian.terms.triplet import TripletTerm
from trepid.potentials.bayesian.zbl import zbl_derivative, zbl_energy

SPECIES = {1: ("Si",), 2: ("Cu", "I"), 3: ("Ga", "Se", "Ag"), 5: ("S", "Cu", "Zn", "Se", "Sn")}
"""Element sets by number of species, sorted by atomic number."""


def small_basis(
    n_species: int = 2,
    *,
    pair_cutoff: float = 4.6,
    triplet_cutoff: float = 3.9,
    n_pair: int = 7,
    n_radial: int = 5,
    l_max: int = 3,
) -> Basis:
    return Basis.create(
        SPECIES[n_species],
        pair_cutoff=pair_cutoff,
        triplet_cutoff=triplet_cutoff,
        n_pair=n_pair,
        n_radial=n_radial,
        l_max=l_max,
    )


def with_channels(basis: Basis, *, n: int = 2, seed: int = 0) -> Basis:
    """The basis with random channels of quadruplets."""
    rng = np.random.default_rng([seed, 2])
    radial = rng.normal(size=(n, basis.n_species, basis.n_radial))
    return replace(basis, channels=Channels.of(radial, rng.normal(size=(basis.n_species, n)), 0.7))


def with_mixed_triplets(basis: Basis, *, n: int = 3, seed: int = 0) -> Basis:
    """The basis with mixed triplets of random channels."""
    radial = np.random.default_rng([seed, 3]).normal(size=(n, basis.n_species, basis.n_radial))
    return replace(basis, triplet_channels=RadialChannels.from_array(0.5 * radial))


def random_coefficients(basis: Basis, seed: int = 0) -> FloatArray:
    """Coefficients of every block of comparable weight in the energy."""
    coefficients = 0.1 * np.random.default_rng(seed).normal(size=basis.layout.size)
    for pair in basis.layout.term(PairTerm).blocks:
        coefficients[pair.columns] *= 5
    return coefficients


def random_potential(basis: Basis, seed: int = 0, *, rank: int = 0, n_threads: int = 1) -> SplinePotential:
    """A potential of `random_coefficients`, with `rank` random live directions."""
    rng = np.random.default_rng([seed, 1])
    tables = make_tables(
        basis,
        random_coefficients(basis, seed),
        reference_energies=np.linspace(-1.0, 2.0, len(basis.species)),
        live=0.1 * rng.normal(size=(basis.layout.size, rank)),
    )
    return SplinePotential(basis, tables, n_threads=n_threads)


# Structures


def of_one_term(basis: Basis, term: type[Term], seed: int = 0) -> tuple[SplinePotential, SplinePotential, FloatArray]:
    """A potential of random coefficients of one term, the same without them, and the coefficients."""
    coefficients = np.zeros(basis.layout.size)
    columns = basis.layout.term(term).columns
    coefficients[columns] = np.random.default_rng(seed).normal(size=columns.stop - columns.start)
    zero = np.zeros(basis.n_species)
    made = (
        SplinePotential(basis, make_tables(basis, c, reference_energies=zero), n_threads=1)
        for c in (coefficients, 0 * coefficients)
    )
    return *made, coefficients


def assert_rows_are_the_derivatives(basis: Basis, term: type[Term]) -> None:
    """Energy, forces and stress of one term are its feature rows times its coefficients, also for a few atoms."""
    atoms, features = triclinic(basis.species), FeatureBuilder(basis)
    potential, rest, coefficients = of_one_term(basis, term)
    found, base = potential.evaluate(atoms), rest.evaluate(atoms)
    rows = features.frame_rows(atoms)
    forces = np.concatenate([r for _, r in features.force_rows(atoms)])
    scale = abs(found.forces).max()
    assert (rows.energy @ coefficients)[0] == pytest.approx(found.energy - base.energy, rel=1e-11)
    np.testing.assert_allclose(forces @ coefficients, (found.forces - base.forces).ravel(), atol=1e-12 * scale)
    assert rows.stress is not None
    assert found.stress is not None
    assert base.stress is not None
    np.testing.assert_allclose(rows.stress @ coefficients, found.stress - base.stress, atol=1e-12 * scale)
    chosen = np.array([3, 1])
    few = features.force_rows_of(atoms, chosen).reshape(2, 3, -1)
    np.testing.assert_allclose(few, forces.reshape(len(atoms), 3, -1)[chosen], atol=1e-12)


def triclinic(species: tuple[str, ...] = ("Cu", "I"), seed: int = 0, *, n: int = 5) -> Atoms:
    """Atoms in a skewed cell that is smaller than the cutoffs: they interact with their own images."""
    cell = np.array([[4.1, 0.0, 0.3], [0.9, 3.9, 0.0], [-0.4, 0.7, 5.2]])
    return _apart(species, cell, n, seed, pbc=(True, True, True))


def sheet(species: tuple[str, ...] = ("Cu", "I"), seed: int = 0) -> Atoms:
    """A 2D system: periodic in the plane, vacuum above."""
    atoms = _apart(species, np.diag([4.4, 4.0, 3.0]), 4, seed, pbc=(True, True, False))
    cell = atoms.cell[:].copy()
    cell[0, 1], cell[2] = 0.8, (0, 0, 18.0)
    atoms.set_cell(cell)
    return atoms


def molecule(species: tuple[str, ...] = ("Cu", "I"), seed: int = 0, *, n: int = 6) -> Atoms:
    """A cluster without a cell."""
    atoms = _apart(species, 4.6 * np.eye(3), n, seed, pbc=(False, False, False))
    atoms.cell = None
    return atoms


def zincblende(a: float = 6.19, *, rattle: float = 0.0, seed: int = 0, cubic: bool = False) -> Atoms:
    """CuI, 2 atoms or the cubic 8."""
    atoms = bulk("CuI", "zincblende", a=a, cubic=cubic)
    atoms.positions += np.random.default_rng(seed).normal(scale=rattle, size=(len(atoms), 3)) if rattle else 0
    return atoms


def _apart(species: tuple[str, ...], cell: FloatArray, n: int, seed: int, *, pbc: tuple[bool, bool, bool]) -> Atoms:
    """n atoms at random places, none closer than 1.7 A: so that the straight continuation below the grids is tested too."""
    rng = np.random.default_rng(seed)
    symbols = [species[k % len(species)] for k in range(n)]
    atoms = Atoms(cell=cell, pbc=pbc)
    while len(atoms) < n:
        grown = atoms + Atoms(symbols[len(atoms)], positions=[rng.uniform(size=3) @ cell])
        grown.set_cell(cell)
        grown.set_pbc(pbc)
        if min((np.linalg.norm(d) for _, _, d in pairs_within(grown, 3.0)), default=9.0) > 1.7:
            atoms = grown
    return atoms


def labelled(atoms: Atoms, seed: int = 0, *, stress: bool = True) -> Atoms:
    """Random numbers as labels: the algebra holds for any."""
    rng = np.random.default_rng(seed)
    return attach_labels(
        atoms,
        Labels(
            energy=-3.0 + rng.normal(),
            forces=rng.normal(size=(len(atoms), 3)),
            stress=0.02 * rng.normal(size=6) if stress and atoms.cell.rank == 3 else None,
        ),
    )


def set_temperature(atoms: Atoms, temperature_K: float, seed: int = 0) -> None:
    """Momenta of a Maxwell-Boltzmann distribution, without drift."""
    noise = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    momenta = noise * np.sqrt(atoms.get_masses() * units.kB * temperature_K)[:, None]
    atoms.set_momenta(momenta - atoms.get_masses()[:, None] * momenta.sum(axis=0) / atoms.get_masses().sum())


def strained(atoms: Atoms, strain: FloatArray) -> Atoms:
    """The structure after r -> r (1 + strain)."""
    out = atoms.copy()
    if out.cell.rank:
        out.set_cell(atoms.cell[:] @ (np.eye(3) + strain))
    out.positions = atoms.positions @ (np.eye(3) + strain)
    return out


# Brute force


def pairs_within(atoms: Atoms, cutoff: float) -> Iterator[tuple[int, int, FloatArray]]:
    """(i, j, vector from i to an image of j) closer than the cutoff, all images included."""
    cell, reach = atoms.cell[:], [0, 0, 0]
    if atoms.pbc.any():
        heights = 1 / np.linalg.norm(np.linalg.pinv(cell), axis=0)
        span = np.ptp(atoms.positions @ np.linalg.pinv(cell), axis=0)
        reach = [int(np.ceil(cutoff / h + s)) if p else 0 for h, s, p in zip(heights, span, atoms.pbc, strict=True)]
    shifts = np.array(list(product(*(range(-n, n + 1) for n in reach)))) @ cell
    for i in range(len(atoms)):
        for j in range(len(atoms)):
            vectors = atoms.positions[j] + shifts - atoms.positions[i]
            for vector in vectors[np.linalg.norm(vectors, axis=1) < cutoff]:
                if i != j or np.linalg.norm(vector) > 1e-9:
                    yield i, j, vector


def scipy_splines(basis: Basis, *, n: int, cutoff: float) -> Callable[[float], tuple[FloatArray, FloatArray]]:
    """Function r -> values and slopes of the n splines, straight below r_min."""
    step = (cutoff - basis.r_min) / n
    # The n-th spline is centred at r_min + step (n - 1), and reaches two steps to both sides.
    knots = basis.r_min + step * (np.arange(n + 4) - 3)
    splines = [BSpline.basis_element(knots[k : k + 5], extrapolate=False) for k in range(n)]

    def evaluate(r: float) -> tuple[FloatArray, FloatArray]:
        inside = max(r, basis.r_min)
        values = np.nan_to_num([spline(inside) for spline in splines])
        slopes = np.nan_to_num([spline(inside, nu=1) for spline in splines])
        return values + (r - inside) * slopes, slopes

    return evaluate


def brute_force(
    basis: Basis, coefficients: FloatArray, reference_energies: FloatArray, atoms: Atoms
) -> tuple[float, FloatArray, FloatArray]:
    """Energy (eV), forces (n, 3) and dE/dstrain (6,), by the sums of the energy model as they are written."""
    index = np.array([basis.species.index(s) for s in atoms.get_chemical_symbols()])
    layout, degrees = basis.layout, np.eye(basis.l_max + 1)
    energy = float((coefficients[layout.term(OffsetTerm).columns] + reference_energies)[index].sum())
    gradient, strain = np.zeros((len(atoms), 3)), np.zeros((3, 3))

    def pull(i: int, j: int, vector: FloatArray, slope: FloatArray) -> None:
        """Enter the derivative `slope` of the energy in the bond vector from i to j."""
        gradient[i] -= slope
        gradient[j] += slope
        strain[:] += np.outer(slope, vector)

    pair_splines = scipy_splines(basis, n=basis.n_pair, cutoff=basis.pair_cutoff)
    pair_blocks = {(p.a, p.b): coefficients[p.columns] for p in layout.term(PairTerm).blocks}
    numbers = atoms.numbers
    bonds: list[list[tuple[int, FloatArray]]] = [[] for _ in atoms]
    for i, j, vector in pairs_within(atoms, basis.cutoff):
        r = float(np.linalg.norm(vector))
        if r < basis.pair_cutoff:
            a, b = sorted((index[i], index[j]))
            values, slopes = pair_splines(r)
            energy += 0.5 * float(values @ pair_blocks[a, b])
            pull(i, j, vector, 0.5 * float(slopes @ pair_blocks[a, b]) * vector / r)
        energy += 0.5 * float(zbl_energy(r, numbers[i], numbers[j]))
        pull(i, j, vector, 0.5 * float(zbl_derivative(r, numbers[i], numbers[j])) * vector / r)
        if r < basis.triplet_cutoff:
            bonds[i].append((j, vector))

    radial = scipy_splines(basis, n=basis.n_radial, cutoff=basis.triplet_cutoff)
    tensors = {}
    for t in layout.term(TripletTerm).blocks:
        tensor = np.zeros((basis.l_max + 1, basis.n_radial, basis.n_radial))
        n, m = t.products(basis.n_radial)
        tensor[:, n, m] = coefficients[t.columns].reshape(t.n_degrees, t.n_products)
        if t.a == t.b:
            tensor[:, m, n] = tensor[:, n, m]
        tensors[t.centre, t.a, t.b] = tensor
        tensors[t.centre, t.b, t.a] = tensor.transpose(0, 2, 1)
    for i in range(len(atoms)):
        near = [(j, d, np.linalg.norm(d), *radial(float(np.linalg.norm(d)))) for j, d in bonds[i]]
        for j, d1, r1, b1, s1 in near:
            for k, d2, r2, b2, s2 in near:
                e1, e2 = d1 / r1, d2 / r2
                cosine = float(np.clip(e1 @ e2, -1, 1))
                p = legendre.legval(cosine, degrees)
                dp = legendre.legval(cosine, legendre.legder(degrees)) if basis.l_max else np.zeros(1)
                tensor = tensors[index[i], index[j], index[k]]
                along_1 = np.einsum("lnm,n,m,l", tensor, s1, b2, p)
                along_2 = np.einsum("lnm,n,m,l", tensor, b1, s2, p)
                turn = np.einsum("lnm,n,m,l", tensor, b1, b2, dp)
                energy += float(np.einsum("lnm,n,m,l", tensor, b1, b2, p))
                pull(i, j, d1, along_1 * e1 + turn * (e2 - cosine * e1) / r1)
                pull(i, k, d2, along_2 * e2 + turn * (e1 - cosine * e2) / r2)
    voigt = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    return energy, -gradient, np.array([(strain[a, b] + strain[b, a]) / 2 for a, b in voigt])


def shared(variance: FloatArray, atoms: Atoms, *, reach: float) -> FloatArray:
    """Variances of force components (3 n_atoms,) with the share of the neighbours, from the neighbour list of ASE."""
    i, j, d = neighbor_list("ijd", atoms, reach)
    weights = (1 - d / reach) ** 2
    norms = np.sqrt(variance.reshape(-1, 3).mean(axis=1))
    total = np.bincount(i, weights, minlength=len(atoms))
    means = np.bincount(i, weights * norms[j], minlength=len(atoms)) / np.where(total > 0, total, 1)
    return np.asarray(variance + np.repeat(0.25 * means**2, 3))
