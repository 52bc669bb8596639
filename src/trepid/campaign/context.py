"""What a campaign runs with, made from its settings, and the claim on its run directory.

A campaign is opened in two steps. `open_campaign` makes what it runs with: an error in the settings is raised here, before
anything is written but the directory. `CampaignContext.claim` then writes settings and the first entry of the ledger, or
checks that the existing run is of the same campaign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from trepid.campaign.first_look import look_at
from trepid.campaign.label_weights import require_known_kinds
from trepid.campaign.repair import retrain_without
from trepid.campaign.start import build_crystal
from trepid.campaign.training import PotentialFactory, Trainer
from trepid.config import AnyCampaign, CommitteeSettings, PotentialSettings, RoundsCampaign
from trepid.data.arrays import structure_digest
from trepid.data.formula import formula_of
from trepid.data.frames import LabelKeys
from trepid.data.progress_file import NO_FILE, ProgressFile
from trepid.data.supercells import width_A
from trepid.dynamics.interrupt import Interrupted, Interruptible
from trepid.dynamics.progress import FiledProgress, ProgressView, SilentProgress
from trepid.errors import ConfigError, DataError
from trepid.execution import InlineExecutor
from trepid.labelling.labeller import Labeller
from trepid.reference import ENGINES, make_reference
from trepid.reference.base import Reference
from trepid.runs.checksums import text_sha256
from trepid.runs.directory import RunDirectory, require_usable
from trepid.runs.first_look import cell_is_free, crystal_findings
from trepid.runs.integrity import ADVICE, Change, accepted, changes, last_settings
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import FirstLook, Resume, SettingsUsed, Stage, Start, Stop, StopReason
from trepid.runs.versions import versions_now

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.potentials.base import Potential
    from trepid.potentials.bayesian.force_field import BayesianForceField
    from trepid.potentials.committee import Committee
    from trepid.potentials.committee import CommitteeSettings as Members

SomeCampaign = TypeVar("SomeCampaign", bound=AnyCampaign)
End: TypeAlias = tuple[StopReason, str]
"""Why a campaign ends, and a detail that may be empty."""


class CampaignEnded(Exception):  # noqa: N818 not an error
    """The campaign ends before its next step.

    Attributes
    ----------
    reason : StopReason
    message : str
    """

    def __init__(self, reason: StopReason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass
class CampaignContext(Generic[SomeCampaign]):
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
    progress : ProgressFile
    interrupt : Interruptible
    executor : Executor
        Computes labels, trainings and walks.
    keys : LabelKeys
    changes : list of Change
        Files that were changed or lost, and that the user accepted.
    """

    campaign: SomeCampaign
    crystal: Atoms
    reference: Reference
    potentials: PotentialFactory
    directory: RunDirectory
    ledger: Ledger
    view: ProgressView
    progress: ProgressFile = NO_FILE
    interrupt: Interruptible = field(default_factory=Interruptible)
    executor: Executor = field(default_factory=InlineExecutor)
    keys: LabelKeys = field(default_factory=LabelKeys)
    changes: list[Change] = field(default_factory=list)

    @cached_property
    def store(self) -> LabelStore:
        """The label files."""
        return LabelStore(self.directory.labels, keys=self.keys)

    def labeller(self, *, retries: int) -> Labeller:
        """Labels frames with the reference, through the executor."""
        return Labeller(
            self.reference,
            self.executor,
            self.store,
            self.ledger,
            retries,
            self.interrupted,
            self.view.message,
            self.progress,
        )

    @property
    def trainer(self) -> Trainer:
        """Trains potentials, through the executor."""
        return Trainer(self.potentials, self.ledger, self.executor, self.progress, self.campaign.weights)

    def look_at_crystal(self, potential: Potential) -> None:
        """Say what the first model says of the crystal as given, and note it in the ledger, once."""
        with self.progress.stage("first look"):
            look = look_at(potential, self.crystal, seed=self.campaign.seed)
        if not self.ledger.all(FirstLook):  # after a kill, the look may be there already
            self.ledger.append(look)
        findings = crystal_findings(
            look, self.campaign.reference.engine, free_cell=cell_is_free(self.campaign), width_A=width_A(self.crystal)
        )
        for finding in findings:
            self.view.message(finding.text)

    def interrupted(self) -> bool:
        """Whether a signal has come."""
        return self.interrupt.requested

    def stop_if_interrupted(self) -> None:
        """Raise Interrupted once a signal has come."""
        if self.interrupt.requested:
            raise Interrupted

    def until_end(self, learn: Callable[[], End]) -> End:
        """Learn until the campaign ends by itself, has to end (CampaignEnded), or a signal comes."""
        with self.interrupt:
            try:
                end = learn()
            except Interrupted:
                end = StopReason.INTERRUPTED, ""
            except CampaignEnded as ended:
                end = ended.reason, ended.message
        if end[0] is StopReason.INTERRUPTED:
            self.progress.interrupted()
        return end

    def verify(self, *, accept: bool) -> None:
        """Compare the files of an existing run with its ledger, before anything is made of them.

        Parameters
        ----------
        accept : bool
            Go on with files that were changed or lost: `claim` notes them, and models trained on such labels are trained anew.

        Raises
        ------
        ConfigError
            The run is of another structure.
        DataError
            A file was changed or lost.
        """
        started = next(iter(self.ledger.all(Start)), None)
        if started is not None and started.structure_sha256 != structure_digest(self.crystal):
            raise ConfigError(
                f"structure: {self.directory.path} holds a run of another structure ({started.formula}, "
                f"{started.n_atoms} atoms); give that one back, or another output.directory"
            )
        self.changes = changes(self.directory, self.ledger.entries)
        if not self.changes:
            return
        if not accept:
            more = f" (and {len(self.changes) - 1} more)" if len(self.changes) > 1 else ""
            raise DataError(f"{self.changes[0]}{more}; {ADVICE}")
        retrain_without({change.label for change in self.changes if change.label is not None}, self.directory)
        for change in self.changes:
            self.view.message(f"accepted: {change}")

    def claim(self) -> list[str] | None:
        """Write settings and first entry of a new run, or check that the existing one can continue with these settings.

        Returns
        -------
        list of str or None
            None for a new run; else the settings that differ from those it was last started with, as 'key: old -> new', and
            the files that were accepted.

        Raises
        ------
        ConfigError
            A setting differs on which the labels or the MD so far depend.
        """
        ledger = self.ledger
        stages = {event.stage for event in ledger.all(Stage)}
        changed: list[str] = []
        if self.directory.settings not in [change.path for change in self.changes]:
            if self.changes:  # the ledger may have lost entries
                stages |= {frame.origin.stage for frame in self.store.read_all() if frame.origin.stage is not None}
            changed = self.directory.compare(self.campaign, n_stages_entered=max(stages, default=-1) + 1)
        changed += [str(change) for change in self.changes]
        text = self.campaign.to_yaml()
        started = bool(ledger.all(Start))
        if started and text_sha256(text) != last_settings(ledger.entries):
            ledger.append(SettingsUsed(text_sha256(text)))  # before the file, which a kill may leave as it was
        self.directory.write(text, versions_now(self.campaign.reference, self.campaign.potential))
        if ledger.recovered:
            self.view.message(ledger.recovered)
        if not started:
            ledger.append(
                Start(
                    n_atoms=len(self.crystal),
                    formula=formula_of(self.crystal),
                    structure_sha256=structure_digest(self.crystal),
                    reference=dict(self.reference.describe()),
                    settings_sha256=text_sha256(text),
                )
            )
        if self.changes:
            ledger.append(accepted(self.directory, self.changes, ledger.entries))
        return changed if started else None

    def finished(self, changed: list[str], ended: tuple[StopReason, ...]) -> Stop | None:
        """The last entry, where the campaign has nothing left to do: it ended for one of these reasons, unchanged."""
        last = self.ledger.last
        return last if isinstance(last, Stop) and last.reason in ended and not changed else None

    def resume(self, entry: Resume) -> None:
        """Write the entry `resume`, and show it."""
        self.ledger.append(entry)
        self.view.message(
            f"resuming: {entry.reused}" + (f"; changed: {'; '.join(entry.changed)}" if entry.changed else "")
        )


SomeContext = TypeVar("SomeContext", bound=CampaignContext[Any])


@contextmanager
def open_campaign(
    campaign: AnyCampaign,
    kind: type[SomeContext],
    *,
    reference: Reference | None = None,
    potentials: PotentialFactory | None = None,
    progress: ProgressView | None = None,
    accept_changes: bool = False,
) -> Iterator[SomeContext]:
    """Make what a campaign runs with; run directory and ledger are closed with the block, as is a reference made here.

    Parameters
    ----------
    campaign : Campaign or RoundsCampaign
    kind : type
        Of the context.
    reference : Reference or None
        None makes the one that the settings name.
    potentials : PotentialFactory or None
        None takes the one that the settings name.
    progress : ProgressView or None
    accept_changes : bool
        Go on with files of the run that were changed or lost.

    Raises
    ------
    ConfigError
        The system cannot be labelled by this reference, a setting is out of range, or the output directory holds
        something else.
    DataError
        The structure cannot be read, a file of the run was changed or lost, or another process uses the run directory.
    """
    crystal = crystal_of(campaign)
    with ExitStack() as closing:
        if reference is None:
            reference = reference_of(campaign, directory=campaign.output.directory / "reference")
            closing.callback(reference.close)
        reference.check(crystal)
        potentials = potentials or potentials_of(campaign, crystal)
        potentials.create()  # settings out of range show here, before anything is written
        require_known_kinds(campaign)
        directory = RunDirectory(campaign.output.directory)
        closing.callback(directory.release)
        ledger = Ledger(directory.ledger, accept_changes=accept_changes)
        closing.callback(ledger.close)
        unit = "rounds" if isinstance(campaign, RoundsCampaign) else "MD steps"
        stage = "other" if isinstance(campaign, RoundsCampaign) else "dynamics"
        file = closing.enter_context(ProgressFile(directory.path, job="learn", unit=unit, stage=stage))
        context = kind(
            campaign=campaign,
            crystal=crystal,
            reference=reference,
            potentials=potentials,
            directory=directory,
            ledger=ledger,
            view=FiledProgress(progress or SilentProgress(), file),
            progress=file,
        )
        context.verify(accept=accept_changes)
        yield context


def look_over(campaign: AnyCampaign, crystal: Atoms) -> None:
    """Raise what would stop the campaign at its start: settings of the model out of range, a directory it cannot have."""
    if not isinstance(campaign.potential, CommitteeSettings):  # whose programs may have to be trusted first
        potentials_of(campaign, crystal).create()
    require_known_kinds(campaign)
    require_usable(campaign.output.directory)


def crystal_of(campaign: AnyCampaign) -> Atoms:
    """The crystal of a campaign; DataError where its file is unreadable, or no simulation can start from it."""
    rules = campaign.walkers if isinstance(campaign, RoundsCampaign) else campaign.learning
    return build_crystal(campaign.structure, min_distance_factor=rules.min_distance_factor)


def reference_of(campaign: AnyCampaign, *, directory: Path | None = None) -> Reference:
    """The reference that a campaign names, in a process of its own.

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
    return make_reference(
        campaign.reference.engine, directory=directory, isolated=True, **campaign.reference.arguments()
    )


def code_in(campaign: AnyCampaign) -> str | None:
    """What the reference of a campaign names that would run when it is made or checked, in a few words; None: nothing.

    Nothing of it runs here.

    Raises
    ------
    ConfigError
        A setting is seen to be wrong without running anything.
    """
    return ENGINES[campaign.reference.engine].code_in(campaign.reference.arguments())


def potentials_of(campaign: AnyCampaign, crystal: Atoms) -> PotentialFactory:
    """The Bayesian force field or the committee with a campaign's settings, for the elements of its crystal."""
    settings, seed = campaign.potential, campaign.seed
    species = sorted(set(crystal.get_chemical_symbols()))
    if isinstance(settings, CommitteeSettings):
        from trepid.potentials.committee import Committee
        from trepid.potentials.committee.settings import Programs
        from trepid.potentials.placement import member_settings

        members = member_settings(settings, seed=seed)
        assert members.model is not None
        # The campaign file is the user's: what it names may run, whatever the model file of the run names.
        load = partial(Committee.load, programs=Programs.of(members.model))
        return PotentialFactory(create=lambda: _committee(members, species), load=load)
    from trepid.potentials.bayesian.force_field import BayesianForceField

    return PotentialFactory(create=lambda: _force_field(settings, species, seed), load=BayesianForceField.load)


def _force_field(settings: PotentialSettings, species: list[str], seed: int) -> BayesianForceField:
    from trepid.potentials.bayesian.force_field import BayesianForceField

    return BayesianForceField(
        species,
        pair_cutoff=settings.pair_cutoff_A,
        triplet_cutoff=settings.triplet_cutoff_A,
        n_pair=settings.n_pair,
        n_radial=settings.n_radial,
        l_max=settings.l_max,
        n_channels=settings.n_channels,
        triplets=settings.triplets,
        charges=settings.charges,
        seed=seed,
    )


def _committee(members: Members, species: list[str]) -> Committee:
    from trepid.potentials.committee import Committee

    committee = Committee(species, settings=members)
    committee.require_backend()
    return committee
