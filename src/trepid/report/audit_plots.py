"""Figures of the page of an audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from trepid.arrays import FloatArray
from trepid.report.axes import key
from trepid.report.style import INK, MUTED, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


WIDEST_INCHES = 5.4


def path_picture(entry: Mapping[str, Any], width: float = WIDEST_INCHES) -> Figure:
    """Energies along the path: the model with its bar, the reference as estimated and as labelled; at most `width` inches wide."""
    figure = new_figure(min(width, WIDEST_INCHES), 3.2)
    axes = figure.add_subplot()
    path, corrected = entry["path"], entry["corrected_path"]
    x = np.array(path["lengths_A"])
    y = np.array(path["energies_eV"])
    axes.plot(x, y, "-o", color=SERIES[0], markersize=3.5, label="model")
    top = int(np.argmax(y))
    if entry["model_bar_eV"]:
        axes.errorbar([x[top]], [y[top]], yerr=[entry["model_bar_eV"]], color=SERIES[0], capsize=3, linewidth=1.0)
    if corrected is not None:
        length = np.array(corrected["lengths_A"])
        place = length * x[-1] / max(length[-1], 1e-12)
        energies = np.array(corrected["energies_eV"])
        axes.plot(place, energies, "-", color=SERIES[1], label="reference, estimated")
        if entry["reference_barrier_bar_eV"]:
            k = int(np.argmax(energies))
            bar = [entry["reference_barrier_bar_eV"]]
            axes.errorbar([place[k]], [energies[k]], yerr=bar, color=SERIES[1], capsize=3, linewidth=1.0)
    labels = [label for label in entry["labels"] if label["role"] not in ("before", "during", "after")]
    points = [(label["path_A"], label["reference_eV"]) for label in labels if label["path_A"] is not None]
    if points:
        axes.plot(
            *zip(*points, strict=True), "D", color=INK, markersize=4.5, linestyle="none", label="reference, labels"
        )
    drawn = np.concatenate([y, [energy for _, energy in points], [] if corrected is None else corrected["energies_eV"]])
    shown = np.abs(drawn) <= _most(drawn, entry["horizon_eV"])
    axes.set_ylim(*_range(drawn[shown], axes.get_ylim()))
    if not shown.all():
        farthest = drawn[np.argmax(np.abs(drawn))]
        n = int((~shown).sum())
        text = f"{n} point{'s' * (n > 1)} out of the picture, up to {farthest:.3g} eV"
        axes.set_title(text, fontsize="small", color=MUTED, loc="right")
    if entry["horizon_eV"] < 1.6 * max(float(drawn[shown].max()), 0.05):
        axes.axhline(entry["horizon_eV"], color=MUTED, linestyle="--", linewidth=1.0)
    axes.set_xlabel("length of the path (Å)")
    axes.set_ylabel("energy (eV)")
    key(axes)
    return figure


FAR = 5.0
"""Energies above this multiple of the horizon and of most energies are left out: two atoms at one place cost 1e4 eV."""


def _most(values: FloatArray, horizon_eV: float) -> float:
    """Largest energy that is shown, eV."""
    return FAR * max(horizon_eV, float(np.quantile(np.abs(values), 0.6)), 0.1)


def _range(values: FloatArray, wanted: tuple[float, float]) -> tuple[float, float]:
    """Limits of the axis: at most as much around the energies as they span, so that a wide bar does not flatten the path."""
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 0.1)
    return max(wanted[0], low - 0.7 * span), min(wanted[1], high + 0.7 * span)
