"""The figures of a learning run, one function each: data in, matplotlib figure out.

Forces are shown in meV/A and energies in meV/atom, the scale on which force fields are compared. Time series are drawn
into the width they are given (inches), so that the page can carry a wide version and a narrow one for phones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from trepid.acquisition.calibration import calibration_scale, coverage, reliability_curve, spearman, z_scores
from trepid.config import Campaign
from trepid.evaluation import Comparison
from trepid.report import style
from trepid.report.style import ACCENT, BAND, INK, MUTED, SERIES, direct_legend, envelope, new_figure, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from trepid.arrays import FloatArray
    from trepid.runs.reading import RunRecord

SQUARE = (4.6, 4.3)
"""Size of a square figure, inches."""


def force_parity(comparison: Comparison, *, size: tuple[float, float] = SQUARE) -> Figure:
    """Force components, prediction before training against label, coloured by species."""
    figure = new_figure(*size)
    axes = figure.add_subplot()
    colours = style.species_colours(comparison.symbols.tolist())
    for name, colour in colours.items():
        mask = comparison.symbols == name
        _cloud(axes, comparison.forces[mask].ravel(), comparison.forces_predicted[mask].ravel(), colour)
    _diagonal(axes, np.concatenate([comparison.forces.ravel(), comparison.forces_predicted.ravel()]))
    error = comparison.forces_error * 1000.0
    axes.set_xlabel("force label (eV/Å)")
    axes.set_ylabel("force predicted (eV/Å)")
    note(axes, f"MAE {np.abs(error).mean():.1f} meV/Å\nRMSE {np.sqrt(np.mean(error**2)):.1f} meV/Å")
    direct_legend(axes, colours)
    return figure


def energy_parity(record: RunRecord, comparison: Comparison, *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Energies per atom, prediction before training against label, with error bars; None without energy labels."""
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
    order = np.array([label.number for label in record.predicted])[known]
    if np.isfinite(stds).all():
        bars = 1000.0 * stds[known] / n[known]
        axes.errorbar(x, y, yerr=bars, fmt="none", ecolor=MUTED, elinewidth=0.8, zorder=2)
    shades = axes.scatter(x, y, c=order, cmap="viridis_r", s=26, linewidths=0, zorder=3)
    _diagonal(axes, np.concatenate([x, y]))
    if order.size > 1:
        bar = figure.colorbar(shades, cax=axes.inset_axes((0.58, 0.13, 0.36, 0.022)), orientation="horizontal")
        bar.ax.set_title("label number", fontsize=8.5, color=MUTED, pad=3, loc="center")
        bar.outline.set_visible(False)
        bar.set_ticks(sorted({int(order.min()), int(order.max())}))
        bar.ax.tick_params(length=0)
        bar.ax.grid(False)
    axes.set_xlabel("energy label − mean (meV/atom)")
    axes.set_ylabel("energy predicted − same mean (meV/atom)")
    note(axes, f"MAE {np.abs(y - x).mean():.2f} meV/atom")
    return figure


def uncertainty_against_error(comparison: Comparison, *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Per atom: norm of the force uncertainty against norm of the true error, both before training, log-log."""
    if comparison.forces_uncertainty is None:
        return None
    stds = 1000.0 * np.linalg.norm(comparison.forces_uncertainty, axis=1)
    errors = 1000.0 * np.linalg.norm(comparison.forces_error, axis=1)
    shown = (stds > 0.0) & (errors > 0.0)
    if not shown.any():
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    colours = style.species_colours(comparison.symbols.tolist())
    for name, colour in colours.items():
        mask = shown & (comparison.symbols == name)
        _cloud(axes, stds[mask], errors[mask], colour)
    axes.set_xscale("log")
    axes.set_yscale("log")
    low = max(min(stds[shown].min(), np.quantile(errors[shown], 0.005)), 1e-3) * 0.8
    high = max(stds.max(), errors.max()) * 1.3
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1.0, dashes=(4, 3))
    _binned_median(axes, stds[shown], errors[shown])
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    _plain_log(axes)
    axes.set_xlabel("force uncertainty of an atom (meV/Å)")
    axes.set_ylabel("true force error of that atom (meV/Å)")
    rank = spearman(stds, errors)
    note(axes, "one point per atom" if rank is None else f"one point per atom\nSpearman {rank:.2f}")
    direct_legend(axes, colours)
    return figure


def reliability(comparison: Comparison, *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Observed against expected coverage of the force intervals, per species."""
    std = comparison.forces_std
    if std is None or not (std > 0.0).all():
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1.0, dashes=(4, 3))
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
    note(axes, "above the line: underconfident", y=0.97)
    note(axes, "below: overconfident", x=0.97, y=0.03, ha="right", va="bottom")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.08))
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
    axes.plot(grid, normal, color=MUTED, linewidth=1.0, dashes=(4, 3))
    edges = np.linspace(-4.2, 4.2, 43)
    for name, colour in style.species_colours(comparison.symbols.tolist()).items():
        mask = comparison.symbols == name
        z = z_scores(comparison.forces_error[mask], std[mask])
        # Values outside are counted in the outermost bins, so that a heavy tail stays visible.
        density, _ = np.histogram(np.clip(z, edges[0], edges[-1]), bins=edges)
        height = density / (z.size * np.diff(edges))
        inside = coverage(comparison.forces_error[mask], std[mask], 0.95)
        scale = calibration_scale(comparison.forces_error[mask], std[mask])
        label = f"{name}  {100 * inside:.0f} % in the 95 % interval, scale {scale:.2f}"
        axes.stairs(height, edges, color=colour, linewidth=1.6, label=label)
    axes.set_xlim(-4.2, 4.2)
    axes.set_ylim(0, None)
    axes.margins(y=0.28)
    axes.autoscale(axis="y")
    axes.set_ylim(0, None)
    axes.set_xlabel("error / predicted standard deviation")
    axes.set_ylabel("density")
    axes.legend(loc="upper left", borderaxespad=0.2)
    return figure


def labels_over_time(record: RunRecord, *, width: float) -> Figure:
    """Number of labels over MD time; stages are shaded."""
    figure = new_figure(width, 2.7)
    axes = figure.add_subplot()
    end = max(record.time_ps, max((label.time_ps for label in record.labels), default=0.0), 1e-3)
    times = np.array([label.time_ps for label in record.labels])
    count = np.arange(1, times.size + 1, dtype=np.float64)
    start = times[0] if times.size else 0.0
    axes.step(np.r_[start, times, end], np.r_[0.0, count, float(times.size)], where="post", color=ACCENT, linewidth=1.8)
    axes.plot(times, count, linestyle="", marker="o", markersize=3.6, color=ACCENT)
    _stages(axes, record, named=True)
    _time_axis(axes, end)
    axes.set_ylim(0, max(times.size * 1.22, 1.5))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_ylabel("labels")
    axes.set_xlabel("MD time (ps)")
    return figure


def traces(record: RunRecord, *, width: float) -> Figure:
    """Uncertainty, temperature and energy over MD time; every label request is marked."""
    figure = new_figure(width, 6.0)
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    trace = record.trace
    time = trace["time_fs"] / 1000.0
    n_atoms = len(record.labels[0].atoms) if record.labels else 1
    end = max(record.time_ps, 1e-3)

    uncertainty = 1000.0 * trace["forces_uncertainty_max_eV_per_A"]
    _curve(top, time, uncertainty, SERIES[0])
    threshold = _threshold_over_time(record, end)
    if threshold.size:
        top.step(threshold[:, 0], threshold[:, 1], where="post", color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    top.set_ylim(0, None)
    top.set_ylabel("uncertainty\n(meV/Å)")

    _curve(middle, time, trace["temperature_K"], SERIES[3])
    target = trace["target_temperature_K"]
    if time.size:
        middle.plot(*envelope(time, target), color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    middle.set_ylabel("temperature\n(K)")

    energy = trace["potential_energy_eV"]
    if time.size:
        _curve(bottom, time, 1000.0 * (energy - np.nanmin(energy)) / n_atoms, SERIES[2])
    bottom.set_ylabel("potential energy\n(meV/atom)")
    bottom.set_xlabel("MD time (ps)")

    calls = np.array([label.time_ps for label in record.called])
    for axes in (top, middle, bottom):
        _stages(axes, record, named=axes is top)
        axes.vlines(calls, 0.0, 1.0, transform=axes.get_xaxis_transform(), color=ACCENT, linewidth=0.8, alpha=0.55)
        _time_axis(axes, end)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    figure.align_ylabels([top, middle, bottom])
    return figure


def error_over_labels(record: RunRecord, *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Force error of every frame before training and the error predicted for it, over labels."""
    known = [label for label in record.predicted if label.prediction is not None]
    if not known:
        return None
    index = np.array([label.number for label in known])
    error, expected = [], []
    for label in known:
        assert label.prediction is not None
        assert label.labels.forces is not None
        error.append(1000.0 * float(np.abs(label.prediction.forces - label.labels.forces).mean()))
        if label.prediction.forces_uncertainty is not None and label.noise is not None:
            noise = label.noise.of_forces(label.prediction.forces)
            std = np.hypot(label.prediction.forces_uncertainty, noise[:, None])
            expected.append(1000.0 * float(std.mean()) * np.sqrt(2.0 / np.pi))
    figure = new_figure(*size)
    axes = figure.add_subplot()
    axes.plot(index, error, marker="o", markersize=4.5, color=SERIES[0], linewidth=1.2, label="true error, MAE")
    if len(expected) == len(known):
        axes.plot(index, expected, color=SERIES[1], linewidth=1.6, linestyle=(0, (4, 2)), label="predicted")
    inferred = [(t.n_labels, 1000.0 * t.noise_forces) for t in record.trainings if t.noise_forces]
    if inferred:
        axes.step(*zip(*inferred, strict=True), where="post", color=MUTED, linewidth=1.2, label="residual noise")
    axes.set_yscale("log")
    _plain_log(axes, x=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axes.set_xlabel("label number")
    axes.set_ylabel("force error before training (meV/Å)")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.0)
    return figure


def hyperparameters(record: RunRecord, *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Hyperparameters and residual noise over the number of labels, each divided by its last value."""
    trainings = record.trainings
    if not trainings:
        return None
    n = np.array([t.n_labels for t in trainings], dtype=np.float64)
    flat = [
        _flatten({"noise energy": t.noise_energy, "noise forces": t.noise_forces, **t.hyperparameters})
        for t in trainings
    ]
    names = list(dict.fromkeys(name for values in flat for name in values))
    series = {name.replace("_", " "): np.array([values.get(name, np.nan) for values in flat]) for name in names}
    shown = {name: y for name, y in series.items() if np.isfinite(y).all() and y.min() > 0 and np.ptp(y) > 0}
    if not shown:
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    axes.axhline(1.0, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    for k, (name, y) in enumerate(shown.items()):
        axes.step(
            np.r_[n, n[-1] + 0.5],
            np.r_[y, y[-1]] / y[-1],
            where="post",
            color=SERIES[k % len(SERIES)],
            linestyle="-" if k < len(SERIES) else (0, (3, 1.5)),
            linewidth=1.6,
            label=f"{name} {y[-1]:.3g}",
        )
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    _plain_log(axes, x=False)
    axes.set_xlabel("labels")
    axes.set_ylabel("value / last value")
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2, columnspacing=1.0)
    return figure


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of a nested mapping under names joined by blanks; items of lists are numbered from 1."""
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name} "))
        elif isinstance(value, (list, tuple)):
            flat.update(_flatten({str(k): item for k, item in enumerate(value, 1)}, f"{prefix}{name} "))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            flat[f"{prefix}{name}"] = float(value)
    return flat


def _cloud(axes: Axes, x: FloatArray, y: FloatArray, colour: str) -> None:
    """Scatter plot, embedded as a picture; the more points, the more transparent."""
    alpha = float(np.clip(40.0 / np.sqrt(max(x.size, 1)), 0.28, 0.9))
    axes.scatter(x, y, s=9, color=colour, alpha=alpha, linewidths=0, rasterized=True, zorder=3)


def _curve(axes: Axes, x: FloatArray, y: FloatArray, colour: str) -> None:
    known = np.isfinite(y)
    if known.any():
        axes.plot(*envelope(x[known], y[known]), color=colour, linewidth=0.9)


def _diagonal(axes: Axes, values: FloatArray) -> None:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 1.0
    span = (low - margin, high + margin)
    axes.plot(span, span, color=MUTED, linewidth=1.0, dashes=(4, 3), zorder=1)
    axes.set_xlim(span)
    axes.set_ylim(span)
    axes.set_aspect("equal")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))


def _binned_median(axes: Axes, stds: FloatArray, errors: FloatArray, bins: int = 10) -> None:
    """Median error over equally filled bins of uncertainty."""
    if stds.size < 10 * bins:
        return
    order = np.argsort(stds)
    groups = np.array_split(order, bins)
    x = [float(np.median(stds[group])) for group in groups]
    y = [float(np.median(errors[group])) for group in groups]
    axes.plot(x, y, color=INK, linewidth=1.4, marker="o", markersize=3.4, zorder=5)
    axes.annotate("median", (x[-1], y[-1]), xytext=(6, -3), textcoords="offset points", fontsize=8.5, color=INK)


def _stages(axes: Axes, record: RunRecord, *, named: bool) -> None:
    """Shade every second stage, and label each with its temperature."""
    stage = record.trace["stage"].astype(int)
    if not stage.size:
        return
    planned = _planned_temperatures(record)
    time = record.trace["time_fs"] / 1000.0
    target = record.trace["target_temperature_K"]
    starts = np.r_[0, np.flatnonzero(np.diff(stage)) + 1]
    ends = np.r_[starts[1:], len(stage) - 1]
    for k, (first, last) in enumerate(zip(starts, ends, strict=True)):
        if k % 2:
            axes.axvspan(time[first], time[last], color=BAND, linewidth=0, zorder=0)
        if named:
            ends_K = planned.get(int(stage[first]), (target[first], target[max(last - 1, first)]))
            text = _temperature_text(*ends_K)
            x = time[first] if k else 0.0
            axes.text(
                x,
                1.0,
                f" {text}",
                transform=axes.get_xaxis_transform(),
                fontsize=8.5,
                color=MUTED,
                va="bottom",
                ha="left",
            )


def _planned_temperatures(record: RunRecord) -> dict[int, tuple[float, float]]:
    """Temperatures, K, at which the stages of the campaign begin and end."""
    if not isinstance(record.campaign, Campaign):
        return {}
    stages = record.campaign.dynamics.stages
    return {k: (stage.temperature_at(0.0), stage.temperature_at(1.0)) for k, stage in enumerate(stages)}


def _temperature_text(first: float, last: float) -> str:
    if not (np.isfinite(first) and np.isfinite(last)):
        return "no thermostat"
    return f"{first:.0f} K" if abs(first - last) < 2.0 else f"{first:.0f} → {last:.0f} K"


def _threshold_over_time(record: RunRecord, end: float) -> FloatArray:
    """Steps (ps, meV/A) of the threshold, which varies if it is set as a multiple of the residual noise."""
    times = {label.number: label.time_ps for label in record.labels}
    steps = [
        (times.get(request.label, end), 1000.0 * request.threshold)
        for request in record.requests
        if request.threshold is not None
    ]
    if not steps:
        return np.empty((0, 2))
    return np.array([(0.0, steps[0][1]), *steps, (end, steps[-1][1])])


def _time_axis(axes: Axes, end: float) -> None:
    axes.set_xlim(0.0, end)
    axes.grid(axis="x", visible=False)


def _plain_log(axes: Axes, *, x: bool = True) -> None:
    """Write 0.1, 1, 10 on logarithmic axes instead of powers."""
    formatter = FuncFormatter(lambda value, _: f"{value:g}")
    for axis in (axes.xaxis, axes.yaxis) if x else (axes.yaxis,):
        axis.set_major_formatter(formatter)
        axis.set_minor_formatter(FuncFormatter(_minor(axis)))


def _minor(axis: Axis) -> Callable[[float, object], str]:
    def text(value: float, _: object) -> str:
        low, high = axis.get_view_interval()
        # With less than a decade and a half there are too few powers of ten to read a value.
        leading = round(value / 10 ** np.floor(np.log10(value)))
        return f"{value:g}" if high < 30 * low and leading in (2, 5) else ""

    return text
