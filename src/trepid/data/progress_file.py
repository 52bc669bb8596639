"""progress.json of a run directory: where a long job stands, for programs that wait for it.

One JSON object, replaced atomically; docs/execution.md lists its keys. It is made for reading by others: nothing is resumed from
it, and a job that has nothing left to do does not touch it. After a kill it stays at "running", with the process that is gone.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from types import TracebackType

from trepid.data.atomic import write_text_atomic
from trepid.errors import TrepidError

FILE = "progress.json"
FORMAT = 1
INTERVAL_S = 2.0
"""Time between two versions of the file at the same stage, s."""
LEAST_S = 1.0
"""Time after which a rate is taken for one, s."""

logger = logging.getLogger(__name__)


class JobState(str, Enum):
    """State of a job."""

    RUNNING = "running"
    """Or killed: see whether the process is still there."""
    ENDED = "ended"
    """By itself; the job's own results say why."""
    INTERRUPTED = "interrupted"
    """By a signal; the same command continues."""
    FAILED = "failed"


@dataclass
class _Stage:
    name: str
    done: float = 0.0
    total: float | None = None


class ProgressFile:
    """Writes progress.json of one job; use it in a `with` block.

    Parameters
    ----------
    directory : Path or None
        Run directory, which exists; None writes nothing.
    job : str
        The verb: learn, audit, screen, conductivity, md.
    unit : str
        Of done and total: "MD steps", "rounds", "materials".
    stage : str
        Name of the time that is in no stage.
    clock : callable
        Seconds; for tests.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        job: str,
        unit: str,
        stage: str = "other",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = None if directory is None else directory / FILE
        self._job, self._unit, self._clock = job, unit, clock
        self._whole = _Stage(stage)
        self._at_begin: tuple[float, float] | None = None
        self._stages = [self._whole]
        self._seconds = _earlier_seconds(self._path)
        self._started = datetime.now(timezone.utc)
        self._counted = self._written = clock()
        self._begun = self._interrupted = False

    def __enter__(self) -> ProgressFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._begun:
            return
        self._count()
        interrupted = isinstance(error, KeyboardInterrupt) or self._interrupted
        state = JobState.INTERRUPTED if interrupted else JobState.FAILED if error is not None else JobState.ENDED
        self._write(state)

    def interrupted(self) -> None:
        """Note that a signal ends the job, which ends in order."""
        self._interrupted = True

    def whole(self, done: float, total: float | None) -> None:
        """Where the whole job stands."""
        self._count()
        self._whole.done, self._whole.total = done, total
        if self._at_begin is None:
            self._at_begin = done, self._clock()
        self._update()

    @property
    def due(self) -> bool:
        """Whether another version is due: for figures that take time to find."""
        return not self._begun or self._clock() - self._written >= INTERVAL_S

    @contextmanager
    def stage(self, name: str, *, total: float | None = None) -> Iterator[None]:
        """A stage of the job, such as labels, training, trajectories; its time does not count for the stage around it."""
        self._count()
        self._stages.append(_Stage(name, 0.0, total))
        self._write(JobState.RUNNING)
        try:
            yield
        finally:
            self._count()
            self._stages.pop()
            self._write(JobState.RUNNING)

    def done(self, done: float) -> None:
        """How much of the present stage is done."""
        self._stages[-1].done = done
        self._count()
        self._update()

    def _count(self) -> None:
        now = self._clock()
        name = self._stages[-1].name
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._counted
        self._counted = now

    def _update(self) -> None:
        if self.due:
            self._write(JobState.RUNNING)

    @property
    def _left_s(self) -> float | None:
        """Time left at the speed of this process so far, s; None while nothing tells it."""
        if self._at_begin is None or self._whole.total is None:
            return None
        done, since = self._at_begin
        made, took = self._whole.done - done, self._clock() - since
        if self._whole.done >= self._whole.total:
            return 0.0
        return took * (self._whole.total - self._whole.done) / made if made > 0 and took >= LEAST_S else None

    def _write(self, state: JobState) -> None:
        self._begun, self._written = True, self._clock()
        if self._path is None:
            return
        stage, left = self._stages[-1], self._left_s if state is JobState.RUNNING else None
        content = {
            "format": FORMAT,
            "job": self._job,
            "state": state.value,
            "pid": os.getpid(),
            "host": platform.node(),
            "started": self._started.isoformat(timespec="seconds"),
            "updated": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "done": self._whole.done,
            "total": self._whole.total,
            "unit": self._unit,
            "eta_s": None if left is None else round(left, 1),
            "stage": stage.name,
            "stage_done": None if stage is self._whole else stage.done,
            "stage_total": None if stage is self._whole else stage.total,
            "seconds": {name: round(seconds, 3) for name, seconds in self._seconds.items()},
        }
        try:
            write_text_atomic(self._path, json.dumps(content, indent=1) + "\n", durable=False)
        except TrepidError as error:  # what is computed matters more; a full disk stops the job where it writes results
            logger.warning("%s", error)
            self._path = None


def _earlier_seconds(path: Path | None) -> dict[str, float]:
    """Seconds of each stage in earlier processes of the job; none where the file is missing or damaged."""
    if path is None:
        return {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        found = json.loads(path.read_text(encoding="utf-8"))["seconds"]
        seconds = {str(name): float(value) for name, value in found.items()}
        if all(math.isfinite(value) and value >= 0 for value in seconds.values()):
            return seconds
    return {}


NO_FILE = ProgressFile(None, job="", unit="")
"""Writes nothing."""
