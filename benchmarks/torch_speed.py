"""PyTorch against the C++ core: agreement, and time per atom at 64, 512 and 4096 atoms as a ratio in one run.

One thread on the CPU, with kept neighbour lists; on a GPU too, where PyTorch finds one. Random coefficients of the default sizes
for silicon (5.5/4.2 A) without and with quadruplets: the cost does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from _common import Report, measure, parse
from ase import Atoms
from ase.build import bulk

from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.potentials.bayesian.terms.channels import Channels
from trepid.torch.evaluation import Batch, BatchEvaluator

REPEATS = (2, 4, 8)


def potential(*, quadruplets: bool) -> SplinePotential:
    """Random coefficients on the default sizes."""
    rng = np.random.default_rng(0)
    basis = Basis.create(["Si"], pair_cutoff=5.5, triplet_cutoff=4.2)
    if quadruplets:
        channels = Channels.of(rng.normal(size=(3, 1, basis.n_radial)), rng.normal(size=(1, 3)), 1.0)
        basis = replace(basis, channels=channels)
    size = basis.layout.size
    tables = make_tables(
        basis, 1e-3 * rng.normal(size=size), reference_energies=np.zeros(1), live=1e-3 * rng.normal(size=(size, 16))
    )
    return SplinePotential(basis, tables, n_threads=1)


def silicon(repeats: int) -> Atoms:
    """A rattled crystal."""
    atoms = bulk("Si", "diamond", a=5.431, cubic=True).repeat(repeats)
    atoms.positions += np.random.default_rng(0).normal(scale=0.08, size=atoms.positions.shape)
    return atoms


def batch_of(atoms: Atoms, evaluator: BatchEvaluator) -> Batch:
    """One structure on the device of the evaluator."""
    device = evaluator.device
    return Batch(
        torch.as_tensor(atoms.positions, device=device),
        torch.as_tensor(atoms.cell[:], device=device)[None],
        (True, True, True),
        evaluator.species_of(torch.as_tensor(atoms.numbers, device=device)),
        torch.zeros(len(atoms), dtype=torch.int64, device=device),
    )


def compared(model: SplinePotential, atoms: Atoms, devices: Sequence[str]) -> list[dict[str, Any]]:
    """One row per device."""
    kept = model.neighbors(skin=0.5)
    expected = model.evaluate(atoms, kept, live=True).forces
    calls: dict[str, Callable[[], object]] = {
        "core": lambda: model.evaluate(atoms, kept),
        "core live": lambda: model.evaluate(atoms, kept, live=True),
    }
    differences = {}
    for name in devices:
        evaluator = BatchEvaluator(model, device=torch.device(name))
        call = partial(forces_of, evaluator, batch_of(atoms, evaluator))
        differences[name] = float(np.abs(call(live=True).numpy() - expected).max())
        calls[name], calls[f"{name} live"] = call, partial(call, live=True)
    times = {name: 1e6 * t / len(atoms) for name, t in measure(calls, seconds=2.0).items()}
    return [
        {
            "atoms": len(atoms),
            "device": name,
            "difference (eV/A)": f"{differences[name]:.1e}",
            "core (us)": f"{times['core']:.2f}",
            "torch (us)": f"{times[name]:.1f}",
            "ratio": f"{times[name] / times['core']:.1f}",
            "ratio live": f"{times[f'{name} live'] / times['core live']:.1f}",
        }
        for name in devices
    ]


def forces_of(evaluator: BatchEvaluator, batch: Batch, *, live: bool = False) -> torch.Tensor:
    """Forces on the CPU, after everything is computed."""
    return evaluator(batch, live=live).forces.cpu()


def main() -> None:
    """Print and write the tables."""
    parse(__doc__ or "")
    torch.set_num_threads(1)
    report = Report("torch_speed")
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    for quadruplets in (False, True):
        model = potential(quadruplets=quadruplets)
        rows = [row for repeats in REPEATS for row in compared(model, silicon(repeats), devices)]
        title = "with" if quadruplets else "without"
        report.table(
            f"Silicon {title} quadruplets: largest difference of a force, time per atom, PyTorch over core", rows
        )
    report.write()


if __name__ == "__main__":
    main()
