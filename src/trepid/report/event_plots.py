"""The figures of an analysis of events, one function each: data in, matplotlib figure out; None without data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from trepid.report.axes import key
from trepid.report.style import ACCENT, INK, MUTED, RULE, SERIES, envelope, new_figure, species_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trepid.arrays import FloatArray
    from trepid.events.analysis import ClassFound, EventAnalysis

WIDE = (10.4, 3.4)
"""Inches."""
MOST_CLASSES = 12
"""Classes that are drawn; the tables have all of them."""
_REACH_A = 5.5
"""Atoms as near to an event as this are drawn with it."""
_MOST_DRAWN = 60


def timeline(analysis: EventAnalysis) -> Figure | None:
    """Every event at its onset, a row for each class; atoms that are not at home below."""
    if not analysis.classes:
        return None
    classes = analysis.classes[:MOST_CLASSES]
    figure = new_figure(WIDE[0], 1.9 + 0.32 * len(classes))
    rows, counts = figure.subplots(2, 1, sharex=True, height_ratios=[0.32 * len(classes) + 0.3, 1.2])
    for row, found in enumerate(classes):
        onsets = np.array([event.start_fs / 1000.0 for event in found.events])
        rows.plot(
            onsets,
            np.full(len(onsets), row),
            linestyle="",
            marker="|",
            markersize=9,
            markeredgewidth=1.3,
            color=SERIES[row % len(SERIES)],
        )
    rows.set_yticks(range(len(classes)), [str(k) for k in range(1, len(classes) + 1)])
    rows.set_ylim(len(classes) - 0.4, -0.6)
    rows.set_ylabel("class (number)")
    time, number = analysis.off_home.T
    counts.step(np.append(time, analysis.duration_ps), np.append(number, number[-1]), where="post", color=ACCENT)
    counts.set_ylim(bottom=0)
    counts.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
    counts.set_ylabel("atoms not\nat home (number)")
    counts.set_xlabel("time (ps)")
    counts.set_xlim(0, analysis.duration_ps)
    if analysis.settings.equilibrate_ps > 0:
        for axes in (rows, counts):
            axes.axvspan(0, analysis.settings.equilibrate_ps, color=RULE, alpha=0.5, linewidth=0)
    return figure


def rates(analysis: EventAnalysis) -> Figure | None:
    """Rates of the classes with their intervals."""
    classes = [found for found in analysis.classes[:MOST_CLASSES] if found.rate.n]
    if not classes:
        return None
    figure = new_figure(5.2, 1.2 + 0.34 * len(classes))
    axes = figure.add_subplot()
    for row, found in enumerate(classes):
        rate, filled = found.rate.used, found.rate.blocks is None
        colour = SERIES[analysis.classes.index(found) % len(SERIES)]
        axes.plot([100 * rate.low_per_ps, 100 * rate.high_per_ps], [row, row], color=colour, linewidth=1.6)
        axes.plot(
            100 * rate.rate_per_ps,
            row,
            marker="o",
            markersize=6,
            color=colour,
            markerfacecolor=colour if filled else "none",
        )
    axes.set_yticks(range(len(classes)), [str(analysis.classes.index(found) + 1) for found in classes])
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("rate (events per 100 ps)")
    axes.set_ylabel("class (number)")
    return figure


def waiting_times(analysis: EventAnalysis) -> Figure | None:
    """Share of the waiting times longer than t, for the classes with most events; lines are those of independent events."""
    classes = [found for found in analysis.classes if len(found.waiting.waits_ps) >= 5][:4]
    if not classes:
        return None
    figure = new_figure(5.2, 3.6)
    axes = figure.add_subplot()
    for found in classes:
        number = analysis.classes.index(found)
        waits = np.sort(found.waiting.waits_ps)
        share = 1.0 - np.arange(len(waits)) / len(waits)
        colour = SERIES[number % len(SERIES)]
        axes.step(waits, share, where="pre", color=colour, label=f"class {number + 1}")
        t = np.linspace(0, waits[-1], 100)
        axes.plot(t, np.exp(-t / waits.mean()), color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(0, 1.03)
    axes.set_xlim(left=0)
    axes.set_xlabel("time to the next event (ps)")
    axes.set_ylabel("share that wait longer (1)")
    key(axes)
    return figure


def sigma_a_series(analysis: EventAnalysis) -> Figure | None:
    """sigma^A over time with its jumps, and the onsets of events."""
    series = analysis.sigma_a
    if series is None:
        return None
    figure = new_figure(*WIDE)
    axes = figure.add_subplot()
    axes.plot(*envelope(series.times_ps, series.values), color=MUTED, linewidth=0.8)
    for jump in series.jumps:
        at = series.times_ps[jump.index]
        axes.axvline(at, color=ACCENT, linewidth=1.0)
    for found in analysis.classes[:MOST_CLASSES]:
        number = analysis.classes.index(found)
        onsets = [event.start_fs / 1000.0 for event in found.events]
        axes.plot(
            onsets, np.zeros(len(onsets)), linestyle="", marker="|", markersize=12, color=SERIES[number % len(SERIES)]
        )
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, analysis.duration_ps)
    axes.set_xlabel("time (ps)")
    axes.set_ylabel(r"$\sigma^A$ (1)")
    key(axes, f"All frames {series.sigma_a:.3f}; vertical lines: jumps; ticks below: events", handles=[])
    return figure


def class_picture(analysis: EventAnalysis, found: ClassFound) -> Figure | None:
    """Start, way and end of the first event of a class, with the sites of the crystal around it."""
    path = found.path
    if path is None:
        return None
    sites, event = analysis.sites, found.events[0]
    centre = path.tracks.reshape(-1, 3).mean(axis=0)
    axes_of_view = _view(path.tracks)
    figure = new_figure(WIDE[0], 3.9)
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    colours = species_colours(sites.species)
    site_points = _around(sites.positions, centre, sites.cell, sites.pbc)
    near_sites = np.flatnonzero(np.linalg.norm(site_points, axis=1) <= _REACH_A)
    for panel, image, name, number in zip(
        panels, path.at_rest, ("start", "on the way", "end"), path.frames, strict=True
    ):
        view = site_points[near_sites] @ axes_of_view.T
        _draw_sites(panel, near_sites, view, sites.n_atoms, [colours.get(s, MUTED) for s in sites.species])
        atoms = _around(image, centre, sites.cell, sites.pbc)
        near = np.flatnonzero(np.linalg.norm(atoms, axis=1) <= _REACH_A)
        near = near[np.argsort(np.linalg.norm(atoms[near], axis=1))][:_MOST_DRAWN]
        seen = atoms[near] @ axes_of_view.T
        for k in np.argsort(seen[:, 2]):
            atom, depth = int(near[k]), (seen[k, 2] + _REACH_A) / (2 * _REACH_A)
            moving = atom in event.atoms
            panel.plot(
                seen[k, 0],
                seen[k, 1],
                marker="o",
                markersize=9 + 5 * depth,
                color=colours[sites.species[atom]],
                alpha=1.0 if moving else 0.3 + 0.35 * depth,
                markeredgecolor=INK if moving else "none",
                markeredgewidth=1.6 if moving else 0.0,
                zorder=4 + depth + (1 if moving else 0),
            )
        for track in np.moveaxis(path.tracks, 1, 0):
            line = _around_line(track, centre, sites.cell, sites.pbc) @ axes_of_view.T
            panel.plot(line[:, 0], line[:, 1], color=INK, linewidth=1.0, zorder=8)
        panel.set_title(f"{name}, frame {number}")
        panel.set_aspect("equal")
        panel.grid(False)
        panel.set_xlim(-_REACH_A - 0.5, _REACH_A + 0.5)
        panel.set_ylim(-_REACH_A - 0.5, _REACH_A + 0.5)
        panel.set_xticks([-4, 0, 4])
        panel.set_yticks([-4, 0, 4])
        panel.set_xlabel("place (Å)")
    panels[0].set_ylabel("place (Å)")
    _legend(panels[2], colours, sites.n_sites > sites.n_atoms)
    return figure


def _draw_sites(panel: Axes, near: np.ndarray, view: FloatArray, n_atoms: int, colours: list[str]) -> None:
    for k, site in enumerate(near):
        lattice = site < n_atoms
        panel.plot(
            view[k, 0],
            view[k, 1],
            marker="o" if lattice else "x",
            markersize=15 if lattice else 5,
            markerfacecolor="none",
            markeredgecolor=colours[site] if lattice else MUTED,
            markeredgewidth=0.9,
            alpha=0.8,
            zorder=2,
        )


def _legend(panel: Axes, colours: dict[str, str], empty: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linestyle="", marker="o", color=c, markersize=7, label=s) for s, c in colours.items()]
    handles.append(
        Line2D([], [], linestyle="", marker="o", markerfacecolor="none", color=MUTED, markersize=8, label="site")
    )
    if empty:
        handles.append(Line2D([], [], linestyle="", marker="x", color=MUTED, markersize=5, label="empty site"))
    panel.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.3)


def _view(tracks: FloatArray) -> FloatArray:
    """Axes of the picture, rows: right along the way, up and towards the eye, so that the way lies in the plane."""
    points = (tracks - tracks[0]).reshape(-1, 3)
    right = np.linalg.svd(points, full_matrices=True)[2]
    # The direction of sight is turned a little, so that rows of a cubic crystal do not hide each other.
    tilt = np.deg2rad(14.0)
    first, second, third = right
    up = np.cos(tilt) * second + np.sin(tilt) * third
    return np.array([first, up, np.cross(first, up)])


def _around(points: FloatArray, centre: FloatArray, cell: FloatArray, pbc: np.ndarray) -> FloatArray:
    """Vectors from the centre to the nearest images."""
    offset = (points - centre) @ np.linalg.inv(cell)
    offset -= np.where(pbc, np.rint(offset), 0.0)
    return np.asarray(offset @ cell)


def _around_line(track: FloatArray, centre: FloatArray, cell: FloatArray, pbc: np.ndarray) -> FloatArray:
    """A line as a whole, its middle at the nearest image."""
    middle = track.mean(axis=0)
    return np.asarray(track - middle + _around(middle[None], centre, cell, pbc)[0])
