"""Channels: fixed combinations of the radial functions of all species, of mixed triplets and of quadruplets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trepid.potentials.base import FloatArray


@dataclass(frozen=True)
class RadialChannels:
    """Channels, chosen at the first fit (`channel_choice`) and fixed from then on, since features depend on them.

    Attributes
    ----------
    shape : (int, int, int)
        Channels, species, radial splines.
    radial : tuple of float
        V_k,sn in the order of `shape`, dimensionless.
    """

    shape: tuple[int, int, int]
    radial: tuple[float, ...]

    @classmethod
    def from_array(cls, radial: FloatArray) -> RadialChannels:
        """From V (channels, species, n_radial)."""
        k, s, n = radial.shape
        return RadialChannels((k, s, n), tuple(radial.ravel().tolist()))

    @property
    def n(self) -> int:
        """Number of channels."""
        return self.shape[0]

    @property
    def radial_array(self) -> FloatArray:
        """V (channels, species, n_radial)."""
        return np.array(self.radial).reshape(self.shape)

    def padded(self, padded_radial: int, *, rows: int) -> FloatArray:
        """V as the table of the C++ core, (rows, species * padded_radial), filled up with zeros."""
        k, s, n = self.shape
        table = np.zeros((rows, s, padded_radial))
        table[:k, :, :n] = self.radial_array
        return table.reshape(rows, -1)


@dataclass(frozen=True)
class Channels(RadialChannels):
    """Channels of the quadruplets.

    Attributes
    ----------
    centre : tuple of float
        Mean of a_k,00 over the training atoms of every species, [species][channel].
    scale : float
        Unit of a coefficient, (eV/A)^-1: the inverse root of the mean square force that all coefficients at 1 exert.
    """

    centre: tuple[float, ...]
    scale: float

    @classmethod
    def of(cls, radial: FloatArray, centre: FloatArray, scale: float) -> Channels:
        """From V (channels, species, n_radial) and the means (species, channels)."""
        k, s, n = radial.shape
        return cls((k, s, n), tuple(radial.ravel().tolist()), tuple(centre.ravel().tolist()), float(scale))

    @property
    def centre_array(self) -> FloatArray:
        """The means (species, channels)."""
        return np.array(self.centre).reshape(self.shape[1], self.shape[0])
