r"""Rotational invariants of three densities: which degrees couple, and with what weights.

.. math::

    B = \sum_{m_1 m_2 m_3} W^{l_1 l_2 l_3}_{m_1 m_2 m_3}\, a_{l_1 m_1} a_{l_2 m_2} a_{l_3 m_3}, \qquad
    W \propto \int Y_{l_1 m_1} Y_{l_2 m_2} Y_{l_3 m_3}\, d\Omega, \qquad \sum W^2 = 1

is invariant under rotations for any three sets of densities (real harmonics Y; Gaunt coefficients, Varshalovich et al.,
Quantum Theory of Angular Momentum, section 5.9.1). Triples of an odd sum of degrees have W = 0 and are left out: they would
change sign under inversion. The integrals are made by quadrature, exact for these polynomials.

`header` writes them as the C++ header native/couplings.h; a test compares it with the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
from numpy.polynomial.legendre import Legendre

from trepid.potentials.base import FloatArray

MAX_DEGREE = 4
"""Highest degree of a density in a product of three."""
MAX_SUM = 8
"""Largest sum of the three degrees: costs 14 % of the gain of all, and saves half of the time."""
ZERO = 1e-12
"""Weights below this are rounding."""


@dataclass(frozen=True)
class Coupling:
    """One product of three densities: indices q = l^2 + order of the harmonics, and its weight."""

    first: int
    second: int
    third: int
    weight: float


@dataclass(frozen=True)
class DegreeTriple:
    """Degrees l_1 <= l_2 <= l_3 and their couplings, sorted by the third harmonic."""

    degrees: tuple[int, int, int]
    couplings: tuple[Coupling, ...]


@cache
def degree_triples(l_max: int) -> tuple[DegreeTriple, ...]:
    """Triples of degrees up to `l_max` (at most MAX_DEGREE), in the order of the coefficients."""
    top = min(l_max, MAX_DEGREE)
    allowed = [
        degrees
        for degrees in combinations_with_replacement(range(top + 1), 3)
        if sum(degrees) % 2 == 0 and sum(degrees) <= MAX_SUM and degrees[2] <= degrees[0] + degrees[1]
    ]
    return tuple(DegreeTriple(degrees, _couplings(degrees)) for degrees in allowed)


def _couplings(degrees: tuple[int, int, int]) -> tuple[Coupling, ...]:
    n_z, n_phi = 10, 24  # exact up to degree 19 in z and order 23 in the azimuth
    z, weight = np.polynomial.legendre.leggauss(n_z)
    phi = 2 * np.pi * np.arange(n_phi) / n_phi
    rho = np.sqrt(1 - z * z)
    points = np.stack(
        [np.outer(rho, np.cos(phi)), np.outer(rho, np.sin(phi)), np.broadcast_to(z[:, None], (n_z, n_phi))], axis=-1
    ).reshape(-1, 3)
    y = racah_harmonics(max(degrees), points)
    blocks = [y[:, degree**2 : (degree + 1) ** 2] for degree in degrees]
    w = np.einsum("p,pa,pb,pc->abc", np.repeat(weight / n_phi, n_phi), *blocks)
    w /= np.sqrt(np.sum(w**2))
    l1, l2, l3 = degrees
    return tuple(
        Coupling(l1 * l1 + int(a), l2 * l2 + int(b), l3 * l3 + int(c), float(w[a, b, c]))
        for c, a, b in sorted((c, a, b) for a, b, c in np.argwhere(np.abs(w) > ZERO))
    )


def racah_harmonics(l_max: int, n: FloatArray) -> FloatArray:
    """Real harmonics sqrt(w_lm) Y_lm at unit vectors n (points, 3), whose products summed over m are P_l; (points, (l_max + 1)^2).

    The order is that of native/basis.h: l^2 for m = 0, l^2 + 2 m - 1 for the cosine, l^2 + 2 m for the sine.
    """
    z, plane = n[:, 2], n[:, 0] + 1j * n[:, 1]
    out = np.empty((len(n), (l_max + 1) ** 2))
    for degree in range(l_max + 1):
        at = degree * degree
        for m in range(degree + 1):
            weight = 1.0
            for k in range(degree - m + 1, degree + m + 1):
                weight /= k  # (l - m)! / (l + m)!
            p = np.sqrt(weight * (2 if m else 1)) * Legendre.basis(degree).deriv(m)(z)
            if m == 0:
                out[:, at] = p
            else:
                out[:, at + 2 * m - 1], out[:, at + 2 * m] = p * (plane**m).real, p * (plane**m).imag
    return out


def header() -> str:
    """The couplings as a C++ header."""
    triples = degree_triples(MAX_DEGREE)
    rows: list[str] = []
    groups: list[str] = []
    entries: list[str] = []
    for triple in triples:
        first_group = len(groups)
        for q3 in sorted({c.third for c in triple.couplings}):
            own = [c for c in triple.couplings if c.third == q3]
            groups.append(f"  {{{q3}, {len(entries)}, {len(own)}}},")
            entries += [f"  {{{c.first}, {c.second}, {c.weight!r}}}," for c in own]
        l1, l2, l3 = triple.degrees
        rows.append(f"  {{{l1}, {l2}, {l3}, {first_group}, {len(groups) - first_group}}},")
    return "\n".join(
        [
            "// Couplings of three densities to an invariant; written by trepid.potentials.bayesian.couplings.header.",
            "#pragma once",
            "",
            "namespace trepid {",
            "",
            "// Degrees l1 <= l2 <= l3, and their groups of couplings.",
            "struct DegreeTriple {",
            "  int l1, l2, l3, first_group, n_groups;",
            "};",
            "// The couplings with one harmonic q3 of the third density.",
            "struct CouplingGroup {",
            "  int q3, first, n;",
            "};",
            "// Harmonics of the first and second density, and the weight of the product.",
            "struct Coupling {",
            "  int q1, q2;",
            "  double weight;",
            "};",
            "",
            f"constexpr int kQuadrupletDegree = {MAX_DEGREE};",
            f"constexpr int kDegreeTriples = {len(rows)};",
            "constexpr DegreeTriple kDegreeTriple[] = {",
            *rows,
            "};",
            "constexpr CouplingGroup kCouplingGroup[] = {",
            *groups,
            "};",
            "constexpr Coupling kCoupling[] = {",
            *entries,
            "};",
            "",
            "}  // namespace trepid",
            "",
        ]
    )
