"""Two paths on which the collapse of a sheet can be compared with GFN1-xTB itself; a large sheet cannot.

A small force uncertainty does not guarantee a correct barrier. So the energy is compared
along the uniform contraction of a perfect sheet, and along the collapse of a small one in a run of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from lmp import read_dump
from scipy.optimize import minimize_scalar
from sheet import LATTICE_CONSTANT_A, Cells, sheet
from training import Start, Walker, explore, label_all

from trepid.config import load_campaign
from trepid.data import read_frames, write_frames
from trepid.data.atomic import write_text_atomic
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.reference import make_reference

LATTICE_CONSTANTS_A = (3.0, 3.2, 3.4, 3.6, 3.8, 4.0, 4.2, 4.35, 4.5, 4.65, 4.8)
STRAIN_CELLS = Cells(4, 2)
COLLAPSE = Walker(Start.SHEET, Cells(5, 3), (100.0, 100.0), duration_ps=6.0)
COLLAPSE_FRAMES = 9
SEED = 50_000


@dataclass(frozen=True)
class PathRecord:
    """Energies along a path; the reference's first frame is not set to zero.

    Attributes
    ----------
    area_A2_per_atom : tuple of float
    energy_label_eV_per_atom, energy_predicted_eV_per_atom : tuple of float
    energy_uncertainty_eV_per_atom : tuple of float
        Exact, of the model alone.
    """

    name: str
    area_A2_per_atom: tuple[float, ...]
    energy_label_eV_per_atom: tuple[float, ...]
    energy_predicted_eV_per_atom: tuple[float, ...]
    energy_uncertainty_eV_per_atom: tuple[float, ...]


def probe(campaign_file: Path, run: Path) -> list[PathRecord]:
    """Make and label the frames of both paths, or read what is there, and compare."""
    work = run / "probes"
    model_file = run / "training" / "model.trepid"
    model = BayesianForceField.load(model_file)
    reference = make_reference("tblite", **load_campaign(campaign_file).reference.arguments())
    records = []
    for name in ("contraction", "collapse"):
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        frames_file = folder / "frames.extxyz"
        if not frames_file.exists():
            frames = contraction(model) if name == "contraction" else collapse(folder, model_file)
            write_frames(frames_file, frames)
        labelled = label_all(read_frames(frames_file, require=()), folder / "labels", reference)
        records.append(_record(name, model, labelled))
    write_text_atomic(work / "probes.json", json.dumps([asdict(r) for r in records], indent=1) + "\n")
    return records


def contraction(model: BayesianForceField) -> list[Atoms]:
    """Perfect sheets of several lattice constants, each with the buckling of lowest predicted energy."""
    return [_strained(a, _best_buckling(model, a)) for a in LATTICE_CONSTANTS_A]


def collapse(folder: Path, model_file: Path) -> list[Atoms]:
    """Frames at even distances from a cold sheet that is free to contract."""
    explore(folder / COLLAPSE.name, COLLAPSE, model_file, seed=SEED)
    dumped = list(read_dump(folder / COLLAPSE.name / "walk.dump"))
    frames = []
    for k in np.unique(np.linspace(0, len(dumped) - 1, COLLAPSE_FRAMES).round().astype(int)):
        frame = dumped[k]
        frames.append(Atoms(f"Sn{COLLAPSE.cells.n_atoms}", frame.positions() - frame.origin, cell=frame.lengths))
        frames[-1].pbc = [True, True, False]
    return frames


def _strained(lattice_constant_A: float, buckling_A: float) -> Atoms:
    atoms = sheet(STRAIN_CELLS)
    factor = lattice_constant_A / LATTICE_CONSTANT_A
    cell = atoms.cell.array.copy()
    cell[:2] *= factor
    atoms.set_cell(cell)
    atoms.positions[:, :2] *= factor
    middle = cell[2, 2] / 2
    atoms.positions[:, 2] = middle + np.sign(atoms.positions[:, 2] - middle) * buckling_A / 2
    return atoms


def _best_buckling(model: BayesianForceField, lattice_constant_A: float) -> float:
    # Two branches: low-buckled like the sheet, and high-buckled with sublattices 2 to 3 A apart where a is small.
    bounds = (0.2, 1.8) if lattice_constant_A > 3.9 else (1.6, 3.2)
    best = minimize_scalar(
        lambda b: model.predict(_strained(lattice_constant_A, b), uncertainty="none").energy,
        bounds=bounds,
        method="bounded",
    )
    return float(best.x)


def _record(name: str, model: BayesianForceField, frames: Sequence[Atoms]) -> PathRecord:
    predictions = [model.predict(atoms) for atoms in frames]
    n = [len(atoms) for atoms in frames]
    return PathRecord(
        name=name,
        area_A2_per_atom=tuple(float(a.cell[0, 0] * a.cell[1, 1] / k) for a, k in zip(frames, n, strict=True)),
        energy_label_eV_per_atom=tuple(float(a.info["REF_energy"] / k) for a, k in zip(frames, n, strict=True)),
        energy_predicted_eV_per_atom=tuple(p.energy / k for p, k in zip(predictions, n, strict=True)),
        energy_uncertainty_eV_per_atom=tuple(
            float(p.energy_uncertainty or 0.0) / k for p, k in zip(predictions, n, strict=True)
        ),
    )
