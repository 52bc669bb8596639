"""The Bayesian force field: a Gaussian process of pairs and triplets in the weight space of splines.

E = sum_i eps + sum_pairs f2(r_ij) + sum_i sum_jk f3(r_ij, r_ik, theta_jik) + E_prior, with Gaussian-process priors on
f2 and f3 (`kernels`), represented by spline and Legendre coefficients (`splines`, `terms`). Training keeps sufficient
statistics (`statistics`); mean, uncertainty and evidence follow from them exactly (`posterior`); molecular dynamics
evaluates tables (`spline_potential`). The kernels and their representation by splines follow Xie, Vandermause et al., npj
Comput. Mater. 7, 40 (2021); here the fitted spline coefficients are the model, not an approximation made after the fit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from trepid import _native
from trepid.choices import PAIR_CUTOFF_A, TRIPLET_CUTOFF_A, Speed, Triplets
from trepid.data import LabelKeys
from trepid.data.atomic import write_bytes_atomic
from trepid.data.duplicates import FINGERPRINT_SIZE, distinct, fingerprints, known_among, known_structures
from trepid.data.frames import Labels, attach_labels
from trepid.data.labels import labels_of
from trepid.data.placeholders import held_components
from trepid.errors import ConfigError, DataError
from trepid.lammps.kspace import Electrostatics
from trepid.potentials.base import FloatArray, LeftOutError, Noise, Potential, Prediction, SizeSearch, Uncertainty
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.calibration import Calibration
from trepid.potentials.bayesian.compositions import Compositions, least_squares_energies
from trepid.potentials.bayesian.consistency import require_consistent_tables
from trepid.potentials.bayesian.container import decode, read_file
from trepid.potentials.bayesian.evidence import (
    FIRST_PRIOR_WEIGHT,
    Curvature,
    expected_gain,
    optimize_hyperparameters,
)
from trepid.potentials.bayesian.exact_uncertainty import ExactUncertainty
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.leave_one_out import ErrorBar, LeftOut, error_bars, joined
from trepid.potentials.bayesian.live import extend_templates, live_directions, shared_environment_rows
from trepid.potentials.bayesian.model_file import (
    Training,
    arguments_in_file,
    basis_in_file,
    force_field_bytes,
    naming_damage,
    training_in_file,
)
from trepid.potentials.bayesian.posterior import Bounds, Posterior
from trepid.potentials.bayesian.size_search import FEWEST_FRAMES, choose_sizes
from trepid.potentials.bayesian.sizes import GivenSizes, Sizes
from trepid.potentials.bayesian.spline_potential import LiveDirections, SplineCalculator, SplinePotential, make_tables
from trepid.potentials.bayesian.statistics import ForceSum, LabelKind, SufficientStatistics
from trepid.potentials.bayesian.support import Support, size_of_powers
from trepid.potentials.bayesian.terms import Hyperparameters
from trepid.potentials.bayesian.terms.offset import OffsetTerm
from trepid.potentials.bayesian.training import FrameErrors, train

LIVE_RANK = 16
DEFAULT_KEYS = LabelKeys()


class BayesianForceField(Potential):
    """Force field of pairs and triplets with exact posterior uncertainty, at the cost of a classical potential.

    Parameters
    ----------
    species : sequence of str
        Elements it describes.
    pair_cutoff, triplet_cutoff : float
        A.
    n_pair, n_radial : int
        Splines of a pair energy; radial splines of the three-body density.
    l_max : int
        Highest Legendre degree in the angle.
    n_channels : int, optional
        Channels of the quadruplets, chosen at the first fit; 0: no quadruplets. Default: the frames of a fit decide on
        quadruplets (`size_search`), which takes two to four times as long as the fit alone, and those of `optimize` do where
        there are twice as many.
    triplets : Triplets or str
        Full or mixed triplets; auto: mixed from three species on. Channels of mixed triplets are chosen at the first fit.
    charges : mapping of str to float, optional
        Formal charge of every element, e: a Coulomb energy whose effective charges are these times a factor that the fit finds.
    hyperparameters : Hyperparameters, optional
        Where the optimisation starts.
    live_rank : int
        Directions of the live uncertainty, a multiple of 16.
    large_force : float, optional
        Force in eV/A from which on a label's weight falls; see `Noise`. Default: that of the hyperparameters.
    keys : LabelKeys
        Where frames carry their labels.
    seed : int
        Of the random environments behind the live directions.
    n_threads : int, optional
        OpenMP threads of the evaluation.

    Raises
    ------
    ConfigError
        A setting is out of range.
    """

    tunable = True

    def __init__(
        self,
        species: Sequence[str],
        *,
        pair_cutoff: float = PAIR_CUTOFF_A,
        triplet_cutoff: float = TRIPLET_CUTOFF_A,
        n_pair: int = 20,
        n_radial: int = 8,
        l_max: int = 4,
        n_channels: int | None = None,
        triplets: Triplets | str = Triplets.AUTO,
        charges: Mapping[str, float] | None = None,
        hyperparameters: Hyperparameters | None = None,
        live_rank: int = LIVE_RANK,
        large_force: float | None = None,
        keys: LabelKeys = DEFAULT_KEYS,
        seed: int = 0,
        n_threads: int | None = None,
    ) -> None:
        if live_rank < 0 or live_rank % _native.rank_block:
            raise ConfigError(f"live_rank is {live_rank}; it must be a multiple of {_native.rank_block}, or 0")
        self.basis = Basis.create(
            species,
            pair_cutoff=pair_cutoff,
            triplet_cutoff=triplet_cutoff,
            n_pair=n_pair,
            n_radial=n_radial,
            l_max=l_max,
            charges=charges,
        )
        self.species = self.basis.species
        self.hyperparameters = hyperparameters or Hyperparameters()
        if large_force is not None:
            self.hyperparameters = self.hyperparameters.with_noise(large_force=large_force)
        if n_channels is not None and not 0 <= n_channels <= _native.quadruplet_channels:
            raise ConfigError(f"n_channels is {n_channels}; it must lie between 0 and {_native.quadruplet_channels}")
        self.n_channels, self.triplets = n_channels, Triplets(triplets).resolved(len(self.species))
        self.live_rank, self.keys, self.seed, self.n_threads = live_rank, keys, seed, n_threads
        self.reference_energies = np.zeros(len(self.species))
        self.statistics = SufficientStatistics(self.basis.layout.size)
        self._features: FeatureBuilder | None = None
        self.templates: list[Atoms] = []
        self.left_out: dict[LabelKind, LeftOut] = {}
        """Training labels, predicted without their frame, or before it was added."""
        self.force_sum = ForceSum()
        self.support = Support.empty(len(self.species), size_of_powers(self.basis))
        self.noise_factor = 1.0
        """On the noises of maximum evidence, for the posterior (`leave_one_out.noise_factor`)."""
        self.terms_tried_with = 0
        """Frames of the last fit that decided on quadruplets."""
        self.curvature: Curvature | None = None
        """Of the evidence at the last optimisation."""
        self.fingerprints = np.empty((0, FINGERPRINT_SIZE))
        """Of the training frames (`trepid.data.duplicates`)."""
        self.size_search = None
        self.calibration: Calibration | None = None
        """Factors on the error bars from labels that were not trained on; the next training drops them."""
        self._bars: dict[LabelKind, ErrorBar] | None = None
        self._posterior: Posterior | None = None
        self._mean: SplinePotential | None = None

    def __repr__(self) -> str:
        b = self.basis
        state = f"{self.n_frames} frames, noise {self.noise.forces:.3g} eV/A" if self.n_frames else "untrained"
        return (
            f"<BayesianForceField of {', '.join(self.species)}: cutoffs {b.pair_cutoff:g} A (pairs), "
            f"{b.triplet_cutoff:g} A (triplets), {b.layout.size} coefficients, {state}>"
        )

    # ---- learning

    def fit(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> BayesianForceField:
        """Train on `frames` alone: reference energies, statistics, hyperparameters by maximum evidence, error bars.

        Raises
        ------
        DataError
            No frames, a frame without labels, labels that are not finite, an unknown element.
        """
        if not frames:
            raise DataError("fit needs at least one labelled frame")
        chosen = distinct(frames, self.keys)
        reference_energies = least_squares_energies(self.features, frames, chosen, self.keys)
        self._choose_terms([frames[k] for k in chosen])
        statistics, new = self._statistics_of(frames, reference_energies, chosen), [frames[k] for k in chosen]
        self.reference_energies, self.statistics = reference_energies, statistics
        self.templates, self.force_sum = extend_templates([], new), ForceSum().with_more(new, self.keys)
        self.left_out, self.curvature, self.fingerprints = {}, None, fingerprints(new, self.keys)
        self.size_search = None
        return self.optimize(frames)

    def _choose_terms(self, frames: Sequence[Atoms]) -> None:
        """Quadruplets where they are set or these frames ask for them, and the channels of all terms."""
        if not frames:
            return
        sizes = replace(Sizes.of(self.basis), n_channels=self.n_channels or 0, triplets=self.triplets)
        if self.n_channels is None:
            given = GivenSizes(**{**asdict(sizes), "n_channels": None})
            start, fast = self.hyperparameters, Speed.FAST
            choice = choose_sizes(frames, self.species, given=given, speed=fast, keys=self.keys, hyperparameters=start)
            self.terms_tried_with = len(frames) if len(frames) >= FEWEST_FRAMES else 0
            if choice.sizes != sizes:
                sizes, self.hyperparameters = choice.sizes, choice.start
        self.use_basis(sizes.complete(self.basis, frames, seed=self.seed))

    def use_basis(self, basis: Basis) -> None:
        """Take a basis with other channels; what was trained is lost, since features depend on them."""
        if basis != self.basis:
            self.basis, self._features = basis, None
            self.statistics = SufficientStatistics(basis.layout.size)
            self._posterior = self._mean = None

    def update(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> BayesianForceField:
        """Add labelled frames and renew the posterior; hyperparameters and reference energies stay.

        The error bars learn from how well the new frames were predicted before they were added.
        """
        fresh, reference_energies = self.n_frames == 0, self.reference_energies
        chosen = distinct(frames, self.keys, trained=self.fingerprints)
        if fresh:
            self._choose_terms([frames[k] for k in chosen])
            reference_energies = least_squares_energies(self.features, frames, chosen, self.keys)
        statistics, new = self._statistics_of(frames, reference_energies, chosen), [frames[k] for k in chosen]
        left_out = {} if fresh else self._errors.predicted(self.posterior, new)
        # A model of an earlier version has none of its former frames: rather none than those of the new frames alone.
        known = fresh or bool(self.support.counts.any())
        support = self.support.updated([self.features.neighbourhoods(a) for a in new]) if known else self.support
        self.reference_energies = reference_energies
        self.statistics.merge(statistics)
        self._require_data()
        self.support = support
        self.left_out = joined(self.left_out, left_out)
        self.force_sum = self.force_sum.with_more(new, self.keys)
        self.templates = extend_templates(self.templates, new)
        self.fingerprints = np.concatenate([self.fingerprints, fingerprints(new, self.keys)])
        self.size_search = None
        self._set_posterior(self._weighted_posterior())
        return self

    def conditioned(self, frames: Sequence[Atoms], labels: Sequence[Labels]) -> BayesianForceField:
        """Another force field that knows these labels too: the posterior of this one is its prior."""
        other = copy.copy(self)
        other.statistics = copy.deepcopy(self.statistics)
        labelled = []
        for frame, label in zip(frames, labels, strict=True):
            bare = frame.copy()
            bare.calc = None
            bare.set_constraint()
            labelled.append(attach_labels(bare, label, self.keys))
        return other.update(labelled)

    def optimize(self, frames: Sequence[Atoms] | None = None, *, max_iterations: int = 60) -> BayesianForceField:
        """Maximise evidence times prior over the hyperparameters, starting from the present ones; the statistics do not change.

        `training` says how the search, leaving frames out and the weight of the labels follow from each other. With twice the
        frames that refused quadruplets, or enough for the first decision, this is `fit`, which asks again.

        Parameters
        ----------
        frames : sequence of Atoms, optional
            All training frames: the error bars are then those of leaving each of them out with the new hyperparameters.
            Without them, the bars rest on the residuals at hand.
        max_iterations : int
        """
        self._require_data()
        if frames is not None and self.n_channels is None and self.basis.channels is None:
            n = len(distinct(frames, self.keys))
            if n > self.terms_tried_with and n >= max(FEWEST_FRAMES, 2 * self.terms_tried_with):
                return self.fit(frames)
        weight = self._prior_weight if self.left_out else FIRST_PRIOR_WEIGHT
        given, start = (self.basis, self.hyperparameters, self.statistics), self.curvature
        if frames is None:
            found = optimize_hyperparameters(
                *given, prior_weight=weight, curvature=start, max_iterations=max_iterations
            )
            self.hyperparameters, self.curvature = found.posterior.hyper, found.curvature
            self._set_posterior(self._weighted_posterior() if self.noise_factor > 1 else found.posterior)
            return self
        known = [frames[k] for k in distinct(frames, self.keys)]
        trained = train(
            *given, known, self._errors, prior_weight=weight, curvature=start, max_iterations=max_iterations
        )
        self.hyperparameters, self.noise_factor, self.curvature = trained.hyper, trained.noise_factor, trained.curvature
        self.left_out = trained.left_out
        self.support = Support.of([self.features.neighbourhoods(a) for a in known], n_species=len(self.species))
        self._set_posterior(trained.posterior)
        return self

    def calibrate(self, frames: Sequence[Atoms], *, keys: LabelKeys | None = None) -> Calibration:
        """Factors on the error bars from labels, under `keys`, of frames that are not in the training set; the mean stays.

        They replace earlier factors, and are in files, live uncertainties and draws too; see `calibration`.

        Raises
        ------
        DataError
            A training structure, fewer than two structures with forces, or labels as for `update`.
        """
        if known := known_structures(frames, self.fingerprints):
            raise DataError(f"frame {known[0]} (counted from 0) is a training frame of this model; give new ones")
        own, before = keys or self.keys, self.error_bars[LabelKind.FORCES].scale
        new = [frames[k] for k in distinct(frames, own)]
        predicted = replace(self._errors, keys=own).predicted(self.posterior, new)
        found = Calibration.of(predicted, self._bars_of_training, n_frames=len(new))
        mean = self.mean.with_live_times(found.corrected(self._bars_of_training)[LabelKind.FORCES].scale / before)
        self.calibration, self._mean = found, mean
        return found

    def expected_gain(self) -> float:
        """What `optimize` promises to add to the logarithm of evidence times prior, nats, at the cost of one gradient."""
        self._require_data()
        return expected_gain(
            self.basis,
            self.hyperparameters,
            self.statistics,
            prior_weight=self._prior_weight,
            curvature=self.curvature,
        )

    @property
    def _prior_weight(self) -> float:
        """tau^2 of the forces: how many labels count as one against the prior of the hyperparameters."""
        return (self.noise_factor * self._bars_of_training[LabelKind.FORCES].scale) ** 2

    def _weighted_posterior(self) -> Posterior:
        """Posterior of the present statistics, the noises of maximum evidence times `noise_factor`."""
        return Posterior(self.basis, self.hyperparameters.with_noise_times(self.noise_factor), self.statistics)

    @property
    def _errors(self) -> FrameErrors:
        return FrameErrors(self.features, self.keys, self.reference_energies, self.hyperparameters.noise)

    def _statistics_of(
        self, frames: Sequence[Atoms], reference_energies: FloatArray, chosen: Sequence[int]
    ) -> SufficientStatistics:
        """Statistics of these frames alone, so that an error in one of them leaves the model unchanged."""
        noise = self.hyperparameters.noise
        return self.features.statistics(
            frames, chosen, keys=self.keys, reference_energies=reference_energies, noise=noise
        )

    # ---- state

    @property
    def features(self) -> FeatureBuilder:
        """Feature rows of this basis."""
        if self._features is None:
            self._features = FeatureBuilder(self.basis)
        return self._features

    @property
    def posterior(self) -> Posterior:
        """Posterior of the coefficients; rebuilt from the statistics after loading."""
        self._require_data()
        if self._posterior is None:
            self._posterior = self._weighted_posterior()
        return self._posterior

    @property
    def mean(self) -> SplinePotential:
        """The posterior mean with its live directions, ready to be evaluated."""
        self._require_data()
        if self._mean is None:
            live = None
            if self.live_rank:
                environments = shared_environment_rows(self.basis, self.templates, seed=self.seed)
                scale = self.error_bars[LabelKind.FORCES].scale
                live = scale * live_directions(self.posterior, environments, self.live_rank, seed=self.seed)
            tables = make_tables(self.basis, self.posterior.mean, reference_energies=self.reference_energies, live=live)
            support = self.support.tables(self.basis)
            self._mean = SplinePotential(self.basis, tables, support=support, n_threads=self.n_threads)
        return self._mean

    @property
    def n_frames(self) -> int:
        """Number of training frames."""
        return self.statistics.n_frames

    @property
    def noise(self) -> Noise:
        """Residual noise of the labels: the part of the error bars that does not follow the posterior (`leave_one_out`).

        The noise of maximum evidence, with which labels are weighted, is `hyperparameters.noise`.
        """
        bars, evidence = self.error_bars, self.hyperparameters.noise
        return replace(evidence, **{kind.value: bar.noise for kind, bar in bars.items()})

    @property
    def error_bars(self) -> Mapping[LabelKind, ErrorBar]:
        """Noise and scale of the error bars of each kind of label, with the factors of `calibrate`."""
        bars = self._bars_of_training
        return bars if self.calibration is None else self.calibration.corrected(bars)

    @property
    def _bars_of_training(self) -> Mapping[LabelKind, ErrorBar]:
        if self._bars is None:
            self._bars = error_bars(self.left_out, self.hyperparameters.noise)
        return self._bars

    @property
    def compositions(self) -> Compositions:
        """Which compositions the energy labels determine."""
        energies = self.statistics.kinds.get(LabelKind.ENERGY)
        columns = self.basis.layout.term(OffsetTerm).columns
        gram = np.zeros((len(self.species),) * 2) if energies is None else energies.gram[columns, columns]
        return Compositions.of(gram, self.reference_energies)

    def trained_on(self, frames: Sequence[Atoms]) -> list[int]:
        """See `Potential.trained_on`."""
        return known_among(frames, self.keys, self.fingerprints)

    def trained_structures(self, frames: Sequence[Atoms]) -> list[int] | None:
        """See `Potential.trained_structures`; None for files of earlier versions."""
        return known_structures(frames, self.fingerprints) if len(self.fingerprints) else None

    def left_out_squares(self, frames: Sequence[Atoms]) -> list[float] | None:
        """Sum of the squared errors of the forces of each training frame, predicted without itself, (eV/A)^2.

        `frames` are those of the training in their order, copies not counted; None where they are others.
        """
        left_out = self.left_out.get(LabelKind.FORCES, LeftOut.empty()).residual
        if len(frames) != len(self.fingerprints):
            return None
        if not all(
            known_among([atoms], self.keys, own[None]) for atoms, own in zip(frames, self.fingerprints, strict=True)
        ):
            return None
        forces = [(atoms, labels_of(atoms, self.keys).forces) for atoms in frames]
        sizes = [0 if own is None else int((~held_components(atoms, own)).sum()) for atoms, own in forces]
        if sum(sizes) != len(left_out):
            return None
        return [float(np.sum(own**2)) for own in np.split(left_out, np.cumsum(sizes)[:-1])]

    def undetermined_energy(self, atoms: Atoms) -> float:
        """See `Potential.undetermined_energy`."""
        return self.compositions.uncertainty(self.features.composition(atoms))

    @property
    def on_bounds(self) -> list[str]:
        """Hyperparameters that the optimisation left on a bound of their range, each with value and range."""
        return Bounds().hit(self.hyperparameters, kinds=[k for k, s in self.statistics.kinds.items() if s.count])

    @property
    def electrostatics(self) -> Electrostatics | None:
        """See `Potential.electrostatics`."""
        return self.mean.electrostatics

    @property
    def label_noise(self) -> float:
        """Noise of the forces in the posterior, eV/A: what a label is worth in `information`."""
        return self.noise_factor * self.hyperparameters.noise.forces

    @property
    def typical_force_error(self) -> float:
        """See `Potential.typical_force_error`."""
        forces = self.left_out.get(LabelKind.FORCES, LeftOut.empty())
        return self.error_bars[LabelKind.FORCES].typical(forces) if len(forces) else self.noise.forces

    @property
    def left_out_forces(self) -> LeftOutError | None:
        """See `Potential.left_out_forces`."""
        return self.left_out[LabelKind.FORCES].error if LabelKind.FORCES in self.left_out else None

    @property
    def typical_force(self) -> float:
        """Root mean square norm of the labelled forces of an atom, eV/A; infinite for files of earlier versions."""
        return self.force_sum.rms if self.force_sum.n_atoms else math.inf

    @property
    def log_evidence(self) -> float:
        """Logarithm of the probability of all labels under the model."""
        return self.posterior.log_evidence

    @property
    def hyperparameter_values(self) -> dict[str, object]:
        """Hyperparameters in plain types."""
        return asdict(self.hyperparameters)

    def _require_data(self) -> None:
        if self.n_frames == 0:
            raise DataError("this force field has not been trained: call fit with labelled frames first")

    def _set_posterior(self, posterior: Posterior) -> None:
        """What follows from another posterior is computed when it is asked for."""
        self._posterior, self._bars, self._mean, self.calibration = posterior, None, None, None

    # ---- prediction

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        """Predict one frame.

        Parameters
        ----------
        atoms : Atoms
        uncertainty : Uncertainty
            'exact': of energy, forces and stress, from the full posterior; 'live': of the forces only, estimated from the
            live directions; 'none'. The first two give the support distance too, where the model has support data.
        """
        level = Uncertainty(uncertainty)
        prediction = self.mean.evaluate(atoms, live=level is Uncertainty.LIVE, support=level is not Uncertainty.NONE)
        return self._with_exact_uncertainty(atoms, prediction) if level is Uncertainty.EXACT else prediction

    @property
    def _exact(self) -> ExactUncertainty:
        return ExactUncertainty(self.posterior, self._errors, self.error_bars, self.compositions)

    def _with_exact_uncertainty(self, atoms: Atoms, prediction: Prediction) -> Prediction:
        return self._exact.complete(atoms, prediction)

    def information_rows(self, atoms: Atoms, *, n_atoms: int | None = None) -> FloatArray:
        """Force features of a frame in the coordinates of the posterior, for `trepid.acquisition.batch`.

        R R^T is the posterior (epistemic) covariance of the forces, (eV/A)^2, and R_a R_b^T that between two frames. Rows of
        different frames may be combined only if they come from the same posterior: not across `fit`, `update` or `optimize`.

        Parameters
        ----------
        atoms : Atoms
        n_atoms : int, optional
            Only the atoms with the largest force uncertainty, in the order of the frame; default all.

        Returns
        -------
        (3 n_atoms, p) array
            eV/A; p = `posterior.n_directions`.
        """
        return self._exact.information_rows(atoms, n_atoms)

    def information(self, frames: Sequence[Atoms], crystal: Atoms, *, n_atoms: int) -> list[FloatArray]:
        """Force features of the frames; see `information_rows`. `crystal` is not needed."""
        return [self.information_rows(frame, n_atoms=min(n_atoms, len(frame))) for frame in frames]

    def energy_difference_uncertainty(
        self, atoms: Atoms, other: Atoms, *, predictions: tuple[Prediction, Prediction] | None = None
    ) -> float:
        """One standard deviation (epistemic) of E(atoms) - E(other), eV.

        Contributions that both frames share cancel: with `other` the same frame before an event, or with the atoms around it
        put back, this is the uncertainty of the energy of the event alone, independent of the size of the cell. It is taken
        from the posterior; `predictions` are not used.
        """
        return self._exact.of_energy_difference(atoms, other)

    def bias_directions(self, reference: Atoms) -> LiveDirections:
        """The live directions, relative to the energy of `reference`; ConfigError where there are none."""
        return LiveDirections(self.mean, reference, complete=self._with_exact_uncertainty)

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE, every: int = 1) -> SplineCalculator:
        """ASE calculator of the model as it is now; `every`: live uncertainty on every n-th configuration only."""
        level = Uncertainty(uncertainty)
        return SplineCalculator(
            self.mean,
            every=every if level is Uncertainty.LIVE else None,
            complete=self._with_exact_uncertainty if level is Uncertainty.EXACT else None,
            compositions=self.compositions,
        )

    def sample(self, n: int, seed: int) -> list[SplinePotential]:
        """Draw n force fields from the posterior, to carry its uncertainty through any property."""
        scale = self.error_bars[LabelKind.FORCES].scale
        draws = self.posterior.sample(n, np.random.default_rng(seed), scale=scale)
        return [
            SplinePotential(
                self.basis,
                make_tables(self.basis, w, reference_energies=self.reference_energies),
                n_threads=self.n_threads,
            )
            for w in draws
        ]

    # ---- files

    def settings_summary(self) -> dict[str, Any]:
        """Settings and inferred hyperparameters in plain types, for reports and model files."""
        return {
            "species": list(self.species),
            "pair_cutoff_A": self.basis.pair_cutoff,
            "triplet_cutoff_A": self.basis.triplet_cutoff,
            "r_min_A": self.basis.r_min,
            "n_pair": self.basis.n_pair,
            "n_radial": self.basis.n_radial,
            "l_max": self.basis.l_max,
            "n_channels": self.n_channels,
            "triplets": self.triplets.value,
            "noise_factor": self.noise_factor,
            "terms_tried_with": self.terms_tried_with,
            "live_rank": self.live_rank,
            "n_coefficients": self.basis.layout.size,
            "n_frames": self.n_frames,
            "hyperparameters": asdict(self.hyperparameters),
            "label_keys": asdict(self.keys),
            "seed": self.seed,
            **({} if self.calibration is None else {"calibration": self.calibration.as_settings()}),
            **({} if self.size_search is None else {"size_search": asdict(self.size_search)}),
        }

    @property
    def reach(self) -> float:
        """Cutoff, A."""
        return self.basis.cutoff

    def to_bytes(self) -> bytes:
        """The model file as bytes."""
        training = Training(
            reference_energies=self.reference_energies,
            statistics=self.statistics,
            templates=self.templates,
            coefficients=self.posterior.mean,
            tables=self.mean.tables,
            left_out=self.left_out,
            force_sum=self.force_sum,
            support=self.support,
            support_tables=self.mean.support,
            curvature=self.curvature,
            fingerprints=self.fingerprints,
        )
        return force_field_bytes(self.basis, training, self.settings_summary())

    def save(self, path: str | Path) -> None:
        """Write one model file, atomically; by convention its name ends in .trepid."""
        write_bytes_atomic(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path, *, n_threads: int | None = None) -> BayesianForceField:
        """Read a model file; ModelFileError where it is missing, and as `from_bytes`."""
        return cls.from_bytes(read_file(path), name=str(path), n_threads=n_threads)

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str, n_threads: int | None = None) -> BayesianForceField:
        """Read the bytes of a model file, called `name` in messages.

        Raises
        ------
        ModelFileError
            Damaged, not a model of trepid, of another version, or inconsistent.
        """
        content = decode(data, name=name)
        with naming_damage(name):
            model = cls(**arguments_in_file(content.settings), n_threads=n_threads)
            model.use_basis(basis_in_file(model.basis, content.settings))
            model.noise_factor = float(content.settings.get("noise_factor", 1.0))
            model.terms_tried_with = int(content.settings.get("terms_tried_with", 0))
            model.calibration = Calibration.from_settings(content.settings.get("calibration"))
            model.size_search = SizeSearch.from_settings(content.settings.get("size_search"))
            training = training_in_file(content, size=model.basis.layout.size)
            if training.tables.rank != model.live_rank or training.reference_energies.shape != (len(model.species),):
                raise ValueError("its arrays do not have the sizes that its settings name")
            if content.check_sum is None:
                require_consistent_tables(model.basis, training)
            model.reference_energies, model.statistics = training.reference_energies, training.statistics
            model.templates, model.fingerprints = training.templates, training.fingerprints
            model.left_out, model.force_sum, model.curvature = training.left_out, training.force_sum, training.curvature
            if training.support is not None:
                if training.support.sums.shape != model.support.sums.shape:
                    raise ValueError("its support data do not have the size that its settings name")
                model.support = training.support
            model._mean = SplinePotential(
                model.basis, training.tables, support=training.support_tables, n_threads=n_threads
            )
        return model
