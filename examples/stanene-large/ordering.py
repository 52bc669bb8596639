"""What became of the large sheet: shares of its structures and of trusted atoms over time, as numbers and a picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lmp import DumpFrame, read_columns, read_dump
from matplotlib import pyplot as plt
from simulation import TIMESTEP_PS

from trepid.data.atomic import write_text_atomic
from trepid.errors import DataError
from trepid.events.order import Structure, fractions, structures
from trepid.events.sheets import coordination_numbers, height_field
from trepid.report.style import house_style

BOND_A = 3.6
LIMITS_EV_PER_A = (0.1, 0.3)
"""Two limits of trust. The live uncertainty is calibrated (its scale is fitted), so that the first one asks for a good model."""
COLOURS = {
    Structure.SHEET: "#4c78a8",
    Structure.BILAYER: "#72b7b2",
    Structure.BCC: "#e45756",
    Structure.CLOSE_PACKED: "#f58518",
    Structure.TETRAHEDRAL: "#b279a2",
    Structure.DISORDERED: "#9d9d9d",
}


@dataclass(frozen=True)
class OrderAt:
    """The large sheet at one time.

    Attributes
    ----------
    time_ps : float
    shares : dict of str to float
        Share of the atoms in every structure.
    three_fold, height_rms_A, empty : float
        Share of atoms with three neighbours; rms of the height; share of the area without atoms.
    trusted : dict of str to float
        Share of the atoms whose live force uncertainty is at most each of `LIMITS_EV_PER_A`.
    median_bar_eV_per_A : float
        Live force uncertainty of the median atom.
    """

    time_ps: float
    shares: dict[str, float]
    three_fold: float
    height_rms_A: float
    empty: float
    trusted: dict[str, float]
    median_bar_eV_per_A: float


def order_of(frame: DumpFrame) -> OrderAt:
    """Structures and trust of one frame of a dump."""
    positions = frame.positions("xu", "yu", "zu")
    # Atoms may fly off and be dumped unwrapped; only the height must stay.
    cell = np.diag(frame.lengths)
    bars = frame.columns["f_u"]
    return OrderAt(
        time_ps=frame.step * TIMESTEP_PS,
        shares={key.value: share for key, share in fractions(structures(positions, cell)).items()},
        three_fold=float((coordination_numbers(positions, cell, cutoff_A=BOND_A) == 3).mean()),
        height_rms_A=float(positions[:, 2].std()),
        empty=height_field(positions, cell, spacing_A=9.0).empty_fraction,
        trusted={f"{limit:g}": float((bars <= limit).mean()) for limit in LIMITS_EV_PER_A},
        median_bar_eV_per_A=float(np.median(bars)),
    )


def write_order(run: Path) -> Path:
    """Order of all runs of the large sheet: `order.json` and `order.png` in the run directory.

    Raises
    ------
    DataError
        There is no run yet.
    """
    folders = sorted((run / "large").glob("*K*"))
    folders = [folder for folder in folders if (folder / "frames.dump").exists()]
    if not folders:
        raise DataError(f"{run / 'large'} holds no run; run the stage simulate first")
    found = {}
    for folder in folders:
        frames = {frame.step: frame for frame in read_dump(folder / "frames.dump")}  # the later of a repeated step
        columns = read_columns(folder / "record.txt")
        n_atoms = len(next(iter(frames.values())).columns["id"])
        area = columns["v_lx"] * columns["v_ly"]
        late = columns["TimeStep"] >= columns["TimeStep"][-1] / 2
        found[folder.name] = {
            "simulated_ps": float(columns["TimeStep"][-1] * TIMESTEP_PS),
            "energy_change_late_eV_per_atom": float(
                (columns["c_thermo_pe"][late].mean() - columns["c_thermo_pe"][0]) / n_atoms
            ),
            "area_late_over_flat": float(area[late].mean() / area[0]),
            "temperature_late_K": float(columns["c_thermo_temp"][late].mean()),
            "largest_bar_eV_per_A": float(columns["c_worst"].max()),
            "frames": [vars(order_of(frames[step])) for step in sorted(frames)],
        }
    write_text_atomic(run / "order.json", json.dumps(found, indent=1) + "\n")
    _picture(run, found)
    return run / "order.json"


def _picture(run: Path, found: dict) -> None:
    """Stacked shares of the structures over time, and the share of trusted atoms, one panel per run."""
    with house_style("order"):
        figure, axes = plt.subplots(2, len(found), figsize=(3.2 * len(found), 4.6), squeeze=False, sharex="col")
        for k, (name, one) in enumerate(found.items()):
            times = [at["time_ps"] for at in one["frames"]]
            rows = [[at["shares"][s.value] for at in one["frames"]] for s in Structure]
            axes[0, k].stackplot(
                times, rows, labels=[s.value for s in Structure], colors=[COLOURS[s] for s in Structure]
            )
            axes[0, k].set(title=name, ylim=(0, 1))
            for limit, line in zip(LIMITS_EV_PER_A, ("-", "--"), strict=True):
                trusted = [at["trusted"][f"{limit:g}"] for at in one["frames"]]
                axes[1, k].plot(times, trusted, line, color="black", label=f"bar up to {limit:g} eV/A")
            axes[1, k].set(xlabel="time (ps)", ylim=(0, 1.02))
        axes[0, 0].set_ylabel("share of the atoms")
        axes[1, 0].set_ylabel("trusted share")
        axes[1, 0].legend(loc="center right", framealpha=1, edgecolor="none")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
        figure.tight_layout(rect=(0, 0.06, 1, 1))
        figure.savefig(run / "order.png", dpi=110)
        plt.close(figure)
