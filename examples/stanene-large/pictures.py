"""The figures of the report, in its style: records in, matplotlib figures out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray
from probes import PathRecord
from training import THRESHOLD_EV_PER_A, GenerationRecord
from validation import TestRecord

from analysis import SheetRecord, Snapshot
from trepid.report.style import ACCENT, MUTED, SERIES, envelope, new_figure, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

_COORDINATION_MAP = colormaps["turbo"].resampled(11)
_COORDINATION_NORM = BoundaryNorm(np.arange(1.5, 13.0), 11)
_HEIGHT_MAP = colormaps["RdBu_r"].with_extremes(bad="#9a958a")
_UNCERTAINTY_MAP = "magma_r"


def snapshots(records: Sequence[SheetRecord]) -> Figure:
    """Last frame of every temperature from above: by coordination, and by uncertainty; the same scale for all."""
    n = len(records)
    figure = new_figure(2.5 * n + 0.6, 5.3)
    axes = figure.subplots(2, n, squeeze=False)
    half = max(max(r.snapshots[-1].lengths[:2]) for r in records) / 2
    for column, record in enumerate(records):
        snapshot = record.snapshots[-1]
        order = np.argsort(snapshot.positions[:, 2])
        x, y = (_centred(snapshot)[order, k] for k in (0, 1))
        # Marker size in points^2, so that an atom of radius 1.4 A is drawn to scale in a panel of 2.3 inches.
        size = (2.3 * 72 / (2 * half) * 2.4) ** 2
        top = axes[0, column].scatter(
            x, y, c=snapshot.coordination[order], cmap=_COORDINATION_MAP, norm=_COORDINATION_NORM, s=size, **_DOTS
        )
        low = axes[1, column].scatter(
            x, y, c=snapshot.uncertainty[order], cmap=_UNCERTAINTY_MAP, vmin=0, vmax=THRESHOLD_EV_PER_A, s=size, **_DOTS
        )
        axes[0, column].set_title(f"{record.name}, {snapshot.time_ps:.0f} ps")
        for axis in axes[:, column]:
            _bare(axis, half)
    _scale_bar(axes[1, 0], half, 100.0)
    _coordination_bar(figure, top, axes[0])
    _uncertainty_bar(figure, low, axes[1])
    return figure


def side_views(records: Sequence[SheetRecord], *, slab_A: float = 30.0) -> Figure:
    """Last frame of every temperature from the side, a slab of the sheet, coloured by uncertainty."""
    figure = new_figure(11.5, 1.05 * len(records) + 0.6)
    axes = figure.subplots(len(records), 1, squeeze=False)[:, 0]
    half = max(r.snapshots[-1].lengths[0] for r in records) / 2
    shades = None
    for axis, record in zip(axes, records, strict=True):
        snapshot = record.snapshots[-1]
        r = _centred(snapshot)
        inside = np.abs(r[:, 1]) < slab_A / 2
        order = np.flatnonzero(inside)[np.argsort(-r[inside, 1])]
        shades = axis.scatter(
            r[order, 0], r[order, 2], c=snapshot.uncertainty[order], cmap=_UNCERTAINTY_MAP, vmin=0, vmax=THRESHOLD_EV_PER_A,
            s=14, **_DOTS,
        )  # fmt: skip
        axis.set_aspect("equal")
        axis.set_xlim(-half, half)
        middle, reach = float(np.mean(r[inside, 2])), max(14.0, float(np.ptp(r[inside, 2])) / 2 + 4)
        axis.set_ylim(middle - reach, middle + reach)
        axis.axis("off")
        axis.set_title(f"{record.name}, {snapshot.time_ps:.0f} ps", fontsize=9, pad=1)
    _scale_bar(axes[-1], half, 50.0)
    if shades is not None:
        _uncertainty_bar(figure, shades, axes)
    return figure


def height_maps(records: Sequence[SheetRecord], *, n_moments: int = 4) -> Figure:
    """Height field at some moments of each run, early ones closer together, one row per temperature."""
    figure = new_figure(10.0, 2.35 * len(records) + 0.3)
    axes = figure.subplots(len(records), n_moments, squeeze=False)
    for row, record in zip(axes, records, strict=True):
        half = max(s.lengths[:2].max() for s in record.snapshots) / 2
        moments = np.unique(np.geomspace(1, max(1, len(record.snapshots) - 1), n_moments).round().astype(int))
        shown = [record.snapshots[k] for k in moments if k < len(record.snapshots)]
        limit = float(np.nanpercentile(np.abs(shown[-1].heights.heights_A), 98))
        shades = None
        for axis in row[len(shown) :]:
            axis.axis("off")
        for axis, snapshot in zip(row, shown, strict=False):
            edges = snapshot.lengths[:2] / 2
            shades = axis.imshow(
                snapshot.heights.heights_A.T, origin="lower", cmap=_HEIGHT_MAP, vmin=-limit, vmax=limit,
                extent=(-edges[0], edges[0], -edges[1], edges[1]), interpolation="nearest",
            )  # fmt: skip
            axis.set_title(f"{record.name}, {snapshot.time_ps:.1f} ps", fontsize=9)
            _bare(axis, half)
        if shades is not None:
            bar = figure.colorbar(shades, ax=row, fraction=0.02, pad=0.01)
            bar.set_label("height (Å)")
            bar.outline.set_visible(False)
    return figure


def traces(records: Sequence[SheetRecord]) -> Figure:
    """Against time: area, energy, temperature, overlap, coordination, share of untrusted atoms."""
    figure = new_figure(11.0, 6.4)
    axes = figure.subplots(2, 3)
    for colour, record in zip(SERIES, records, strict=False):
        t = record.times_ps
        times = [s.time_ps for s in record.snapshots]
        for axis, values in (
            (axes[0, 0], record.area_A2_per_atom),
            (axes[0, 1], record.energy_eV_per_atom - record.energy_eV_per_atom[0]),
            (axes[0, 2], record.heat_K),
        ):
            axis.plot(*envelope(t, values, 500), color=colour, linewidth=1.1, label=record.name)
        axes[1, 0].plot(times, [100 * s.overlapped.mean() for s in record.snapshots], color=colour)
        axes[1, 1].plot(times, [s.coordination.mean() for s in record.snapshots], color=colour)
        axes[1, 2].plot(t, 1e6 * _smooth(record.untrusted), color=colour, linewidth=1.0)
    titles = (
        "area in the plane (Å²/atom)",
        "potential energy − flat sheet (eV/atom)",
        "temperature (K)",
        "overlapped atoms (%)",
        "mean coordination",
        "untrusted atoms (per million)",
    )
    for axis, title in zip(axes.flat, titles, strict=True):
        axis.set_title(title)
        axis.set_xlabel("time (ps)")
    axes[0, 0].legend(loc="best")
    return figure


def spectra(records: Sequence[SheetRecord]) -> Figure:
    """Height fluctuations, mean over the late snapshots, binned in q."""
    figure = new_figure(4.8, 4.3)
    axis = figure.subplots()
    for colour, record in zip(SERIES, records, strict=False):
        late = record.snapshots[len(record.snapshots) // 2 :]
        q = np.concatenate([s.spectrum.q_per_A for s in late])
        intensity = np.concatenate([s.spectrum.intensity_A4 for s in late])
        edges = np.geomspace(q.min() * 0.99, q.max() * 1.01, 22)
        index = np.digitize(q, edges)
        filled = [k for k in range(1, len(edges)) if (index == k).any()]
        axis.loglog(
            [q[index == k].mean() for k in filled], [intensity[index == k].mean() for k in filled],
            "o-", color=colour, markersize=3, linewidth=1.0, label=record.name,
        )  # fmt: skip
    low, high = axis.get_xlim()
    guide = np.array([max(low, 0.03), 0.15])
    top = axis.get_ylim()[1]
    axis.loglog(guide, 0.5 * top * (guide / guide[0]) ** -4, "--", color=MUTED, linewidth=1.0)
    axis.set_xlim(low, high)
    axis.xaxis.set_minor_formatter(NullFormatter())
    note(axis, "dashed: q⁻⁴, a free elastic membrane", x=0.03, y=0.03, va="bottom")
    axis.set_xlabel("q (1/Å)")
    axis.set_ylabel("S(q) = A |h(q)|² (Å⁴)")
    axis.legend(loc="upper right")
    return figure


def displacements(records: Sequence[SheetRecord]) -> Figure:
    """Mean square displacement in the plane, late part of each run."""
    figure = new_figure(4.8, 4.3)
    axis = figure.subplots()
    for colour, record in zip(SERIES, records, strict=False):
        if len(record.msd_times_ps):
            axis.plot(record.msd_times_ps, record.msd_plane_A2, color=colour, label=record.name)
            axis.plot(record.msd_times_ps, record.msd_height_A2, color=colour, linestyle=":", linewidth=1.0)
    axis.set_yscale("log")
    axis.set_xlabel("lag (ps)")
    axis.set_ylabel("mean square displacement (Å²)")
    note(axis, "full: in the plane; dotted: out of it", x=0.97, y=0.03, ha="right", va="bottom")
    axis.legend(loc="upper left", ncols=2)
    return figure


def coordination_shares(records: Sequence[SheetRecord]) -> Figure:
    """Coordination numbers of the last frames, and of the flat sheet at the start."""
    figure = new_figure(4.8, 4.3)
    axis = figure.subplots()
    numbers = np.arange(0, 13)
    for colour, record in zip(SERIES, records, strict=False):
        counts = np.bincount(np.minimum(record.snapshots[-1].coordination, 12), minlength=13)
        axis.plot(numbers, 100 * counts / counts.sum(), "o-", color=colour, markersize=3.5, label=record.name)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("neighbours within 3.6 Å")
    axis.set_ylabel("share of atoms (%)")
    axis.legend(loc="upper right")
    return figure


def generations(history: Sequence[GenerationRecord]) -> Figure:
    """Training: errors on chosen and control frames before training on them, noise, and the untrusted share."""
    figure = new_figure(9.6, 3.9)
    left, right = figure.subplots(1, 2)
    index = [r.generation for r in history]
    for colour, label, errors in (
        (SERIES[1], "chosen frames", [r.chosen for r in history]),
        (SERIES[0], "control frames", [r.control for r in history]),
    ):
        known = [(k, e) for k, e in zip(index, errors, strict=True) if e is not None]
        left.plot([k for k, _ in known], [e.forces_rmse_eV_per_A for _, e in known], "o-", color=colour, label=label)
    left.plot(
        index, [r.noise_forces_eV_per_A for r in history], "--", color=MUTED, label="noise inferred, at small forces"
    )
    left.set_ylabel("force RMSE before training (eV/Å)")
    left.set_ylim(bottom=0)
    left.legend(loc="best")
    for record in history:
        shares = [100 * w.untrusted_share for w in record.walkers]
        right.plot([record.generation] * len(shares), shares, "o", color=SERIES[2], markersize=5, alpha=0.8)
    right.set_yscale("symlog", linthresh=0.1)
    right.set_ylabel("untrusted atoms in each run (%)")
    for axis in (left, right):
        axis.set_xlabel("generation")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def test_errors(tests: Sequence[TestRecord]) -> Figure:
    """Final model on unseen frames of small sheets: force error beside the size of the forces, by temperature."""
    figure = new_figure(4.8, 4.3)
    axis = figure.subplots()
    names = [f"{t.temperature_K:.0f} K" for t in tests]
    x = np.arange(len(tests))
    axis.bar(x - 0.2, [t.errors.forces_rms_eV_per_A for t in tests], 0.38, color=SERIES[5], label="forces, rms")
    axis.bar(x + 0.2, [t.errors.forces_rmse_eV_per_A for t in tests], 0.38, color=SERIES[0], label="error, rms")
    for k, test in enumerate(tests):
        if test.errors.coverage_95 is not None:
            axis.text(
                k, -0.03, f"{100 * test.errors.coverage_95:.0f} %", ha="center", va="top", fontsize=8.5, color=ACCENT
            )
    axis.set_ylim(bottom=-0.14)
    axis.set_xticks(x, names)
    axis.set_ylabel("force components (eV/Å)")
    axis.legend(loc="upper left")
    note(axis, "red: share of components inside the 95 % interval", x=0.97, y=0.02, ha="right", va="bottom")
    return figure


_DOTS = {"linewidths": 0, "rasterized": True}


def paths(probes: Sequence[PathRecord]) -> Figure:
    """Energy along the uniform contraction of a perfect sheet, and along the collapse of a small one."""
    figure = new_figure(11.4, 3.9)
    panels = figure.subplots(1, 3)
    for axis, record in zip(panels, (probes[0], *probes), strict=True):
        order = np.argsort(record.area_A2_per_atom)
        x = np.array(record.area_A2_per_atom)[order]
        label, predicted, std = (
            np.array(values)[order]
            for values in (
                record.energy_label_eV_per_atom,
                record.energy_predicted_eV_per_atom,
                record.energy_uncertainty_eV_per_atom,
            )
        )
        zero = label[-1] if record.name == "collapse" else label[np.argmin(np.abs(x - 9.36))]
        axis.plot(x, label - zero, "o-", color=SERIES[1], markersize=4, label="GFN1-xTB")
        axis.errorbar(
            x, predicted - zero, yerr=2 * std, fmt="o--", color=SERIES[0], markersize=4, linewidth=1.1,
            label="model ± 2 std",
        )  # fmt: skip
        axis.set_xlabel("area in the plane (Å²/atom)")
        axis.set_ylabel("energy − flat sheet, label (eV/atom)")
        axis.set_title("uniform contraction" if record.name == "contraction" else "collapse of 60 atoms at 100 K")
        axis.legend(loc="lower right")
    panels[0].set_xlim(6.5, 10.2)
    panels[0].set_ylim(-0.03, 0.1)
    panels[0].set_title("uniform contraction, near the flat sheet")
    return figure


def _centred(snapshot: Snapshot) -> FloatArray:
    """Positions wrapped into a cell around the origin."""
    r = snapshot.positions.copy()
    edges = snapshot.lengths[:2]
    r[:, :2] = (r[:, :2] % edges) - edges / 2
    return r


def _smooth(values: FloatArray, width: int = 50) -> FloatArray:
    if len(values) < width:
        return values
    return np.convolve(values, np.ones(width) / width, mode="same")


def _bare(axis: Axes, half: float) -> None:
    axis.set_aspect("equal")
    axis.set_xlim(-half, half)
    axis.set_ylim(-half, half)
    axis.axis("off")


def _scale_bar(axis: Axes, half: float, length_A: float) -> None:
    low = axis.get_ylim()[0]
    axis.plot([-half, -half + length_A], [low, low], color=MUTED, linewidth=2.5, clip_on=False)
    axis.text(-half + length_A + 4, low, f"{length_A:.0f} Å", va="center", fontsize=8.5, color=MUTED)


def _coordination_bar(figure: Figure, shades: ScalarMappable, axes: Sequence[Axes]) -> None:
    bar = figure.colorbar(shades, ax=axes, fraction=0.02, pad=0.01, ticks=[2, 3, 4, 6, 8, 10, 12], extend="both")
    bar.ax.minorticks_off()
    bar.set_label("neighbours")
    bar.outline.set_visible(False)


def _uncertainty_bar(figure: Figure, shades: ScalarMappable, axes: Sequence[Axes]) -> None:
    bar = figure.colorbar(shades, ax=axes, fraction=0.02, pad=0.01, extend="max")
    bar.set_label("uncertainty (eV/Å)")
    bar.outline.set_visible(False)
