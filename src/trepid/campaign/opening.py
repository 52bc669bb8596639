"""Opening a campaign: what it runs with, made from its settings, and the claim on its run directory.

A campaign is opened in two steps. `open_campaign` makes or takes what it runs with: whatever is wrong with the settings shows
there, before anything is written but the directory. `OpenCampaign.claim` then writes settings and the first entry of the ledger,
or makes sure that the run there is of the same campaign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trepid.campaign.initial import build_crystal
from trepid.campaign.learner import PotentialFactory
from trepid.runs.ledger import Ledger, Resume, Stage, Start
from trepid.runs.directory import RunDirectory
from trepid.config import AnyCampaign, CommitteeSettings, PotentialSettings
from trepid.data.arrays import structure_digest
from trepid.dynamics.progress import ProgressView, SilentProgress
from trepid.errors import ConfigError
from trepid.reference import make_reference
from trepid.reference.base import Reference

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.potentials.bayesian.force_field import BayesianForceField
    from trepid.potentials.committee import Committee

SomeCampaign = TypeVar("SomeCampaign", bound=AnyCampaign)


@dataclass
class OpenCampaign(Generic[SomeCampaign]):
    """What a campaign runs with.

    Attributes
    ----------
    campaign : Campaign or RoundsCampaign
    crystal : Atoms
    reference : Reference
    potentials : PotentialFactory
    directory : RunDirectory
    ledger : Ledger
    view : ProgressView
    """

    campaign: SomeCampaign
    crystal: Atoms
    reference: Reference
    potentials: PotentialFactory
    directory: RunDirectory
    ledger: Ledger
    view: ProgressView

    def claim(self) -> list[str] | None:
        """Write who starts what into a new run, or make sure that the one there may go on with these settings.

        Returns
        -------
        list of str or None
            None for a new run; else the settings that differ from those it was last started with, as 'key: old -> new'.

        Raises
        ------
        ConfigError
            The run there is of another structure, or a setting differs that the labels or the MD so far rest on.
        """
        ledger, crystal, digest = self.ledger, self.crystal, structure_digest(self.crystal)
        started = next(ledger.all(Start), None)
        if started is not None and started.structure_sha256 != digest:
            raise ConfigError(
                f"structure: {self.directory.path} holds a run of another structure ({started.formula}, "
                f"{started.n_atoms} atoms); give that one back, or another output.directory"
            )
        n_stages_entered = len({event.stage for event in ledger.all(Stage)})
        changed = self.directory.claim(self.campaign, n_stages_entered=n_stages_entered)
        if ledger.recovered:
            self.view.message(ledger.recovered)
        if started is not None:
            return changed
        ledger.append(
            Start(
                n_atoms=len(crystal),
                formula=crystal.get_chemical_formula(),
                structure_sha256=digest,
                reference=dict(self.reference.describe()),
            )
        )
        return None

    def resume(self, *, step: int, n_labels: int, reused: str, changed: list[str]) -> None:
        """Note and tell that the campaign goes on: from where, with what, and with which settings changed."""
        self.ledger.append(Resume(step=step, n_labels=n_labels, reused=reused, changed=changed))
        self.view.message(f"resuming: {reused}" + (f"; changed: {'; '.join(changed)}" if changed else ""))


@contextmanager
def open_campaign(
    campaign: SomeCampaign,
    *,
    reference: Reference | None = None,
    potentials: PotentialFactory | None = None,
    progress: ProgressView | None = None,
) -> Iterator[OpenCampaign[SomeCampaign]]:
    """Make what a campaign runs with; run directory and ledger are closed with the block, as is a reference made here.

    Parameters
    ----------
    campaign : Campaign or RoundsCampaign
    reference : Reference or None
        Who labels; None makes the one that the settings name.
    potentials : PotentialFactory or None
        Where the potential comes from; None takes the one that the settings name.
    progress : ProgressView or None

    Raises
    ------
    ConfigError
        The system cannot be labelled by this reference, a setting is out of range, or the output directory holds
        something else.
    DataError
        The structure cannot be read, or another process uses the run directory.
    """
    crystal = build_crystal(campaign.structure)
    with ExitStack() as closing:
        if reference is None:
            reference = reference_of(campaign, directory=campaign.output.directory / "reference")
            closing.callback(reference.close)
        reference.check(crystal)
        potentials = potentials or potentials_of(campaign, crystal)
        potentials.create()  # settings out of range show here, before anything is written
        directory = RunDirectory(campaign.output.directory)
        closing.callback(directory.release)
        ledger = Ledger(directory.ledger)
        closing.callback(ledger.close)
        yield OpenCampaign(
            campaign=campaign,
            crystal=crystal,
            reference=reference,
            potentials=potentials,
            directory=directory,
            ledger=ledger,
            view=progress or SilentProgress(),
        )


def reference_of(campaign: AnyCampaign, *, directory: Path | None = None) -> Reference:
    """The reference that a campaign names.

    Parameters
    ----------
    campaign : Campaign or RoundsCampaign
    directory : Path, optional
        Folder for the files and logs of engines that write some.

    Raises
    ------
    ConfigError
        A value is out of range, or the engine is not installed.
    """
    return make_reference(campaign.reference.engine, directory=directory, **campaign.reference.arguments())


def potentials_of(campaign: AnyCampaign, crystal: Atoms) -> PotentialFactory:
    """The Bayesian force field or the committee with a campaign's settings, for the elements of its crystal."""
    settings, seed = campaign.potential, campaign.seed
    species = sorted(set(crystal.get_chemical_symbols()))
    if isinstance(settings, CommitteeSettings):
        from trepid.potentials.committee import Committee

        return PotentialFactory(create=lambda: _committee(settings, species, seed), load=Committee.load)
    from trepid.potentials.bayesian.force_field import BayesianForceField

    return PotentialFactory(create=lambda: _force_field(settings, species, seed), load=BayesianForceField.load)


def _force_field(settings: PotentialSettings, species: Sequence[str], seed: int) -> BayesianForceField:
    from trepid.potentials.bayesian.force_field import BayesianForceField

    return BayesianForceField(
        species,
        pair_cutoff=settings.pair_cutoff_A,
        triplet_cutoff=settings.triplet_cutoff_A,
        n_pair=settings.n_pair,
        n_radial=settings.n_radial,
        l_max=settings.l_max,
        seed=seed,
    )


def _committee(settings: CommitteeSettings, species: Sequence[str], seed: int) -> Committee:
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
