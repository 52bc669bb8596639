"""Fast model = exact Gaussian process: the difference between both as the basis grows, same labels and hyperparameters.

Target: the difference falls, and ends below 1 % of the forces (rms) and 3 % of their standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from _common import Report, parse
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from numpy.typing import NDArray

from trepid.data import Labels, attach_labels, read_frames
from trepid.potentials.base import Prediction
from trepid.potentials.bayesian import BayesianForceField
from trepid.testing import ExactGP

CUTOFFS = {"pair_cutoff": 4.8, "triplet_cutoff": 4.0}
SIZES = [(10, 5, 2), (20, 8, 4), (30, 12, 6), (40, 16, 6)]
"""(n_pair, n_radial, l_max)."""


def morse(seed: int) -> Atoms:
    """Rattled zincblende of two species, 8 atoms within the cutoff of their own images."""
    atoms = bulk("CuI", "zincblende", a=5.6, cubic=True)
    atoms.positions += np.random.default_rng(seed).normal(scale=0.15, size=(8, 3))
    atoms.calc = MorsePotential(epsilon=0.6, r0=2.5, rho0=4, rcut1=4.0, rcut2=5.0)
    return attach_labels(atoms, Labels(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))


def difference(fast: Sequence[Prediction], exact: Sequence[Prediction], name: str) -> float:
    """Root mean square difference over the root mean square of the exact value."""

    def joined(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
        return np.concatenate([np.ravel(getattr(p, name)) for p in predictions])

    return float(np.linalg.norm(joined(fast) - joined(exact)) / np.linalg.norm(joined(exact)))


def convergence(species: list[str], train: Sequence[Atoms], test: Sequence[Atoms]) -> list[dict[str, Any]]:
    gp = ExactGP(species, **CUTOFFS).fit(train)
    exact = [gp.predict(a) for a in test]
    rows = []
    for n_pair, n_radial, l_max in SIZES:
        model = BayesianForceField(
            species,
            **CUTOFFS,
            n_pair=n_pair,
            n_radial=n_radial,
            l_max=l_max,
            large_force=math.inf,
            live_rank=0,
            n_threads=1,
        ).update(train)
        fast = [model.predict(a) for a in test]
        rows.append(
            {
                "n_pair": n_pair,
                "n_radial": n_radial,
                "l_max": l_max,
                "coefs": model.basis.layout.size,
                "forces %": 100 * difference(fast, exact, "forces"),
                "forces std %": 100 * difference(fast, exact, "forces_uncertainty"),
                "energy %": 100 * difference(fast, exact, "energy"),
                "energy std %": 100 * difference(fast, exact, "energy_uncertainty"),
                "log evidence": model.log_evidence - gp.log_marginal_likelihood,
            }
        )
    return rows


def main() -> None:
    options = parse(__doc__ or "")
    report = Report("exact_gp")
    report.table(
        "Difference to the exact GP, % of its rms: CuI, Morse labels (62 of them)",
        convergence(["Cu", "I"], [morse(1), morse(2)], [morse(3)]),
    )
    frames = read_frames(options.data / "sn_pbe_8_train.extxyz")
    report.table(
        "Difference to the exact GP, % of its rms: stanene, PBE labels (75 of them)",
        convergence(["Sn"], frames[:3], frames[5:7]),
    )
    report.write()


if __name__ == "__main__":
    main()
