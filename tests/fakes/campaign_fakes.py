"""Fakes for the campaign tests: a reference that logs its calls, and a small potential with an uncertainty."""

from __future__ import annotations

import filecmp
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from io import BytesIO
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import read

from comparison import frame_hash, model_content
from trepid.campaign.learn import learn
from trepid.campaign.training import PotentialFactory
from trepid.config import Campaign
from trepid.data.atomic import write_bytes_atomic
from trepid.data.frames import Labels, labels_of
from trepid.dynamics.progress import PlainProgress
from trepid.errors import ModelFileError
from trepid.potentials.base import Noise, Potential, Prediction, Uncertainty
from trepid.reference.base import FailureReason, LabelError, Reference


def crystal() -> Atoms:
    """Copper, 8 atoms: EMT labels it in a millisecond."""
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat((1, 1, 2))
    return atoms


class LoggedReference(Reference):
    """EMT with a delay that writes each start and completion to a log, which a kill leaves intact.

    `fail` lists the calls (counted from 0 in this process) that do not converge.
    """

    name = "logged-emt"

    def __init__(self, log: Path | None = None, *, delay_s: float = 0.0, fail: Sequence[int] = ()):
        self.log, self.delay_s, self.fail = log, delay_s, set(fail)
        self.calls = 0

    def describe(self) -> dict[str, str | float | int]:
        return {"engine": self.name}

    def _write(self, record: dict[str, str]) -> None:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _compute(self, atoms: Atoms) -> Labels:
        call = self.calls
        self.calls += 1
        self._write({"what": "start", "hash": frame_hash(atoms)})
        time.sleep(self.delay_s)
        if call in self.fail:
            raise LabelError(FailureReason.NOT_CONVERGED, "logged-emt: no convergence\nafter 3 cycles")
        atoms.calc = EMT()
        labels = Labels(
            energy=float(atoms.get_potential_energy()),
            forces=np.array(atoms.get_forces()),
            stress=np.array(atoms.get_stress()),
        )
        self._write({"what": "end", "hash": frame_hash(atoms)})
        return labels


class MeanCalculator(Calculator):
    """Energy and forces of a fake potential, `mean(atoms)`, not through `predict`, whose calls are counted; keeps no history."""

    implemented_properties = ("energy", "forces")

    def __init__(self, mean: Callable[[Atoms], tuple[float, np.ndarray]]) -> None:
        super().__init__()
        self.mean = mean

    def reset_neighbors(self) -> None:
        self.reset()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        energy, forces = self.mean(self.atoms)
        self.results = {"energy": energy, "forces": forces}


class SpringPotential(Potential):
    """Springs of one stiffness to the sites of the crystal, fitted to the forces; uncertain where displacements are new.

    The force uncertainty of an atom is `stiffness * 0.3 * (distance to the nearest displacement length seen in
    training)`.
    """

    tunable = True

    def __init__(self, sites: Atoms) -> None:
        self.sites = sites
        self.species = tuple(sorted(set(sites.get_chemical_symbols())))
        self.stiffness, self.residual, self.tuned = 0.0, 1.0, 0
        self.seen = np.empty(0)
        self._n_frames = 0
        self._sums = np.zeros(3)

    @property
    def n_frames(self) -> int:
        return self._n_frames

    @property
    def noise(self) -> Noise:
        return Noise(energy=0.01, forces=self.residual, stress=0.001)

    def _displacements(self, atoms: Atoms) -> np.ndarray:
        sites = self.sites.get_scaled_positions() @ np.array(atoms.cell)
        shift = atoms.positions - sites
        return shift - shift.mean(axis=0)

    def fit(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> SpringPotential:
        self.seen, self._n_frames, self._sums = np.empty(0), 0, np.zeros(3)
        self.update(frames)
        self.optimize()
        return self

    def update(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> SpringPotential:
        for atoms in frames:
            u, forces = self._displacements(atoms), labels_of(atoms).forces
            assert forces is not None
            self._sums += [(u * u).sum(), -(u * forces).sum(), (forces**2).sum()]
            self.seen = np.append(self.seen, np.linalg.norm(u, axis=1).max())
            self._n_frames += 1
        self.stiffness = max(self._sums[1] / self._sums[0], 0.1)
        return self

    def optimize(self, frames: Sequence[Atoms] | None = None) -> SpringPotential:
        self.tuned += 1
        self.residual = float(np.sqrt(abs(self._sums[2] - self.stiffness * self._sums[1]) / (24 * self._n_frames)))
        return self

    def mean(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        u = self._displacements(atoms)
        return 0.5 * self.stiffness * float((u * u).sum()), -self.stiffness * u

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        energy, forces = self.mean(atoms)
        lengths = np.linalg.norm(self._displacements(atoms), axis=1)
        beyond = np.maximum(lengths - self.seen.max(), 0) if len(self.seen) else lengths
        std = np.repeat((self.stiffness * 0.3 * beyond / np.sqrt(3))[:, None], 3, axis=1)
        known = Uncertainty(uncertainty) is not Uncertainty.NONE
        exact = Uncertainty(uncertainty) is Uncertainty.EXACT
        return Prediction(
            energy, forces, energy_uncertainty=0.1 if exact else None, forces_uncertainty=std if known else None
        )

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> MeanCalculator:
        return MeanCalculator(self.mean)

    def save(self, path: str | Path) -> None:
        buffer = BytesIO()
        np.savez(
            buffer,
            seen=self.seen,
            sums=self._sums,
            numbers=np.array([self.stiffness, self.residual, self.tuned, self._n_frames]),
        )
        write_bytes_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, sites: Atoms) -> SpringPotential:
        try:
            with np.load(path) as file:
                model = cls(sites)
                model.seen, model._sums = file["seen"], file["sums"]
                model.stiffness, model.residual, tuned, n_frames = (float(x) for x in file["numbers"])
                model.tuned, model._n_frames = int(tuned), int(n_frames)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ModelFileError(f"{path} is not a model file") from error
        return model


def springs(sites: Atoms) -> PotentialFactory:
    return PotentialFactory(
        create=lambda: SpringPotential(sites), load=lambda path: SpringPotential.load(Path(path), sites)
    )


def campaign(directory: Path, **sections: dict[str, object]) -> Campaign:
    """A short campaign in `directory`; `sections` update its sections."""
    structure = directory / "cu.extxyz"
    if not structure.exists():
        crystal().write(structure)
    settings: dict[str, dict[str, object]] = {
        "structure": {"file": str(structure)},
        "reference": {"engine": "ase", "calculator": "emt"},
        "dynamics": {
            "timestep_fs": 2.0,
            "stages": [
                {"temperature_K": 300, "duration_ps": 0.4},
                {"temperature_K": [300, 600], "duration_ps": 0.4},
            ],
        },
        "learning": {"threshold_eV_per_A": 0.03, "initial_frames": 3, "optimize_at": [5, 8]},
        "output": {"directory": str(directory / "run"), "sample_every": 20, "checkpoint_every": 50},
    }
    for name, values in sections.items():
        settings[name] = {**settings.get(name, {}), **values}
    return Campaign.model_validate({**settings, "seed": 3})


def calls(folder: Path, what: str = "end") -> list[str]:
    log = folder / "calls.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [line["hash"] for line in lines if line["what"] == what]


def assert_same_run(one: Path, other: Path) -> None:
    """Labels but for their timings, model, trace and trajectory are the same, bit by bit."""
    for name in ("trace.csv", "trajectory.extxyz"):
        assert filecmp.cmp(one / "run" / name, other / "run" / name, shallow=False), name
    assert model_content(one / "run" / "model.trepid") == model_content(other / "run" / "model.trepid")
    labels = sorted(path.name for path in (one / "run" / "labels").iterdir())
    assert labels == sorted(path.name for path in (other / "run" / "labels").iterdir())
    for name in labels:
        a, b = read(one / "run" / "labels" / name), read(other / "run" / "labels" / name)
        for key in a.info.keys() | b.info.keys():
            assert key == "label_seconds" or np.array_equal(a.info[key], b.info[key]), key
        assert a.arrays.keys() == b.arrays.keys()
        assert all(np.array_equal(a.arrays[key], b.arrays[key]) for key in a.arrays)


def kill_campaign(folder: Path, kind: str) -> tuple[Campaign, PotentialFactory | None]:
    """A campaign of many quick labels: 'springs' with the stand-in, 'bayesian' with a small Bayesian force field."""
    dynamics: dict[str, object] = {"timestep_fs": 2.0}
    if kind == "springs":
        ramp, hold = {"temperature_K": [100, 1200], "duration_ps": 6.0}, {"temperature_K": 1200, "duration_ps": 2.0}
        # The errors of springs at high temperature exceed the limits of the label checks, which are switched off.
        learning: dict[str, object] = {"threshold_eV_per_A": 0.002, "check_every": 5, "check_labels": False}
        return campaign(folder, dynamics={**dynamics, "stages": [ramp, hold]}, learning=learning), springs(crystal())
    return (
        campaign(
            folder,
            dynamics={**dynamics, "stages": [{"temperature_K": [100, 1000], "duration_ps": 5.0}]},
            learning={"threshold_eV_per_A": 0.004, "optimize_at": None},
            potential={"pair_cutoff_A": 4.0, "triplet_cutoff_A": 3.2, "n_pair": 8, "n_radial": 4, "l_max": 2},
        ),
        None,
    )


def main(folder: Path, kind: str) -> None:
    """What the kill test starts, kills, and starts again."""
    settings, potentials = kill_campaign(folder, kind)
    learn(
        settings,
        reference=LoggedReference(folder / "calls.jsonl", delay_s=0.1),
        potentials=potentials,
        progress=PlainProgress(lambda line: print(line, flush=True), interval_s=1.0),  # noqa: T201 the log of a process
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
