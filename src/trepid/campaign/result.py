"""The result of a campaign: figures, one line of text, and the exit code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trepid.errors import ExitCode, UntrustedError
from trepid.potentials import Potential, load_potential
from trepid.reference.base import LabelError
from trepid.runs.ledger_events import StopReason
from trepid.verdict import Verdict, judge_run


@dataclass(frozen=True)
class CampaignResult:
    """The result of a campaign.

    Attributes
    ----------
    reason : StopReason
    message : str
        One line more about the reason; may be empty.
    n_labels : int
        Labels used, of this and earlier starts.
    n_steps : int
        MD steps made.
    time_ps : float
        Simulated time, ps.
    seconds_per_label : float
        Mean time of the reference, s; NaN without labels.
    directory, model_file : Path
    reader : callable
        Reads the model file, with the programs that the campaign names.
    n_rounds : int or None
        Complete rounds of a campaign in rounds; None for one on the fly.
    already_ended : bool
        An earlier call ended the campaign, and this one found nothing to do.
    """

    reason: StopReason
    message: str
    n_labels: int
    n_steps: int
    time_ps: float
    seconds_per_label: float
    directory: Path
    model_file: Path
    reader: Callable[[Path], Potential] = load_potential
    n_rounds: int | None = None
    already_ended: bool = False

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 0 ended as planned, 4 unstable MD, 5 labels failed, 130 interrupted."""
        if self.reason is StopReason.GUARD:
            return UntrustedError.exit_code
        if self.reason is StopReason.FAILURES:
            return LabelError.exit_code
        return ExitCode.INTERRUPTED if self.reason is StopReason.INTERRUPTED else 0

    def load(self) -> Potential:
        """The trained model; ModelFileError where there is none."""
        return self.reader(self.model_file)

    def verdict(self) -> Verdict:
        """Whether the model is good enough, and what would make it better; reads the run directory."""
        return judge_run(self.directory)

    def summary(self) -> str:
        """One line of text."""
        outcome = self.reason.told(rounds=self.n_rounds is not None)
        detail = f" ({self.message})" if self.message else ""
        rounds = "" if self.n_rounds is None else f" of {self.n_rounds} rounds"
        already = "already " if self.already_ended else ""
        used = f"{self.n_labels} labels used in {self.time_ps:.3f} ps of MD{rounds}"
        return f"{already}{outcome}{detail}; {used}; model: {self.model_file}"
