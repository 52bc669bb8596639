"""What the stages of a round share: settings, files, who labels, who computes, and what is known so far."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.runs.label_files import LabelStore
from trepid.runs.ledger import Round, RoundEnd, Selected, Walks
from trepid.campaign.opening import OpenCampaign
from trepid.runs.round_files import RoundFiles, RoundRecord, complete_rounds
from trepid.campaign.round_start import harmonic_reference_of, quiet_phonopy
from trepid.config import RoundsCampaign
from trepid.data.frames import LabelKeys, write_frames
from trepid.dynamics.interrupt import Interruptible
from trepid.execution import InlineExecutor
from trepid.potentials.base import Potential

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.runs.ledger import StopReason


class CampaignInterrupted(Exception):  # noqa: N818 not an error: the campaign ends as asked
    """The campaign is to end; the same command resumes it."""


class CampaignEnded(Exception):  # noqa: N818 not an error
    """The campaign ends in the middle of a round.

    Attributes
    ----------
    reason : StopReason
    message : str
    """

    def __init__(self, reason: StopReason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass
class RoundContext(OpenCampaign[RoundsCampaign]):
    """One campaign under way: what it was opened with, and what its rounds have come to.

    Attributes
    ----------
    records : list of RoundRecord
        Of the complete rounds.
    interrupt : Interruptible
    executor : Executor
        Computes labels, trainings and walks.
    keys : LabelKeys
    """

    records: list[RoundRecord]
    interrupt: Interruptible = field(default_factory=Interruptible)
    executor: Executor = field(default_factory=InlineExecutor)
    keys: LabelKeys = field(default_factory=LabelKeys)

    def __post_init__(self) -> None:
        self.store = LabelStore(self.directory.labels, keys=self.keys)

    @classmethod
    def of(cls, opened: OpenCampaign[RoundsCampaign]) -> RoundContext:
        """The context of a campaign that was just opened."""
        shared = {part.name: getattr(opened, part.name) for part in fields(opened)}
        return cls(**shared, records=complete_rounds(opened.directory.path))

    @property
    def n_labels(self) -> int:
        """Labels that the complete rounds rest on."""
        return self.records[-1].n_labels if self.records else 0

    @property
    def next_label(self) -> int:
        """Number of the first label of the round to come."""
        return self.records[-1].next_label if self.records else 1

    def labels_before(self, number: int) -> list[Atoms]:
        """Labels with smaller numbers, in order."""
        return [self.store.read(k) for k in self.store.numbers() if k < number]

    def files(self, number: int) -> RoundFiles:
        """Files of a round."""
        return RoundFiles(self.directory.path, number)

    def model_before(self, number: int) -> Path:
        """Model of the latest round before `number` that trained one."""
        return next(model for earlier in range(number - 1, -1, -1) if (model := self.files(earlier).model).exists())

    @contextmanager
    def loaded(self, model: Path) -> Iterator[Potential]:
        """The potential in a model file; processes that it starts are ended with the block."""
        potential = self.potentials.load(model)
        try:
            yield potential
        finally:
            getattr(potential, "close", lambda: None)()

    def crystal_file(self) -> Path:
        """The crystal as a file, for walkers."""
        path = self.directory.path / "rounds" / "crystal.extxyz"
        if not path.exists():
            write_frames(path, self.crystal)
        return path

    def harmonic_file(self, files: RoundFiles, potential: Potential) -> Path:
        """Force constants for sigma^A: of the start where it has some, else of the model that is walked on."""
        start = self.files(0).harmonic
        if start.exists():
            return start
        if not files.harmonic.exists():
            from trepid.anharmonicity.phonopy_files import write_phonopy

            harmonic = harmonic_reference_of(self.campaign, potential, displacement_A=0.01)
            with quiet_phonopy():
                write_phonopy(harmonic, files.harmonic)
        return files.harmonic

    def interrupted(self) -> bool:
        """Whether a signal has come."""
        return self.interrupt.requested

    def stop_if_asked(self) -> None:
        """Raise CampaignInterrupted once a signal has come."""
        if self.interrupt.requested:
            raise CampaignInterrupted

    def note_once(self, event: Round | Walks | Selected | RoundEnd) -> bool:
        """Write an entry about a round, unless there is one; True where it was written."""
        if event.round in {other.round for other in self.ledger.all(type(event))}:
            return False
        self.ledger.append(event)
        return True
