"""A fit whose sizes and terms the training frames choose."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from ase import Atoms

from trepid.choices import ChargeChoice, Speed
from trepid.data import LabelKeys
from trepid.errors import NumericsError
from trepid.potentials.base import SizeSearch
from trepid.potentials.bayesian.charge_choice import charges_of
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.size_search import Progress, SizeChoice, choose_sizes
from trepid.potentials.bayesian.sizes import GivenSizes, Sizes
from trepid.potentials.bayesian.terms import Hyperparameters

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SizedFit:
    """A trained force field and the choice of its sizes."""

    model: BayesianForceField
    choice: SizeChoice


def fit_with_sizes(
    frames: Sequence[Atoms],
    species: Sequence[str],
    *,
    given: GivenSizes,
    speed: Speed,
    keys: LabelKeys,
    charges: ChargeChoice | Mapping[str, float] = ChargeChoice.OFF,
    seed: int = 0,
    progress: Progress | None = None,
) -> SizedFit:
    """Choose the sizes, then train a force field on all frames.

    Parameters
    ----------
    frames, species, keys, progress
        See `choose_sizes`.
    given : GivenSizes
    speed : Speed
    charges : ChargeChoice, or mapping of str to float
        Formal charges by element, e, kept whatever they gain; auto: those of a neutral formula, tried as a term.
    seed : int
        Of the random environments of the live uncertainty.

    Raises
    ------
    ConfigError, DataError, NumericsError
        As `BayesianForceField` and its `fit`.
    """
    found = charges_of(charges, frames, Sizes().basis(species).species)
    if found.reason:
        logger.info(found.reason)
    if charges is ChargeChoice.AUTO:
        given = replace(given, offered_charges=found.formal)
    else:
        given = replace(given, charges=found.formal)
    choice = choose_sizes(frames, species, given=given, speed=speed, keys=keys, progress=progress)

    def trained(start: Hyperparameters) -> BayesianForceField:
        model = BayesianForceField(species, **asdict(choice.sizes), hyperparameters=start, keys=keys, seed=seed)
        model.fit(frames)
        if speed is not Speed.FAST and choice.steps:
            model.size_search = SizeSearch(speed, choice.beyond_ceiling)
        return model

    try:
        return SizedFit(trained(choice.start), choice)
    except NumericsError:
        if choice.start == Hyperparameters():
            raise
        # All frames may ask for larger noises than the sample; from the default start the search comes from their side.
        logger.info(
            "the hyperparameters of the search for sizes do not suit all frames; optimised from the default start"
        )
        return SizedFit(trained(Hyperparameters()), replace(choice, start=Hyperparameters()))
