"""The potential of a campaign in rounds: how it is made, read and taught."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from trepid.campaign.learner import PotentialFactory, Tunable
from trepid.config import CommitteeSettings, RoundsCampaign
from trepid.potentials import load_potential
from trepid.potentials.base import Potential

if TYPE_CHECKING:
    from ase import Atoms


def round_potentials(campaign: RoundsCampaign, crystal: Atoms) -> PotentialFactory:
    """The Bayesian force field or the committee with a campaign's settings, for the elements of its crystal."""
    settings = campaign.potential
    species = sorted(set(crystal.get_chemical_symbols()))

    def create() -> Potential:
        if isinstance(settings, CommitteeSettings):
            return _committee(settings, species, campaign.seed)
        from trepid.potentials.bayesian.force_field import BayesianForceField

        return BayesianForceField(
            species,
            pair_cutoff=settings.pair_cutoff_A,
            triplet_cutoff=settings.triplet_cutoff_A,
            n_pair=settings.n_pair,
            n_radial=settings.n_radial,
            l_max=settings.l_max,
            seed=campaign.seed,
        )

    return PotentialFactory(create=create, load=load_potential)


def _committee(settings: CommitteeSettings, species: Sequence[str], seed: int) -> Potential:
    from trepid.potentials.committee import Committee
    from trepid.potentials.committee import CommitteeSettings as Members

    values: dict[str, Any] = {
        "backend": settings.backend,
        "n_members": settings.members,
        "n_subsets": settings.n_subsets,
        "subset_fraction": settings.subset_fraction,
        "validation_fraction": settings.validation_fraction,
        "seed": seed,
        "model": dict(settings.settings),
    }
    committee = Committee(species, settings=Members.from_dict(values))
    committee.require_backend()
    return committee


def teach(potential: Potential, frames: Sequence[Atoms], *, fresh: bool, executor: Executor) -> bool:
    """Train a potential on labelled frames: from nothing if `fresh`, else on top of what it knows.

    The members of a committee are trained through the executor, from their own weights; the hyperparameters of a Bayesian
    force field are optimised again.

    Returns
    -------
    bool
        Whether hyperparameters were optimised.
    """
    many: Any = potential
    if hasattr(potential, "n_members"):
        (many.fit if fresh else many.update)(frames, executor=executor)
        return False
    if fresh:
        potential.fit(frames)
        return True
    potential.update(frames)
    if isinstance(potential, Tunable):
        potential.optimize()
        return True
    return False
