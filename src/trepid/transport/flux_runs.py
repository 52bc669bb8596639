"""The runs of LAMMPS behind a conductivity: started a few at a time, watched, continued from their checkpoints after a kill."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.arrays import FloatArray
from trepid.data.atomic import set_aside, write_text_atomic
from trepid.data.lock import RunLock
from trepid.data.progress_file import NO_FILE, ProgressFile
from trepid.dynamics.interrupt import Interrupted, Interruptible
from trepid.errors import DataError, NumericsError
from trepid.lammps.installation import Installation
from trepid.lammps.process import Process
from trepid.lammps.system import System, write_data_file
from trepid.transport.flux_input import (
    CHECKPOINT,
    DATA_FILE,
    FINAL_FILE,
    FLUX_FILE,
    INPUT_FILE,
    flux_columns,
    flux_input,
)
from trepid.transport.settings import ConductivitySettings

if TYPE_CHECKING:
    from ase import Atoms

POLL_S = 0.2
_RESTART_END = b"LammpS RestartT\0"
"""End of a complete restart file of LAMMPS."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class FluxRun:
    """One run: its folder, crystal, potential and seed.

    Attributes
    ----------
    directory : Path
    atoms : ase.Atoms
        The supercell.
    pair : str
        pair_style and pair_coeff.
    seed : int
    name : str
        For messages.
    """

    directory: Path
    atoms: Atoms
    pair: str
    seed: int
    name: str


@dataclass(frozen=True)
class Flux:
    """What one run gives.

    Attributes
    ----------
    flux : (n_samples, 3) array
        Heat flux J in the frame of the crystal, eV A / ps.
    velocities : (n_samples, 3, n_types - 1) array
        Sums of the velocities of every species but the last, A / ps.
    temperature_K : float
        Mean.
    drift_meV : float
        Change of the total energy per atom over the run.
    displacement_A : float
        Largest displacement of an atom from its site at the end, without that of the crystal as a whole.
    """

    flux: FloatArray
    velocities: FloatArray
    temperature_K: float
    drift_meV: float
    displacement_A: float


def prepare(run: FluxRun, settings: ConductivitySettings) -> None:
    """Write in.lammps and start.data."""
    run.directory.mkdir(parents=True, exist_ok=True)
    system = System.of(run.atoms)
    if not (run.directory / DATA_FILE).exists():
        write_data_file(run.directory / DATA_FILE, run.atoms, system)
    write_text_atomic(run.directory / INPUT_FILE, flux_input(system, settings, pair=run.pair, seed=run.seed))


def complete_runs(
    runs: Sequence[FluxRun],
    settings: ConductivitySettings,
    *,
    installation: Installation,
    lock: RunLock,
    jobs: int = 1,
    ranks: int = 1,
    every_s: float = 30.0,
    progress: Progress = lambda message: None,
    file: ProgressFile = NO_FILE,
) -> None:
    """Run what is not done yet.

    Parameters
    ----------
    runs : sequence of FluxRun
    settings : ConductivitySettings
    installation : Installation
    lock : RunLock
        Of the directory; LAMMPS inherits it.
    jobs : int
        Runs at a time.
    ranks : int
        MPI processes of each.
    every_s : float
        Time between two messages.
    progress : callable
        Gets a line of text.
    file : ProgressFile
        Gets the steps of all runs.

    Raises
    ------
    Interrupted
        A signal came. Every run continues from its last checkpoint at the next call.
    NumericsError
        LAMMPS ended with an error, or a run became unstable.
    """
    waiting = [run for run in runs if not is_done(run, settings)]
    n_done, all_steps = len(runs) - len(waiting), len(runs) * settings.n_steps
    begun, at_begin = time.monotonic(), sum(reached(run, settings) for run in runs)
    running: dict[int, tuple[FluxRun, Process]] = {}
    said = begun
    with Interruptible() as interrupt:
        try:
            while waiting or running:
                while waiting and len(running) < jobs and not interrupt.requested:
                    run = waiting.pop(0)
                    running[id(run)] = run, _start(run, settings, installation, lock, ranks)
                time.sleep(POLL_S)
                for run, process in list(running.values()):
                    code = process.wait(0)
                    if code is None:
                        continue
                    process.end()
                    del running[id(run)]
                    _require_success(run, process, code, settings)
                    n_done += 1
                if interrupt.requested:
                    file.interrupted()
                    raise Interrupted
                if file.due:
                    file.whole(sum(reached(run, settings) for run in runs), all_steps)
                if time.monotonic() - said >= every_s:
                    said = time.monotonic()
                    done = sum(reached(run, settings) for run in runs)
                    left = (said - begun) * (all_steps - done) / max(done - at_begin, 1)
                    ahead = f"about {_duration(left)} left" if done > at_begin else "equilibrating"
                    progress(f"{n_done} of {len(runs)} runs, {100 * done / all_steps:.0f} %, {ahead}")
        finally:
            for _, process in running.values():
                process.end()


def _start(
    run: FluxRun, settings: ConductivitySettings, installation: Installation, lock: RunLock, ranks: int
) -> Process:
    prepare(run, settings)
    start = _rewind(run)
    variables = {"resume": CHECKPOINT.replace("*", str(start))} if start else {}
    return Process(
        installation,
        INPUT_FILE,
        directory=run.directory.resolve(),
        ranks=ranks,
        variables=variables,
        inherited=[lock.fileno()],
    )


def _rewind(run: FluxRun) -> int:
    """Step of the last complete checkpoint, 0 without one; what was written after it is cut."""
    (run.directory / FINAL_FILE).unlink(missing_ok=True)
    before, after = CHECKPOINT.split("*")
    steps = []
    for path in run.directory.glob(CHECKPOINT):
        step = path.name.removeprefix(before).removesuffix(after)
        if not step.isdigit():
            continue
        if path.read_bytes().endswith(_RESTART_END):
            steps.append(int(step))
        else:
            set_aside(path)
    start = max(steps, default=0)
    path = run.directory / FLUX_FILE
    rows = [row for row in _rows(path) if int(row[0]) < start] if start else []
    # Without the samples before it a checkpoint is of no use.
    text = "".join(",".join(row) + "\n" for row in rows)
    header = ",".join(flux_columns(len(System.of(run.atoms).elements)))
    write_text_atomic(path, f"{header}\n{text}" if rows else "")
    return start if rows else 0


def _require_success(run: FluxRun, process: Process, code: int, settings: ConductivitySettings) -> None:
    if code:
        raise NumericsError(f"{run.name}: LAMMPS stopped: {process.error()} (log in {run.directory / 'log.lammps'})")
    if not is_done(run, settings):
        raise DataError(
            f"{run.directory / FLUX_FILE}: not all samples are there, and LAMMPS reported no error: is the disk full?"
        )
    for path in run.directory.glob(CHECKPOINT):
        path.unlink()


def reached(run: FluxRun, settings: ConductivitySettings) -> int:
    """Step up to which the heat flux is there."""
    path = run.directory / FLUX_FILE
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 1024))
        lines = file.read().decode("utf-8", "replace").splitlines()
    # The last line may be half written.
    steps = [line.split(",")[0] for line in lines[:-1] if line[:1].isdigit()]
    return min(int(steps[-1]), settings.n_steps) if steps else 0


def is_done(run: FluxRun, settings: ConductivitySettings) -> bool:
    """Whether a run is complete."""
    return (run.directory / FINAL_FILE).exists() and len(_samples(run, settings)) == settings.n_samples + 1


def _rows(path: Path) -> list[list[str]]:
    """Complete rows; a half-written last one is left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [row for row in csv.reader(lines) if row and row[0].isdigit()]


def _samples(run: FluxRun, settings: ConductivitySettings) -> list[list[str]]:
    """Rows at all multiples of the sampling, each once."""
    rows = {int(row[0]): row for row in _rows(run.directory / FLUX_FILE)}
    wanted = range(0, settings.n_steps + 1, settings.sample_every)
    return [rows[step] for step in wanted if step in rows]


def read_flux(run: FluxRun, settings: ConductivitySettings) -> Flux:
    """The heat flux of a complete run.

    Raises
    ------
    DataError
        A file is damaged.
    NumericsError
        The run became unstable.
    """
    path, system = run.directory / FLUX_FILE, System.of(run.atoms)
    n_columns = len(flux_columns(len(system.elements)))
    try:
        table = np.array(_samples(run, settings), dtype=np.float64)
        if table.shape != (settings.n_samples + 1, n_columns):
            raise ValueError(f"{len(table)} samples of {settings.n_samples + 1}")
        final = np.loadtxt(run.directory / FINAL_FILE, skiprows=9, ndmin=2)[:, 1:4]
        if final.shape != run.atoms.positions.shape:
            raise ValueError(f"{FINAL_FILE} has {len(final)} atoms")
    except (ValueError, OSError) as error:
        raise DataError(
            f"{path}: damaged ({error}); remove the folder {run.directory}, and this run is made again"
        ) from error
    if not np.isfinite(table).all() or table[:, 4].max() > 10 * settings.temperature_K:
        raise NumericsError(
            f"{run.name}: the run became unstable; a shorter time step (--timestep), or more training data"
        )
    moved = system.box.from_lammps(final) - run.atoms.positions
    # Unwrapped positions of LAMMPS count from the atom inside the box.
    scaled = moved @ np.linalg.inv(np.array(run.atoms.cell))
    moved = (scaled - np.round(scaled)) @ np.array(run.atoms.cell)
    moved -= moved.mean(axis=0)
    species = table[1:, len(flux_columns(1)) :].reshape(settings.n_samples, -1, 3)
    turned = (
        np.stack([system.box.from_lammps(species[:, k]) for k in range(species.shape[1])], axis=-1)
        if species.size
        else species.reshape(settings.n_samples, 3, 0)
    )
    energy = table[:, 5]
    tenth = max(1, len(energy) // 10)
    return Flux(
        flux=system.box.from_lammps(table[1:, 1:4]),
        velocities=turned,
        temperature_K=float(table[:, 4].mean()),
        drift_meV=1000 * float(energy[-tenth:].mean() - energy[:tenth].mean()) / len(run.atoms),
        displacement_A=float(np.linalg.norm(moved, axis=1).max()),
    )


def without_species(fluxes: Sequence[Flux]) -> FloatArray:
    """Heat flux (n_runs, 3, n_samples) without the part that is proportional to the velocities of the species.

    Each species carries a constant energy per atom, such as that of the free atom. In a crystal its flux is the derivative of a
    bounded displacement: it adds nothing to the integral, and much to its noise. The coefficients are those of the smallest
    remaining flux (Ercole, Marcolongo, Umari, Baroni, J. Low Temp. Phys. 185, 79 (2016)).
    """
    flux = np.stack([f.flux.T for f in fluxes])
    velocities = np.stack([f.velocities.transpose(1, 0, 2) for f in fluxes])
    if velocities.shape[-1] == 0:
        return flux
    columns = velocities.reshape(-1, velocities.shape[-1])
    coefficients = np.linalg.lstsq(columns, flux.reshape(-1), rcond=None)[0]
    remaining: FloatArray = flux - velocities @ coefficients
    return remaining


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
