"""One pass over a trajectory, or over a run of `trepid md`: everything that `trepid analyse` shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from ase.cell import Cell
from ase.data import atomic_masses, atomic_numbers
from ase.symbols import Symbols

from trepid.analysis.averages import Average, average
from trepid.analysis.diffusion import Diffusion, Tracks
from trepid.analysis.structure import DEFAULT_BIN_A, DEFAULT_CUTOFF_A, PairCounter, PartialRDF
from trepid.analysis.thermodynamics import Thermodynamics, Trace, equilibrated_from, read_trace, thermodynamics
from trepid.analysis.trust import RunTrust, cell_change, per_cell, run_trust
from trepid.arrays import FloatArray
from trepid.data.trajectory import open_trajectory
from trepid.dynamics.notes import read_notes
from trepid.dynamics.record import CELL_COLUMNS, TRACE_FILE, TRAJECTORY_FILES
from trepid.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms

_GRAM_PER_CM3 = 1e24 * units._amu * 1e3
"""1 amu/A^3 in g/cm^3."""


@dataclass(frozen=True)
class AnalysisSettings:
    """How a trajectory is analysed.

    Attributes
    ----------
    equilibrate_ps : float or None
        Time at the beginning that is left out, ps; None: a fifth of a run of trepid, nothing of another trajectory.
    cutoff_A, bin_A : float
        Range and bin of the radial distribution functions, A.
    """

    equilibrate_ps: float | None = None
    cutoff_A: float = DEFAULT_CUTOFF_A
    bin_A: float = DEFAULT_BIN_A

    def __post_init__(self) -> None:
        if self.equilibrate_ps is not None and not 0 <= self.equilibrate_ps < np.inf:
            raise ConfigError(f"the time to equilibrate must be 0 ps or more, not {self.equilibrate_ps:g}")


@dataclass(frozen=True, eq=False)
class TrajectoryAnalysis:
    """What a trajectory says.

    Attributes
    ----------
    name : str
    symbols : tuple of str
    n_frames : int
        Frames used.
    start_ps, end_ps : float
        Time used.
    times_ps : (n_frames,) array
    cells : (n_frames, 6) array
        Lengths (A) and angles (degrees) of the cell.
    volumes_A3 : (n_frames,) array
    cell : mapping of str to Average
        a_A, b_A, c_A, alpha_deg, beta_deg, gamma_deg, volume_A3 and density_g_per_cm3: those of `thermodynamics`, from the rows
        of the trace, of which there are more than frames; from the frames where that is None.
    trace : Trace or None
        Of a run of trepid, from the same time on.
    thermodynamics : Thermodynamics or None
        None without a trace, or where the temperature ramps.
    rdfs : tuple of PartialRDF
    diffusion : tuple of Diffusion
    remarks : tuple of str
    repeat : three ints
        Repetitions of the given structure in the cell; 1 where the run does not tell them.
    trust : RunTrust or None
        Uncertainty checks of the part that was used; None where the run does not tell its threshold.
    """

    name: str
    symbols: tuple[str, ...]
    n_frames: int
    start_ps: float
    end_ps: float
    times_ps: FloatArray
    cells: FloatArray
    volumes_A3: FloatArray
    cell: Mapping[str, Average]
    trace: Trace | None
    thermodynamics: Thermodynamics | None
    rdfs: tuple[PartialRDF, ...]
    diffusion: tuple[Diffusion, ...]
    remarks: tuple[str, ...]
    repeat: tuple[int, int, int] = (1, 1, 1)
    trust: RunTrust | None = None

    @property
    def cell_given(self) -> dict[str, Average] | None:
        """Lengths of the cell that the structure of the run repeats; None where it repeats none."""
        return None if self.repeat == (1, 1, 1) else per_cell(self.cell, self.repeat)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.symbols)

    @property
    def formula(self) -> str:
        """Reduced chemical formula."""
        return str(Symbols.fromsymbols(self.symbols).formula.reduce()[0].format("hill"))


def analyse_trajectory(
    source: str | Path | Sequence[Atoms],
    *,
    interval_fs: float | None = None,
    species: Sequence[str] = (),
    settings: AnalysisSettings = AnalysisSettings(),
    progress: Callable[[int, float], None] | None = None,
) -> TrajectoryAnalysis:
    """Analyse a trajectory in one pass.

    Parameters
    ----------
    source : path, or sequence of Atoms
        A trajectory, a run directory of `trepid md` or of a campaign on the fly, or frames in memory.
    interval_fs, species
        As for `trepid.data.trajectory.open_trajectory`.
    settings : AnalysisSettings
    progress : callable, optional
        Called with the number of frames and the time, ps, after every chunk.

    Raises
    ------
    DataError
        The files cannot be read, or no frame is left after the equilibration.
    ConfigError
        A setting is out of range.
    """
    whole, notes, remarks = None, None, list[str]()
    directory = Path(source) if isinstance(source, str | Path) and Path(source).is_dir() else None
    if directory is not None:
        source = trajectory_of(directory)
        whole, notes = read_trace(directory / TRACE_FILE), read_notes(directory)
        interval_fs = interval_of(directory) if interval_fs is None else interval_fs
    start = settings.equilibrate_ps
    if start is None:
        start = 0.0 if whole is None else equilibrated_from(whole)
    with open_trajectory(source, interval_fs=interval_fs, species=species) as trajectory:
        if trajectory.symbols is None:
            raise DataError(
                f"{trajectory.name}: the file has types of atoms and no elements: give --species EL, once for every type"
            )
        symbols = trajectory.symbols
        counter = PairCounter(symbols, cutoff_A=settings.cutoff_A, bin_A=settings.bin_A)
        tracks = Tracks(symbols)
        times, cells = [], []
        for chunk in trajectory.chunks():
            used = chunk.times_fs / 1000 >= start - 1e-9
            if used.any():
                positions, box, now = chunk.positions[used], chunk.cells[used], chunk.times_fs[used]
                tracks.add(positions, box, now)
                for frame, cell in zip(positions, box, strict=True):
                    counter.add(frame, cell)
                times.append(now / 1000)
                cells.append(box)
            if progress is not None:
                progress(chunk.first + len(chunk), float(chunk.times_fs[-1]) / 1000)
        remarks += trajectory.remarks
        name = trajectory.name
    if not times:
        raise DataError(f"{name}: no frame is left after {start:g} ps of equilibration")
    vectors, time = np.concatenate(cells), np.concatenate(times)
    volumes = np.abs(np.linalg.det(vectors))
    parameters = np.array([Cell(cell).cellpar() for cell in vectors])
    averages = _averages(parameters, volumes, symbols)
    trace, statistics, trust = None, None, None
    if whole is not None and directory is not None:
        trace = whole.after(start)
        try:
            statistics = thermodynamics(trace, equilibrate_ps=start)
            rows = np.column_stack([trace[name] for name in CELL_COLUMNS])
            averages = _averages(rows, trace["volume_A3"], symbols)
        except DataError as error:
            remarks.append(str(error))
        if notes is not None:
            change = None if statistics is None else cell_change(whole, statistics)
            trust = run_trust(trace, notes, change, directory=directory)
            remarks += [trust.warning] if trust.warning else []
    return TrajectoryAnalysis(
        name=name,
        symbols=symbols,
        n_frames=len(time),
        start_ps=float(time[0]),
        end_ps=float(time[-1]),
        times_ps=time,
        cells=parameters,
        volumes_A3=volumes,
        cell=averages,
        trace=trace,
        thermodynamics=statistics,
        rdfs=counter.result(),
        diffusion=tracks.result(),
        remarks=tuple(remarks),
        repeat=(1, 1, 1) if notes is None else notes.repeat,
        trust=trust,
    )


def trajectory_of(directory: Path) -> Path:
    """The trajectory of a run directory.

    Raises
    ------
    DataError
        There is none.
    """
    for name in TRAJECTORY_FILES:
        if (directory / name).is_file():
            return directory / name
    raise DataError(
        f"{directory} holds no trajectory ({' or '.join(TRAJECTORY_FILES)}): give a run of trepid md, or a file"
    )


def interval_of(directory: Path) -> float | None:
    """Time between two frames of a run directory, fs, where its trajectory does not tell it: a dump of LAMMPS has steps.

    Raises
    ------
    DataError
        There is no trajectory, or its settings are unreadable.
    """
    if trajectory_of(directory).name != TRAJECTORY_FILES[1]:
        return None
    path = directory / "settings.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return float(settings["timestep_fs"]) * float(settings["sample_every"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} does not tell the time between two frames ({type(error).__name__}): give it with --interval (fs)"
        ) from error


def _averages(parameters: FloatArray, volumes: FloatArray, symbols: Sequence[str]) -> dict[str, Average]:
    mass = float(atomic_masses[[atomic_numbers[symbol] for symbol in symbols]].sum())
    return {
        **{name: average(column) for name, column in zip(CELL_COLUMNS, parameters.T, strict=True)},
        "volume_A3": average(volumes),
        "density_g_per_cm3": average(mass / volumes * _GRAM_PER_CM3),
    }
