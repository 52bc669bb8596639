"""Formal charges of the species, whose common scale the fit finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trepid.errors import ConfigError

WIDTH = 1 / 6
"""Standard deviation of the Gaussian charges, in units of the pair cutoff. Where pairs end, two of them interact as point
charges within 2e-5. At 1/4 (0.5 %) the mesh is three times coarser, but charges of 1 e are found as 1.013, and the error of a
long wave in 512 ions is 7.6 instead of 0.25 meV/A (benchmarks/charges.py)."""


@dataclass(frozen=True)
class Charges:
    """Gaussian charges in fixed ratios: part of the basis, since the feature of the Coulomb energy depends on them.

    Attributes
    ----------
    formal : tuple of float
        Formal charge of every species, e, in the order of the species.
    width : float
        Standard deviation of the charge densities, A.
    """

    formal: tuple[float, ...]
    width: float

    @classmethod
    def of(cls, formal: Mapping[str, float], species: Sequence[str], *, pair_cutoff: float) -> Charges:
        """From formal charges by element, as wide as suits the pair cutoff (A).

        Raises
        ------
        ConfigError
            An element without a charge or a charge without an element, or no charges of both signs.
        """
        unknown, missing = sorted(set(formal) - set(species)), [s for s in species if s not in formal]
        if unknown or missing:
            wrong = (
                f"no charge for {', '.join(missing)}" if missing else f"{', '.join(unknown)} is not among the species"
            )
            raise ConfigError(
                f"charges: {wrong}; one formal charge for each of {', '.join(species)}, such as Cu=1,I=-1"
            )
        values = tuple(float(formal[s]) for s in species)
        if not (min(values) < 0 < max(values)) or not all(abs(q) <= 10 for q in values):
            given = ", ".join(f"{s}={q:g}" for s, q in zip(species, values, strict=True))
            raise ConfigError(
                f"charges: {given}: formal charges need both signs and at most 10 e, such as Cu=1,I=-1; a structure of one "
                "sign cannot be neutral"
            )
        return cls(values, WIDTH * pair_cutoff)

    def by_species(self, species: Sequence[str]) -> dict[str, float]:
        """Formal charges by element, e."""
        return dict(zip(species, self.formal, strict=True))
