"""From the dumps of the large sheet to figures: one `SheetRecord` per temperature, plain numbers and short series."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from lmp import DumpFrame, read_columns, read_dump
from numpy.typing import NDArray
from simulation import TIMESTEP_PS
from training import THRESHOLD_EV_PER_A

from trepid.errors import DataError
from trepid.events.sheets import (
    A2_PER_PS_IN_CM2_PER_S,
    HeightField,
    HeightSpectrum,
    coordination_numbers,
    diffusion_coefficient,
    height_field,
    height_spectrum,
    mean_square_displacement,
    overlapped_atoms,
)
from trepid.potentials.bayesian.force_field import BayesianForceField

FloatArray = NDArray[np.float64]

BOND_A = 3.6
"""Two atoms closer than this are neighbours: 2.8 A in the flat sheet, whose second shell is at 4.65 A."""
HEIGHT_CELL_A = 9.0
Q_MAX_PER_A = 0.7
EXACT_SAMPLE = 500
"""Atoms whose exact uncertainty is computed, of each of two frames."""
LATE = 0.5
"""Averages are over this last part of a run."""


@dataclass(frozen=True)
class Snapshot:
    """The sheet at one time, with the properties of every atom."""

    time_ps: float
    positions: FloatArray
    lengths: FloatArray
    uncertainty: FloatArray
    coordination: NDArray[np.int64]
    overlapped: NDArray[np.bool_]
    heights: HeightField
    spectrum: HeightSpectrum

    @property
    def thickness_A(self) -> float:
        """Height between the 2nd and the 98th percentile of the atoms."""
        low, high = np.percentile(self.positions[:, 2], [2, 98])
        return float(high - low)


@dataclass(frozen=True)
class ExactSample:
    """Exact force uncertainty (norm over x, y, z) of atoms picked at random at one time.

    Attributes
    ----------
    time_ps : float
    median_eV_per_A, untrusted_share : float
        Of the sample; untrusted by the same threshold as the live uncertainty.
    live_over_exact : float
        Median of the ratio.
    """

    time_ps: float
    median_eV_per_A: float
    untrusted_share: float
    live_over_exact: float


@dataclass(frozen=True)
class SheetRecord:
    """One temperature of the large sheet.

    Attributes
    ----------
    temperature_K : float
        Of the thermostat.
    clamped : bool
        At the area of the flat sheet.
    exact : tuple of ExactSample
        Exact uncertainty of a sample of atoms, in the middle and at the end.
    times_ps, heat_K, energy_eV_per_atom, area_A2_per_atom : (n_checks,) arrays
        At every check of the uncertainty.
    untrusted : (n_checks,) array
        Share of atoms above the threshold.
    worst_eV_per_A : (n_checks,) array
        Largest uncertainty.
    snapshots : tuple of Snapshot
        In the order of time.
    msd_times_ps, msd_plane_A2, msd_height_A2 : (n_lags,) arrays
        Mean square displacement in the late part, in and out of the plane.
    """

    temperature_K: float
    clamped: bool
    n_atoms: int
    exact: tuple[ExactSample, ...]
    times_ps: FloatArray
    heat_K: FloatArray
    energy_eV_per_atom: FloatArray
    area_A2_per_atom: FloatArray
    untrusted: FloatArray
    worst_eV_per_A: FloatArray
    snapshots: tuple[Snapshot, ...]
    msd_times_ps: FloatArray
    msd_plane_A2: FloatArray
    msd_height_A2: FloatArray

    @property
    def name(self) -> str:
        """Temperature for captions."""
        return f"{self.temperature_K:.0f} K{' clamped' if self.clamped else ''}"

    def figures(self) -> dict[str, Any]:
        """Numbers for the table of the README."""
        late = self.times_ps >= (1 - LATE) * self.times_ps[-1]
        area = self.area_A2_per_atom
        last = self.snapshots[-1]
        half_way = area < 0.5 * (area[0] + area[late].mean())
        contracted = area[late].mean() < 0.9 * area[0]
        return {
            "name": self.name,
            "temperature_K": self.temperature_K,
            "clamped": self.clamped,
            "n_atoms": self.n_atoms,
            "simulated_ps": float(self.times_ps[-1]),
            "mean_temperature_late_K": float(self.heat_K[late].mean()),
            "largest_temperature_K": float(self.heat_K[self.times_ps > 0.2].max()),
            "energy_gain_late_eV_per_atom": float(self.energy_eV_per_atom[late].mean() - self.energy_eV_per_atom[0]),
            "area_late_over_flat": float(area[late].mean() / area[0]),
            "area_half_way_ps": float(self.times_ps[np.argmax(half_way)]) if contracted else None,
            "thickness_last_A": last.thickness_A,
            "height_rms_last_A": float(last.positions[:, 2].std()),
            "mean_coordination_last": float(last.coordination.mean()),
            "three_fold_share_last": float((last.coordination == 3).mean()),
            "overlapped_share_last": float(last.overlapped.mean()),
            "empty_area_share_last": last.heights.empty_fraction,
            "diffusion_plane_late_cm2_per_s": self.diffusion_cm2_per_s(),
            "untrusted_atom_share": float(self.untrusted.mean()),
            "untrusted_atom_share_late": float(self.untrusted[late].mean()),
            "time_share_with_an_untrusted_atom": float((self.untrusted > 0).mean()),
            "first_untrusted_ps": float(self.times_ps[np.argmax(self.untrusted > 0)]) if self.untrusted.any() else None,
            "exact_samples": [asdict(sample) for sample in self.exact],
            "largest_uncertainty_eV_per_A": float(self.worst_eV_per_A.max()),
        }

    def diffusion_cm2_per_s(self) -> float | None:
        """Diffusion coefficient in the plane from all lags, the first being 2.5 ps; None for too short a run."""
        if len(self.msd_times_ps) < 3:
            return None
        slope = diffusion_coefficient(self.msd_times_ps, self.msd_plane_A2, n_dimensions=2)
        return slope * A2_PER_PS_IN_CM2_PER_S


def analyse(folder: Path, model: BayesianForceField) -> SheetRecord:
    """Read and analyse one run of the large sheet, from a folder named as `LargeRun.folder` does.

    Raises
    ------
    DataError
        The run has not written anything to analyse yet.
    """
    if not (folder / "frames.dump").exists():
        raise DataError(f"{folder} holds no run; run the stage simulate first")
    columns = read_columns(folder / "record.txt")
    # A run that was killed dumps some steps again: the later ones count.
    frames = {frame.step: frame for frame in read_dump(folder / "frames.dump")}
    ordered = [frames[step] for step in sorted(frames)]
    n_atoms = len(ordered[0].columns["id"])
    lags, plane, height = _displacements(ordered)
    kelvin, _, rest = folder.name.partition("K")
    return SheetRecord(
        temperature_K=float(kelvin),
        clamped=rest == "-clamped",
        n_atoms=n_atoms,
        exact=tuple(_exact_sample(frame, model) for frame in (ordered[len(ordered) // 2], ordered[-1])),
        times_ps=columns["TimeStep"] * TIMESTEP_PS,
        heat_K=columns["c_thermo_temp"],
        energy_eV_per_atom=columns["c_thermo_pe"] / n_atoms,
        area_A2_per_atom=columns["v_lx"] * columns["v_ly"] / n_atoms,
        untrusted=columns["c_untrusted"] / n_atoms,
        worst_eV_per_A=columns["c_worst"],
        snapshots=tuple(_snapshot(frame) for frame in ordered),
        msd_times_ps=lags,
        msd_plane_A2=plane,
        msd_height_A2=height,
    )


def _snapshot(frame: DumpFrame) -> Snapshot:
    positions = frame.positions("xu", "yu", "zu")
    positions[:, :2] -= frame.origin[:2]
    return Snapshot(
        time_ps=frame.step * TIMESTEP_PS,
        positions=positions - [0.0, 0.0, positions[:, 2].mean()],
        lengths=frame.lengths,
        uncertainty=frame.columns["f_u"],
        coordination=coordination_numbers(positions, frame.lengths, cutoff_A=BOND_A),
        overlapped=overlapped_atoms(positions, frame.lengths),
        heights=height_field(positions, frame.lengths, spacing_A=HEIGHT_CELL_A),
        spectrum=height_spectrum(positions, frame.lengths, q_max_per_A=Q_MAX_PER_A),
    )


def _exact_sample(frame: DumpFrame, model: BayesianForceField) -> ExactSample:
    positions = frame.positions("xu", "yu", "zu") - frame.origin
    atoms = Atoms(f"Sn{len(positions)}", positions, cell=frame.lengths, pbc=[True, True, False])
    atoms.wrap()
    chosen = np.random.default_rng(frame.step).choice(len(atoms), size=min(EXACT_SAMPLE, len(atoms)), replace=False)
    rows = model.features.force_rows_of(atoms, chosen.astype(np.intp))
    exact = np.linalg.norm(model.posterior.standard_deviation(rows).reshape(-1, 3), axis=1)
    return ExactSample(
        time_ps=frame.step * TIMESTEP_PS,
        median_eV_per_A=float(np.median(exact)),
        untrusted_share=float((exact > THRESHOLD_EV_PER_A).mean()),
        live_over_exact=float(np.median(frame.columns["f_u"][chosen] / exact)),
    )


def _displacements(frames: list[DumpFrame]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Lags (ps) and mean square displacements in and out of the plane, late part; the cell's own change taken out."""
    late = frames[int((1 - LATE) * (len(frames) - 1)) :]
    mean = np.mean([frame.lengths for frame in late], axis=0)
    scaled = np.array([(f.positions("xu", "yu", "zu") - f.origin) / f.lengths for f in late]) * mean
    lags = np.arange(1, max(2, 2 * len(late) // 3))
    if len(late) < 2:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    interval = (late[1].step - late[0].step) * TIMESTEP_PS
    plane = mean_square_displacement(scaled[:, :, :2], lags)
    height = mean_square_displacement(scaled[:, :, 2:], lags)
    return lags * interval, plane, height
