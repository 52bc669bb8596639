"""Evaluating the members of a committee: in this process, or in one worker that holds them all."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from trepid.errors import BackendError, NumericsError
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.neighbors import SKIN, SkinNeighbors
from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.potentials.committee.training import load_bayesian
from trepid.workers.environments import Environment
from trepid.workers.process import WorkerDied, WorkerProcess, as_arrays


@dataclass(frozen=True)
class MemberPredictions:
    """Predictions of m members for one frame of n atoms.

    Attributes
    ----------
    energy : (m,) array
        eV, not aligned.
    forces : (m, n, 3) array
        eV/A.
    stress : (m, 6) array or None
        eV/A^3; None for frames without a volume and for models without stress.
    atom_energies : (m, n) array or None
        eV.
    """

    energy: FloatArray
    forces: FloatArray
    stress: FloatArray | None
    atom_energies: FloatArray | None


class Evaluator(ABC):
    """Predictions of any members for any frame."""

    @abstractmethod
    def evaluate(self, atoms: Atoms, members: Sequence[int]) -> MemberPredictions:
        """Predictions of `members` in this order, for one frame.

        Raises
        ------
        DataError
            The frame contains an element that the members do not describe.
        BackendError, NumericsError
            A member fails, or gives something that is not finite.
        """

    @abstractmethod
    def reset(self) -> None:
        """Drop what depends on earlier frames."""

    @abstractmethod
    def close(self) -> None:
        """End processes; they start again when they are needed."""


class BayesianEvaluator(Evaluator):
    """Bayesian force fields in this process; neighbour lists with a skin are kept per member."""

    def __init__(self, models: Sequence[bytes]) -> None:
        self._models = tuple(models)
        self._potentials: dict[int, tuple[SplinePotential, SkinNeighbors]] = {}

    def evaluate(self, atoms: Atoms, members: Sequence[int]) -> MemberPredictions:
        """As `Evaluator.evaluate`."""
        predictions = []
        for k in members:
            if k not in self._potentials:
                potential = load_bayesian(self._models[k]).mean
                self._potentials[k] = (potential, potential.neighbors(skin=SKIN))
            potential, neighbors = self._potentials[k]
            predictions.append(potential.evaluate(atoms, neighbors))
        stress = [p.stress for p in predictions if p.stress is not None]
        return MemberPredictions(
            energy=np.array([p.energy for p in predictions]),
            forces=np.array([p.forces for p in predictions]),
            stress=np.array(stress) if len(stress) == len(predictions) else None,
            atom_energies=np.array([p.atom_energies for p in predictions]),
        )

    def reset(self) -> None:
        """Drop the neighbour lists."""
        for _, neighbors in self._potentials.values():
            neighbors.reset()

    def close(self) -> None:
        """There is no process."""


class WorkerEvaluator(Evaluator):
    """Members in a worker process, started when first needed; each is loaded when first used.

    A worker that died is started once more for the request during which it died; if that dies too, the error is raised.
    """

    def __init__(self, environment: Environment, models: Sequence[bytes]) -> None:
        self._environment, self._models = environment, tuple(models)
        self._folder = tempfile.TemporaryDirectory(prefix="trepid-committee-")
        self._paths = [Path(self._folder.name) / f"member{k}" for k in range(len(models))]
        for path, model in zip(self._paths, models, strict=True):
            path.write_bytes(model)
        self._worker: WorkerProcess | None = None
        self._loaded: set[int] = set()

    def __reduce__(self) -> tuple[type[WorkerEvaluator], tuple[Environment, tuple[bytes, ...]]]:
        """Pickle: a copy starts a worker of its own."""
        return type(self), (self._environment, self._models)

    def evaluate(self, atoms: Atoms, members: Sequence[int]) -> MemberPredictions:
        """As `Evaluator.evaluate`."""
        try:
            return self._evaluate(atoms, members)
        except WorkerDied:
            return self._evaluate(atoms, members)

    def _evaluate(self, atoms: Atoms, members: Sequence[int]) -> MemberPredictions:
        if self._worker is None or not self._worker.alive:
            self._worker, self._loaded = WorkerProcess(self._environment), set()
        for k in members:
            if k not in self._loaded:
                self._worker.request("load", member=k, path=str(self._paths[k]))
                self._loaded.add(k)
        _, out = self._worker.request(
            "evaluate",
            as_arrays(atoms.numbers, atoms.positions, atoms.cell[:], atoms.pbc),
            members=[int(k) for k in members],
            stress=bool(atoms.cell.rank == 3),
        )
        return self._checked(out, len(members), len(atoms))

    def _checked(self, out: dict[str, Any], m: int, n: int) -> MemberPredictions:
        name = self._environment.backend
        shapes = {"energy": (m,), "forces": (m, n, 3), "stress": (m, 6), "atom_energies": (m, n)}
        for key, shape in shapes.items():
            if key not in out:
                if key in ("energy", "forces"):
                    raise BackendError(f"backend {name}: the worker's response has no {key}")
            elif out[key].shape != shape:
                raise BackendError(f"backend {name}: the worker's {key} have shape {out[key].shape}; expected {shape}")
            elif not np.isfinite(out[key]).all():
                raise NumericsError(f"backend {name}: {key} of a member are not finite for this frame of {n} atoms")
        return MemberPredictions(out["energy"], out["forces"], out.get("stress"), out.get("atom_energies"))

    def reset(self) -> None:
        """Nothing to drop: the prediction of a worker depends on the frame alone."""

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
