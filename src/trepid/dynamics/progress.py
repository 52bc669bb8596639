"""How a run shows itself: a live bar on a terminal, plain lines elsewhere; always on stderr.

A loop that runs MD reports a `Progress` now and then; a `ProgressView` shows it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from trepid.data.progress_file import ProgressFile
from trepid.quantities import force

FS_PER_NS = 1e6
SECONDS_PER_DAY = 86400.0


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes
    ----------
    step, n_steps : int
        Steps made, and steps of the whole run.
    time_ps : float
        Simulated time, ps.
    temperature_K : float
        Instantaneous, K.
    forces_uncertainty : float
        Of the present frame, eV/A.
    threshold : float
        The uncertainty at which something happens, eV/A.
    steps_per_second : float
        Speed of the MD alone, without labels and training.
    timestep_fs : float
        fs.
    n_labels : int or None
        Labels used; None for a run that makes none.
    max_labels : int or None
        Their budget.
    """

    step: int
    n_steps: int
    time_ps: float
    temperature_K: float
    forces_uncertainty: float
    threshold: float
    steps_per_second: float
    timestep_fs: float
    n_labels: int | None = None
    max_labels: int | None = None

    @property
    def ns_per_day(self) -> float:
        """Speed in ns of simulated time per day."""
        return self.steps_per_second * self.timestep_fs / FS_PER_NS * SECONDS_PER_DAY

    def to_line(self) -> str:
        """Everything in one line."""
        labels = ""
        if self.n_labels is not None:
            labels = f"labels {self.n_labels}" + (f"/{self.max_labels}" if self.max_labels is not None else "") + "  "
        return (
            f"{self.time_ps:8.3f} ps  {self.temperature_K:5.0f} K  {labels}"
            f"uncertainty {force(self.forces_uncertainty)}, threshold {force(self.threshold)}  "
            f"{self.steps_per_second:.0f} steps/s  {self.ns_per_day:.2g} ns/day"
        )


class ProgressView(ABC):
    """Draws the progress of one run; use it in a `with` block."""

    @abstractmethod
    def update(self, progress: Progress) -> None:
        """Show where the run stands; cheap enough to call at every check."""

    @abstractmethod
    def message(self, text: str) -> None:
        """Show one line that stays."""

    def close(self) -> None:  # noqa: B027 most views have nothing to put in order
        """Leave the terminal in order."""

    def __enter__(self) -> ProgressView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SilentProgress(ProgressView):
    """Shows nothing: for library use and tests."""

    def update(self, progress: Progress) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""


class FiledProgress(ProgressView):
    """Shows a run by another view, and writes where it stands to progress.json."""

    def __init__(self, view: ProgressView, file: ProgressFile) -> None:
        self._view, self._file = view, file

    def update(self, progress: Progress) -> None:
        """Show it and write it."""
        self._view.update(progress)
        self._file.whole(progress.step, progress.n_steps)

    def message(self, text: str) -> None:
        """Show the line."""
        self._view.message(text)


class PlainProgress(ProgressView):
    """Plain lines for log files and pipes, at most one per `interval_s`.

    Parameters
    ----------
    write : callable
        Receives each line, without its line end.
    interval_s : float
        Seconds between two lines of progress; messages come at once.
    clock : callable
        Seconds; for tests.
    """

    def __init__(
        self, write: Callable[[str], None], *, interval_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._interval = interval_s
        self._clock = clock
        self._last = clock()

    def update(self, progress: Progress) -> None:
        """Write a line when the last one is `interval_s` old."""
        if self._clock() - self._last >= self._interval:
            self._last = self._clock()
            self._write(f"step {progress.step}/{progress.n_steps}  {progress.to_line()}")

    def message(self, text: str) -> None:
        """Write the line."""
        self._write(text)


class BarProgress(ProgressView):
    """A live bar on a terminal."""

    def __init__(self, console: Console, *, title: str = "MD") -> None:
        self._bar = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(title, total=None, state="")
        self._bar.start()

    def update(self, progress: Progress) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=progress.step, total=progress.n_steps, state=escape(progress.to_line()))

    def message(self, text: str) -> None:
        """Write the line above the bar."""
        self._bar.console.print(escape(text), highlight=False)

    def close(self) -> None:
        """Stop drawing."""
        self._bar.stop()


def make_progress(*, title: str = "MD", console: Console | None = None, interval_s: float = 10.0) -> ProgressView:
    """Make a bar where stderr is a terminal, plain lines where it is not."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        return BarProgress(console, title=title)
    return PlainProgress(
        lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True), interval_s=interval_s
    )


def md_progress(directory: Path) -> ProgressFile:
    """The progress file of an MD run."""
    return ProgressFile(directory, job="md", unit="MD steps", stage="dynamics")


class Speedometer:
    """Steps per second of the MD alone: the pieces between `start` and `stop`, averaged over the last few seconds."""

    def __init__(self, *, memory_s: float = 5.0, clock: Callable[[], float] = time.perf_counter) -> None:
        self._memory = memory_s
        self._clock = clock
        self._began = 0.0
        self._steps = self._seconds = 0.0

    def start(self) -> None:
        """The MD continues now."""
        self._began = self._clock()

    def stop(self, steps: int) -> None:
        """`steps` were made since `start`."""
        took = self._clock() - self._began
        fade = max(0.0, 1.0 - took / self._memory)
        self._steps = self._steps * fade + steps
        self._seconds = self._seconds * fade + took

    @property
    def steps_per_second(self) -> float:
        """0 before the first piece."""
        return self._steps / self._seconds if self._seconds > 0 else 0.0
