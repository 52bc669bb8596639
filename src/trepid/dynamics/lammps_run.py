"""`trepid md --engine lammps` as a function: LAMMPS runs an input file, trepid reads its output.

Nothing of Python is in the loop, so a million atoms are no problem, and the input file in the run directory serves on a
machine without trepid too. The run directory holds what LAMMPS reads (in.lammps, start.data, model.trepid) and writes
(log.lammps, trace.csv, trajectory.lammpstrj, checkpoint.STEP.restart; untrusted.lammpstrj with the atoms that left the
trusted region; stopped.lammpstrj and stopped.restart where the guard ended it).

The same call continues from the last checkpoint. On the same number of processes the files are then those of an
uninterrupted run to the last bit, with three exceptions: the noise of Langevin, which LAMMPS does not keep, is another; a box
that tilts is read with rounding errors; and where the temperature ramps at a pressure, LAMMPS gives the barostat the mass of
the temperature at which it starts again.
"""

from __future__ import annotations

import csv
import errno
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.choices import Barostat, GuardAction
from trepid.data.atomic import set_aside, write_bytes_atomic, write_text_atomic
from trepid.data.geometry import require_start
from trepid.data.lock import RunLock
from trepid.dynamics.driver import require_cell, require_movable, thermal_momenta
from trepid.dynamics.guard import ADVICE, MD_LIMITS, next_steps
from trepid.dynamics.interrupt import Interruptible
from trepid.dynamics.lammps_engine import MODEL_FILE
from trepid.dynamics.lammps_input import (
    CHECKPOINT,
    DATA_FILE,
    INPUT_FILE,
    STOPPED_FRAME,
    STOPPED_RESTART,
    TRACE_HEADER,
    TRAJECTORY_FILE,
    UNTRUSTED_FILE,
    write_input,
)
from trepid.dynamics.progress import FiledProgress, Progress, ProgressView, SilentProgress, md_progress
from trepid.dynamics.record import TRACE_FILE
from trepid.dynamics.sanity import unphysical
from trepid.dynamics.settings import MDEnd, MDResult, MDSettings, claimed_directory
from trepid.errors import (
    ConfigError,
    MachineError,
    NumericsError,
    UntrustedError,
    cannot_write,
    unknown_elements,
)
from trepid.lammps.installation import Installation, find_installation
from trepid.lammps.process import Process
from trepid.lammps.system import System, write_data_file
from trepid.potentials.base import Potential, Uncertainty, warn_of_composition
from trepid.quantities import force

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

POLL_S = 0.2
"""Interval at which the output of LAMMPS is read, s."""
LEAST_ROOM_BYTES = 16_384
"""With less room on the disk a run of LAMMPS is ended."""
_RESTART_END = b"LammpS RestartT\0"
"""End of a complete restart file of LAMMPS."""
_SEED_STRIDE = 7919
"""A resumed run shifts the seed of the noise by this times its step over the checkpoint interval."""


@dataclass(frozen=True)
class _Row:
    """The columns of the trace that are needed here."""

    step: int
    target_temperature_K: float
    temperature_K: float
    potential_energy_eV: float
    uncertainty: float
    volume_A3: float

    def unphysical(self, *, start_volume_A3: float) -> str:
        """Reason why the frame of this row is unphysical; an empty string for a physical one."""
        if not np.isfinite(self.potential_energy_eV):
            return "the energy is not finite"
        return unphysical(
            MD_LIMITS,
            temperature_K=self.temperature_K,
            target_temperature_K=self.target_temperature_K,
            uncertainty=self.uncertainty,
            volume_factor=self.volume_A3 / start_volume_A3,
        )


def prepare_lammps(
    potential: Potential,
    atoms: Atoms,
    settings: MDSettings,
    *,
    directory: Path,
    model_file: str | Path | None = None,
    repeat: tuple[int, int, int] = (1, 1, 1),
) -> System:
    """Write in.lammps, start.data and model.trepid into a run directory, or check that it holds this very run.

    Raises
    ------
    ConfigError
        Settings that LAMMPS cannot follow, or a directory with another run.
    DataError
        An element that the model does not describe, or another process uses the directory.
    """
    with prepared_lammps(potential, atoms, settings, directory=directory, model_file=model_file, repeat=repeat):
        return System.of(atoms)


@contextmanager
def prepared_lammps(
    potential: Potential,
    atoms: Atoms,
    settings: MDSettings,
    *,
    directory: Path,
    model_file: str | Path | None = None,
    repeat: tuple[int, int, int] = (1, 1, 1),
) -> Iterator[RunLock]:
    """As `prepare_lammps`; the directory is locked for the block."""
    require_start(atoms)
    unknown = sorted(set(atoms.get_chemical_symbols()) - set(potential.species))
    if unknown:
        raise unknown_elements(unknown, potential.species)
    if settings.uncertainty is not Uncertainty.LIVE:
        raise ConfigError(f"LAMMPS computes the live uncertainty, not the {settings.uncertainty.value} one; give live")
    if settings.sample_every % settings.check_every:
        raise ConfigError(
            f"LAMMPS needs sample_every ({settings.sample_every}) to be a multiple of check_every "
            f"({settings.check_every}): frames carry the uncertainty of a check"
        )
    require_movable(atoms)
    if settings.pressure_GPa is not None:
        require_cell(atoms, settings.barostat)
    warn_of_composition(atoms, potential.undetermined_energy(atoms))
    system = System.of(atoms)
    with claimed_directory(directory, settings, atoms, model_file, settings.notes(potential, repeat)) as lock:
        _write_files(potential, atoms, settings, system, directory, model_file)
        yield lock


def _write_files(
    potential: Potential,
    atoms: Atoms,
    settings: MDSettings,
    system: System,
    directory: Path,
    model_file: str | Path | None,
) -> None:
    """What LAMMPS reads."""
    rng = np.random.default_rng(settings.seed)
    if not (directory / DATA_FILE).exists():
        walker = atoms.copy()
        walker.set_momenta(thermal_momenta(walker, settings.parameters.temperature_K, rng))
        if model_file is None:
            potential.save(directory / MODEL_FILE)
        else:
            write_bytes_atomic(directory / MODEL_FILE, Path(model_file).read_bytes())
        electrostatics = potential.electrostatics
        charges = None if electrostatics is None else electrostatics.charges
        tilts = settings.pressure_GPa is not None and settings.barostat is Barostat.FULL
        write_data_file(directory / DATA_FILE, walker, system, charges=charges, triclinic=tilts)
    write_input(
        directory,
        system,
        settings,
        threshold=settings.threshold(potential),
        n_labels=potential.n_frames,
        rng=np.random.default_rng([settings.seed, 1]),
        electrostatics=potential.electrostatics,
    )


def run_lammps(
    potential: Potential,
    atoms: Atoms,
    settings: MDSettings,
    *,
    directory: str | Path,
    model_file: str | Path | None = None,
    ranks: int = 1,
    progress: ProgressView | None = None,
    repeat: tuple[int, int, int] = (1, 1, 1),
) -> MDResult:
    """Run MD in LAMMPS, or continue the run in `directory`.

    Parameters
    ----------
    potential, atoms, settings, directory, model_file, progress, repeat
        As for `trepid.dynamics.run.run_md`.
    ranks : int
        MPI processes; another call may use another number.

    Returns
    -------
    MDResult

    Raises
    ------
    UntrustedError
        The guard stopped the run.
    NumericsError
        LAMMPS ended with an error.
    ConfigError
        LAMMPS, its plugin or mpiexec is missing; settings it cannot follow; a directory with another run.
    DataError
        An element that the model does not describe; files of the run that cannot be read.
    """
    installation = find_installation()
    directory = Path(directory)
    with (
        prepared_lammps(potential, atoms, settings, directory=directory, model_file=model_file, repeat=repeat) as lock,
        md_progress(directory) as file,
    ):
        view = FiledProgress(progress or SilentProgress(), file)
        result = _run(installation, potential, settings, directory, ranks, view, lock)
        if result.end is MDEnd.INTERRUPTED:
            file.interrupted()
        return result


def _run(
    installation: Installation,
    potential: Potential,
    settings: MDSettings,
    directory: Path,
    ranks: int,
    view: ProgressView,
    lock: RunLock,
) -> MDResult:
    """Start or continue, and run to an end, in a directory that is locked."""
    watch = _Watch(directory, settings, settings.threshold(potential), view)
    start = watch.rewind()
    if 0 < start < settings.n_steps:
        view.message(f"resuming at {start * settings.timestep_fs / 1000:.3f} ps (step {start})")
    end = MDEnd.FINISHED
    if start < settings.n_steps:
        variables = {}
        if start:
            seed = 1 + _SEED_STRIDE * (start // settings.checkpoint_every) % 800_000_000
            variables = {"resume": CHECKPOINT.replace("*", str(start)), "seed": str(seed)}
        with Interruptible() as interrupt:
            process = Process(
                installation,
                INPUT_FILE,
                directory=directory,
                ranks=ranks,
                variables=variables,
                inherited=[lock.fileno()],
            )
            try:
                while (code := process.wait(POLL_S)) is None:
                    watch.read()
                    _require_room(directory)
                    if interrupt.requested:
                        process.end()
            finally:
                process.end()
        watch.read()
        watch.finished(process.screen())
        watch.tidy()
        if interrupt.requested:
            end = MDEnd.INTERRUPTED
        elif code:
            raise NumericsError(
                f"LAMMPS stopped after step {watch.step}: {process.error()} (log in {directory / 'log.lammps'})"
            )
        elif (directory / STOPPED_RESTART).exists():
            raise UntrustedError(watch.reason_to_stop())
        elif watch.step < settings.n_steps:
            raise MachineError(
                f"cannot write {directory / TRACE_FILE}: it ends at step {watch.step} of {settings.n_steps}, and LAMMPS "
                "reported no error; the same command continues once there is room on the disk"
            )
    return watch.result(end, begun_at=start, reached=settings.n_steps if end is MDEnd.FINISHED else watch.step)


def _require_room(directory: Path) -> None:
    """Raise where the disk is full: LAMMPS goes on without a word, and its files lack what did not fit."""
    found = os.statvfs(directory)
    if found.f_bavail * found.f_frsize < LEAST_ROOM_BYTES:
        raise cannot_write(directory / TRAJECTORY_FILE, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


class _Watch:
    """Reads what LAMMPS writes."""

    def __init__(self, directory: Path, settings: MDSettings, threshold: float, view: ProgressView) -> None:
        self.directory, self.settings, self.threshold, self.view = directory, settings, threshold, view
        self.rows: list[_Row] = []
        self._read = 0
        self._outside = False
        self._speed = _Rate()

    @property
    def step(self) -> int:
        """Last step in the trace."""
        return self.rows[-1].step if self.rows else 0

    def rewind(self) -> int:
        """Cut what was written after the last checkpoint; gives its step, 0 without one."""
        for name in (STOPPED_FRAME, STOPPED_RESTART):
            (self.directory / name).unlink(missing_ok=True)
        for _, path in self._checkpoints():
            if not path.read_bytes().endswith(_RESTART_END):
                self.view.message(f"{path}: damaged; now {set_aside(path).name}, the run continues from an earlier one")
        start = max((step for step, _ in self._checkpoints()), default=0)
        # LAMMPS writes the row and the frames of the step it starts from again.
        done = start >= self.settings.n_steps
        self.tidy(before=None if done else start)
        for name in () if done else (TRAJECTORY_FILE, UNTRUSTED_FILE):
            _cut_dump(self.directory / name, before=start)
        self._read = 0
        self.read()
        self._speed = _Rate()
        return start

    def tidy(self, *, before: int | None = None) -> None:
        """Leave one header line in the trace, where every part of the run wrote its own, and rows before a step."""
        path = self.directory / TRACE_FILE
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line for line in lines if line[:1].isdigit() and (before is None or int(line.split(",")[0]) < before)]
        write_text_atomic(path, "\n".join([TRACE_HEADER, *rows]) + "\n" if rows else "")

    def read(self) -> None:
        """Read new rows; pass them to the view and the log."""
        path = self.directory / TRACE_FILE
        if path.exists():
            with open(path, "rb") as file:
                file.seek(self._read)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read += len(whole)
            rows = list(_rows(whole.decode("utf-8")))
            if rows:
                self._speed.reached(rows[-1].step)
            for row in rows:
                self._take(row)
        for _, old in self._checkpoints()[:-2]:
            old.unlink(missing_ok=True)

    def finished(self, screen: str) -> None:
        """LAMMPS has ended and printed this."""
        self._speed.finished(screen)

    def _take(self, row: _Row) -> None:
        self.rows.append(row)
        outside = row.uncertainty > self.threshold
        if outside and not self._outside and self.settings.guard is GuardAction.WARN:
            logger.warning(
                "step %d (%.3f ps): force uncertainty %s of an atom, above the threshold of %s; the atoms above it are in %s",
                row.step,
                row.step * self.settings.timestep_fs / 1000,
                force(row.uncertainty),
                force(self.threshold),
                self.directory / UNTRUSTED_FILE,
            )
        self._outside = outside
        self.view.update(
            Progress(
                step=row.step,
                n_steps=self.settings.n_steps,
                time_ps=row.step * self.settings.timestep_fs / 1000,
                temperature_K=row.temperature_K,
                forces_uncertainty=row.uncertainty,
                threshold=self.threshold,
                steps_per_second=self._speed.steps_per_second or 0.0,
                timestep_fs=self.settings.timestep_fs,
            )
        )

    def reason_to_stop(self) -> str:
        """Why the guard stopped the run, in one line."""
        last = self.rows[-1]
        where = f"step {last.step} ({last.step * self.settings.timestep_fs / 1000:.3f} ps)"
        problem = last.unphysical(start_volume_A3=self.rows[0].volume_A3)
        if problem:
            return f"{where}: the simulation became unstable: {problem}; {ADVICE}"
        atoms = _last_frame(self.directory / UNTRUSTED_FILE)
        worst = max(atoms, key=lambda atom: atom[2], default=(0, "an", last.uncertainty))
        kinds = Counter(element for _, element, _ in atoms)
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return (
            f"{where}: {worst[1]} atom {worst[0] - 1} has a force uncertainty of {force(worst[2])}, above the threshold of "
            f"{force(self.threshold)} ({listed} above it); stopped; frame in {self.directory / STOPPED_FRAME}, "
            f"restart in {self.directory / STOPPED_RESTART}{next_steps(self.directory / STOPPED_FRAME)}"
        )

    def result(self, end: MDEnd, *, begun_at: int, reached: int) -> MDResult:
        """The result of the run; figures but the speed are those of all calls."""
        temperatures = [row.temperature_K for row in self.rows]
        n_steps_now = max(reached - begun_at, 0)
        return MDResult(
            end=end,
            n_steps=reached,
            n_steps_now=n_steps_now,
            time_ps=reached * self.settings.timestep_fs / 1000,
            temperature_K=float(np.mean(temperatures)) if temperatures else float("nan"),
            largest_uncertainty=max((row.uncertainty for row in self.rows), default=0.0),
            n_checks=len(self.rows),
            n_untrusted=sum(row.uncertainty > self.threshold for row in self.rows),
            threshold=self.threshold,
            steps_per_second=self._speed.steps_per_second if n_steps_now else None,
            directory=self.directory,
        )

    def _checkpoints(self) -> list[tuple[int, Path]]:
        """Steps and files, the oldest first."""
        before, after = CHECKPOINT.split("*")
        found = []
        for path in self.directory.glob(CHECKPOINT):
            step = path.name.removeprefix(before).removesuffix(after)
            if step.isdigit():
                found.append((int(step), path))
        return sorted(found)


class _Rate:
    """Steps per second: between the first and the last poll that found rows, and of the whole call once LAMMPS says so."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._steps_per_second: float | None = None

    @property
    def steps_per_second(self) -> float | None:
        """None until two polls have found rows."""
        return self._steps_per_second

    def reached(self, step: int) -> None:
        """A poll found rows up to this step."""
        now = time.perf_counter()
        if self._first is None:
            self._first = step, now
        elif step > self._first[0] and now > self._first[1]:
            self._steps_per_second = (step - self._first[0]) / (now - self._first[1])

    def finished(self, screen: str) -> None:
        """LAMMPS has ended with this output: take its own timing of the run, if it reached the end of one."""
        timed = re.findall(r"^Loop time of (\S+) on \d+ procs for (\d+) steps", screen, flags=re.MULTILINE)
        if timed and float(timed[-1][0]) > 0:
            self._steps_per_second = int(timed[-1][1]) / float(timed[-1][0])


def _rows(text: str) -> Iterator[_Row]:
    names = TRACE_HEADER.split(",")
    for values in csv.reader(text.splitlines()):
        if len(values) != len(names) or not values[0].isdigit():
            continue
        row = dict(zip(names, values, strict=True))
        yield _Row(
            step=int(row["step"]),
            target_temperature_K=float(row["target_temperature_K"]),
            temperature_K=float(row["temperature_K"]),
            potential_energy_eV=float(row["potential_energy_eV"]),
            uncertainty=float(row["forces_uncertainty_max_eV_per_A"]),
            volume_A3=float(row["volume_A3"]),
        )


def _cut_dump(path: Path, *, before: int) -> None:
    """Drop the frames of step `before` and later from a dump file."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        while line := file.readline():
            if line.startswith(b"ITEM: TIMESTEP"):
                start, step = file.tell() - len(line), file.readline()
                if not step.endswith(b"\n") or int(step) >= before:
                    break
        else:
            return
    os.truncate(path, start)


def _last_frame(path: Path) -> list[tuple[int, str, float]]:
    """ID, element and uncertainty (eV/A) of the atoms in the last frame of a dump of atoms outside."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _, found, frame = text.rpartition("ITEM: ATOMS")
    rows = [line.split() for line in frame.splitlines()[1:]] if found else []
    return [(int(row[0]), row[1], float(row[-1])) for row in rows]
