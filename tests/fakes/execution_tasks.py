"""Tasks that behave and misbehave; importable by workers. Not a test file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """`deaths`: how many times it ends its worker before it succeeds; counted by files in `folder`."""

    number: int
    folder: str
    deaths: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Done:
    number: int
    pid: int
    threads: str | None


def compute(job: Job) -> Done:
    """Square a number, after ending as many workers as the job requires."""
    folder = Path(job.folder)
    attempts = len(list(folder.glob(f"{job.number}.*")))
    (folder / f"{job.number}.{attempts}").write_text(str(os.getpid()))
    if attempts < job.deaths:
        # In mid task: a worker hands its result over from a thread, and one killed while it does takes that result with it.
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(job.seconds)
    return Done(job.number**2, os.getpid(), os.environ.get("OMP_NUM_THREADS"))


def fail(number: int) -> None:
    raise ValueError(f"number {number} is odd")


def numpy_threads(_: int) -> tuple[str | None, bool]:
    """Number of threads set, and whether numpy had been loaded before this task."""
    return os.environ.get("OMP_NUM_THREADS"), "numpy" in sys.modules


def sleep_with_a_child(path: str) -> None:
    """Start a process, write both numbers, and take long."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(path).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)


def unpicklable(_: int) -> object:
    return lambda: None


def main(folder: str) -> None:
    """What the tests start, signal and kill: an executor with one long task."""
    from trepid.execution import LocalExecutor

    with LocalExecutor(2) as executor:
        future = executor.submit(sleep_with_a_child, f"{folder}/pids")
        future.result()


if __name__ == "__main__":
    main(sys.argv[1])
