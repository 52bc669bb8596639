r"""A Bayesian force field as a potential file of LAMMPS' `pair_style uf3`, which also runs on GPUs.

.. math::

    E = \sum_{i \ne j} V_2(r_{ij}) + \sum_i \sum_{j < k} V_3(r_{ij}, r_{ik}, r_{jk}) + \mathrm{ZBL}

V_3 is a tensor product of cubic B-splines, V_2 a sum of two, each on knots that suit it. They represent the terms of the model:

pairs           f_2 / 2 is a spline whose knots subdivide the model's, hence exact, but for the straight continuation below
                the model's grid, which bends within an interval.
three bodies    V_3 = 2 f_3(r_ij, r_ik, theta), theta from the three sides: the model counts both orders of j and k. The law
                of cosines continues f_3 smoothly to sides that are no triangle, so each coefficient is the local projection
                of that function (`splines`); those whose support touches no triangle are zero. The knots of a leg
                subdivide the model's too, so the cutoff is as smooth as there. The file has no three-body term below half
                the start of the model's grid, a third of a bond; above, it is switched on over four intervals.
j = k           is a pair function, seen from both ends: folded into the second spline of V_2.
repulsion       `pair_style zbl` gives the core, which no spline reaches. Its switch differs from the model's; the
                difference is bounded and twice differentiable, and goes into that second spline, which begins at zero. So at
                every distance the pair part is the model's, up to the resolution of the knots. Beyond the model's repulsion,
                0.8 of the sum of covalent radii, nothing of it is left to represent.
offsets         `pair_style uf3` has none: its energy is the model's without the energies of the species. Forces and stress
                are the same.

LAMMPS reads lines of up to 1023 characters, one vector of knots or coefficients in each. That is why V_2 needs two splines,
the first under the element names with `_pair` appended, in an overlay of its own; why numbers get as many decimals as fit;
and what bounds the knots. On the side opposite of the centre it needs at least as many as on a leg.

S. R. Xie, M. Rupp, R. G. Hennig, npj Comput. Mater. 9, 162 (2023); LAMMPS manual, pair_style uf3, pair_style zbl.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import ceil
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.polynomial.legendre import legval

from trepid.data.atomic import atomic_write
from trepid.errors import ConfigError
from trepid.export.splines import DECIMALS, Grid
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.potentials.bayesian.splines import spline_values
from trepid.potentials.bayesian.zbl import (
    COULOMB,
    SCREENING_DECAYS,
    SCREENING_EXPONENT,
    SCREENING_LENGTH,
    SCREENING_WEIGHTS,
    zbl_energy,
    zbl_range,
)

DEFAULT_KNOTS = 5
"""Knot intervals on a leg per interval of the model's radial splines."""
KNOTS_RANGE = (2, 10)
PAIR_KNOTS = 3
"""Knot intervals of the first spline of V_2 per interval of the model's pair splines; fewer where they are too many."""
PAIR_INTERVALS = 100
"""Intervals of V_2 beyond which its coefficients would have too few decimals."""
PAIR_SUFFIX = "_pair"
"""What the file calls an element in the first spline of V_2."""
SIDE_STEP = 0.25
"""Longest knot interval on the side opposite of the centre, A."""
LEG_START = 0.5
"""Where three-body terms begin, as a fraction of the start of the model's grid."""
SWITCH_INTERVALS = 4
"""Knot intervals over which they are switched on."""
LINE = 1020
"""Characters of a line that LAMMPS reads whole."""
LEAST_DECIMALS, MOST_DECIMALS = 5, 14
"""Of a coefficient, eV."""
INSIDE = 1e-6
"""A: the cutoff in the file lies this much below the last knot, so that rounding never looks beyond it."""


@dataclass(frozen=True)
class UF3Potential:
    """What a uf3 file holds, with the repulsion to go with it.

    Attributes
    ----------
    species : tuple of str
    pair, folded, leg, side : Grid
        Of both splines of V_2, of r_ij and r_ik, and of r_jk.
    pairs : mapping (a, b), a <= b, to (pair.size,) array
        Coefficients of f_2 / 2, eV.
    foldings : mapping (a, b), a <= b, to (folded.size,) array
        Coefficients of the rest of V_2, eV: triplets with j = k, and what `pair_style zbl` lacks.
    triplets : mapping (centre, a, b), a <= b, to (leg.size, leg.size, side.size) array
        Coefficients of V_3, eV; the first axis belongs to the neighbour of species a. Symmetric when a == b.
    zbl_inner, zbl_outer : float
        Range of the switch of `pair_style zbl`, A.
    offsets : tuple of float
        Energy per atom of each species, eV, which the file leaves out.
    """

    species: tuple[str, ...]
    pair: Grid
    folded: Grid
    leg: Grid
    side: Grid
    pairs: Mapping[tuple[int, int], FloatArray]
    foldings: Mapping[tuple[int, int], FloatArray]
    triplets: Mapping[tuple[int, int, int], FloatArray]
    zbl_inner: float
    zbl_outer: float
    offsets: tuple[float, ...]

    def __repr__(self) -> str:
        return (
            f"UF3Potential({' '.join(self.species)}, knots: {self.pair.n} pair, {self.leg.n} leg, {self.side.n} side)"
        )


def resample(potential: SplinePotential, *, knots: int = DEFAULT_KNOTS) -> UF3Potential:
    """Put a force field on the splines of `pair_style uf3`.

    Parameters
    ----------
    potential : SplinePotential
        For example the `mean` of a BayesianForceField, or one of its samples.
    knots : int
        Knot intervals on a leg per interval of the model's radial splines, 2 to 10. The force error falls with its third
        power; the file and the memory of LAMMPS grow with it, the time of a step does not.

    Raises
    ------
    ConfigError
        `knots` is out of range, the model has quadruplets, or the vectors would not fit into the lines that LAMMPS reads.
    """
    if not KNOTS_RANGE[0] <= knots <= KNOTS_RANGE[1]:
        raise ConfigError(f"knots is {knots}; it must lie between {KNOTS_RANGE[0]} and {KNOTS_RANGE[1]}")
    basis, tables = potential.basis, potential.tables
    if basis.charges is not None:
        raise ConfigError(
            "the model has charges, whose Coulomb energy no uf3 file holds: run it with pair_style trepid and a kspace style, or "
            "train a model with --charges off"
        )
    if basis.channels is not None:
        raise ConfigError(
            "this model has quadruplets (four-body energies), which pair_style uf3 lacks; use pair_style trepid, or train a "
            "model with --channels 0"
        )
    pair, folded, leg, side = _grids(basis, knots)
    for grid in (pair, folded, leg, side):
        _line(grid.knots)  # too long lines are reported before the work
    neighbours = list(combinations_with_replacement(range(len(basis.species)), 2))

    onto_pair = pair.projection(vanish_at_start=False, vanish_at_end=True)
    splines, _ = spline_values(pair.samples, r_min=basis.r_min, cutoff=basis.pair_cutoff, n=basis.n_pair)
    pairs = {(a, b): onto_pair @ splines @ tables.pair[a, b, : basis.n_pair] / 2 for a, b in neighbours}

    ranges = [zbl_range(a, b) for a in basis.species for b in basis.species]
    inner, outer = min(r[0] for r in ranges), min(r[1] for r in ranges)
    onto_folded = folded.projection(vanish_at_start=False, vanish_at_end=True)
    foldings = {
        (a, b): onto_folded
        @ (_folded(potential, a, b, folded.samples) + _core(basis, a, b, folded.samples, inner, outer))
        / 2
        for a, b in neighbours
    }

    return UF3Potential(
        species=basis.species,
        pair=pair,
        folded=folded,
        leg=leg,
        side=side,
        pairs={key: _as_written(c[None])[0] for key, c in pairs.items()},
        foldings={key: _as_written(c[None])[0] for key, c in foldings.items()},
        triplets=_triplets(potential, leg, side),
        zbl_inner=inner,
        zbl_outer=outer,
        offsets=tuple(float(e) for e in tables.offset),
    )


def _grids(basis: Basis, knots: int) -> tuple[Grid, Grid, Grid, Grid]:
    """Grids of both splines of V_2, of a leg and of the opposite side."""
    pair = _pair_grid(basis.pair_cutoff, (basis.pair_cutoff - basis.r_min) / basis.n_pair, most=PAIR_KNOTS)
    model_step = (basis.triplet_cutoff - basis.r_min) / basis.n_radial
    folded = _pair_grid(basis.triplet_cutoff, model_step, most=PAIR_INTERVALS)

    step = model_step / knots
    wanted = max(SWITCH_INTERVALS, ceil((1 - LEG_START) * basis.r_min / step))
    below = min(wanted, ceil(basis.r_min / step) - 1)  # a leg begins above zero
    leg = Grid.ending_at(basis.triplet_cutoff, step=step, n=basis.n_radial * knots + below)
    n_side = max(leg.n, ceil(2 * basis.triplet_cutoff / SIDE_STEP))
    # A little longer than two legs, so that a step of few decimals starts it at zero.
    return pair, folded, leg, Grid(0.0, ceil(2e6 * basis.triplet_cutoff / n_side) / 1e6, n_side)


def _pair_grid(cutoff: float, model_step: float, *, most: int) -> Grid:
    """Grid from zero, or a little less, to the cutoff that subdivides the model's steps up to `most` times."""
    for subdivision in range(most, 0, -1):
        step = round(model_step / subdivision, DECIMALS)
        n = ceil(cutoff / step)
        if n <= PAIR_INTERVALS or subdivision == 1:
            break
    return Grid.ending_at(cutoff, step=step, n=n)


def _folded(potential: SplinePotential, a: int, b: int, r: FloatArray) -> FloatArray:
    """Energy of a pair of species a and b in the triplets whose two neighbours are one atom, from both ends, eV."""
    radial = _radial(potential.basis, r)
    degrees = range(potential.basis.l_max + 1)  # all P_l are one at angle zero
    return sum(
        (
            np.einsum("xn,nm,xm->x", radial, _block(potential, centre, degree, other, other), radial)
            for centre, other in ((a, b), (b, a))
            for degree in degrees
        ),
        start=np.zeros(len(r)),
    )


def _core(basis: Basis, a: int, b: int, r: FloatArray, inner: float, outer: float) -> FloatArray:
    """The model's repulsion less that of `pair_style zbl`, eV."""
    z_a, z_b = (atomic_numbers[basis.species[s]] for s in (a, b))
    apart = np.maximum(r, 0.5 * inner)  # the difference is constant below all inner radii
    return zbl_energy(apart, z_a, z_b) - lammps_zbl(apart, z_a, z_b, inner=inner, outer=outer)[0]


def _triplets(potential: SplinePotential, leg: Grid, side: Grid) -> dict[tuple[int, int, int], FloatArray]:
    """Coefficients of V_3 for every centre and two neighbours."""
    # Where the grid begins less than four intervals below the model's, it begins closer to zero than atoms ever come.
    switched = potential.basis.r_min - leg.start > (SWITCH_INTERVALS - 0.5) * leg.step
    onto_leg = leg.projection(vanish_at_start=switched, vanish_at_end=True)
    onto_side = side.projection(vanish_at_start=False, vanish_at_end=False)
    r = leg.samples
    switch = _smooth_step((r - leg.start) / (SWITCH_INTERVALS * leg.step)) if switched else np.ones(len(r))
    touches = _touches_triangles(leg, side)
    elements = range(len(potential.species))
    out = {}
    for centre in elements:
        for a, b in combinations_with_replacement(elements, 2):
            few_at_once = np.array_split(r, leg.n)
            slabs = [_triplet(potential, centre, a, b, to_a, r, side.samples) @ onto_side.T for to_a in few_at_once]
            values = np.concatenate(slabs) * np.outer(switch, switch)[..., None]
            coefficients = np.einsum("ix,jy,xyk->ijk", onto_leg, onto_leg, values, optimize=True)
            if a == b:  # exactly symmetric, whatever the order of the sums
                coefficients = (coefficients + coefficients.swapaxes(0, 1)) / 2
            coefficients[~touches] = 0.0
            rows = coefficients.reshape(-1, side.size)
            out[centre, a, b] = _as_written(rows).reshape(coefficients.shape)
    return out


def _triplet(
    potential: SplinePotential, centre: int, a: int, b: int, to_a: FloatArray, to_b: FloatArray, across: FloatArray
) -> FloatArray:
    """V_3 at all combinations of r_ij, r_ik and r_jk, eV: both orders of the two neighbours."""
    basis = potential.basis
    radial_a, radial_b = _radial(basis, to_a), _radial(basis, to_b)
    degrees = range(basis.l_max + 1)
    coefficients = np.stack([2 * radial_a @ _block(potential, centre, n, a, b) @ radial_b.T for n in degrees])
    squares = (to_a**2)[:, None] + to_b**2
    cosine = (squares[..., None] - across**2) / (2 * np.outer(to_a, to_b))[..., None]
    return np.asarray(legval(cosine, coefficients[..., None], tensor=False), dtype=np.float64)


def _radial(basis: Basis, r: FloatArray) -> FloatArray:
    return spline_values(r, r_min=basis.r_min, cutoff=basis.triplet_cutoff, n=basis.n_radial)[0]


def _block(potential: SplinePotential, centre: int, degree: int, a: int, b: int) -> FloatArray:
    """C_l between the radial functions of neighbours of species a and b, (n_radial, n_radial), eV."""
    tables, n = potential.tables, potential.basis.n_radial
    of_a, of_b = (slice(s * potential.basis.padded_radial, s * potential.basis.padded_radial + n) for s in (a, b))
    if potential.basis.triplet_channels is None:
        return tables.triplet[centre, degree, of_a, of_b]
    v = tables.triplet_channel_radial
    return np.asarray(v[:, of_a].T @ tables.mixed_triplet[centre, degree] @ v[:, of_b])


def _touches_triangles(leg: Grid, side: Grid) -> np.ndarray:
    """Whether a product of three splines is not zero for some triangle, (leg.size, leg.size, side.size) of bool."""
    low, high = leg.knots[: leg.size], leg.knots[4:]
    side_low, side_high = side.knots[: side.size], side.knots[4:]
    shortest = np.maximum(0, np.maximum(low[:, None] - high, low - high[:, None]))
    longest = high[:, None] + high
    return (side_high >= shortest[..., None]) & (side_low <= longest[..., None])


def _smooth_step(x: FloatArray) -> FloatArray:
    """0 below 0, 1 above 1, twice differentiable."""
    x = np.clip(x, 0, 1)
    return x**3 * (x * (6 * x - 15) + 10)


def lammps_zbl(r: FloatArray, z_a: int, z_b: int, *, inner: float, outer: float) -> tuple[FloatArray, FloatArray]:
    """Energy (eV) and slope (eV/A) of `pair_style zbl inner outer` in metal units.

    The bare repulsion plus C below `inner`, plus A (r - inner)^3 / 3 + B (r - inner)^4 / 4 + C up to `outer`, where A, B
    and C take value, slope and curvature to zero.
    """
    length = SCREENING_LENGTH / (z_a**SCREENING_EXPONENT + z_b**SCREENING_EXPONENT)
    decays = SCREENING_DECAYS / length

    def bare(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        terms = COULOMB * z_a * z_b * SCREENING_WEIGHTS * np.exp(-decays * x[:, None]) / x[:, None]
        rate = decays + 1 / x[:, None]
        return terms.sum(1), -(terms * rate).sum(1), (terms * (rate**2 + 1 / x[:, None] ** 2)).sum(1)

    value, slope, curvature = (float(f[0]) for f in bare(np.array([outer])))
    width = outer - inner
    cubic = (-3 * slope + width * curvature) / width**2
    quartic = (2 * slope - width * curvature) / width**3
    constant = -value + width * slope / 2 - width**2 * curvature / 12
    t = np.maximum(r - inner, 0)
    energy, derivative, _ = bare(r)
    energy = energy + cubic * t**3 / 3 + quartic * t**4 / 4 + constant
    derivative = derivative + cubic * t**2 + quartic * t**3
    return np.where(r < outer, energy, 0.0), np.where(r < outer, derivative, 0.0)


# ---- text


def write_uf3(path: str | Path, potential: UF3Potential, *, comment: str = "") -> None:
    """Write the potential file, atomically.

    Parameters
    ----------
    path : str or Path
    potential : UF3Potential
    comment : str
        One line that goes to the heads of all blocks.

    Raises
    ------
    ConfigError
        A line would be longer than LAMMPS reads.
    DataError
        The file cannot be written.
    """
    head = f"#UF3 POT UNITS: metal DATE: - AUTHOR: trepid CITATION: {comment or '-'}"
    if len(head.splitlines()) != 1 or len(head) > LINE:
        raise ConfigError(f"the comment of a uf3 file is one line of less than {LINE - 70} characters, not {comment!r}")
    names = potential.species
    with atomic_write(path) as file:
        for grid, suffix, splines in (
            (potential.folded, "", potential.foldings),
            (potential.pair, PAIR_SUFFIX, potential.pairs),
        ):
            for (a, b), coefficients in splines.items():
                block = [
                    head,
                    f"2B {names[a]}{suffix} {names[b]}{suffix} 0 3 uk",
                    f"{_number(file_cutoff(grid))} {len(grid.knots)}",
                    _line(grid.knots),
                    str(grid.size),
                    _line(coefficients),
                    "#",
                ]
                file.write("\n".join(block) + "\n")
        cutoff, leg, side = file_cutoff(potential.leg), potential.leg.knots, potential.side.knots
        for (centre, a, b), coefficients in potential.triplets.items():
            block = [
                head,
                f"3B {names[centre]} {names[a]} {names[b]} 0 3 uk",
                f"{_number(2 * cutoff)} {_number(cutoff)} {_number(cutoff)} {len(side)} {len(leg)} {len(leg)}",
                _line(side),
                _line(leg),
                _line(leg),
                " ".join(str(n) for n in coefficients.shape),
                *(_line(row) for row in coefficients.reshape(-1, coefficients.shape[-1])),
                "#",
            ]
            file.write("\n".join(block) + "\n")


def file_cutoff(grid: Grid) -> float:
    """Cutoff that the file names for splines on this grid, A."""
    return round(grid.end - INSIDE, DECIMALS)


def _line(numbers: FloatArray) -> str:
    text = " ".join(_number(value) for value in numbers.tolist())
    if len(text) > LINE:
        raise ConfigError(
            f"{len(numbers)} knots or coefficients need a line of {len(text)} characters, and LAMMPS reads {LINE}: "
            "use fewer knots, or a model with fewer splines (n_pair, n_radial)"
        )
    return text


def _number(value: float) -> str:
    """The shortest decimal number that is read back as `value`; its decimals were limited before."""
    return np.format_float_positional(value, trim="-") if value else "0"


def _as_written(rows: FloatArray) -> FloatArray:
    """Coefficients with as many decimals as the lines of the file have room for."""
    # Characters for separators, signs, points and what stands before the point; a zero takes one.
    whole = np.where(rows == 0, 1, np.floor(np.log10(np.maximum(np.abs(rows), 1))) + 2 + (rows < 0)) + 1
    room = (LINE - whole.sum(axis=1)) / np.maximum(1, np.count_nonzero(rows, axis=1))
    decimals = int(np.clip(np.floor(room.min()), LEAST_DECIMALS, MOST_DECIMALS))
    return np.round(rows, decimals) + 0.0  # no negative zero


def lammps_input(potential: UF3Potential, file_name: str, *, notes: Sequence[str] = ()) -> str:
    """Commands that set up the exported potential, to be included after the box is made.

    Parameters
    ----------
    potential : UF3Potential
    file_name : str
        Of the potential, as LAMMPS shall look it up.
    notes : sequence of str
        Comment lines to begin with.
    """
    names = potential.species
    types = ", ".join(f"{k} = {name}" for k, name in enumerate(names, 1))
    offsets = ", ".join(f"{energy:.6f} per {name}" for name, energy in zip(names, potential.offsets, strict=True))
    lines = [
        *(f"# {note}" for note in notes),
        "# Needs: units metal, newton on, and a LAMMPS with the package ML-UF3.",
        f"# Atom types: {types}; one type per element, in this order. To be included after read_data or create_box.",
        f"# LAMMPS looks for {file_name} where it runs.",
        "# The energy lacks the energies of the species (eV): " + offsets + ".",
        *(f"mass {k} {atomic_masses[atomic_numbers[name]]:.4f}" for k, name in enumerate(names, 1)),
        f"pair_style hybrid/overlay uf3 3 uf3 2 zbl {potential.zbl_inner:.12g} {potential.zbl_outer:.12g}",
        f"pair_coeff * * uf3 1 {file_name} {' '.join(names)}",
        f"pair_coeff * * uf3 2 {file_name} {' '.join(name + PAIR_SUFFIX for name in names)}",
    ]
    for a, b in combinations_with_replacement(range(len(names)), 2):
        lines.append(f"pair_coeff {a + 1} {b + 1} zbl {atomic_numbers[names[a]]} {atomic_numbers[names[b]]}")
    return "\n".join(lines) + "\n"
