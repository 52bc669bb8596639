"""Speed of the evaluation, one thread: energy, forces and virial, with a kept neighbour list.

Target, for 512 atoms of CuI at a triplet cutoff of 5 A: at least 1000 times faster per atom than the exact GP trained on 80
environments; cost growing linearly with the neighbours over cutoffs of 4 to 8 A; rank-16 force uncertainty on every step at
most 6 times the mean. The figures of the prototype are those of a LAMMPS plugin on one AVX-512 core of 3.7 GHz; they give
the order of magnitude.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import CuI, Report, measure, once, parse
from ase import Atoms
from ase.build import bulk

from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.testing import ExactGP

ENVIRONMENTS = 80
CUTOFFS = (4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0)


def zincblende(repeats: int) -> Atoms:
    return rattled(bulk("CuI", "zincblende", a=6.19, cubic=True).repeat(repeats))


def silicon(repeats: int) -> Atoms:
    return rattled(bulk("Si", "diamond", a=5.431, cubic=True).repeat(repeats))


def beta_tin(repeats: tuple[int, int, int]) -> Atoms:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.25], [0.5, 0, 0.75]]
    cell = Atoms("Sn4", scaled_positions=sites, cell=[5.8316, 5.8316, 3.1815], pbc=True)
    return rattled(cell.repeat(repeats))


def rattled(atoms: Atoms) -> Atoms:
    atoms.positions += np.random.default_rng(0).normal(scale=0.08, size=atoms.positions.shape)
    return atoms


def potential(species: list[str], *, rank: int = 16, **settings: float) -> SplinePotential:
    """Random coefficients: the cost does not depend on them."""
    basis, rng = Basis.create(species, **settings), np.random.default_rng(0)
    size = basis.layout.size
    tables = make_tables(
        basis,
        1e-3 * rng.normal(size=size),
        reference_energies=np.zeros(len(species)),
        live=1e-3 * rng.normal(size=(size, rank)),
    )
    return SplinePotential(basis, tables, n_threads=1)


def microseconds(model: SplinePotential, atoms: Atoms, *, seconds: float = 1.0) -> dict[str, float]:
    """Per atom: mean, mean with live uncertainty, and a neighbour list from nothing."""
    kept = model.neighbors(skin=0.5)
    times = measure(
        {
            "mean": lambda: model.evaluate(atoms, kept),
            "live": lambda: model.evaluate(atoms, kept, live=True),
            "list": lambda: model.neighbors(skin=0.5).update(atoms, model.index(atoms)),
        },
        seconds=seconds,
    )
    return {name: 1e6 * value / len(atoms) for name, value in times.items()}


def neighbours(atoms: Atoms, cutoff: float) -> float:
    """Mean number within the cutoff, without a skin."""
    model = potential(sorted(set(atoms.get_chemical_symbols())), pair_cutoff=cutoff, triplet_cutoff=cutoff, rank=0)
    return model.neighbors().update(atoms, model.index(atoms)).n_pairs / len(atoms)


def against_exact_gp(cui: CuI) -> list[dict[str, Any]]:
    """The fast model and the exact GP trained on the forces of 80 atoms, all atoms of a frame predicted, in one run.

    The standard deviation of the exact GP is measured at the short cutoff only: it grows with the square of the triplets.
    """
    train, frame = cui.crystal[:8], cui.crystal[-1]
    rng = np.random.default_rng(0)
    chosen = [np.sort(rng.choice(len(a), ENVIRONMENTS // len(train), replace=False)) for a in train]
    rows = []
    for triplet_cutoff in (4.0, 5.0):
        cutoffs = {"pair_cutoff": 6.0, "triplet_cutoff": triplet_cutoff}
        fast = microseconds(potential(["Cu", "I"], **cutoffs), zincblende(4))
        gp = ExactGP(["Cu", "I"], **cutoffs).fit(train, atoms=chosen, kinds=("forces",))
        slow = {"mean": once(lambda gp=gp: gp.predict(frame, uncertainty="none")) / len(frame)}
        if triplet_cutoff == 4.0:
            slow["mean and std"] = once(lambda gp=gp: gp.predict(frame)) / len(frame)
        names = {
            "fast: mean": "mean",
            "fast: mean and rank-16 std": "live",
            "fast: neighbour list from nothing": "list",
        }
        times = {name: fast[key] for name, key in names.items()}
        times |= {f"exact GP of {ENVIRONMENTS} environments: {name}": 1e6 * value for name, value in slow.items()}
        rows += [
            {
                "triplet cutoff A": triplet_cutoff,
                "model": name,
                "us/atom": value,
                "over the fast mean": value / fast["mean"],
            }
            for name, value in times.items()
        ]
    return rows


def over_cutoffs() -> tuple[list[dict[str, Any]], float]:
    """Rows over triplet cutoffs, and R^2 of a straight line through cost against neighbours."""
    atoms, rows = zincblende(4), []
    for cutoff in CUTOFFS:
        times = microseconds(potential(["Cu", "I"], pair_cutoff=max(6.0, cutoff), triplet_cutoff=cutoff), atoms)
        n = neighbours(atoms, cutoff)
        rows.append(
            {
                "triplet cutoff A": cutoff,
                "neighbours": n,
                "triplets": n * (n - 1) / 2,
                "mean us/atom": times["mean"],
                "with rank-16 std us/atom": times["live"],
                "std over mean": times["live"] / times["mean"],
            }
        )
    n, cost = np.array([r["neighbours"] for r in rows]), np.array([r["mean us/atom"] for r in rows])
    return rows, float(np.corrcoef(n, cost)[0, 1] ** 2)


def reference_systems() -> list[dict[str, Any]]:
    """Silicon and beta-tin with the cutoffs of the prototype."""
    systems = {
        "Si, 5.5/4.2 A": (silicon(5), 5.5, 4.2, 1.10, 3.63),
        "beta-Sn, 7.2/5.0 A": (beta_tin((5, 5, 10)), 7.2, 5.0, 1.39, 4.45),
    }
    rows = []
    for name, (atoms, pair_cutoff, triplet_cutoff, prototype, prototype_live) in systems.items():
        species = sorted(set(atoms.get_chemical_symbols()))
        model = potential(species, pair_cutoff=pair_cutoff, triplet_cutoff=triplet_cutoff)
        times = microseconds(model, atoms)
        rows.append(
            {
                "system": name,
                "atoms": len(atoms),
                "neighbours": f"{neighbours(atoms, pair_cutoff):.0f}/{neighbours(atoms, triplet_cutoff):.0f}",
                "mean us/atom": times["mean"],
                "prototype": prototype,
                "with rank-16 std us/atom": times["live"],
                "prototype with std": prototype_live,
                "std over mean": times["live"] / times["mean"],
            }
        )
    return rows


def main() -> None:
    options = parse(__doc__ or "")
    report = Report("speed")
    report.table("Against the exact GP: CuI, pair cutoff 6 A", against_exact_gp(CuI.read(options.data)))
    rows, r2 = over_cutoffs()
    report.table(f"CuI, 512 atoms, over triplet cutoffs; straight line in the neighbours: R^2 = {r2:.4f}", rows)
    report.table("Against the prototype (LAMMPS plugin, another run)", reference_systems())
    report.write()


if __name__ == "__main__":
    main()
