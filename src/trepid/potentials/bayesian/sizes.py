"""Sizes of the Bayesian force field, and those that the user fixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from ase import Atoms

from trepid.choices import PAIR_CUTOFF_A, TRIPLET_CUTOFF_A, Triplets
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.channel_choice import TRIPLET_CHANNELS, with_chosen_channels
from trepid.potentials.bayesian.terms.base import BasisSettings
from trepid.potentials.bayesian.terms.quadruplet import n_products
from trepid.potentials.bayesian.terms.triplet import TripletTerm


@dataclass(frozen=True)
class Sizes:
    """Sizes of the Bayesian force field.

    Attributes
    ----------
    pair_cutoff, triplet_cutoff : float
        A.
    n_pair, n_radial : int
        Splines of a pair energy; radial splines of the three-body density.
    l_max : int
        Highest Legendre degree in the angle.
    n_channels : int
        Channels of the quadruplets; 0: none.
    triplets : Triplets
        Full or mixed; auto: mixed from three species on.
    charges : mapping of str to float or None
        Formal charges by element, e; None: no charges.
    """

    pair_cutoff: float = PAIR_CUTOFF_A
    triplet_cutoff: float = TRIPLET_CUTOFF_A
    n_pair: int = 20
    n_radial: int = 8
    l_max: int = 4
    n_channels: int = 0
    triplets: Triplets = Triplets.AUTO
    charges: Mapping[str, float] | None = None

    @classmethod
    def of(cls, settings: BasisSettings) -> Sizes:
        """The sizes of a basis."""
        return cls(
            settings.pair_cutoff,
            settings.triplet_cutoff,
            settings.n_pair,
            settings.n_radial,
            settings.l_max,
            0 if settings.channels is None else settings.channels.n,
            Triplets.FULL if settings.triplet_channels is None else Triplets.MIXED,
            None if settings.charges is None else settings.charges.by_species(settings.species),
        )

    def basis(self, species: Sequence[str]) -> Basis:
        """The basis of these sizes, without the channels, which frames choose; ConfigError where one is out of range."""
        return Basis.create(species, **{name: value for name, value in asdict(self).items() if name not in _LATER})

    def n_triplet_channels(self, species: Sequence[str]) -> int:
        """Channels of mixed triplets; 0: full triplets."""
        mixed = self.triplets.resolved(len(species)) is Triplets.MIXED
        return min(TRIPLET_CHANNELS, len(species) * self.n_radial) if mixed else 0

    def complete(self, basis: Basis, frames: Sequence[Atoms], *, seed: int = 0) -> Basis:
        """`basis` with what its terms keep fixed, chosen from training frames: the channels."""
        mixed = self.n_triplet_channels(basis.species) > 0
        return with_chosen_channels(basis, frames, mixed_triplets=mixed, n_quadruplet=self.n_channels, seed=seed)

    def n_coefficients(self, species: Sequence[str]) -> int:
        """Number of raw coefficients."""
        n, products = self.n_triplet_channels(species), n_products(self.l_max, self.n_channels)
        layout = self.basis(species).layout
        triplets = len(species) * (self.l_max + 1) * n * (n + 1) // 2 if n else layout.term(TripletTerm).size
        return layout.size - layout.term(TripletTerm).size + triplets + len(species) * products

    def __str__(self) -> str:
        mixed = "mixed " if self.triplets is Triplets.MIXED else ""
        quadruplets = f", quadruplets of {self.n_channels} channels" if self.n_channels else ""
        charges = f", charges {charges_text(self.charges)}" if self.charges else ""
        return (
            f"pairs to {self.pair_cutoff:g} A in {self.n_pair} splines, {mixed}triplets to {self.triplet_cutoff:g} A in "
            f"{self.n_radial}, degree {self.l_max}{quadruplets}{charges}"
        )


_LATER = ("n_channels", "triplets")
"""Sizes that the frames turn into channels, after the basis is made."""


_NOT_SEARCHED = ("triplets", "charges", "offered_charges")


@dataclass(frozen=True)
class GivenSizes:
    """Sizes that the user fixes; None: the default, or what the search finds. Attributes as `Sizes`, and those below.

    Attributes
    ----------
    offered_charges : mapping of str to float or None
        Formal charges that the search tries, where none are fixed.
    """

    pair_cutoff: float | None = None
    triplet_cutoff: float | None = None
    n_pair: int | None = None
    n_radial: int | None = None
    l_max: int | None = None
    n_channels: int | None = None
    triplets: Triplets | None = None
    charges: Mapping[str, float] | None = None
    offered_charges: Mapping[str, float] | None = None

    def sizes(self) -> Sizes:
        """The defaults with what is given. A shorter pair cutoff alone shortens the triplets, which may not reach beyond."""
        own = {name: value for name, value in asdict(self).items() if name != "offered_charges" and value is not None}
        found = replace(Sizes(), **own)
        if self.triplet_cutoff is None and found.triplet_cutoff > found.pair_cutoff:
            return replace(found, triplet_cutoff=found.pair_cutoff)
        if self.pair_cutoff is None and found.triplet_cutoff > found.pair_cutoff:
            return replace(found, pair_cutoff=found.triplet_cutoff)
        return found

    @property
    def complete(self) -> bool:
        """Whether every size that a search could choose is given, and no charges are to be tried."""
        open_sizes = [name for name, value in asdict(self).items() if value is None and name not in _NOT_SEARCHED]
        return not open_sizes and self.offered_charges is None


def charges_text(charges: Mapping[str, float]) -> str:
    """Formal charges as text, such as Cu +1, I -1."""
    return ", ".join(f"{symbol} {charge:+g}" for symbol, charge in charges.items())
