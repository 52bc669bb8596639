"""The fast model converges to the exact Gaussian process of the same kernels as its basis grows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.morse import MorsePotential

from potential_systems import shared, zincblende
from trepid.data import Labels, attach_labels
from trepid.potentials.base import FloatArray, Prediction
from trepid.potentials.bayesian import BayesianForceField
from trepid.testing import ExactGP

CUTOFFS = {"pair_cutoff": 4.8, "triplet_cutoff": 4.0}
SIZES = [(10, 5, 2), (20, 8, 4), (30, 12, 6)]
"""(n_pair, n_radial, l_max)."""


@dataclass(frozen=True)
class Difference:
    """Root mean square difference to the exact GP over that of the exact GP's own value."""

    mean: float
    std: float


def relative(values: FloatArray, exact: FloatArray) -> float:
    return float(np.linalg.norm(values - exact) / np.linalg.norm(exact))


def compare(fast: list[Prediction], exact: list[Prediction], kind: str) -> Difference:
    def joined(predictions: list[Prediction], name: str) -> FloatArray:
        return np.concatenate([np.ravel(getattr(p, name)) for p in predictions])

    std = f"{kind}_uncertainty"
    return Difference(
        relative(joined(fast, kind), joined(exact, kind)), relative(joined(fast, std), joined(exact, std))
    )


def with_share(prediction: Prediction, atoms: Atoms) -> Prediction:
    assert prediction.forces_uncertainty is not None
    variance = shared(prediction.forces_uncertainty.ravel() ** 2, atoms, reach=CUTOFFS["triplet_cutoff"])
    return replace(prediction, forces_uncertainty=np.sqrt(variance).reshape(-1, 3))


def morse(seed: int) -> Atoms:
    """Eight atoms of two species that see their own images, with energy, forces and stress."""
    atoms = zincblende(a=5.6, cubic=True, rattle=0.15, seed=seed)
    atoms.calc = MorsePotential(epsilon=0.6, r0=2.5, rho0=4, rcut1=4.0, rcut2=5.0)
    return attach_labels(atoms, Labels(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))


@pytest.fixture(params=["two species", "stanene"])
def case(request: pytest.FixtureRequest) -> tuple[list[str], list[Atoms], list[Atoms]]:
    if request.param == "two species":
        return ["Cu", "I"], [morse(1), morse(2)], [morse(3)]
    sn = request.getfixturevalue("stanene_frames")
    return ["Sn"], sn[:3], sn[5:7]


def test_mean_and_uncertainty_agree_as_the_basis_grows(case: tuple[list[str], list[Atoms], list[Atoms]]) -> None:
    species, train, test = case
    gp = ExactGP(species, **CUTOFFS).fit(train)
    # The Gaussian process knows nothing of the share that the error bar of an atom takes from its neighbours.
    exact = [with_share(gp.predict(a), a) for a in test]
    differences, evidence = [], []
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
        differences.append(compare(fast, exact, "forces"))
        evidence.append(abs(model.log_evidence - gp.log_marginal_likelihood))
    coarse, middle, fine = differences
    assert coarse.mean > middle.mean > fine.mean
    assert coarse.std > middle.std > fine.std
    assert fine.mean < 0.01
    assert fine.std < 0.03
    assert evidence[-1] < 0.2 * evidence[0]
    for kind in ("energy", "stress"):
        last = compare(fast, exact, kind)
        assert last.mean < 0.01, kind
        assert last.std < 0.03, kind
