"""Training the model of a campaign: where it comes from, fit or update, file, and entry in the ledger.

On the fly the model is trained label by label in their order (`Trainer.catch_up`); in rounds, on the labels of a round at
a time (`Trainer.train`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trepid.campaign.label_weights import weighted
from trepid.config.learning import GAIN_NATS
from trepid.data.progress_file import NO_FILE, ProgressFile
from trepid.errors import DataError, NumericsError
from trepid.potentials.base import Potential
from trepid.runs.label_files import LabelledFrame
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import Train

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PotentialFactory:
    """Where a campaign gets its potential from.

    Attributes
    ----------
    create : callable
        Gives an untrained one.
    load : callable
        Reads one from a model file; raises ModelFileError or DataError if it is none.
    """

    create: Callable[[], Potential]
    load: Callable[[Path], Potential]


@dataclass(frozen=True, eq=False)
class Trainer:
    """Trains potentials, writes their files and the entries `train` of the ledger.

    Attributes
    ----------
    factory : PotentialFactory
    ledger : Ledger
    executor : Executor
        Trains the members of a committee.
    progress : ProgressFile
        Gets the stage "training".
    weights : mapping of str to float
        Of the labels, by their kind (`label_weights`).
    """

    factory: PotentialFactory
    ledger: Ledger
    executor: Executor
    progress: ProgressFile = NO_FILE
    weights: Mapping[str, float] = field(default_factory=dict)

    def train(
        self,
        potential: Potential,
        labels: Sequence[LabelledFrame],
        file: Path,
        *,
        fresh: bool,
        optimize: bool | None,
        known: Sequence[LabelledFrame] | None = None,
    ) -> Potential:
        """Train a potential, write its file, and read it back.

        The file is what a resumed run continues with. What was computed on the way (a posterior found by the optimiser, sums
        in another order) may differ from it in the last bit, and so would everything after it.

        Parameters
        ----------
        potential : Potential
            Closed afterwards.
        labels : sequence of LabelledFrame
            Those to train on, without what the potential was trained on before.
        file : Path
            Written atomically.
        fresh : bool
            Train from scratch; else on top of the previous training.
        optimize : bool or None
            Optimise the hyperparameters after an update, if there are any; None: if that promises more than
            `GAIN_NATS`. A fit always does.
        known : sequence of LabelledFrame, optional
            Those that the potential was trained on before: with them, error bars are renewed in an optimisation.

        Returns
        -------
        Potential
            As read from the file.

        Raises
        ------
        DataError
            A label cannot be trained on.
        BackendError
            A member of a committee cannot be trained.
        """
        with self.progress.stage("training"):
            began = time.perf_counter()
            frames = weighted(labels, self.weights)
            before = None if known is None else weighted(known, self.weights)
            if fresh:
                potential.fit(frames, executor=self.executor)
            else:
                try:
                    potential.update(frames, executor=self.executor)
                    if optimize is None:  # follows from the model file and the labels alone, as a resumed run needs it
                        optimize = potential.tunable and potential.expected_gain() > GAIN_NATS
                    if optimize:
                        potential.optimize(None if before is None else [*before, *frames])
                except NumericsError as error:
                    # A few exact labels can bring the noise so far down that the next ones contradict it beyond double precision.
                    if before is None:
                        raise
                    logger.warning(
                        "the model cannot take the new labels (%s); it is trained anew on all of them", error
                    )
                    potential.close()
                    potential = self.factory.create()
                    potential.fit([*before, *frames], executor=self.executor)
                    optimize = True
            optimized = potential.tunable and bool(fresh or optimize)
            potential.save(file)
            potential.close()
            trained = self.factory.load(file)
            self._note(trained, optimized=optimized, seconds=time.perf_counter() - began)
            return trained

    def catch_up(
        self,
        potential: Potential,
        labels: Sequence[LabelledFrame],
        file: Path,
        *,
        n_initial: int,
        optimize_at: frozenset[int] | None,
    ) -> Potential:
        """Train a potential on all labels that it was not trained on, one by one.

        Parameters
        ----------
        potential : Potential
            Trained on the first `potential.n_frames` of the labels.
        labels : sequence of LabelledFrame
            All labels so far, in their order.
        file : Path
        n_initial : int
            How many of them make up the first fit.
        optimize_at : set of int or None
            Numbers of labels at which the hyperparameters are optimised; None: where that promises more than `GAIN_NATS`.

        Raises
        ------
        DataError
            The model was trained on more labels than there are: a label file was removed.
        """
        n_trained = potential.n_frames
        if n_trained > len(labels):
            raise DataError(
                f"{file} was trained on {n_trained} labels, only {len(labels)} are left in the run directory; "
                "put them back, or move the model file away to train it anew"
            )
        if n_trained == len(labels):
            self.note_missing(potential)
            return potential
        if n_trained == 0:
            potential = self.train(potential, labels[:n_initial], file, fresh=True, optimize=True)
            n_trained = n_initial
        for number in range(n_trained, len(labels)):
            optimize = None if optimize_at is None else number + 1 in optimize_at
            potential = self.train(
                potential, [labels[number]], file, fresh=False, optimize=optimize, known=labels[:number]
            )
        return potential

    def note_missing(self, potential: Potential) -> None:
        """Write the entry of a training whose file was written before a kill, and whose entry was not."""
        n = potential.n_frames
        if n and n not in {event.n_labels for event in self.ledger.all(Train)}:
            self._note(potential, optimized=False, seconds=0.0)

    def _note(self, potential: Potential, *, optimized: bool, seconds: float) -> None:
        noise = potential.noise
        self.ledger.append(
            Train(
                n_labels=potential.n_frames,
                optimized=optimized,
                noise_energy=_finite(noise.energy),
                noise_forces=_finite(noise.forces),
                noise_stress=_finite(noise.stress),
                log_evidence=_finite(potential.log_evidence),
                seconds=round(seconds, 3),
                hyperparameters=dict(potential.hyperparameter_values),
            )
        )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
