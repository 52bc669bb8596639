"""A committee: several potentials trained on parts of the data from different random starts; their spread is the uncertainty.

Mean and standard deviation (n - 1 in the denominator) over the members, for energy, forces and stress.

Energies. A network's energy zero is badly determined by its data, and a constant that differs between members is
irrelevant for energy differences. So energies are compared relative to a reference structure, the same for all members (by
default the training frame of lowest energy per atom): with e_k = E_k(reference) / n_reference and e their mean over the
members, the energy of member k for a frame of n atoms is E_k(frame) - n (e_k - e). The mean over members is unchanged and
stays on the scale of the labels; the spread is that of E_k(frame) - (n / n_reference) E_k(reference). Energies per atom
shift by e_k - e likewise.
The committee and `member(k)` report energies aligned in this way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from trepid.data import LabelKeys
from trepid.data.duplicates import fingerprints, known_among, known_structures
from trepid.errors import ConfigError, DataError
from trepid.potentials.base import FloatArray, Noise, Potential, Prediction, Uncertainty
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.calculator import PotentialCalculator
from trepid.potentials.committee.committee_file import CommitteeContents, read_committee, write_committee
from trepid.potentials.committee.environments import environment_of
from trepid.potentials.committee.members import BayesianEvaluator, Evaluator, MemberPredictions, WorkerEvaluator
from trepid.potentials.committee.residuals import typical_rms
from trepid.potentials.committee.settings import Backend, BayesianSettings, CommitteeSettings, Programs
from trepid.potentials.committee.subsets import Subset, seed_of, subset_of
from trepid.potentials.committee.training import (
    KEYS,
    TrainingJob,
    TrainingResult,
    plain_frame,
    text_of,
    train_member,
)
from trepid.potentials.committee.trust import allowed_settings
from trepid.workers.environments import Environment

_DEFAULT_SETTINGS = CommitteeSettings()


class Committee(Potential):
    """Several potentials and their spread.

    Parameters
    ----------
    species : sequence of str
        Elements it describes.
    settings : CommitteeSettings
    reference : Atoms, optional
        Structure relative to which the members' energies are compared; default: the training frame of lowest energy per
        atom at the first `fit`.
    keys : LabelKeys
        Where frames carry their labels.

    Raises
    ------
    ConfigError
        An unknown element, or a size of the members that is out of range.
    """

    def __init__(
        self,
        species: Sequence[str],
        *,
        settings: CommitteeSettings = _DEFAULT_SETTINGS,
        reference: Atoms | None = None,
        keys: LabelKeys = KEYS,
    ) -> None:
        for symbol in species:
            if symbol not in atomic_numbers or symbol == "X":
                raise ConfigError(f"species {symbol!r} is not an element")
        self.species = tuple(sorted(set(species), key=lambda s: atomic_numbers[s]))
        if isinstance(settings.model, BayesianSettings):  # sizes out of range show here, not in the first training
            sizes = settings.model
            Basis.create(
                self.species,
                pair_cutoff=sizes.pair_cutoff_A,
                triplet_cutoff=sizes.triplet_cutoff_A,
                n_pair=sizes.n_pair,
                n_radial=sizes.n_radial,
                l_max=sizes.l_max,
            )
        self.settings = settings
        self.keys = keys
        self.frames: tuple[Atoms, ...] = ()
        self.results: tuple[TrainingResult, ...] = ()
        """One per member, of the latest training."""
        self._given_reference = None if reference is None else _bare(reference)
        self._reference: Atoms | None = None
        self._offsets = np.zeros(settings.n_members)
        self._evaluator: Evaluator | None = None

    def __repr__(self) -> str:
        state = f"{self.n_frames} frames, noise {self.noise.forces:.3g} eV/A" if self.results else "untrained"
        kind = self.settings.backend.value
        return f"<Committee of {', '.join(self.species)}: {self.settings.n_members} members ({kind}), {state}>"

    # ---- learning

    def fit(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> Committee:
        """Train every member from scratch (or from the foundation model) on its subset of `frames`.

        Parameters
        ----------
        frames : sequence of Atoms
            With forces; networks need energies as well.
        executor : Executor, optional
            Trains the members in parallel; default: one after another, in this process.

        Raises
        ------
        DataError
            No frames, a frame without labels, labels that are not finite, an unknown element.
        BackendError
            The backend is not installed, or a training failed; the committee then stays as it was.
        """
        if not frames:
            raise DataError("fit needs at least one labelled frame")
        plain = self._plain(frames, 0)
        reference = self._given_reference if self._given_reference is not None else _lowest(plain)
        return self._train(plain, reference, executor, fresh=True)

    def update(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> Committee:
        """Add `frames`; every member is trained further from its own weights on its subset of all frames.

        Errors as `fit`.
        """
        if not self.frames:
            return self.fit(frames, executor=executor)
        if not frames:
            return self
        plain = self._plain(frames, len(self.frames))
        assert self._reference is not None
        return self._train((*self.frames, *plain), self._reference, executor, fresh=False)

    def _plain(self, frames: Sequence[Atoms], start: int) -> tuple[Atoms, ...]:
        require = ("forces",) if self.settings.backend is Backend.BAYESIAN else ("energy", "forces")
        plain = []
        for k, atoms in enumerate(frames):
            where = f"frame {k} (counted from 0)"
            if unknown := set(atoms.symbols) - set(self.species):
                raise DataError(
                    f"{where}: it contains {', '.join(sorted(unknown))}; this committee describes {', '.join(self.species)}"
                )
            plain.append(plain_frame(atoms, self.keys, where, require))
        return tuple(plain)

    def _train(
        self, frames: tuple[Atoms, ...], reference: Atoms, executor: Executor | None, *, fresh: bool
    ) -> Committee:
        environment = self._environment()
        jobs = [self._job(k, frames, environment, fresh=fresh) for k in range(self.n_members)]
        if executor is None:
            results = [train_member(job) for job in jobs]
        else:
            futures = [executor.submit(train_member, job) for job in jobs]
            try:
                results = [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        evaluator = self._make_evaluator([r.model for r in results], environment)
        offsets = _offsets(evaluator.evaluate(reference, range(self.n_members)).energy / len(reference))
        self.close()
        self.frames, self.results = frames, tuple(results)
        self._reference, self._offsets, self._evaluator = reference, offsets, evaluator
        return self

    def _job(self, k: int, frames: tuple[Atoms, ...], environment: Environment | None, *, fresh: bool) -> TrainingJob:
        subset = subset_of(self.settings, k, len(frames))
        assert self.settings.model is not None
        return TrainingJob(
            member=k,
            species=self.species,
            settings=self.settings.model,
            seed=seed_of(self.settings, k),
            train=text_of(frames[i] for i in subset.train),
            validation=text_of(frames[i] for i in subset.validation),
            held_out=text_of(frames[i] for i in subset.held_out),
            n_known=0 if fresh else sum(i < len(self.frames) for i in subset.train),
            initial=None if fresh else self.results[k].model,
            environment=environment,
        )

    def require_backend(self) -> None:
        """Check before anything is computed that members can be trained here.

        Raises
        ------
        ConfigError, BackendError
            The package of the backend is not installed; the message gives the commands to install it.
        """
        self._environment()

    def _environment(self) -> Environment | None:
        model = self.settings.model
        assert model is not None
        return None if isinstance(model, BayesianSettings) else environment_of(self.settings.backend, model)

    def _make_evaluator(self, models: Sequence[bytes], environment: Environment | None) -> Evaluator:
        return BayesianEvaluator(models) if environment is None else WorkerEvaluator(environment, models)

    # ---- state

    @property
    def n_members(self) -> int:
        """Number of members."""
        return self.settings.n_members

    @property
    def n_frames(self) -> int:
        """Number of labelled frames given to the committee; each member is trained on a part of them."""
        return len(self.frames)

    def trained_on(self, frames: Sequence[Atoms]) -> list[int]:
        """See `Potential.trained_on`: given to the committee, whichever members were trained on them."""
        return known_among(frames, self.keys, fingerprints(self.frames, KEYS))

    def trained_structures(self, frames: Sequence[Atoms]) -> list[int]:
        """See `Potential.trained_structures`."""
        return known_structures(frames, fingerprints(self.frames, KEYS))

    def subset(self, k: int) -> Subset:
        """Which of the frames member k is trained on."""
        return subset_of(self.settings, self._member_number(k), len(self.frames))

    @property
    def reference(self) -> Atoms:
        """Structure relative to which the members' energies are compared."""
        self._require_data()
        assert self._reference is not None
        return self._reference.copy()

    @property
    def noise(self) -> Noise:
        """Root mean square residuals of the members, with aligned energies, on the frames that they were not trained on.

        A single member is less good than the mean of all; this is an upper bound of what is left of the error where the
        members agree. Where no frame is held out, the residuals are those of the training frames. Outlier frames are capped
        (`typical_rms`); of networks, labels of strong forces count less, as in
        their training.
        """
        self._require_data()
        chosen = [r for r in self.results if r.held_out] or list(self.results)
        energies: list[float] = []
        for r in chosen:
            de, n = np.array(r.residuals.energy), np.array(r.residuals.n_atoms)
            energies.extend(((de + self._offsets[r.member] * n) ** 2 / n).tolist())
        forces = [square for r in chosen for square in r.residuals.forces]
        return Noise(
            energy=typical_rms(energies, 1),
            forces=typical_rms(forces, [n for r in chosen for n in r.residuals.n_forces]),
            stress=typical_rms([square for r in chosen for square in r.residuals.stress], 6),
        )

    def _require_data(self) -> Evaluator:
        if self._evaluator is None:
            raise DataError("this committee has not been trained: call fit with labelled frames first")
        return self._evaluator

    def _member_number(self, k: int) -> int:
        if not 0 <= k < self.n_members:
            raise ConfigError(f"member {k} does not exist; the committee has members 0 to {self.n_members - 1}")
        return k

    # ---- prediction

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        """Predict one frame by all members.

        The result depends on the frame alone to the last bit: neighbour lists of earlier frames are dropped.

        Parameters
        ----------
        atoms : Atoms
        uncertainty : Uncertainty
            'exact' and 'live' are the same: spread and members' predictions; 'none': the mean of the members only.

        Raises
        ------
        ConfigError
            An uncertainty of a committee of one.
        """
        self._require_data().reset()
        return self._evaluate(atoms, uncertainty)

    def _evaluate(self, atoms: Atoms, uncertainty: Uncertainty | str) -> Prediction:
        """Predict one frame, with the neighbour list of the frame before where atoms have hardly moved."""
        evaluator = self._require_data()
        uncertain = Uncertainty(uncertainty) is not Uncertainty.NONE
        if uncertain and self.n_members < 2:
            raise ConfigError("n_members is 1; the spread of a committee needs at least 2 members")
        self._check_species(atoms)
        p = evaluator.evaluate(atoms, range(self.n_members))
        energy, forces, stress, atom_energies = self._aligned(p, self._offsets, len(atoms))
        return Prediction(
            energy=float(energy.mean()),
            forces=forces.mean(axis=0),
            stress=None if stress is None else stress.mean(axis=0),
            energy_uncertainty=float(energy.std(ddof=1)) if uncertain else None,
            forces_uncertainty=forces.std(axis=0, ddof=1) if uncertain else None,
            stress_uncertainty=stress.std(axis=0, ddof=1) if uncertain and stress is not None else None,
            atom_energies=None if atom_energies is None else atom_energies.mean(axis=0),
            energy_ensemble=energy if uncertain else None,
            forces_ensemble=forces if uncertain else None,
            stress_ensemble=stress if uncertain else None,
        )

    def member(self, k: int) -> Member:
        """Member k alone: mean only, at the cost of one model."""
        evaluator, k = self._require_data(), self._member_number(k)
        return Member(self, k, evaluator, float(self._offsets[k]))

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE, every: int = 1) -> PotentialCalculator:
        """ASE calculator; `every`: uncertainty on every n-th configuration only."""
        evaluator = self._require_data()
        evaluator.reset()
        uncertain = Uncertainty(uncertainty) is not Uncertainty.NONE
        return _CommitteeCalculator(self, every=every if uncertain else None)

    def _check_species(self, atoms: Atoms) -> None:
        if unknown := {int(z) for z in atoms.numbers} - {atomic_numbers[s] for s in self.species}:
            names = ", ".join(chemical_symbols[z] for z in sorted(unknown))
            raise DataError(f"the structure contains {names}; this committee describes {', '.join(self.species)}")

    @staticmethod
    def _aligned(
        p: MemberPredictions, offsets: FloatArray, n_atoms: int
    ) -> tuple[FloatArray, FloatArray, FloatArray | None, FloatArray | None]:
        atom_energies = None if p.atom_energies is None else p.atom_energies - offsets[:, None]
        return p.energy - offsets * n_atoms, p.forces, p.stress, atom_energies

    # ---- files and processes

    def save(self, path: str | Path) -> None:
        """Write one file, atomically: settings, training frames, reference structure and all members."""
        self._require_data()
        assert self._reference is not None
        contents = CommitteeContents(
            species=self.species,
            settings=self.settings,
            keys=self.keys,
            frames=self.frames,
            reference=self._reference,
            offsets=tuple(float(x) for x in self._offsets),
            results=self.results,
        )
        write_committee(path, contents)

    @classmethod
    def load(cls, path: str | Path, *, trust: bool = False, programs: Programs | None = None) -> Committee:
        """Read a committee file. A backend's worker is started at the first prediction, not before.

        Parameters
        ----------
        path : path
        trust : bool
            Run what the file names: a worker script, an interpreter, a foundation model. Without it, networks run in the
            environments of the user (`trepid doctor`), whatever interpreter the file names.
        programs : Programs, optional
            What the user names instead, as a campaign file does for its own run.

        Raises
        ------
        UntrustedFileError
            The file names a worker script or a foundation model, and is not trusted.
        ModelFileError
            Missing, truncated, damaged, not a committee, or of another version.
        """
        contents = read_committee(path)
        settings = allowed_settings(contents.settings, name=str(path), trust=trust, programs=programs)
        committee = cls(contents.species, settings=settings, reference=contents.reference, keys=contents.keys)
        committee.frames, committee.results = contents.frames, contents.results
        committee._reference, committee._offsets = contents.reference, np.array(contents.offsets)
        committee._evaluator = _LazyEvaluator(committee, [r.model for r in contents.results])
        return committee

    def close(self) -> None:
        """End the worker process, if there is one; it starts again when it is needed."""
        if self._evaluator is not None:
            self._evaluator.close()

    def __enter__(self) -> Committee:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Member(Potential):
    """One member of a committee: energy (aligned as the committee's), forces and stress, no uncertainty.

    It can be evaluated, not trained; its file is the committee's.
    """

    def __init__(self, committee: Committee, number: int, evaluator: Evaluator, offset: float) -> None:
        self.committee, self.number = committee, number
        self.species = committee.species
        self._evaluator, self._offset = evaluator, offset

    @property
    def n_frames(self) -> int:
        """Number of frames in its subset."""
        return len(self.committee.subset(self.number).train)

    @property
    def noise(self) -> Noise:
        """That of the committee."""
        return self.committee.noise

    def fit(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> Potential:
        """Not for one member."""
        raise ConfigError("a member is trained with its committee: call fit of the committee")

    def update(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> Potential:
        """Not for one member."""
        raise ConfigError("a member is trained with its committee: call update of the committee")

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.NONE) -> Prediction:
        """Predict one frame; one member has no uncertainty.

        Raises
        ------
        ConfigError
            `uncertainty` is not 'none'.
        """
        if Uncertainty(uncertainty) is not Uncertainty.NONE:
            raise ConfigError("one member has no uncertainty; use the committee, or pass uncertainty='none'")
        self._evaluator.reset()
        return self._evaluate(atoms)

    def _evaluate(self, atoms: Atoms) -> Prediction:
        self.committee._check_species(atoms)
        p = self._evaluator.evaluate(atoms, [self.number])
        energy, forces, stress, atom_energies = Committee._aligned(p, np.array([self._offset]), len(atoms))
        return Prediction(
            energy=float(energy[0]),
            forces=forces[0],
            stress=None if stress is None else stress[0],
            atom_energies=None if atom_energies is None else atom_energies[0],
        )

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.NONE) -> PotentialCalculator:
        """ASE calculator without uncertainty."""
        if Uncertainty(uncertainty) is not Uncertainty.NONE:
            raise ConfigError("one member has no uncertainty; take the calculator of the committee")
        self._evaluator.reset()
        return _MemberCalculator(self)

    def save(self, path: str | Path) -> None:
        """Not for one member."""
        raise ConfigError("a member has no file of its own: save the committee")


class _CommitteeCalculator(PotentialCalculator):
    """Mean and spread of a committee, with its neighbour lists."""

    def __init__(self, committee: Committee, *, every: int | None) -> None:
        super().__init__(every=every)
        self.committee = committee

    def predict(self, atoms: Atoms, *, uncertain: bool) -> Prediction:
        """As `PotentialCalculator.predict`."""
        return self.committee._evaluate(atoms, Uncertainty.EXACT if uncertain else Uncertainty.NONE)

    def forget(self) -> None:
        """Drop the neighbour lists of the members."""
        self.committee._require_data().reset()


class _MemberCalculator(PotentialCalculator):
    """One member, with its neighbour list."""

    def __init__(self, member: Member) -> None:
        super().__init__(every=None)
        self.member = member

    def predict(self, atoms: Atoms, *, uncertain: bool) -> Prediction:
        """As `PotentialCalculator.predict`, without uncertainty."""
        return self.member._evaluate(atoms)

    def forget(self) -> None:
        """Drop the neighbour lists of the members."""
        self.member._evaluator.reset()


class _LazyEvaluator(Evaluator):
    """Finds the backend's environment at the first prediction: a file can be read where it is not installed."""

    def __init__(self, committee: Committee, models: Sequence[bytes]) -> None:
        self._committee, self._models = committee, tuple(models)
        self._inner: Evaluator | None = None

    def evaluate(self, atoms: Atoms, members: Sequence[int]) -> MemberPredictions:
        """As `Evaluator.evaluate`."""
        if self._inner is None:
            committee = self._committee
            self._inner = committee._make_evaluator(self._models, committee._environment())
        return self._inner.evaluate(atoms, members)

    def reset(self) -> None:
        """As `Evaluator.reset`."""
        if self._inner is not None:
            self._inner.reset()

    def close(self) -> None:
        """As `Evaluator.close`."""
        if self._inner is not None:
            self._inner.close()


def _offsets(energies_per_atom: FloatArray) -> FloatArray:
    """e_k - e of the module docstring, (n_members,), eV."""
    return np.asarray(energies_per_atom - energies_per_atom.mean())


def _lowest(frames: Sequence[Atoms]) -> Atoms:
    """Frame of lowest energy per atom; the first where no frame has an energy."""
    energies = [a.info.get(KEYS.energy, math.inf) / len(a) for a in frames]
    return _bare(frames[int(np.argmin(energies))])


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell[:], pbc=atoms.pbc)
