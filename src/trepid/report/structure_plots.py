"""Pictures of crystals: atoms as circles in a projection, with the edges of the cell, and forces of one atom as arrows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from trepid.report.axes import dots, key
from trepid.report.style import ACCENT, INK, MUTED, new_figure, species_colours

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trepid.arrays import FloatArray

WIDTH = 3.9
"""Inches."""
_TURN, _TILT, _TILT_OF_SHEETS = np.deg2rad(18.0), np.deg2rad(12.0), np.deg2rad(50.0)
"""Angles of view: about the upright axis, and from above; thin crystals are seen from further above."""
_RADIUS = 0.55
"""Of a circle, in covalent radii."""
_FADED = 0.45
"""Share of grey in the circles at the back."""
_ARROW_A = 2.6
"""Length of the longer of two forces."""


@dataclass(frozen=True, eq=False)
class MarkedAtom:
    """An atom that a picture points out.

    Attributes
    ----------
    index : int
    label, predicted : (3,) arrays
        Its force as labelled and as predicted, eV/A.
    """

    index: int
    label: FloatArray
    predicted: FloatArray


def crystal_picture(atoms: Atoms, marked: MarkedAtom | None = None) -> Figure:
    """One frame, wrapped into its cell; the marked atom has a ring and arrows of its two forces."""
    frame = atoms.copy()
    frame.wrap(eps=1e-3)
    view = _view(frame)
    seen = frame.positions @ view.T
    edges = [corner @ view.T for corner in _edges(frame)] if frame.cell.rank == 3 else []
    radii = _RADIUS * covalent_radii[frame.numbers]
    points = np.vstack([seen[:, :2], *(edge[:, :2] for edge in edges)])
    low, high = points.min(axis=0) - radii.max() - 0.4, points.max(axis=0) + radii.max() + 0.4
    size = high - low
    figure = new_figure(WIDTH, float(np.clip(WIDTH * size[1] / size[0], 2.2, 6.0)) + 0.7)
    axes = figure.add_subplot()
    for edge in edges:
        axes.plot(edge[:, 0], edge[:, 1], color=MUTED, linewidth=0.8, zorder=1, label="_cell")
    colours = species_colours(frame.get_chemical_symbols())
    order = np.argsort(seen[:, 2])
    depth = (seen[:, 2] - seen[:, 2].min()) / max(float(np.ptp(seen[:, 2])), 1e-9)
    shades = [
        (1 - _FADED * (1 - depth[k])) * np.array(to_rgb(colours[frame[k].symbol])) + _FADED * (1 - depth[k]) * 0.6
        for k in order
    ]
    circles = EllipseCollection(
        2 * radii[order],
        2 * radii[order],
        np.zeros(len(order)),
        units="xy",
        offsets=seen[order, :2],
        offset_transform=axes.transData,
        facecolors=shades,
        edgecolors="#20242a",
        linewidths=0.35,
        zorder=2,
        label="atoms",
        rasterized=len(frame) > 1500,
    )
    axes.add_collection(circles)
    handles = dots(colours)
    if marked is not None:
        handles += _mark(axes, seen[marked.index, :2], float(radii[marked.index]), marked, view)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_aspect("equal")
    axes.grid(False)
    _scale_bar(axes)
    key(axes, handles=handles)
    return figure


def _mark(axes: Axes, place: FloatArray, radius: float, marked: MarkedAtom, view: FloatArray) -> list[Line2D]:
    """Ring and arrows; gives their handles for the key."""
    ring = EllipseCollection(
        [2.6 * radius],
        [2.6 * radius],
        [0.0],
        units="xy",
        offsets=place[None],
        offset_transform=axes.transData,
        facecolors="none",
        edgecolors=ACCENT,
        linewidths=2.0,
        zorder=4,
        label="_ring",
    )
    axes.add_collection(ring)
    longest = max(float(np.linalg.norm(marked.label)), float(np.linalg.norm(marked.predicted)), 1e-12)
    handles = []
    for name, force, colour in (("force label", marked.label, INK), ("force predicted", marked.predicted, ACCENT)):
        tip = place + (_ARROW_A / longest * force @ view.T)[:2]
        axes.annotate(
            "",
            (float(tip[0]), float(tip[1])),
            xytext=(float(place[0]), float(place[1])),
            zorder=5,
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6, "mutation_scale": 9},
        )
        handles.append(Line2D([], [], color=colour, linewidth=1.6, label=name))
    return handles


def _scale_bar(axes: Axes) -> None:
    """Length of the picture in place of axes, below the frame."""
    low, high = axes.get_xlim()
    length = next(value for value in (20.0, 10.0, 5.0, 2.0, 1.0) if value < 0.45 * (high - low) or value == 1.0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_yticks([])
    axes.set_xticks([low, low + length], ["0", f"{length:g} Å"])
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_bounds(low, low + length)
    axes.spines["bottom"].set_color(MUTED)


def _view(frame: Atoms) -> FloatArray:
    """Axes of the picture, rows: right, up, towards the eye; the plane of the first two vectors lies flat."""
    cell = frame.cell.complete()[:]
    right = cell[0] / np.linalg.norm(cell[0])
    up = np.cross(cell[0], cell[1])
    up /= np.linalg.norm(up)
    back = np.cross(up, right)
    heights = frame.positions @ up
    flat = min(np.linalg.norm(cell[0]), np.linalg.norm(cell[1]))
    tilt = _TILT_OF_SHEETS if np.ptp(heights) < 0.35 * flat else _TILT
    turned = np.cos(_TURN) * right + np.sin(_TURN) * back
    inward = np.cos(_TURN) * back - np.sin(_TURN) * right
    return np.array([turned, np.cos(tilt) * up + np.sin(tilt) * inward, np.sin(tilt) * up - np.cos(tilt) * inward])


def _edges(frame: Atoms) -> list[FloatArray]:
    """The twelve edges of the cell, (2, 3) each."""
    cell = frame.cell[:]
    edges = []
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        for a, b in product((0.0, 1.0), repeat=2):
            start = a * cell[others[0]] + b * cell[others[1]]
            edges.append(np.array([start, start + cell[axis]]))
    return edges
