"""What the steps of a round share: the context of the campaign, the complete rounds, and the loaded model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trepid.anharmonicity.phonopy_objects import quiet_phonopy
from trepid.campaign.context import CampaignContext
from trepid.campaign.start import harmonic_reference_of
from trepid.config import RoundsCampaign
from trepid.data.frames import write_frames
from trepid.errors import DataError
from trepid.potentials.base import Potential
from trepid.runs.label_files import LabelledFrame
from trepid.runs.ledger_events import Round, RoundEnd, Selected, Walks
from trepid.runs.round_files import RoundFiles, RoundRecord, Selection, complete_rounds


@dataclass
class RoundContext(CampaignContext[RoundsCampaign]):
    """A campaign in rounds.

    Attributes
    ----------
    records : list of RoundRecord
        Of the complete rounds.
    """

    records: list[RoundRecord] = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.records = complete_rounds(self.directory.path)
        except DataError:  # repaired once it is known that the run is of this campaign
            self.records = []
        self._model: tuple[Path, Potential] | None = None

    @property
    def n_labels(self) -> int:
        """Labels of the complete rounds."""
        return self.records[-1].n_labels if self.records else 0

    @property
    def next_label(self) -> int:
        """Number of the first label of the next round."""
        return self.records[-1].next_label if self.records else 1

    def labels_before(self, number: int) -> list[LabelledFrame]:
        """Labels with smaller numbers, in order."""
        return [self.store.read(k) for k in self.store.numbers() if k < number]

    def selections_before(self, number: int) -> list[Selection]:
        """What the rounds before this one selected."""
        return [Selection.read(self.files(k).selection) for k in range(1, number)]

    def files(self, number: int) -> RoundFiles:
        """Files of a round."""
        return RoundFiles(self.directory.path, number)

    def model_before(self, number: int) -> Path:
        """Model of the latest round before `number` that trained one."""
        return next(model for earlier in range(number - 1, -1, -1) if (model := self.files(earlier).model).exists())

    def loaded(self, model: Path) -> Potential:
        """The potential in a model file. The latest one is kept, so that a round loads its model once."""
        if self._model is None or self._model[0] != model:
            self.keep(model, self.potentials.load(model))
        assert self._model is not None
        return self._model[1]

    def keep(self, model: Path, potential: Potential) -> None:
        """Keep a potential that was read from this file."""
        self.unload()
        self._model = model, potential

    def unload(self) -> None:
        """End the processes of the kept potential."""
        if self._model is not None:
            self._model[1].close()
        self._model = None

    def crystal_file(self) -> Path:
        """The crystal as a file, for walks."""
        path = self.directory.rounds / "crystal.extxyz"
        if not path.exists():
            write_frames(path, self.crystal)
        return path

    def harmonic_file(self, files: RoundFiles, potential: Potential) -> Path:
        """Force constants for sigma^A: of the start where it has some, else of the model of the round."""
        start = self.files(0).harmonic
        if start.exists():
            return start
        if not files.harmonic.exists():
            from trepid.anharmonicity.phonopy_files import write_phonopy

            harmonic = harmonic_reference_of(
                self.campaign, potential, displacement_A=0.01, needed_by="acquisition.measure sigma_a"
            )
            with quiet_phonopy():
                write_phonopy(harmonic, files.harmonic)
        return files.harmonic

    def note_once(self, event: Round | Walks | Selected | RoundEnd) -> bool:
        """Write an entry about a round, unless it exists; True where it was written."""
        if event.round in {other.round for other in self.ledger.all(type(event))}:
            return False
        self.ledger.append(event)
        return True
