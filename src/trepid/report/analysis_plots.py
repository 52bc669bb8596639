"""The figures of `trepid analyse`, one function each: data in, matplotlib figure out; None without data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from trepid.report.axes import key
from trepid.report.style import INK, MUTED, SERIES, envelope, new_figure, species_colours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trepid.analysis.diffusion import Diffusion
    from trepid.analysis.eos import EquationOfState
    from trepid.analysis.run import TrajectoryAnalysis
    from trepid.analysis.structure import PartialRDF
    from trepid.arrays import FloatArray

_DASHED = (0, (4, 3))


def radial_distribution(rdfs: Sequence[PartialRDF]) -> Figure | None:
    """Partial radial distribution functions with their bars."""
    if not rdfs:
        return None
    figure = new_figure(6.0, 3.8)
    axes = figure.add_subplot()
    for k, rdf in enumerate(rdfs):
        colour = SERIES[k % len(SERIES)]
        axes.plot(rdf.r_A, rdf.g, color=colour, label="–".join(rdf.pair))
        axes.fill_between(rdf.r_A, rdf.g - rdf.g_error, rdf.g + rdf.g_error, color=colour, alpha=0.3, linewidth=0)
    axes.axhline(1.0, color=MUTED, linewidth=0.8, linestyle=_DASHED)
    axes.set_xlim(0, rdfs[0].r_A[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("distance r (Å)")
    axes.set_ylabel("g(r) (1)")
    key(axes)
    return figure


def mean_squared_displacement(diffusion: Sequence[Diffusion]) -> Figure | None:
    """Mean squared displacement by species."""
    if not diffusion:
        return None
    figure = new_figure(6.0, 3.8)
    axes = figure.add_subplot()
    colours = species_colours([one.species for one in diffusion])
    for one in diffusion:
        colour = colours[one.species]
        axes.plot(one.lag_ps, one.msd_A2, color=colour, label=one.species)
        low, high = one.msd_A2 - one.msd_error_A2, one.msd_A2 + one.msd_error_A2
        axes.fill_between(one.lag_ps, low, high, color=colour, alpha=0.3, linewidth=0)
    axes.set_xlim(0, max(one.lag_ps[-1] for one in diffusion))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time t (ps)")
    axes.set_ylabel("mean squared displacement (Å²)")
    key(axes)
    return figure


def cell(analysis: TrajectoryAnalysis, *, width: float = 9.6) -> Figure | None:
    """Lengths of the cell and its volume over time; None where the cell is constant."""
    if np.ptp(analysis.volumes_A3) <= 1e-6 * analysis.volumes_A3.mean():
        return None
    figure = new_figure(width, 3.8)
    lengths, volume = figure.subplots(2, 1, sharex=True)
    for k, name in enumerate("abc"):
        lengths.plot(*envelope(analysis.times_ps, analysis.cells[:, k]), color=SERIES[k], linewidth=1.0, label=name)
    key(lengths)
    lengths.set_ylabel("length (Å)")
    _series(volume, analysis.times_ps, analysis.volumes_A3, analysis.cell["volume_A3"].value, "volume (Å³)")
    volume.set_xlabel("time (ps)")
    return figure


def temperature_and_pressure(analysis: TrajectoryAnalysis, *, width: float = 9.6) -> Figure | None:
    """Temperature and pressure over time, with their means; None without a trace."""
    trace = analysis.trace
    if trace is None or len(trace) < 2:
        return None
    figure = new_figure(width, 3.8)
    temperature, pressure = figure.subplots(2, 1, sharex=True)
    _series(temperature, trace.time_ps, trace["temperature_K"], trace["temperature_K"].mean(), "temperature (K)")
    _series(pressure, trace.time_ps, trace["pressure_GPa"], trace["pressure_GPa"].mean(), "pressure (GPa)")
    pressure.set_xlabel("time (ps)")
    return figure


def _series(axes: Axes, x: FloatArray, y: FloatArray, mean: float, label: str) -> None:
    axes.plot(*envelope(x, y), color=SERIES[0], linewidth=1.0, label="every check")
    axes.axhline(mean, color=INK, linewidth=1.0, linestyle=_DASHED, label="mean")
    axes.set_ylabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.set_xlim(x[0], x[-1])


def equation_of_state(found: EquationOfState) -> Figure:
    """Energy over volume, with the lowest one marked."""
    figure = new_figure(6.0, 3.8)
    axes = figure.add_subplot()
    lowest = found.energies_eV.min()
    axes.plot(
        found.volumes_A3, 1000 * (found.energies_eV - lowest), color=SERIES[0], marker="o", markersize=4, label="model"
    )
    axes.axvline(found.volume_A3.value, color=MUTED, linewidth=1.0, linestyle=_DASHED, label="equilibrium")
    axes.set_xlabel("volume (Å³)")
    axes.set_ylabel("energy above the lowest (meV)")
    key(axes)
    return figure
