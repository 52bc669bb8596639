"""Pictures of phonons: bands and density of states, thermal properties, expansion; shaded where a bar reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trepid.report.style import MUTED, RULE, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trepid.arrays import FloatArray
    from trepid.phonons.analysis import PhononAnalysis
    from trepid.phonons.drawn import Drawn
    from trepid.phonons.volume import QuasiHarmonic

COLOUR = SERIES[0]
ACOUSTIC_THz = 0.3
"""Grueneisen parameters of slower modes are 0/0 at Gamma, and not drawn."""


def bands_picture(result: PhononAnalysis) -> Figure:
    """Bands along the path, and beside them the density of states."""
    figure = new_figure(9.2, 4.6)
    bands, states = figure.subplots(1, 2, sharey=True, width_ratios=(4.2, 1.0))
    _bands(bands, result)
    dos = result.mesh.dos
    value, bar = dos.density.value, dos.density.bar()
    states.plot(value, dos.frequencies_THz, color=COLOUR)
    if bar is not None:
        states.fill_betweenx(
            dos.frequencies_THz, np.maximum(value - bar, 0), value + bar, color=COLOUR, alpha=0.25, linewidth=0
        )
    states.set_xlim(left=0)
    states.set_xlabel("states (1/THz)")
    states.grid(False)
    bands.set_ylabel("frequency (THz)")
    if result.stable:
        bands.set_ylim(bottom=0)
    else:
        bands.axhline(0, color=MUTED, linewidth=0.8)
        states.axhline(0, color=MUTED, linewidth=0.8)
    return figure


def _bands(axes: Axes, result: PhononAnalysis) -> None:
    bands = result.bands
    ticks: list[float] = []
    names: list[str] = []
    shift = 0.0
    for k, distance in enumerate(bands.distances):
        x = shift + distance
        found = bands.segment(k)
        value, bar = found.value, found.bar()
        for branch in range(value.shape[1]):
            axes.plot(x, value[:, branch], color=COLOUR, linewidth=1.2)
            if bar is not None:
                low, high = value[:, branch] - bar[:, branch], value[:, branch] + bar[:, branch]
                axes.fill_between(x, low, high, color=COLOUR, alpha=0.25, linewidth=0)
        first, last = bands.path.ends[k]
        if ticks and abs(ticks[-1] - x[0]) < 1e-9:
            names[-1] = first if names[-1] == first else f"{names[-1]}|{first}"
        else:
            ticks.append(float(x[0]))
            names.append(first)
        ticks.append(float(x[-1]))
        names.append(last)
    axes.set_xticks(ticks, names)
    for tick in ticks:
        axes.axvline(tick, color=RULE, linewidth=0.8)
    axes.set_xlim(ticks[0], ticks[-1])
    axes.grid(False, axis="x")


def thermal_picture(result: PhononAnalysis) -> Figure:
    """Free energy, entropy and heat capacity against temperature."""
    thermal = result.mesh.thermal
    figure = new_figure(9.2, 3.0)
    for axes, (name, found) in zip(
        figure.subplots(1, 3),
        (
            ("free energy (kJ/mol)", thermal.free_energy),
            ("entropy (J/K/mol)", thermal.entropy),
            ("heat capacity (J/K/mol)", thermal.heat_capacity),
        ),
        strict=True,
    ):
        curve(axes, thermal.temperatures_K, found)
        axes.set_xlabel("temperature (K)")
        axes.set_ylabel(name)
        axes.set_xlim(left=0)
    return figure


def volume_picture(found: QuasiHarmonic) -> Figure:
    """Volume, expansion and bulk modulus against temperature."""
    figure = new_figure(9.2, 3.0)
    t = found.temperatures_K
    for axes, (name, values) in zip(
        figure.subplots(1, 3),
        (
            ("volume of the primitive cell (Å³)", found.volume_A3),
            ("expansion (10⁻⁶ / K)", found.expansion_per_K.times(1e6)),
            ("bulk modulus (GPa)", found.bulk_modulus_GPa),
        ),
        strict=True,
    ):
        curve(axes, t, values)
        axes.set_xlabel("temperature (K)")
        axes.set_ylabel(name)
        axes.set_xlim(left=0)
    return figure


def gruneisen_picture(found: QuasiHarmonic) -> Figure:
    """Grueneisen parameters of the modes against their frequency, and of the crystal against temperature."""
    figure = new_figure(9.2, 3.2)
    modes, crystal = figure.subplots(1, 2)
    x, gamma = found.mode_frequencies_THz.ravel(), found.mode_gruneisen
    y, bar = gamma.value.ravel(), gamma.bar()
    kept = x > ACOUSTIC_THz
    modes.errorbar(
        x[kept],
        y[kept],
        yerr=None if bar is None else bar.ravel()[kept],
        fmt="o",
        markersize=2.5,
        color=COLOUR,
        elinewidth=0.6,
        rasterized=True,
    )
    modes.set_xlabel("frequency (THz)")
    modes.set_ylabel("Grüneisen parameter (1)")
    curve(crystal, found.temperatures_K, found.gruneisen)
    crystal.set_xlabel("temperature (K)")
    crystal.set_ylabel("Grüneisen parameter of the crystal (1)")
    return figure


def curve(axes: Axes, x: FloatArray, found: Drawn, *, colour: str = COLOUR, label: str | None = None) -> None:
    """A line with its bar as a shaded area."""
    axes.plot(x, found.value, color=colour, label=label)
    bar = found.bar()
    if bar is not None:
        axes.fill_between(x, found.value - bar, found.value + bar, color=colour, alpha=0.25, linewidth=0)
