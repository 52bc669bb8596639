"""The model of a campaign: where it comes from, and how it is taught.

On the fly it is trained label by label in their order, saved after every label and caught up after a kill (`Learner`); in
rounds, on the labels of a round at a time (`teach`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from trepid.runs.ledger import Ledger, Train
from trepid.errors import DataError
from trepid.potentials.base import Potential

if TYPE_CHECKING:
    from ase import Atoms


@runtime_checkable
class Tunable(Protocol):
    """A potential whose hyperparameters can be optimised apart from its training."""

    def optimize(self) -> object:
        """Optimise the hyperparameters on the data seen so far."""


@dataclass(frozen=True)
class PotentialFactory:
    """How a campaign comes by its potential.

    Attributes
    ----------
    create : callable
        Gives an untrained one.
    load : callable
        Reads one from a model file; raises ModelFileError or DataError if it is none.
    """

    create: Callable[[], Potential]
    load: Callable[[Path], Potential]


class Learner:
    """Holds the model to the labels.

    Parameters
    ----------
    factory : PotentialFactory
    model_file : Path
        Where the model is kept; read if it exists.
    ledger : Ledger
        Gets a `train` entry for every training.
    optimize_at : sequence of int
        Numbers of labels at which the hyperparameters are optimised.

    Attributes
    ----------
    potential : Potential
        Untrained as long as its `n_frames` is 0.
    """

    def __init__(
        self, factory: PotentialFactory, model_file: Path, ledger: Ledger, *, optimize_at: Sequence[int]
    ) -> None:
        self.model_file = model_file
        self._ledger = ledger
        self._factory = factory
        self._optimize_at = frozenset(optimize_at)
        self.potential = factory.load(model_file) if model_file.exists() else factory.create()

    def train(self, frames: Sequence[Atoms], *, n_initial: int) -> int:
        """Bring the model to exactly these labels.

        Parameters
        ----------
        frames : sequence of Atoms
            All labels so far, in their order. The model has been trained on the first `potential.n_frames` of them.
        n_initial : int
            How many of them make up the first fit.

        Returns
        -------
        int
            Number of trainings this took; 0 when the model was up to date.

        Raises
        ------
        DataError
            The model knows more labels than there are: a label file was removed.
        """
        known, trainings = self.potential.n_frames, 0
        if known > len(frames):
            raise DataError(
                f"{self.model_file} was trained on {known} labels, only {len(frames)} are left in the run directory; "
                "put them back, or remove the model file to train it anew"
            )
        if known == 0 and frames:
            began = time.perf_counter()
            self.potential.fit(frames[:n_initial])
            self._settle(optimized=True, began=began)
            known, trainings = n_initial, 1
        for number in range(known, len(frames)):
            began = time.perf_counter()
            self.potential.update([frames[number]])
            optimize = number + 1 in self._optimize_at and isinstance(self.potential, Tunable)
            if optimize and isinstance(self.potential, Tunable):
                self.potential.optimize()
            self._settle(optimized=optimize, began=began)
            trainings += 1
        if trainings == 0 and frames and len(frames) not in {event.n_labels for event in self._ledger.all(Train)}:
            # A kill between the model file and the ledger: the training is done, only its entry is missing.
            self._note(optimized=False, seconds=0.0)
        return trainings

    def _settle(self, *, optimized: bool, began: float) -> None:
        self.potential.save(self.model_file)
        # Go on with what a resumed run will read. What was computed on the way (a posterior found by the optimiser,
        # sums in another order) may differ from it in the last bit, and so would everything after it.
        self.potential = self._factory.load(self.model_file)
        self._note(optimized=optimized, seconds=time.perf_counter() - began)

    def _note(self, *, optimized: bool, seconds: float) -> None:
        self._ledger.append(training_event(self.potential, optimized=optimized, seconds=seconds))


def teach(potential: Potential, frames: Sequence[Atoms], *, fresh: bool, executor: Executor) -> bool:
    """Train a potential on labelled frames: from nothing if `fresh`, else on top of what it knows.

    The members of a committee are trained through the executor, from their own weights; the hyperparameters of a Bayesian
    force field are optimised again.

    Returns
    -------
    bool
        Whether hyperparameters were optimised.
    """
    many: Any = potential
    if hasattr(potential, "n_members"):
        (many.fit if fresh else many.update)(frames, executor=executor)
        return False
    if fresh:
        potential.fit(frames)
        return True
    potential.update(frames)
    if isinstance(potential, Tunable):
        potential.optimize()
        return True
    return False


def training_event(potential: Potential, *, optimized: bool, seconds: float) -> Train:
    """Entry of the ledger about a training that is done."""
    noise = potential.noise
    return Train(
        n_labels=potential.n_frames,
        optimized=optimized,
        noise_energy=_finite(noise.energy),
        noise_forces=_finite(noise.forces),
        noise_stress=_finite(noise.stress),
        log_evidence=_finite(getattr(potential, "log_evidence", None)),
        seconds=round(seconds, 3),
        hyperparameters=_plain(getattr(potential, "hyperparameters", None)),
    )


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


def _plain(hyperparameters: Any) -> dict[str, Any]:
    if is_dataclass(hyperparameters) and not isinstance(hyperparameters, type):
        return asdict(hyperparameters)
    return dict(hyperparameters) if isinstance(hyperparameters, dict) else {}
