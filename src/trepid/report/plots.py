"""The figures of predictions beside labels, one function each: data in, matplotlib figure out; None without data.

Forces are shown in meV/A, energies in meV/atom and stresses in GPa, the scales on which force fields are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from trepid.acquisition.calibration import calibration_scale, coverage, reliability_curve, spearman, z_scores
from trepid.evaluation import Comparison
from trepid.report import style
from trepid.report.axes import dots, key, log_scale
from trepid.report.style import BAND, INK, MUTED, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trepid.arrays import FloatArray

SQUARE = (4.6, 4.5)
"""Size of a square figure, inches."""
THIRD = (3.7, 3.8)
"""Of one of three in a row."""
_VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")


def force_parity(comparison: Comparison, *, size: tuple[float, float] = THIRD) -> Figure:
    """Force components, prediction against label, coloured by species."""
    figure = new_figure(*size)
    axes = figure.add_subplot()
    colours = style.species_colours(comparison.symbols.tolist())
    for name, colour in colours.items():
        mask = comparison.symbols == name
        _cloud(axes, comparison.forces[mask].ravel(), comparison.forces_predicted[mask].ravel(), colour, name)
    _diagonal(axes, np.concatenate([comparison.forces.ravel(), comparison.forces_predicted.ravel()]))
    axes.set_xlabel("force label (eV/Å)")
    axes.set_ylabel("force predicted (eV/Å)")
    key(axes, f"{_errors(1000.0 * comparison.forces_error)} meV/Å", handles=dots(colours))
    return figure


def energy_parity(
    comparison: Comparison, *, numbers: Sequence[int] | None = None, size: tuple[float, float] = THIRD
) -> Figure | None:
    """Energies per atom, prediction against label, with error bars; None without energy labels.

    `numbers` of the labels of all frames, where there are any, colour the points.
    """
    n = comparison.atoms_per_frame
    known = np.isfinite(comparison.energies)
    if not known.any():
        return None
    labels = comparison.energies[known] / n[known]
    predicted = comparison.energies_predicted[known] / n[known]
    zero = labels.mean()
    x, y = 1000.0 * (labels - zero), 1000.0 * (predicted - zero)
    figure = new_figure(*size)
    axes = figure.add_subplot()
    stds = comparison.energies_std
    if np.isfinite(stds).all():
        bars = 1000.0 * stds[known] / n[known]
        axes.errorbar(x, y, yerr=bars, fmt="none", ecolor=MUTED, elinewidth=0.8, zorder=2)
    if numbers is None or known.sum() < 2:
        axes.scatter(x, y, color=SERIES[0], s=26, linewidths=0, zorder=3, label="_frames")
    else:
        order = np.asarray(numbers)[known]
        shades = axes.scatter(x, y, c=order, cmap="viridis_r", s=26, linewidths=0, zorder=3, label="_frames")
        bar = figure.colorbar(shades, ax=axes, orientation="vertical", shrink=0.5, aspect=24, pad=0.02)
        bar.ax.set_title("label", fontsize=8.5, color=MUTED, pad=5, loc="left")
        bar.outline.set_visible(False)
        bar.set_ticks(sorted({int(order.min()), int(order.max())}))
        bar.ax.tick_params(length=0)
        bar.ax.grid(False)
    _diagonal(axes, np.concatenate([x, y]))
    axes.set_xlabel("energy label − mean (meV/atom)")
    axes.set_ylabel("energy predicted − same mean (meV/atom)")
    key(axes, f"{_errors(y - x, digits=2)} meV/atom", handles=[])
    return figure


def stress_parity(comparison: Comparison, *, size: tuple[float, float] = THIRD) -> Figure | None:
    """Stress components, prediction against label, with error bars; None without stress labels."""
    known = np.isfinite(comparison.stresses) & np.isfinite(comparison.stresses_predicted)
    if not known.any():
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    x, y = comparison.stresses / GPa, comparison.stresses_predicted / GPa
    stds = comparison.stresses_std / GPa
    kinds = {"normal": (slice(0, 3), SERIES[0]), "shear": (slice(3, 6), SERIES[1])}
    for name, (part, colour) in kinds.items():
        own = known[:, part]
        if own.any():
            if np.isfinite(stds[:, part][own]).all():
                bars = stds[:, part][own]
                axes.errorbar(x[:, part][own], y[:, part][own], yerr=bars, fmt="none", ecolor=MUTED, elinewidth=0.6)
            _cloud(axes, x[:, part][own], y[:, part][own], colour, name)
    _diagonal(axes, np.concatenate([x[known], y[known]]))
    axes.set_xlabel("stress label (GPa)")
    axes.set_ylabel("stress predicted (GPa)")
    colours = {name: colour for name, (part, colour) in kinds.items() if known[:, part].any()}
    key(axes, f"{_errors((y - x)[known], digits=3)} GPa", handles=dots(colours))
    return figure


def uncertainty_against_error(comparison: Comparison, *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Per atom: norm of the force uncertainty against norm of the true error, log-log."""
    if comparison.forces_uncertainty is None:
        return None
    stds = 1000.0 * np.linalg.norm(comparison.forces_uncertainty, axis=1)
    errors = 1000.0 * np.linalg.norm(comparison.forces_error, axis=1)
    shown = (stds > 0.0) & (errors > 0.0)
    if not shown.any():
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    log_scale(axes, x=True, y=True)
    colours = style.species_colours(comparison.symbols.tolist())
    for name, colour in colours.items():
        mask = shown & (comparison.symbols == name)
        _cloud(axes, stds[mask], errors[mask], colour, name)
    low = max(min(stds[shown].min(), np.quantile(errors[shown], 0.005)), 1e-3) * 0.8
    high = max(stds.max(), errors.max()) * 1.3
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1.0, dashes=(4, 3), label="_equal")
    handles = [*dots(colours), *_binned_median(axes, stds[shown], errors[shown])]
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.set_xlabel("force uncertainty of an atom (meV/Å)")
    axes.set_ylabel("true force error of that atom (meV/Å)")
    rank = spearman(stds, errors)
    key(axes, "One point per atom" + ("" if rank is None else f", Spearman {rank:.2f}"), handles=handles)
    return figure


def reliability(comparison: Comparison, *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Observed against expected coverage of the force intervals, per species."""
    std = comparison.forces_std
    if std is None or not (std > 0.0).all():
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1.0, dashes=(4, 3), label="_ideal")
    colours = style.species_colours(comparison.symbols.tolist())
    for name, colour in colours.items():
        mask = comparison.symbols == name
        curve = reliability_curve(comparison.forces_error[mask], std[mask])
        axes.plot(100 * curve.expected, 100 * curve.observed, color=colour, linewidth=1.8, label=name)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_aspect("equal")
    axes.set_xlabel("expected inside the interval (%)")
    axes.set_ylabel("observed inside (%)")
    key(axes, "Above the dashed line: underconfident; below: overconfident")
    return figure


def z_histogram(comparison: Comparison, *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Errors in units of their predicted standard deviation against the normal distribution, per species."""
    std = comparison.forces_std
    if std is None or not (std > 0.0).all():
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    grid = np.linspace(-4.2, 4.2, 300)
    normal = np.exp(-0.5 * grid**2) / np.sqrt(2.0 * np.pi)
    axes.fill_between(grid, normal, color=BAND, linewidth=0)
    axes.plot(grid, normal, color=MUTED, linewidth=1.0, dashes=(4, 3), label="_normal")
    edges = np.linspace(-4.2, 4.2, 43)
    for name, colour in style.species_colours(comparison.symbols.tolist()).items():
        mask = comparison.symbols == name
        z = z_scores(comparison.forces_error[mask], std[mask])
        # Values outside are counted in the outermost bins, so that a heavy tail stays visible.
        density, _ = np.histogram(np.clip(z, edges[0], edges[-1]), bins=edges)
        height = density / (z.size * np.diff(edges))
        inside = coverage(comparison.forces_error[mask], std[mask], 0.95)
        scale = calibration_scale(comparison.forces_error[mask], std[mask])
        label = f"{name}: {100 * inside:.0f} % inside 95 %, bars × {scale:.2f} would fit"
        axes.stairs(height, edges, color=colour, linewidth=1.6, label=label)
    axes.set_xlim(-4.2, 4.2)
    axes.set_ylim(0, None)
    axes.set_xlabel("error / predicted standard deviation (1)")
    axes.set_ylabel("probability density (1)")
    key(axes)
    return figure


def _errors(errors: FloatArray, *, digits: int = 1) -> str:
    return f"MAE {np.abs(errors).mean():.{digits}f}, RMSE {np.sqrt(np.mean(errors**2)):.{digits}f}"


def _cloud(axes: Axes, x: FloatArray, y: FloatArray, colour: str, name: str) -> None:
    """Scatter plot, embedded as a picture; the more points, the more transparent."""
    alpha = float(np.clip(40.0 / np.sqrt(max(x.size, 1)), 0.28, 0.9))
    axes.scatter(x, y, s=9, color=colour, alpha=alpha, linewidths=0, rasterized=True, zorder=3, label=name)


def _diagonal(axes: Axes, values: FloatArray) -> None:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 1.0
    span = (low - margin, high + margin)
    axes.plot(span, span, color=MUTED, linewidth=1.0, dashes=(4, 3), zorder=1, label="_equal")
    axes.set_xlim(span)
    axes.set_ylim(span)
    axes.set_aspect("equal")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))


def _binned_median(axes: Axes, stds: FloatArray, errors: FloatArray, bins: int = 10) -> list[Line2D]:
    """Median error over equally filled bins of uncertainty; gives its handle for the key."""
    if stds.size < 10 * bins:
        return []
    order = np.argsort(stds)
    groups = np.array_split(order, bins)
    x = [float(np.median(stds[group])) for group in groups]
    y = [float(np.median(errors[group])) for group in groups]
    return axes.plot(x, y, color=INK, linewidth=1.4, marker="o", markersize=3.4, zorder=5, label="median")
