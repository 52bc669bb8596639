r"""Site energies of a Bayesian force field in PyTorch.

The same tables as those of the C++ core (native/model.h), without its loops over neighbours:

.. math::

    e_i = \epsilon_{s_i} + \tfrac12 \sum_j [f_2(r_{ij}) + v_\mathrm{ZBL}(r_{ij})] + \sum_{lm} w_{lm} A_{lm}^T C_l A_{lm} + q_i,
    \qquad A_{lm,sn} = \sum_{j \in s} B_n(r_{ij})\, Y_{lm}(\hat r_{ij})

Neighbours are sorted by centre and species and padded to the longest list, so that densities and contractions are products of
matrices. Derivatives come from automatic differentiation.

Vocabulary
----------
set       one set of coefficients: 0 is the mean, 1 to `rank` are the live directions
channel   species of the neighbour and radial function, (s, n)
Q         harmonics, (l_max + 1)^2, in the order of native/basis.h
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.polynomial.legendre import Legendre
from numpy.typing import NDArray
from torch import Tensor

from trepid.arrays import FloatArray
from trepid.potentials.bayesian.couplings import degree_triples
from trepid.potentials.bayesian.neighbour_share import SHARE
from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.potentials.bayesian.support import padded_places
from trepid.potentials.bayesian.zbl import SCREENING_DECAYS, SCREENING_WEIGHTS


class Neighbourhoods(NamedTuple):
    """What all sets of coefficients share; N atoms, P pairs.

    Attributes
    ----------
    species : (N,) tensor
    centre, neighbour : (P,) tensors
        Atoms of every pair; each pair from both sides.
    distance : (P,) tensor
        A.
    kind : (P,) tensor
        Pair of species: n_species * s_i + s_j.
    cell, inside, below : (P,) tensors
        Cell of the pair splines, coordinate in it, and how far the distance is below their start, in cells.
    density : (Q, N, channels) tensor
    mixed : (Q, N, k) tensor
        Channel densities of mixed triplets; empty without.
    products : (N, m) tensor
        Invariants of three channel densities; empty without quadruplets.
    """

    species: Tensor
    centre: Tensor
    neighbour: Tensor
    distance: Tensor
    kind: Tensor
    cell: Tensor
    inside: Tensor
    below: Tensor
    density: Tensor
    mixed: Tensor
    products: Tensor


class SplineEnergy(torch.nn.Module):
    """Site energies of one force field, for any number of structures at once.

    Parameters
    ----------
    potential : SplinePotential
        `mean` of a BayesianForceField, or one of its samples.
    dtype : torch.dtype
    """

    def __init__(self, potential: SplinePotential, *, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        b, t = potential.basis, potential.tables
        self.n_species, self.n_radial, self.n_pair = len(b.species), int(b.n_radial), int(b.n_pair)
        self.l_max, self.rank = int(b.l_max), t.rank
        self.r_min, self.pair_cutoff, self.triplet_cutoff = (
            float(b.r_min),
            float(b.pair_cutoff),
            float(b.triplet_cutoff),
        )
        self.cutoff, self.share = float(b.cutoff), float(SHARE)
        q = (self.l_max + 1) ** 2
        degree = np.repeat(np.arange(self.l_max + 1), 2 * np.arange(self.l_max + 1) + 1)
        weight = _harmonic_weights(self.l_max)
        place = _channel_places(self.n_species, self.n_radial, b.padded_radial)

        def keep(name: str, array: FloatArray) -> None:
            self.register_buffer(name, torch.as_tensor(np.ascontiguousarray(array, dtype=np.float64)).to(dtype))

        def keep_indices(name: str, array: NDArray[Any]) -> None:
            self.register_buffer(name, torch.as_tensor(np.ascontiguousarray(array, dtype=np.int64)))

        keep("offset", t.offset)
        keep("pair", _cell_polynomials(_sets(t.pair, t.pair_live)).reshape(1 + self.rank, -1, 4))
        keep("zbl", t.zbl.reshape(-1, 4))
        keep("zbl_weights", SCREENING_WEIGHTS)
        keep("zbl_decays", SCREENING_DECAYS)
        keep("weight", weight)
        keep("legendre", _legendre_polynomials(self.l_max))
        keep_indices("order_of", _orders(self.l_max))
        keep_indices("spline", np.arange(self.n_radial) - 1)

        self.has_triplet, self.has_mixed, self.has_quadruplet = (
            t.triplet.size > 0,
            t.mixed_triplet.size > 0,
            t.quadruplet.size > 0,
        )
        triplet = np.zeros((0, 0, 0, 0, 0))
        if self.has_triplet:
            full = _sets(t.triplet, t.triplet_live)[..., place, :][..., place]
            triplet = full[:, :, degree] * weight[:, None, None]
        keep("triplet", triplet)

        mixed, mixing = np.zeros((0, 0, 0, 0, 0)), np.zeros((0, 0))
        if self.has_mixed:
            mixing = t.triplet_channel_radial[:, place]
            mixed = _sets(t.mixed_triplet, t.mixed_triplet_live)[:, :, degree]
        keep("mixing", mixing)
        keep("mixed", mixed)
        keep("root_weight", np.sqrt(weight))

        self.n_channels, self.quadruplet_harmonics = 0, 0
        self.triple_starts: list[int] = [0]
        nothing: NDArray[Any] = np.zeros(0)
        channel = centre = quadruplet = first = second = third = strength = nothing
        if self.has_quadruplet:
            self.n_channels = int(t.channel_centre.shape[1])
            triples = degree_triples(self.l_max)
            self.quadruplet_harmonics = min(q, (max(x.degrees[2] for x in triples) + 1) ** 2)
            couplings = [c for x in triples for c in x.couplings]
            self.triple_starts += np.cumsum([len(x.couplings) for x in triples]).tolist()
            first, second, third = (
                np.array([getattr(c, name) for c in couplings]) for name in ("first", "second", "third")
            )
            strength = np.array([c.weight for c in couplings])
            channel, centre = t.channel_radial[:, place], t.channel_centre
            quadruplet = _sets(t.quadruplet, t.quadruplet_live).reshape(1 + self.rank, self.n_species, -1)
        keep("channel", channel)
        keep("channel_centre", centre)
        keep("quadruplet", quadruplet)
        keep("coupling_weight", strength)
        for name, index in (("first", first), ("second", second), ("third", third)):
            keep_indices(name, index)
        keep("alone", np.zeros(0))
        if self.has_quadruplet:
            self.alone = self._alone().to(dtype)

        s = potential.support
        self.has_support = bool(s)
        powers = padded_places(b)
        keep("support_centre", s.centre[:, powers] if self.has_support else np.zeros(0))
        whitening = s.whitening[:, powers][:, :, powers] if self.has_support else np.zeros(0)
        keep("support_whitening", whitening)
        keep("support_offset", s.offset if self.has_support else np.zeros(0))
        keep("support_around", s.around if self.has_support else np.zeros(0))

    def forward(self, vectors: Tensor, centre: Tensor, neighbour: Tensor, species: Tensor) -> Tensor:
        """Energy of every atom, (N,), eV, of the mean.

        Parameters
        ----------
        vectors : (P, 3) tensor
            From the centre to the neighbour, A; every pair inside the longest cutoff from both sides. More do no harm.
        centre, neighbour : (P,) tensors of int64
        species : (N,) tensor of int64
            Indices into the species of the model.
        """
        return self.site_energies(self.neighbourhoods(vectors, centre, neighbour, species), 0)

    def neighbourhoods(self, vectors: Tensor, centre: Tensor, neighbour: Tensor, species: Tensor) -> Neighbourhoods:
        """Everything that does not depend on coefficients; parameters as in `forward`."""
        r = torch.sqrt((vectors * vectors).sum(1))
        step = (self.pair_cutoff - self.r_min) / self.n_pair
        t = torch.clamp((r - self.r_min) / step, max=float(self.n_pair))
        within = torch.clamp(t, min=0.0)
        cell = torch.clamp(within.detach().floor(), max=float(self.n_pair - 1))

        near = torch.nonzero(r.detach() < self.triplet_cutoff).squeeze(1)
        density = self.densities(vectors, r, near, centre, species[neighbour], species.shape[0])
        nothing = torch.zeros(0, dtype=r.dtype, device=r.device)
        mixed, products = nothing, nothing
        if self.has_mixed:
            mixed = torch.matmul(density, self.mixing.t()) * self.root_weight[:, None, None]
        if self.has_quadruplet:
            q = self.quadruplet_harmonics
            a = torch.matmul(density[:q], self.channel.t()) * self.root_weight[:q, None, None]
            a = torch.cat([(a[0] - self.channel_centre[species])[None], a[1:]])
            products = self._products(a)
        return Neighbourhoods(
            species,
            centre,
            neighbour,
            r,
            species[centre] * self.n_species + species[neighbour],
            cell.to(torch.int64),
            within - cell,
            t - within,
            density,
            mixed,
            products,
        )

    def densities(
        self, vectors: Tensor, r: Tensor, near: Tensor, centre: Tensor, species: Tensor, n_atoms: int
    ) -> Tensor:
        """A, (Q, N, channels), of the pairs `near` inside the triplet cutoff; `species` are those of the neighbours."""
        n_groups = n_atoms * self.n_species
        key = centre[near] * self.n_species + species[near]
        order = torch.argsort(key)
        chosen, group = near[order], key[order]
        counts = torch.bincount(group, minlength=n_groups)
        longest = int(counts.max())
        starts = torch.cumsum(counts, 0) - counts
        place = group * longest + torch.arange(group.shape[0], device=r.device) - starts[group]
        # index_select: its backward pass is a plain sum, unlike that of indexing.
        distance = r.index_select(0, chosen)
        radial, harmonics = self.radial(distance), self.harmonics(vectors.index_select(0, chosen) / distance[:, None])
        padded_radial = torch.zeros(n_groups * longest, self.n_radial, dtype=r.dtype, device=r.device)
        padded_harmonics = torch.zeros(n_groups * longest, harmonics.shape[1], dtype=r.dtype, device=r.device)
        padded_radial = padded_radial.index_copy(0, place, radial).view(n_groups, longest, self.n_radial)
        padded_harmonics = padded_harmonics.index_copy(0, place, harmonics).view(n_groups, longest, harmonics.shape[1])
        a = torch.bmm(padded_harmonics.transpose(1, 2), padded_radial)
        a = a.view(n_atoms, self.n_species, harmonics.shape[1], self.n_radial).permute(2, 0, 1, 3)
        return a.reshape(harmonics.shape[1], n_atoms, self.n_species * self.n_radial)

    def radial(self, r: Tensor) -> Tensor:
        """B_n(r), (P, n_radial); below r_min every spline continues as a straight line."""
        t = (r - self.r_min) * (self.n_radial / (self.triplet_cutoff - self.r_min))
        inside = torch.clamp(t, min=0.0)
        x = inside[:, None] - self.spline
        distance = x.abs()
        outer, inner = torch.clamp(2.0 - distance, min=0.0), torch.clamp(1.0 - distance, min=0.0)
        slope = -torch.sign(x) * (0.5 * outer * outer - 2.0 * inner * inner)
        return (outer**3 - 4.0 * inner**3) / 6.0 + (t - inside)[:, None] * slope

    def harmonics(self, n: Tensor) -> Tensor:
        """Y_lm of unit vectors (P, 3), (P, Q): polynomials in z times powers of x + i y."""
        x, y, z = n[:, 0], n[:, 1], n[:, 2]
        one = torch.ones_like(z)
        powers, even, odd = [one], [one], [torch.zeros_like(z)]
        for m in range(self.l_max):
            powers.append(powers[m] * z)
            even.append(x * even[m] - y * odd[m])
            odd.append(x * odd[m] + y * even[m])
        polynomials = torch.matmul(torch.stack(powers, dim=1), self.legendre)
        plane = torch.stack(even + odd[1:], dim=1)
        return polynomials * plane.index_select(1, self.order_of)

    def site_energies(self, near: Neighbourhoods, which: int) -> Tensor:
        """Energy of every atom, (N,), eV, of one set of coefficients; only that of the mean has offsets and repulsion."""
        c = self.pair[which][near.kind * self.n_pair + near.cell]
        u = near.inside
        slope = c[:, 1] + u * (2.0 * c[:, 2] + u * 3.0 * c[:, 3])
        pairs = c[:, 0] + u * (c[:, 1] + u * (c[:, 2] + u * c[:, 3])) + near.below * slope
        if which == 0:
            pairs = pairs + self.repulsion(near)
        energy = torch.zeros(near.species.shape[0], dtype=pairs.dtype, device=pairs.device)
        energy = energy.index_add(0, near.centre, 0.5 * pairs)
        if which == 0:
            energy = energy + self.offset[near.species]
        if self.has_triplet:
            energy = energy + self._quadratic(near.density, self.triplet[which], near.species)
        if self.has_mixed:
            energy = energy + self._quadratic(near.mixed, self.mixed[which], near.species)
        if self.has_quadruplet:
            of_three = (near.products * self.quadruplet[which][near.species]).sum(1)
            energy = energy + of_three - self.alone[which][near.species]
        return energy

    def repulsion(self, near: Neighbourhoods) -> Tensor:
        """The short-range repulsion of every pair, (P,), eV; see `trepid.potentials.bayesian.zbl`."""
        z = self.zbl[near.kind]
        r = near.distance
        screening = (self.zbl_weights * torch.exp(-self.zbl_decays * (r * z[:, 1])[:, None])).sum(1)
        u = torch.clamp((r - z[:, 2]) / (z[:, 3] - z[:, 2]), 0.0, 1.0)
        return z[:, 0] / r * screening * (1.0 - u**3 * (10.0 - u * (15.0 - 6.0 * u)))

    def force_variance(self, near: Neighbourhoods, vectors: Tensor) -> Tensor:
        """Live variance of every force component, (N, 3), (eV/A)^2: squared forces of the live directions, and the share around.

        `vectors` are those that `near` was made from; they need gradients.
        """
        variance = torch.zeros(near.species.shape[0], 3, dtype=vectors.dtype, device=vectors.device)
        for r in range(1, self.rank + 1):
            forces = self.forces(self.site_energies(near, r), near, vectors)
            variance = variance + forces * forces
        around = self.nearby_mean(torch.sqrt(variance.mean(1)), near)
        return variance + (self.share * around)[:, None] ** 2

    def forces(self, energies: Tensor, near: Neighbourhoods, vectors: Tensor) -> Tensor:
        """Forces of site energies that were computed from `vectors`, (N, 3), eV/A; the graph is kept."""
        return self.forces_of_pairs(pair_gradient(energies, vectors), near)

    def forces_of_pairs(self, gradient: Tensor, near: Neighbourhoods) -> Tensor:
        """Forces from dE/d(vectors), (P, 3)."""
        nothing = torch.zeros(near.species.shape[0], 3, dtype=gradient.dtype, device=gradient.device)
        return nothing.index_add(0, near.centre, gradient).index_add(0, near.neighbour, -gradient)

    def nearby_mean(self, values: Tensor, near: Neighbourhoods) -> Tensor:
        """Weighted mean around every atom, (N,); 0 without neighbours inside the triplet cutoff (native/nearby.h)."""
        w = torch.clamp(1.0 - near.distance.detach() / self.triplet_cutoff, min=0.0) ** 2
        nothing = torch.zeros_like(values)
        total = nothing.index_add(0, near.centre, w * values[near.neighbour])
        weights = nothing.index_add(0, near.centre, w)
        return torch.where(weights > 0, total / torch.where(weights > 0, weights, torch.ones_like(weights)), nothing)

    def support_distance(self, near: Neighbourhoods) -> Tensor:
        """Distance of every atom from the training data, (N,); above 1 it is outside (native/support.h)."""
        a = near.density.detach()
        squares = self.weight[:, None, None] * a * a
        of_degrees: list[Tensor] = []
        for k in range(self.l_max + 1):
            of_degrees.append(squares[k * k : (k + 1) * (k + 1)].sum(0))
        powers = torch.sqrt(torch.stack(of_degrees, dim=1)).flatten(1)
        own = torch.zeros(near.species.shape[0], dtype=a.dtype, device=a.device)
        for s in range(self.n_species):
            of_s = torch.nonzero(near.species == s).squeeze(1)
            y = torch.matmul(powers[of_s] - self.support_centre[s], self.support_whitening[s])
            own[of_s] = torch.sqrt((y * y).sum(1) + self.support_offset[s])
        return torch.maximum(own, self.nearby_mean(own, near) / self.support_around)

    def _quadratic(self, a: Tensor, matrices: Tensor, species: Tensor) -> Tensor:
        """sum_q a_q^T M_q a_q of every atom, (N,); a (Q, N, n), M (species, Q, n, n)."""
        if self.n_species == 1:
            return (torch.bmm(a, matrices[0]) * a).sum(2).sum(0)
        energy = torch.zeros(species.shape[0], dtype=a.dtype, device=a.device)
        for s in range(self.n_species):
            of_s = torch.nonzero(species == s).squeeze(1)
            own = a.index_select(1, of_s)
            energy = energy.index_copy(0, of_s, (torch.bmm(own, matrices[s]) * own).sum(2).sum(0))
        return energy

    def _products(self, a: Tensor) -> Tensor:
        """Invariants of three channel densities a (Q, N, k), (N, degree triples * k^3)."""
        out: list[Tensor] = []
        n, k = a.shape[1], a.shape[2]
        for t in range(len(self.triple_starts) - 1):
            of_t = torch.arange(self.triple_starts[t], self.triple_starts[t + 1], device=a.device)
            weight = self.coupling_weight[of_t][:, None, None]
            one = a.index_select(0, self.first[of_t]) * weight
            two, three = a.index_select(0, self.second[of_t]), a.index_select(0, self.third[of_t])
            pairs = (one[:, :, :, None] * two[:, :, None, :]).reshape(-1, n, k * k)
            out.append(torch.bmm(pairs.permute(1, 2, 0), three.permute(1, 0, 2)).reshape(n, k * k * k))
        return torch.cat(out, dim=1)

    def _alone(self) -> Tensor:
        """Quadruplet energy of an atom without neighbours, (sets, species)."""
        a = torch.zeros(self.quadruplet_harmonics, self.n_species, self.n_channels, dtype=self.channel_centre.dtype)
        a[0] = -self.channel_centre
        return (self._products(a)[None] * self.quadruplet).sum(2)


def pair_gradient(energies: Tensor, vectors: Tensor) -> Tensor:
    """dE/d(vectors), (P, 3), eV/A; the graph is kept."""
    gradient = torch.autograd.grad([energies.sum()], [vectors], retain_graph=True)[0]
    assert gradient is not None
    return gradient


def _sets(mean: FloatArray, live: NDArray[np.float32]) -> FloatArray:
    """Coefficients of all sets, (1 + rank, ...)."""
    return np.concatenate([mean[None], np.moveaxis(live.astype(np.float64), -1, 0)])


def _cell_polynomials(c: FloatArray) -> FloatArray:
    """Splines (..., n_pair + 3) as one cubic polynomial per cell, (..., n_pair, 4)."""
    a, b, d, e = c[..., :-3], c[..., 1:-2], c[..., 2:-1], c[..., 3:]
    return np.stack([(a + 4 * b + d) / 6, (d - a) / 2, (a - 2 * b + d) / 2, (e - 3 * d + 3 * b - a) / 6], axis=-1)


def _channel_places(n_species: int, n_radial: int, padded_radial: int) -> NDArray[np.intp]:
    """Where the channels stand among the padded ones."""
    species, radial = np.divmod(np.arange(n_species * n_radial), n_radial)
    return species * padded_radial + radial


def _degrees_and_orders(l_max: int) -> list[tuple[int, int, bool]]:
    """Degree, order, and whether it is the sine, of every harmonic."""
    out = []
    for degree in range(l_max + 1):
        out.append((degree, 0, False))
        for m in range(1, degree + 1):
            out += [(degree, m, False), (degree, m, True)]
    return out


def _harmonic_weights(l_max: int) -> FloatArray:
    """w_lm of the addition theorem, (Q,)."""
    weights = []
    for degree, m, _ in _degrees_and_orders(l_max):
        ratio = 1.0
        for k in range(degree - m + 1, degree + m + 1):
            ratio /= k
        weights.append(ratio * (2.0 if m else 1.0))
    return np.array(weights)


def _legendre_polynomials(l_max: int) -> FloatArray:
    """Coefficients of z^k in d^m P_l / dz^m, (l_max + 1, Q)."""
    table = np.zeros((l_max + 1, (l_max + 1) ** 2))
    for q, (degree, m, _) in enumerate(_degrees_and_orders(l_max)):
        c = Legendre.basis(degree).deriv(m).convert(kind=np.polynomial.Polynomial).coef
        table[: len(c), q] = c
    return table


def _orders(l_max: int) -> NDArray[np.intp]:
    """Column of Re (x + i y)^m or Im (x + i y)^m in [Re 0 .. l_max, Im 1 .. l_max] of every harmonic, (Q,)."""
    return np.array([l_max + m if sine else m for _, m, sine in _degrees_and_orders(l_max)])
