"""Figures of `peers.py` from predictions and labels, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from trepid.acquisition.calibration import spearman


@dataclass(frozen=True)
class Figures:
    """One peer on one stratum.

    Attributes
    ----------
    n_frames : int
    force_rmse_percent : float
        Of the rms force of the stratum.
    force_mae_meV_per_A : float
    energy_rmse_meV_per_atom : float
        Of absolute energies: no offset is taken out.
    coverage_95 : float or None
        Share of force components inside the 95 % interval.
    half_width_meV_per_A : float or None
        Mean half width of that interval.
    spearman : float or None
        Of uncertainty and error over atoms.
    """

    n_frames: int
    force_rmse_percent: float
    force_mae_meV_per_A: float
    energy_rmse_meV_per_atom: float
    coverage_95: float | None
    half_width_meV_per_A: float | None
    spearman: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def judge(frames: Sequence[Atoms], predicted: Path) -> Figures:
    """Compare the file that a worker wrote with labelled frames.

    Raises
    ------
    ValueError
        The predictions are not of these frames, or not finite.
    """
    with np.load(predicted) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    forces = np.concatenate([a.arrays["REF_forces"] for a in frames])
    energies, sizes = np.array([a.info["REF_energy"] for a in frames]), np.array([len(a) for a in frames])
    if content["forces"].shape != forces.shape or content["energies"].shape != energies.shape:
        raise ValueError(f"{predicted}: forces of shape {content['forces'].shape} for labels of shape {forces.shape}")
    if not (np.isfinite(content["forces"]).all() and np.isfinite(content["energies"]).all()):
        raise ValueError(f"{predicted}: a prediction is not finite")
    error = content["forces"] - forces
    per_atom = (content["energies"] - energies) / sizes
    width, rank = content.get("half_width"), content.get("rank")
    return Figures(
        n_frames=len(frames),
        force_rmse_percent=float(100 * np.sqrt(np.mean(error**2) / np.mean(forces**2))),
        force_mae_meV_per_A=float(1e3 * np.abs(error).mean()),
        energy_rmse_meV_per_atom=float(1e3 * np.sqrt(np.mean(per_atom**2))),
        coverage_95=None if width is None else float(np.mean(np.abs(error) <= width)),
        half_width_meV_per_A=None if width is None else float(1e3 * width.mean()),
        spearman=None if rank is None else spearman(rank, np.linalg.norm(error, axis=1)),
    )


COLUMNS = (
    "frames",
    "model",
    "force error, %",
    "mean abs. force error, meV/A",
    "energy error, meV/atom",
    "95 % interval covers",
    "mean half width, meV/A",
    "rank corr.",
    "fit, CPU s",
    "us/atom",
)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of `COLUMNS` as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def row_of(
    frames: str, model: str, figures: Mapping[str, Any] | None, fit_s: float | None, us: float | None
) -> list[str]:
    """One row; what is not known is a dash."""
    f = figures or {}
    coverage = f.get("coverage_95")
    return [
        frames,
        model,
        _digits(f.get("force_rmse_percent")),
        _digits(f.get("force_mae_meV_per_A")),
        _digits(f.get("energy_rmse_meV_per_atom")),
        "-" if coverage is None else f"{coverage:.3f}",
        _digits(f.get("half_width_meV_per_A")),
        "-" if f.get("spearman") is None else f"{f['spearman']:.2f}",
        _digits(fit_s),
        _digits(us),
    ]


def _digits(value: float | None) -> str:
    """Three significant digits, without exponents."""
    if value is None:
        return "-"
    return f"{value:#.3g}".rstrip(".") if abs(value) < 1000 else f"{value:.0f}"
