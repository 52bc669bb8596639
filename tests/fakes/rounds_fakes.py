"""Fakes and helpers for the tests of campaigns in rounds."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read

from campaign_fakes import LoggedReference, MeanCalculator, crystal
from comparison import model_content
from trepid.campaign.learn import learn
from trepid.config import RoundsCampaign
from trepid.dynamics.progress import PlainProgress
from trepid.potentials.base import Noise, Potential, Prediction, Uncertainty

_VARYING = re.compile("seq|time$|seconds|sum$|sha256|settings_sha256")
SMALL = {"pair_cutoff_A": 4.0, "triplet_cutoff_A": 3.2, "n_pair": 8, "n_radial": 4, "l_max": 2}


def rounds_campaign(directory: Path, **sections: Any) -> RoundsCampaign:
    """A campaign of seconds in `directory`: copper, EMT, a small Bayesian force field; `sections` update its sections."""
    structure = directory / "cu.extxyz"
    if not structure.exists():
        crystal().write(structure)
    settings: dict[str, Any] = {
        "structure": {"file": str(structure)},
        "mode": "rounds",
        "reference": {"engine": "ase", "calculator": "emt"},
        "potential": {"kind": "bayesian", **SMALL},
        "start": {"kind": "displaced", "n": 3, "displacement_A": 0.03},
        "walkers": {
            "temperatures_K": [200, 500],
            "duration_ps": 0.8,
            "timestep_fs": 4.0,
            "check_every": 4,
            "equilibrate_ps": 0.1,
        },
        "acquisition": {"labels_per_round": 3, "events": False},
        "rounds": {"max_rounds": 2},
        "output": {"directory": str(directory / "run")},
    }
    for name, values in sections.items():
        old = settings.get(name, {})
        if name in ("potential", "start") and values.get("kind", old["kind"]) != old["kind"]:
            old = {}
        settings[name] = {**old, **values} if isinstance(values, dict) else values
    return RoundsCampaign.model_validate({**settings, "seed": 5})


def content(path: Path) -> Any:
    """The content of a file of a run, without its times."""
    if path.suffix == ".extxyz" and path.name.startswith("label-"):
        frame = read(path)
        info = {key: value for key, value in frame.info.items() if key != "label_seconds"}
        return repr(sorted(info.items())), {name: array.tobytes() for name, array in frame.arrays.items()}
    if path.suffix == ".trepid":
        return model_content(path)
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    return path.read_bytes()


def files_of(run: Path) -> dict[str, Path]:
    """All files that two equal campaigns must agree on, by their path in the run."""
    found = {
        str(path.relative_to(run)): path
        for folder in ("rounds", "labels")
        for path in sorted((run / folder).rglob("*"))
        if path.is_file()
    }
    return {**found, "model.trepid": run / "model.trepid"}


def assert_same_rounds(one: Path, other: Path) -> None:
    """Every file of both runs is the same, bit by bit, but for times."""
    mine, theirs = files_of(one), files_of(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert content(mine[name]) == content(theirs[name]), name


def entries_without_times(run: Path) -> list[dict[str, Any]]:
    """Entries of a ledger without times, numbering and check sums, which differ with the times."""
    found = []
    for line in (run / "ledger.jsonl").read_text().splitlines():
        entry = json.loads(line)
        found.append({key: value for key, value in entry.items() if not _VARYING.match(key)})
    return found


class EnsembleSprings(Potential):
    """A committee of springs to the sites of `crystal()`, of several stiffnesses (eV/A^2): what walkers need of one."""

    def __init__(self, stiffness: Sequence[float], *, own: int | None = None) -> None:
        self.stiffness, self.own = np.asarray(stiffness, dtype=float), own
        self.species = ("Cu",)
        self.closed = 0

    @property
    def n_frames(self) -> int:
        return 3

    @property
    def noise(self) -> Noise:
        return Noise(energy=0.001, forces=0.01, stress=0.001)

    @property
    def n_members(self) -> int:
        return len(self.stiffness)

    def fit(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> EnsembleSprings:
        raise NotImplementedError

    def update(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> EnsembleSprings:
        raise NotImplementedError

    def member(self, k: int) -> EnsembleSprings:
        return EnsembleSprings(self.stiffness, own=k)

    def mean(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        u = atoms.positions - crystal().positions
        k = self.stiffness.mean() if self.own is None else self.stiffness[self.own]
        return float(0.5 * k * (u * u).sum()), -k * u

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        energy, mean_forces = self.mean(atoms)
        u = atoms.positions - crystal().positions
        energies = 0.5 * self.stiffness * (u * u).sum()
        forces = -self.stiffness[:, None, None] * u
        k = self.stiffness.mean() if self.own is None else self.stiffness[self.own]
        return Prediction(
            energy=energy,
            forces=mean_forces,
            energy_uncertainty=float(energies.std(ddof=1)),
            forces_uncertainty=forces.std(axis=0, ddof=1),
            atom_energies=0.5 * k * (u * u).sum(axis=1),
            energy_ensemble=energies,
            forces_ensemble=forces,
        )

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> MeanCalculator:
        return MeanCalculator(self.mean)

    def save(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps(self.stiffness.tolist()))

    @classmethod
    def load(cls, path: Path) -> EnsembleSprings:
        return cls(json.loads(path.read_text()))

    def close(self) -> None:
        self.closed += 1


def main(folder: Path) -> None:
    """What the kill test starts, kills, and starts again."""
    learn(
        rounds_campaign(folder),
        reference=LoggedReference(folder / "calls.jsonl", delay_s=0.02),
        progress=PlainProgress(lambda line: print(line, flush=True)),  # noqa: T201 the log of a process
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
