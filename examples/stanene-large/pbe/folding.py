"""Training frames of sheets that fold, in generations: squeezed on the model, chosen, labelled, trained on.

    python folding.py        # a folder folding/ with frames, labels, models and folding/all.extxyz; continues when stopped

It begins with the labels of `frames.extxyz` that have another name, and the last 132 of that file are what it gave.

A large sheet free of tension loses area and folds into two and more layers. Cells of 8 atoms pass through the same densities
when their edges shrink: every generation runs `WALKERS` trajectories on the model of the generation before, each with a
temperature and two final edges of its own, until a force has a bar above `HALT_EV_PER_A`. Of their frames `CHOSEN` are labelled
by information gain and `CONTROLS` at random. The model predicts the controls before it is trained on them, so that their error and
the share inside the announced interval are a test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from fresh import HERE
from start import sheet

from trepid.acquisition.batch import greedy_batch, random_selection
from trepid.config import load_campaign
from trepid.errors import TrepidError
from trepid.evaluation import evaluate
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.reference import make_reference

TEMPERATURES_K = (300, 600, 900, 1200)
GENERATIONS, WALKERS, CHOSEN, CONTROLS = 6, 24, 15, 7
TIMESTEP_FS = 3.0
SQUEEZE_PS, HOLD_PS, SAMPLE_PS = 2.4, 1.6, 0.15
NARROWEST, WIDEST = 0.66, 1.03
"""Final length of an edge, of the flat sheet."""
HALT_EV_PER_A = 1.5
FINE_GRID_BELOW_A = 8.0
"""An edge below this has five k points instead of three: a shorter cell has a larger reciprocal one."""
SEED = 47_000
NAME = "folding"
"""What the names of these frames begin with."""
SIZES = {"pair_cutoff": 8.0, "n_pair": 27, "triplet_cutoff": 8.0, "n_radial": 14, "n_channels": 3}


def fit(frames: list[Atoms]) -> BayesianForceField:
    """The model of these labels, with the sizes of campaign.yaml."""
    return BayesianForceField(["Sn"], n_threads=1, **SIZES).fit(frames)


def walk(model: BayesianForceField, kelvin: float, rng: np.random.Generator) -> list[Atoms]:
    """Frames of one sheet whose edges shrink; ends early where the model does not know the forces."""
    atoms = sheet()
    start, final = np.array(atoms.cell), rng.uniform(NARROWEST, WIDEST, size=2)
    atoms.calc = model.calculator(uncertainty="live")
    MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=rng)
    dynamics = Langevin(atoms, TIMESTEP_FS * units.fs, temperature_K=kelvin, friction=0.01 / units.fs, rng=rng)
    steps = round(SAMPLE_PS * 1000 / TIMESTEP_FS)
    frames = []
    for k in range(1, round((SQUEEZE_PS + HOLD_PS) / SAMPLE_PS) + 1):
        share = min(k * SAMPLE_PS / SQUEEZE_PS, 1.0)
        cell = start.copy()
        cell[:2] *= (1 + share * (final - 1))[:, None]
        atoms.set_cell(cell, scale_atoms=True)
        dynamics.run(steps)
        bar = float(model.predict(atoms, uncertainty="live").atom_uncertainty.max())
        frame = Atoms("Sn8", atoms.positions, cell=atoms.cell, pbc=True)
        area = float(np.linalg.norm(np.cross(cell[0], cell[1])) / np.linalg.norm(np.cross(start[0], start[1])))
        frame.info.update(
            name=NAME, temperature_K=kelvin, time_ps=round(k * SAMPLE_PS, 3), area=round(area, 3), bar=round(bar, 3)
        )
        frames.append(frame)
        if bar > HALT_EV_PER_A:
            break
    return frames


def drawn(model: BayesianForceField, generation: int) -> list[Atoms]:
    """Frames to label: first those of largest information gain, then the controls."""
    pool: list[Atoms] = []
    for k in range(WALKERS):
        frames = walk(model, TEMPERATURES_K[k % len(TEMPERATURES_K)], np.random.default_rng([SEED, generation, k]))
        print(f"generation {generation}, walk {k}: {frames[-1].info}", flush=True)
        pool += frames
    rows = [model.information_rows(frame, n_atoms=8) for frame in pool]
    chosen = [int(k) for k in greedy_batch(rows, CHOSEN, noise=model.noise.forces).indices]
    others = [k for k in range(len(pool)) if k not in chosen]
    controls = [others[k] for k in random_selection(len(others), CONTROLS, seed=SEED + generation)]
    for kind, indices in (("chosen", chosen), ("control", controls)):
        for k in indices:
            pool[k].info.update(kind=kind, generation=generation)
    return [pool[k] for k in chosen + controls]


def label_all(frames: list[Atoms], done: Path) -> list[Atoms]:
    """Label what has no label yet; a frame that fails is left out."""
    settings = load_campaign(HERE / "campaign.yaml").reference
    labelled = read(done, ":") if done.exists() else []
    keys = {(f.info["generation"], f.info["number"]) for f in labelled}
    for number, frame in enumerate(frames):
        if (frame.info["generation"], number) in keys:
            continue
        edges = frame.cell.lengths()[:2]
        grid = [5 if edge < FINE_GRID_BELOW_A else 3 for edge in edges]
        reference = make_reference(settings.engine, **(settings.arguments() | {"kpts": [*grid, 1]}))
        try:
            result = reference.label(frame)
        except TrepidError as error:
            print(f"label {number} failed: {error}", flush=True)
            continue
        result.info.update(frame.info, number=number)
        labelled.append(result)
        write(done, labelled)
        print(f"label {number}: area {frame.info['area']}, {frame.info['kind']}, grid {grid}", flush=True)
    return labelled


def tell(model: BayesianForceField, frames: list[Atoms], what: str) -> None:
    """Errors of frames that the model has not seen."""
    e = evaluate(model, frames)
    print(
        f"{what}: {e.n_frames} frames, error {1000 * e.forces_rmse:.0f} meV/A of {1000 * e.forces_rms:.0f}, "
        f"energies {1000 * (e.energy_rmse_per_atom or 0):.1f} meV/atom, inside {e.forces_coverage_95:.3f}",
        flush=True,
    )


def main() -> None:
    """Generations, one after the other."""
    folder = HERE / "folding"
    folder.mkdir(exist_ok=True)
    frames = [frame for frame in read(HERE / "frames.extxyz", ":") if not frame.info["name"].startswith(NAME)]
    for generation in range(1, GENERATIONS + 1):
        model_file = folder / f"model-{generation - 1}.trepid"
        if not model_file.exists():
            fit(frames).save(model_file)
        model = BayesianForceField.load(model_file, n_threads=1)
        undone, done = folder / f"frames-{generation}.extxyz", folder / f"labels-{generation}.extxyz"
        if not undone.exists():
            write(undone, drawn(model, generation))
        new = label_all(read(undone, ":"), done)
        for kind in ("chosen", "control"):
            tell(model, [f for f in new if f.info["kind"] == kind], f"generation {generation}, {kind}")
        for frame in new:
            frame.info["name"] = f"{NAME}, {frame.info.pop('kind')}"
        frames += new
    fit(frames).save(folder / "model.trepid")
    write(folder / "all.extxyz", frames)


if __name__ == "__main__":
    main()
