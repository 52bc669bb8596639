"""Pictures of lifetimes: all modes by frequency, the spectra of the most important ones, density of states, autocorrelation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trepid.quantities import Z_95
from trepid.report.axes import key, log_scale
from trepid.report.style import MUTED, SERIES, new_figure, species_colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trepid.phonons.lifetimes import LifetimeAnalysis

COLOUR = SERIES[0]


def lifetimes_picture(result: LifetimeAnalysis) -> Figure | None:
    """Lifetime of every mode against its frequency, with 95 % intervals; hollow where the spectrum is not one line."""
    if not result.modes:
        return None
    figure = new_figure(9.2, 3.8)
    axes = figure.subplots()
    for is_line in (True, False):
        modes = [mode for mode in result.modes if mode.fit.is_line == is_line]
        if not modes:
            continue
        x = [mode.frequency_THz for mode in modes]
        y = np.array([mode.lifetime_ps for mode in modes])
        bars = [y - [m.low_ps for m in modes], np.array([m.high_ps for m in modes]) - y]
        axes.errorbar(
            x,
            y,
            yerr=np.maximum(bars, 0),
            fmt="o",
            markersize=4.5,
            color=COLOUR,
            markerfacecolor=COLOUR if is_line else "none",
            elinewidth=1.0,
            label="one damped oscillator" if is_line else "not one line",
        )
    if any(not mode.fit.is_line for mode in result.modes):
        key(axes)
    log_scale(axes, y=True)
    axes.set_xlabel("frequency (THz)")
    axes.set_ylabel("lifetime (ps)")
    return figure


def shift_picture(result: LifetimeAnalysis) -> Figure | None:
    """Shift of every frequency against the harmonic one, and sigma^A of the modes where there are forces."""
    if not result.modes:
        return None
    with_forces = all(mode.sigma_a is not None for mode in result.modes)
    figure = new_figure(9.2, 3.0)
    panels = figure.subplots(1, 2 if with_forces else 1, squeeze=False)[0]
    x = np.array([mode.group.frequency_THz for mode in result.modes])
    shift = np.array([mode.frequency_THz for mode in result.modes]) - x
    error = Z_95 * np.array([np.hypot(m.frequency_error_THz, m.frequency_model_error_THz or 0.0) for m in result.modes])
    panels[0].errorbar(x, shift, yerr=error, fmt="o", markersize=4, color=COLOUR, elinewidth=1.0)
    panels[0].axhline(0, color=MUTED, linewidth=0.8)
    panels[0].set_xlabel("harmonic frequency (THz)")
    panels[0].set_ylabel("shift (THz)")
    if with_forces:
        values = [mode.sigma_a for mode in result.modes]
        errors = [Z_95 * (mode.sigma_a_error or 0.0) for mode in result.modes]
        panels[1].errorbar(
            x, values, yerr=np.nan_to_num(errors), fmt="o", markersize=4, color=SERIES[1], elinewidth=1.0
        )
        panels[1].set_ylim(bottom=0)
        panels[1].set_xlabel("harmonic frequency (THz)")
        panels[1].set_ylabel(r"$\sigma^A$ of the mode (1)")
    return figure


def spectrum_picture(result: LifetimeAnalysis) -> Figure:
    """Vibrational density of states by species, and autocorrelation of the velocities."""
    found = result.spectrum
    figure = new_figure(9.2, 3.4)
    density, correlation = figure.subplots(1, 2)
    names = [name for name in found.density if name != "total"]
    highest = found.frequencies_THz[found.density["total"] > 0.003 * found.density["total"].max()].max()
    kept = found.frequencies_THz <= 1.1 * highest
    x, total, error = found.frequencies_THz[kept], found.density["total"][kept], Z_95 * found.density_error[kept]
    density.plot(x, total, color=MUTED, label="all")
    density.fill_between(x, np.maximum(total - error, 0), total + error, color=MUTED, alpha=0.3, linewidth=0)
    if len(names) > 1:
        for name, colour in species_colours(names).items():
            density.plot(x, found.density[name][kept], color=colour, label=name)
        key(density)
    density.set_xlim(0, x[-1])
    density.set_ylim(bottom=0)
    density.set_xlabel("frequency (THz)")
    density.set_ylabel("modes (1/THz per atom)")
    t, c = found.times_fs / 1000.0, found.autocorrelation
    correlation.plot(t, c, color=COLOUR)
    correlation.fill_between(
        t,
        c - Z_95 * found.autocorrelation_error,
        c + Z_95 * found.autocorrelation_error,
        color=COLOUR,
        alpha=0.25,
        linewidth=0,
    )
    correlation.set_xlim(0, t[-1])
    correlation.set_xlabel("time (ps)")
    correlation.set_ylabel("velocity autocorrelation (1)")
    return figure
