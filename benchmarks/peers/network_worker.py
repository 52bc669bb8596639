"""Worker for NequIP and MACE: the training loop of trepid's committees, one network on all training frames.

Runs under the Python of the network's package; `workers` of the job's settings is the folder of trepid's worker scripts, which
need no trepid.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from peer_worker import Job, frames_of, of_calculator, work

_SETTINGS = json.loads(Path("job.json").read_text(encoding="utf-8"))["settings"]
sys.path.insert(0, _SETTINGS["workers"])

# Before torch: the script of a package sets what torch reads when it is loaded.
if _SETTINGS["backend"] == "nequip":
    from nequip_worker import Nequip as PackageArchitecture
else:
    from mace_worker import Mace as PackageArchitecture

from worker_server import TrainRequest
from worker_torch import TorchModel, load_model
from worker_training import train

MODEL = Path("weights")


class NetworkCalculator(Calculator):
    """Energy and forces of a network."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, model: TorchModel) -> None:
        super().__init__()
        self.model = model

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Fill `results`."""
        super().calculate(atoms, properties, system_changes)
        evaluation = self.model.evaluate(self.atoms, stress=False)
        self.results = {"energy": evaluation.energy, "forces": evaluation.forces}


def fit(job: Job) -> None:
    """Train for all epochs; no frame is held out to stop it."""
    request = TrainRequest(
        train=frames_of("train.extxyz"),
        validation=[],
        settings={**job.settings["model"], "species": list(job.species)},
        strong_force_eV_per_A=0.0,
        seed=job.seed,
        initial=None,
        output=MODEL,
    )
    report = train(PackageArchitecture(), request)
    n_weights = sum(p.numel() for p in load_model(PackageArchitecture(), MODEL).network.module.parameters())
    Path("report.json").write_text(json.dumps({**report, "n_weights": n_weights}), encoding="utf-8")


def calculator(job: Job) -> NetworkCalculator:
    """The trained network."""
    return NetworkCalculator(load_model(PackageArchitecture(), MODEL))


if __name__ == "__main__":
    work(fit, lambda job: of_calculator(calculator(job)), calculator)
