"""What a campaign came to, in numbers, in one line and as an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trepid.runs.ledger import StopReason
from trepid.errors import ExitCode, UntrustedError
from trepid.reference.base import LabelError


@dataclass(frozen=True)
class CampaignResult:
    """What a campaign came to.

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
    n_rounds : int or None
        Complete rounds of a campaign in rounds; None for one on the fly.
    """

    reason: StopReason
    message: str
    n_labels: int
    n_steps: int
    time_ps: float
    seconds_per_label: float
    directory: Path
    model_file: Path
    n_rounds: int | None = None

    @property
    def exit_code(self) -> int:
        """What the command returns: 0 ended as planned, 4 MD left reality, 5 labels failed, 130 interrupted."""
        if self.reason is StopReason.GUARD:
            return UntrustedError.exit_code
        if self.reason is StopReason.FAILURES:
            return LabelError.exit_code
        return ExitCode.INTERRUPTED if self.reason is StopReason.INTERRUPTED else 0

    def summary(self) -> str:
        """The closing line."""
        story = {
            StopReason.FINISHED: f"finished: all {'stages' if self.n_rounds is None else 'rounds'} were run",
            StopReason.CONVERGED: "finished: converged",
            StopReason.HOURS: "stopped: the budget of hours is spent",
            StopReason.LABELS: "stopped: the labelling budget is spent",
            StopReason.NO_CALLS: "finished: the model asked for nothing more",
            StopReason.FAILURES: "stopped: labels failed",
            StopReason.GUARD: "stopped: MD left reality again and again",
            StopReason.INTERRUPTED: "interrupted: the same command resumes",
        }[self.reason]
        detail = f" ({self.message})" if self.message else ""
        rounds = "" if self.n_rounds is None else f" of {self.n_rounds} rounds"
        return f"{story}{detail}; {self.n_labels} labels used in {self.time_ps:.3f} ps of MD{rounds}; model: {self.model_file}"
