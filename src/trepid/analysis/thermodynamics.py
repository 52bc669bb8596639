"""Temperature, pressure, lattice constants and response functions of a run of molecular dynamics, from its trace.

At constant pressure the fluctuations of volume V and enthalpy H = E + P V give the response to pressure and heat (M. P. Allen
and D. J. Tildesley, Computer Simulation of Liquids, 2nd ed., Oxford University Press (2017), section 2.5):

    isothermal bulk modulus   B_T = k T <V> / <dV^2>
    volume expansion          alpha_V = <dV dH> / (k T^2 <V>)
    heat capacity             C_P = <dH^2> / (k T^2)

and at constant volume C_V = <dE^2> / (k T^2). They hold for classical nuclei, and for thermostats that sample the canonical
ensemble.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase import units

from trepid.analysis.averages import Average, average
from trepid.arrays import FloatArray
from trepid.dynamics.record import CELL_COLUMNS, LATER_COLUMNS, TRACE_COLUMNS
from trepid.errors import DataError

EQUILIBRATION = 0.2
"""Share of a run, at its beginning, that averages leave out unless told otherwise."""
_CHANGES = 1e-6
"""Relative fluctuation of the volume from which on the cell counts as one that changes."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Columns of trace.csv.

    Attributes
    ----------
    columns : mapping of str to (n_rows,) array
        By name, as `trepid.dynamics.record.TraceRow` has them.
    """

    columns: Mapping[str, FloatArray]

    def __len__(self) -> int:
        return len(self.columns["step"])

    def __getitem__(self, name: str) -> FloatArray:
        return self.columns[name]

    @property
    def time_ps(self) -> FloatArray:
        """Times, ps."""
        return self.columns["time_fs"] / 1000

    def after(self, time_ps: float) -> Trace:
        """The rows from `time_ps` on."""
        kept = self.time_ps >= time_ps - 1e-9
        return Trace({name: column[kept] for name, column in self.columns.items()})


def read_trace(path: str | Path) -> Trace:
    """Read trace.csv of a run of molecular dynamics.

    Raises
    ------
    DataError
        The file cannot be read, lacks the pressure and the cell (it is older than these columns), or has a row without numbers.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in TRACE_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                older = "; it was written before traces had the cell" if set(missing) <= set(LATER_COLUMNS) else ""
                raise DataError(f"{path}: column {missing[0]} is missing{older}")
            rows = [[float(row[name]) for name in TRACE_COLUMNS] for row in reader]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a trace of MD ({error})") from error
    table = np.array(rows, dtype=np.float64).reshape(-1, len(TRACE_COLUMNS))
    return Trace({name: table[:, k] for k, name in enumerate(TRACE_COLUMNS)})


@dataclass(frozen=True)
class Thermodynamics:
    """Averages of a run at one temperature.

    Attributes
    ----------
    n_rows : int
        Rows of the trace that were used.
    start_ps, end_ps : float
        Time that was used.
    target_temperature_K : float
    temperature_K, pressure_GPa, volume_A3 : Average
    cell : mapping of str to Average
        a_A, b_A, c_A, alpha_deg, beta_deg, gamma_deg.
    bulk_modulus_GPa, volume_expansion_per_K : Average or None
        From fluctuations; None where the cell was held.
    heat_capacity_kB : Average
        Of the whole cell, in Boltzmann constants: C_P where the cell changes, else C_V.
    """

    n_rows: int
    start_ps: float
    end_ps: float
    target_temperature_K: float
    temperature_K: Average
    pressure_GPa: Average
    volume_A3: Average
    cell: Mapping[str, Average]
    bulk_modulus_GPa: Average | None
    volume_expansion_per_K: Average | None
    heat_capacity_kB: Average

    @property
    def cell_changes(self) -> bool:
        """Whether the run was at constant pressure."""
        return self.bulk_modulus_GPa is not None

    def as_dict(self) -> dict[str, object]:
        """Plain types, for JSON."""
        plain: dict[str, object] = {}
        for name, value in vars(self).items():
            if isinstance(value, Average):
                plain[name] = value.as_dict()
            elif name == "cell":
                plain[name] = {column: figure.as_dict() for column, figure in self.cell.items()}
            else:
                plain[name] = value
        return plain


def equilibrated_from(trace: Trace) -> float:
    """Time from which averages count unless told otherwise, ps: without the first fifth of the run; 0 for an empty trace."""
    if not len(trace):
        return 0.0
    begin, end = trace.time_ps[[0, -1]]
    return float(begin + EQUILIBRATION * (end - begin))


def thermodynamics(trace: Trace, *, equilibrate_ps: float | None = None) -> Thermodynamics:
    """Averages of a run at one temperature and, where its cell changes, at one pressure.

    Parameters
    ----------
    trace : Trace
    equilibrate_ps : float, optional
        Time at the beginning that is left out, ps; a fifth of the run if absent.

    Raises
    ------
    DataError
        No row is left, or the run has a ramp of temperature.
    """
    if not len(trace):
        raise DataError("the trace has no rows")
    end = trace.time_ps[-1]
    start = equilibrated_from(trace) if equilibrate_ps is None else equilibrate_ps
    used = trace.after(start)
    if not len(used):
        raise DataError(f"the run ends at {end:.4g} ps: nothing is left after {start:.4g} ps of equilibration")
    targets = used["target_temperature_K"]
    if np.ptp(targets) > 1e-3:
        raise DataError(
            f"the target temperature goes from {targets.min():g} to {targets.max():g} K: averages are for one temperature"
        )
    target = float(targets[0])
    volume, energy = used["volume_A3"], used["total_energy_eV"]
    heat = units.kB * target
    changes = bool(np.ptp(volume) > _CHANGES * volume.mean())
    pressure = average(used["pressure_GPa"])
    bulk = expansion = None
    if changes:
        # The mean pressure is that of the barostat, up to its bar.
        enthalpy = energy + pressure.value * units.GPa * volume
        bulk = _fluctuation(volume, volume, lambda v, vv: heat * v / vv / units.GPa)
        expansion = _fluctuation(volume, enthalpy, lambda v, vh: vh / (heat * target * v))
        # Both are fluctuations of the volume: the run is long enough for both or for neither.
        both = bulk.converged and expansion.converged
        bulk, expansion = replace(bulk, converged=both), replace(expansion, converged=both)
    else:
        enthalpy = energy
    return Thermodynamics(
        n_rows=len(used),
        start_ps=float(used.time_ps[0]),
        end_ps=float(end),
        target_temperature_K=target,
        temperature_K=average(used["temperature_K"]),
        pressure_GPa=pressure,
        volume_A3=average(volume),
        cell={name: average(used[name]) for name in CELL_COLUMNS},
        bulk_modulus_GPa=bulk,
        volume_expansion_per_K=expansion,
        heat_capacity_kB=_fluctuation(enthalpy, enthalpy, lambda _, hh: hh / heat**2),
    )


def _fluctuation(x: FloatArray, y: FloatArray, figure: Callable[[float, float], float]) -> Average:
    """A function of the mean of x and the covariance of x and y, with its bar: a lower one where a mean's is."""
    dx, dy = x - x.mean(), y - y.mean()  # large offsets would cost digits
    series = np.column_stack([dx, dy, dx * dy])
    found = average(series, lambda mean: figure(float(x.mean() + mean[0]), float(mean[2] - mean[0] * mean[1])))
    # What wanders longer than the run takes part of the fluctuation with it.
    return replace(found, converged=found.converged and average(x).converged and average(y).converged)


@dataclass(frozen=True)
class Expansion:
    """Thermal expansion between runs at several temperatures.

    Attributes
    ----------
    temperatures_K : tuple of float
        Rising.
    linear_per_K : tuple of Average
        Mean coefficient of linear expansion between neighbouring temperatures, from the cube roots of the volumes.
    """

    temperatures_K: tuple[float, ...]
    linear_per_K: tuple[Average, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain types, for JSON."""
        return {
            "temperatures_K": list(self.temperatures_K),
            "linear_per_K": [figure.as_dict() for figure in self.linear_per_K],
        }


def expansion(runs: Sequence[Thermodynamics], *, n_atoms: Sequence[int] | None = None) -> Expansion | None:
    """Thermal expansion from the volumes (per atom) of runs at constant pressure; None for fewer than two temperatures.

    Parameters
    ----------
    runs : sequence of Thermodynamics
    n_atoms : sequence of int, optional
        Atoms of the runs; the same for all if absent.
    """
    sizes = [1] * len(runs) if n_atoms is None else list(n_atoms)
    pairs = [(run, n) for run, n in zip(runs, sizes, strict=True) if run.cell_changes]
    chosen = sorted(pairs, key=lambda pair: pair[0].target_temperature_K)
    temperatures = [run.target_temperature_K for run, _ in chosen]
    if len(set(temperatures)) < 2 or len(set(temperatures)) < len(temperatures):
        return None
    figures = []
    for (cold, n_cold), (hot, n_hot) in pairwise(chosen):
        step = hot.target_temperature_K - cold.target_temperature_K
        value = float(np.log(hot.volume_A3.value / n_hot / (cold.volume_A3.value / n_cold))) / (3 * step)
        a, b = (run.volume_A3.error / run.volume_A3.value for run in (hot, cold))
        converged = hot.volume_A3.converged and cold.volume_A3.converged
        figures.append(Average(value, float(np.hypot(a, b)) / (3 * step), converged))
    return Expansion(tuple(temperatures), tuple(figures))
