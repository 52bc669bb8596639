"""The figures of a learning run over its time and its labels, one function each: data in, matplotlib figure out.

Time series are drawn into the width they are given (inches), so that the page can carry a wide version and a narrow one for
phones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from trepid.config import Campaign
from trepid.report.axes import key, log_scale, whole_numbers
from trepid.report.hyperparameters import numbers_of_training
from trepid.report.plots import SQUARE
from trepid.report.style import ACCENT, BAND, INK, MUTED, SERIES, envelope, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trepid.arrays import FloatArray
    from trepid.runs.reading import RunRecord


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
    whole_numbers(axes.yaxis, ticks=6)
    axes.set_ylabel("labels (number)")
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
    target = target_temperature(record)
    if target.size:
        middle.plot(*target.T, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="_target")
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
    log_scale(axes, y=True)
    whole_numbers(axes.xaxis)
    axes.set_xlabel("label (number)")
    axes.set_ylabel("force error before training (meV/Å)")
    key(axes)
    return figure


def hyperparameters(record: RunRecord, *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Hyperparameters and residual noise over the number of labels, each divided by its last value."""
    trainings = record.trainings
    if not trainings:
        return None
    n = np.array([t.n_labels for t in trainings], dtype=np.float64)
    flat = [numbers_of_training(training) for training in trainings]
    names = list(dict.fromkeys(name for values in flat for name in values))
    series = {name: np.array([values.get(name, np.nan) for values in flat]) for name in names}
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
            label=name,
        )
    log_scale(axes, y=True)
    whole_numbers(axes.xaxis)
    axes.set_xlabel("labels (number)")
    axes.set_ylabel("value / last value (1)")
    key(axes)
    return figure


def _curve(axes: Axes, x: FloatArray, y: FloatArray, colour: str) -> None:
    known = np.isfinite(y)
    if known.any():
        axes.plot(*envelope(x[known], y[known]), color=colour, linewidth=0.9)


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


def target_temperature(record: RunRecord) -> FloatArray:
    """Corners (ps, K) of the target temperature: level or a ramp in a stage, a step from one stage to the next.

    Where the stages are not known, every check holds the target until the next one.
    """
    time, target = record.trace["time_fs"] / 1000.0, record.trace["target_temperature_K"]
    if not time.size or not np.isfinite(target).any():
        return np.empty((0, 2))
    if not isinstance(record.campaign, Campaign):
        return np.column_stack([np.repeat(time, 2)[1:], np.repeat(target, 2)[:-1]])
    dynamics, corners, start = record.campaign.dynamics, [], 0.0
    for stage, steps in zip(dynamics.stages, dynamics.stage_steps, strict=True):
        length = steps * dynamics.timestep_fs / 1000.0
        done = min(1.0, (time[-1] - start) / length)
        if done <= 0.0 and start > 0.0:
            break
        corners += [(start, stage.temperature_at(0.0)), (start + done * length, stage.temperature_at(max(done, 0.0)))]
        start += length
    return np.array(corners)


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
