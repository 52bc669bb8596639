r"""The covariance functions of the Bayesian force field: the prior beliefs about pair and triplet energies.

.. math::

    k_2(r, r')   &= s_2^2\, k_r(r, r'; \ell_2) \\
    k_3(t, t')   &= s_3^2\, k_r(r_1, r_1'; \ell_3)\, k_r(r_2, r_2'; \ell_3)\, k_\theta(\theta, \theta'; \ell_\theta) \\
    k_r(r, r')   &= g(r)\, g(r') \exp[-(r - r')^2 / 2 \ell^2] \\
    k_\theta     &= \sum_l \lambda_l P_l(\cos\theta) P_l(\cos\theta')
                  = e^{-(1 - \cos\theta \cos\theta') / \ell_\theta^2}\, I_0(\sin\theta \sin\theta' / \ell_\theta^2)

g is the envelope that takes value, slope and curvature to zero at the cutoff. The angular kernel is the von
Mises-Fisher kernel exp[-(1 - n.n') / l^2] of the unit sphere averaged over the azimuth; the Legendre polynomials are
its eigenfunctions with eigenvalues lambda_l = (2 l + 1) exp(-1/l^2) i_l(1/l^2), i_l the modified spherical Bessel
function (Funk-Hecke theorem). k_3 is symmetrised in the two neighbours when they are of one species.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ive

from trepid.errors import ConfigError
from trepid.potentials.base import FloatArray, Noise

LARGE_FORCE = 1.0
"""Force (eV/A) from which on labels lose weight. Of 0.2, 0.5, 1 and 4 eV/A it gave the highest evidence on CuI
(GFN1-xTB, crystal frames and on-the-fly frames up to 600 K) and on silicon (SNAP, 300 and 1000 K)."""


START_NOISE = Noise(energy=2e-3, forces=0.02, stress=3e-4, large_force=LARGE_FORCE)
"""Where the optimisation of the noises starts."""


@dataclass(frozen=True)
class Hyperparameters:
    """Amplitudes and length scales of the prior, and the noise of each label kind.

    Attributes
    ----------
    pair_amplitude : float
        s_2, eV: standard deviation of a pair energy well inside the cutoff.
    pair_length : float
        l_2, A.
    triplet_amplitude : float
        s_3, eV.
    triplet_length : float
        l_3, A.
    angular_length : float
        l_theta, dimensionless (radians for small angles).
    noise : Noise
        Noise of energy (eV per sqrt atom), forces (eV/A) and stress (eV/A^3) labels; its `large_force` is a setting,
        which the optimisation leaves alone, because the statistics are weighted with it.
    offset_amplitude : float
        eV: prior standard deviation of the energy offset per atom of a species, around the least-squares reference
        energies.
    """

    pair_amplitude: float = 3.0
    pair_length: float = 0.7
    triplet_amplitude: float = 0.3
    triplet_length: float = 1.0
    angular_length: float = 0.7
    noise: Noise = START_NOISE
    offset_amplitude: float = 1.0

    def __post_init__(self) -> None:
        values = [(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "noise"]
        values += [(f"noise.{f.name}", getattr(self.noise, f.name)) for f in fields(self.noise)]
        for name, value in values:
            if not (value > 0 and (np.isfinite(value) or name == "noise.large_force")):
                raise ConfigError(f"hyperparameter {name} must be a positive number, not {value}")

    def with_noise(self, **changes: float) -> Hyperparameters:
        """Return a copy with other noises: energy, forces or stress."""
        return replace(self, noise=replace(self.noise, **changes))


def envelope(r: ArrayLike, cutoff: float) -> FloatArray:
    """g(r) = (1 - r^2 / cutoff^2)^3 inside the cutoff, 0 outside: value, slope and curvature vanish at the cutoff."""
    x = np.asarray(r, dtype=np.float64) / cutoff
    return np.where(x < 1, np.maximum(1 - x * x, 0) ** 3, 0.0)


def envelope_derivative(r: ArrayLike, cutoff: float) -> FloatArray:
    """dg/dr, 1/A."""
    x = np.asarray(r, dtype=np.float64) / cutoff
    return np.where(x < 1, -6 * x * np.maximum(1 - x * x, 0) ** 2 / cutoff, 0.0)


def radial_kernel(r: ArrayLike, other: ArrayLike, *, length: float, cutoff: float) -> FloatArray:
    """k_r between every distance of `r` (shape (n,)) and of `other` (shape (m,)), A; returns (n, m), dimensionless."""
    a, b = np.asarray(r, dtype=np.float64)[:, None], np.asarray(other, dtype=np.float64)[None, :]
    return envelope(a, cutoff) * envelope(b, cutoff) * np.exp(-0.5 * ((a - b) / length) ** 2)


def angular_eigenvalues(l_max: int, length: float) -> FloatArray:
    """lambda_l for l = 0 .. l_max (Funk-Hecke); they sum to one over all l. Returns (l_max + 1,)."""
    kappa = 1.0 / length**2
    order = np.arange(l_max + 1)
    # exp(-kappa) i_l(kappa) through the exponentially scaled Bessel function, which does not overflow at small lengths.
    return np.asarray((2 * order + 1) * np.sqrt(np.pi / (2 * kappa)) * ive(order + 0.5, kappa), dtype=np.float64)
