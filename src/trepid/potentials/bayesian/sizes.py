"""Cutoffs and numbers of splines chosen by the training frames, within a ceiling of the cost.

The search starts from the default sizes, or from those that are given, tries every step from there, takes the one after
which the error of left-out frames is smallest (each cost of 100 % counts as 10 % of error), and goes on until no step is
good enough. A step is judged with the hyperparameters found so far, which mean the same for all sizes, and is good enough if

- the log evidence gains at least `LEAST_GAIN`,
- the force error with each frame left out falls by `LEAST_FALL`, and by `FALL_PER_COST` of what the step adds to the cost,
- the force error on the third of the frames with the largest forces, predicted from the others alone, does not rise by
  more than `LARGEST_RISE`: evidence alone prefers sizes that describe the calm frames and fail outside,
- the estimated time per MD step (`cost`) and that of the fit stay under the ceiling.

Pairs and triplets do not both grow longer than at the start, and pairs go first: with both, models of a zincblende and a
rocksalt crystal became two to three times worse on hot and strained frames than with either (docs/sizes.md). A refused step
is not tried again. After an accepted one the hyperparameters are optimised again. The splines of a pair
energy keep their spacing when its range grows, unless their number is given.

Vocabulary
----------
sizes      cutoffs, numbers of splines, highest degree
step       one change of one size
cost       time per atom and MD step, in units of that of the default sizes
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace

import numpy as np
from ase import Atoms

from trepid.choices import PAIR_CUTOFF_A, TRIPLET_CUTOFF_A, ChargeChoice, Speed
from trepid.data import LabelKeys, labels_of
from trepid.data.duplicates import distinct
from trepid.errors import DataError, NumericsError
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.channel_choice import choose_channels
from trepid.potentials.bayesian.charge_choice import charges_of
from trepid.potentials.bayesian.compositions import least_squares_energies
from trepid.potentials.bayesian.cost import PER_CHARGE, Surroundings, microseconds_per_atom, shortest_height
from trepid.potentials.bayesian.evidence import optimize_hyperparameters
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.force_field import FIRST_PRIOR_WEIGHT, BayesianForceField
from trepid.potentials.bayesian.leave_one_out import LeftOut, leave_frame_out
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.statistics import LabelKind, SufficientStatistics, merged_rows
from trepid.potentials.bayesian.terms import Hyperparameters
from trepid.potentials.bayesian.terms.base import BasisSettings
from trepid.potentials.bayesian.terms.charges import Charges
from trepid.potentials.bayesian.terms.quadruplet import n_products

logger = logging.getLogger(__name__)

PAIR_CUTOFFS_A = (8.0, 10.0, 12.0)
TRIPLET_CUTOFFS_A = (4.0, 6.0)
RADIAL_SPLINES = (12, 14)
DEGREES = (6,)
CHANNELS = 3
"""Sizes that are tried. Radial splines come in blocks of eight in the kernel: 9 cost as much as 16 in MD, not in the fit."""

LEAST_GAIN = 20.0
"""Nats."""
LEAST_FALL = 0.03
FALL_PER_COST = 0.1
"""A step that adds 50 % to the cost must lower the error by 5 %."""
LARGEST_RISE = 0.01
HOT_SHARE = 1 / 3
"""Share of the frames, those with the largest rms forces, that the others predict."""
FEWEST_FRAMES = 6
"""Fewer frames with forces choose no sizes."""
LARGEST_SAMPLE = 3000
"""Atoms: of more, steps are judged on evenly spaced frames; at least `FEWEST_FRAMES`."""
START_ITERATIONS, STEP_ITERATIONS = 60, 15
"""Of the optimisation at the start and after an accepted step; the fit after the search goes on to the optimum."""
SMALL_BASIS = 700
"""Coefficients below which the time of a fit is not dominated by the evidence."""


@dataclass(frozen=True)
class Ceiling:
    """What a search may come to, in units of the default sizes.

    Attributes
    ----------
    cost : float
        Time per atom and MD step.
    fit : float
        Time of an evaluation of the evidence, which grows with the cube of the coefficients.
    """

    cost: float
    fit: float


CEILINGS = {Speed.BALANCED: Ceiling(cost=2.0, fit=4.0), Speed.ACCURATE: Ceiling(cost=6.0, fit=12.0)}


@dataclass(frozen=True)
class Sizes:
    """Sizes of the Bayesian force field.

    Attributes
    ----------
    pair_cutoff, triplet_cutoff : float
        A.
    n_pair, n_radial : int
        Splines of a pair energy; radial splines of the three-body density.
    l_max : int
        Highest Legendre degree in the angle.
    n_channels : int
        Channels of the quadruplets; 0: none.
    """

    pair_cutoff: float = PAIR_CUTOFF_A
    triplet_cutoff: float = TRIPLET_CUTOFF_A
    n_pair: int = 20
    n_radial: int = 8
    l_max: int = 4
    n_channels: int = 0

    @classmethod
    def of(cls, settings: BasisSettings) -> Sizes:
        """The sizes of a basis."""
        n = 0 if settings.channels is None else settings.channels.n
        return cls(settings.pair_cutoff, settings.triplet_cutoff, settings.n_pair, settings.n_radial, settings.l_max, n)

    def basis(self, species: Sequence[str]) -> Basis:
        """The basis of these sizes, without the channels, which frames choose; ConfigError where one is out of range."""
        return Basis.create(species, **{name: value for name, value in asdict(self).items() if name != "n_channels"})

    def n_coefficients(self, species: Sequence[str]) -> int:
        """Number of raw coefficients."""
        products = n_products(self.l_max, self.n_channels)
        return self.basis(species).layout.size + len(species) * products

    def __str__(self) -> str:
        quadruplets = f", quadruplets of {self.n_channels} channels" if self.n_channels else ""
        return (
            f"pairs to {self.pair_cutoff:g} A in {self.n_pair} splines, triplets to {self.triplet_cutoff:g} A in "
            f"{self.n_radial}, degree {self.l_max}{quadruplets}"
        )


@dataclass(frozen=True)
class GivenSizes:
    """Sizes that the user fixes; None: the default, or what the search finds. Attributes as `Sizes`."""

    pair_cutoff: float | None = None
    triplet_cutoff: float | None = None
    n_pair: int | None = None
    n_radial: int | None = None
    l_max: int | None = None
    n_channels: int | None = None

    def sizes(self) -> Sizes:
        """The defaults with what is given. A shorter pair cutoff alone shortens the triplets, which may not reach beyond."""
        found = replace(Sizes(), **{name: value for name, value in asdict(self).items() if value is not None})
        if self.triplet_cutoff is None and found.triplet_cutoff > found.pair_cutoff:
            return replace(found, triplet_cutoff=found.pair_cutoff)
        if self.pair_cutoff is None and found.triplet_cutoff > found.pair_cutoff:
            return replace(found, pair_cutoff=found.triplet_cutoff)
        return found

    @property
    def complete(self) -> bool:
        """Whether every size is given."""
        return all(value is not None for value in asdict(self).values())


@dataclass(frozen=True)
class Figures:
    """What sizes are judged by.

    Attributes
    ----------
    log_evidence : float
    left_out_rmse : float or None
        Of force components, each frame left out in turn, eV/A; None where the evidence was too small to go on.
    hot_rmse : float or None
        Of force components of the frames with the largest forces, predicted from the others, eV/A, with the weights of
        the labels.
    """

    log_evidence: float
    left_out_rmse: float | None = None
    hot_rmse: float | None = None


@dataclass(frozen=True)
class SizeStep:
    """One step of the search.

    Attributes
    ----------
    change : str
        Such as "pair cutoff 6 -> 8 A"; "start" for the sizes the search begins with.
    sizes : Sizes
    cost : float
        In units of the default sizes.
    evidence_gain : float or None
        Against the sizes accepted before, nats; None where the step was not computed.
    left_out_rmse, hot_rmse : float or None
        See `Figures`.
    accepted : bool
    reason : str
        Why it was refused, or a remark about an accepted one; may be empty.
    """

    change: str
    sizes: Sizes
    cost: float
    evidence_gain: float | None
    left_out_rmse: float | None
    hot_rmse: float | None
    accepted: bool
    reason: str = ""


Progress = Callable[[SizeStep], None]


@dataclass(frozen=True)
class SizeChoice:
    """Result of a search.

    Attributes
    ----------
    sizes : Sizes
    start : Hyperparameters
        Where the optimisation of the fit starts.
    charges : dict of str to float or None
        Formal charges by element, e; None: no charges.
    steps : tuple of SizeStep
        In the order in which they were tried; empty without a search.
    reason : str
        Why there was no search; may be empty.
    """

    sizes: Sizes
    start: Hyperparameters
    charges: dict[str, float] | None = None
    steps: tuple[SizeStep, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class SizedFit:
    """A trained force field and the choice of its sizes."""

    model: BayesianForceField
    choice: SizeChoice


def fit_with_sizes(
    frames: Sequence[Atoms],
    species: Sequence[str],
    *,
    given: GivenSizes,
    speed: Speed,
    keys: LabelKeys,
    charges: ChargeChoice | Mapping[str, float] = ChargeChoice.OFF,
    seed: int = 0,
    progress: Progress | None = None,
) -> SizedFit:
    """Choose the sizes, then train a force field on all frames.

    Parameters
    ----------
    frames, species, keys, charges, progress
        See `choose_sizes`.
    given : GivenSizes
    speed : Speed
    seed : int
        Of the random environments of the live uncertainty.

    Raises
    ------
    ConfigError, DataError, NumericsError
        As `BayesianForceField` and its `fit`.
    """
    choice = choose_sizes(frames, species, given=given, speed=speed, keys=keys, charges=charges, progress=progress)

    def trained(start: Hyperparameters) -> BayesianForceField:
        model = BayesianForceField(
            species, **asdict(choice.sizes), charges=choice.charges, hyperparameters=start, keys=keys, seed=seed
        )
        return model.fit(frames)

    try:
        return SizedFit(trained(choice.start), choice)
    except NumericsError:
        if choice.start == Hyperparameters():
            raise
        # All frames may ask for larger noises than the sample; from the default start the search comes from their side.
        logger.info(
            "the hyperparameters of the search for sizes do not suit all frames; optimised from the default start"
        )
        return SizedFit(trained(Hyperparameters()), replace(choice, start=Hyperparameters()))


def choose_sizes(
    frames: Sequence[Atoms],
    species: Sequence[str],
    *,
    given: GivenSizes,
    speed: Speed,
    keys: LabelKeys,
    charges: ChargeChoice | Mapping[str, float] = ChargeChoice.OFF,
    progress: Progress | None = None,
) -> SizeChoice:
    """Choose the sizes that are not given.

    Parameters
    ----------
    frames : sequence of Atoms
        Labelled training frames.
    species : sequence of str
    given : GivenSizes
    speed : Speed
        Ceiling of the cost; `fast` searches nothing.
    keys : LabelKeys
    charges : ChargeChoice, or mapping of str to float
        Formal charges by element, e, kept without a question; auto: tried first, and judged as a step of the search, but for the
        ceiling of the cost.
    progress : callable, optional
        Called with every step.

    Raises
    ------
    ConfigError
        A given size is out of range, or charges do not fit the species.
    DataError
        No frames, a frame without labels, labels that are not finite, an unknown element.
    NumericsError
        The given or default sizes themselves cannot be fitted.
    """
    if not frames:
        raise DataError("fit needs at least one labelled frame")
    start = given.sizes()
    start.basis(species)
    formal = charges_of(charges, frames, start.basis(species).species)
    searching = speed is not Speed.FAST and not given.complete
    judged = charges is ChargeChoice.AUTO and formal.formal is not None
    fixed = None if judged else formal.formal
    if formal.reason:
        logger.info(formal.reason)
    if not searching and not judged:
        return SizeChoice(start, Hyperparameters(), fixed, reason=formal.reason)
    # Checks the labels of every frame, also of those that are not among the sample.
    chosen = distinct(frames, keys)
    reference_energies = least_squares_energies(FeatureBuilder(start.basis(species)), frames, chosen, keys)
    usable = [frames[k] for k in chosen if labels_of(frames[k], keys).forces is not None]
    if len(usable) < FEWEST_FRAMES:
        reason = f"{len(usable)} frames with forces do not choose sizes, {FEWEST_FRAMES} do; the defaults are used"
        logger.info(reason)
        return SizeChoice(start, Hyperparameters(), fixed, reason=reason)
    judge = _Judge(_sample(usable), species, keys=keys, reference_energies=reference_energies)
    judge.charges = fixed
    search = _Search(judge, given, CEILINGS[speed] if searching else None, progress)
    return search.run(start, charges=formal.formal if judged else None)


def _sample(frames: Sequence[Atoms]) -> list[Atoms]:
    """Evenly spaced frames of at most `LARGEST_SAMPLE` atoms, as far as `FEWEST_FRAMES` allow."""
    n_atoms = sum(len(atoms) for atoms in frames)
    n = max(FEWEST_FRAMES, min(len(frames), len(frames) * LARGEST_SAMPLE // n_atoms))
    return [frames[k] for k in np.linspace(0, len(frames) - 1, n).round().astype(int)]


class _Judge:
    """Figures of sizes on one set of frames."""

    def __init__(
        self, frames: Sequence[Atoms], species: Sequence[str], *, keys: LabelKeys, reference_energies: FloatArray
    ) -> None:
        self.frames, self.species, self.keys = frames, species, keys
        self.charges: dict[str, float] | None = None
        self._reference_energies = reference_energies
        labels = [labels_of(atoms, keys, require=("forces",)).forces for atoms in frames]
        strengths = [float(np.sqrt(np.mean(forces**2))) for forces in labels if forces is not None]
        n_hot = max(1, round(HOT_SHARE * len(frames)))
        self._hot = set(np.argsort(strengths, kind="stable")[-n_hot:].tolist())
        self.surroundings = Surroundings.of(frames, max(*PAIR_CUTOFFS_A, *TRIPLET_CUTOFFS_A))

    def with_charges(self, charges: dict[str, float]) -> _Judge:
        """The same with formal charges."""
        other = copy(self)
        other.charges = charges
        return other

    def cost(self, sizes: Sizes) -> float:
        """Time per atom and MD step in units of that of the default sizes."""
        times = [
            microseconds_per_atom(s.basis(self.species), self.surroundings, quadruplets=s.n_channels > 0)
            for s in (sizes, Sizes())
        ]
        return (times[0] + (PER_CHARGE if self.charges else 0.0)) / times[1]

    @property
    def cost_of_charges(self) -> float:
        """Their part of the cost, which the ceiling does not count: whoever asks for charges, asks for it."""
        if not self.charges:
            return 0.0
        return PER_CHARGE / microseconds_per_atom(Sizes().basis(self.species), self.surroundings)

    def _basis(self, sizes: Sizes) -> Basis:
        basis = sizes.basis(self.species)
        if self.charges is not None:
            basis = replace(basis, charges=Charges.of(self.charges, basis.species))
        if not sizes.n_channels:
            return basis
        return replace(basis, channels=choose_channels(basis, self.frames, sizes.n_channels))

    def figures(
        self, sizes: Sizes, hyper: Hyperparameters, *, iterations: int, least_evidence: float = -np.inf
    ) -> tuple[Figures, Hyperparameters]:
        """Figures after so many iterations of the optimisation from `hyper`, and the hyperparameters it came to.

        Raises
        ------
        NumericsError
            The posterior is not positive definite in double precision.
        """
        basis = self._basis(sizes)
        features = FeatureBuilder(basis)
        calm, hot, total = (SufficientStatistics(basis.layout.size) for _ in range(3))
        labels = [
            merged_rows(
                features.label_rows(
                    atoms, keys=self.keys, reference_energies=self._reference_energies, noise=hyper.noise
                )
            )
            for atoms in self.frames
        ]
        for k, parts in enumerate(labels):
            own = hot if k in self._hot else calm
            for part in parts:
                own.kind(part.kind).add(part.rows, part.residuals, part.multipliers)
            own.n_frames += 1
        total.merge(calm)
        total.merge(hot)
        if iterations:
            posterior = optimize_hyperparameters(
                basis, hyper, total, prior_weight=FIRST_PRIOR_WEIGHT, max_iterations=iterations
            ).posterior
        else:
            posterior = Posterior(basis, hyper, total)
        if posterior.log_evidence < least_evidence:
            return Figures(posterior.log_evidence), hyper
        if basis.charges is not None and posterior.mean[-1] <= 0:
            raise NumericsError("the frames ask for charges whose squares are negative")
        left_out = [leave_frame_out(posterior, parts)[LabelKind.FORCES] for parts in labels]
        mean, forces = Posterior(basis, posterior.hyper, calm).mean, hot.kinds[LabelKind.FORCES]
        misfit = forces.squared - 2 * float(forces.projection @ mean) + float(mean @ forces.gram @ mean)
        figures = Figures(
            posterior.log_evidence,
            LeftOut.concatenate(left_out).rms,
            float(np.sqrt(max(misfit, 0.0) / forces.count)),
        )
        return figures, posterior.hyper


class _Search:
    """The search from one set of sizes."""

    def __init__(self, judge: _Judge, given: GivenSizes, ceiling: Ceiling | None, progress: Progress | None) -> None:
        self._judge, self._given, self._ceiling, self._progress = judge, given, ceiling, progress
        self._steps: list[SizeStep] = []
        self._refused: set[str] = set()
        self._optimised: dict[str, Hyperparameters] = {}
        self._height = shortest_height(judge.frames)
        self._coefficients = max(SMALL_BASIS, Sizes().n_coefficients(judge.species))

    def run(self, start: Sizes, *, charges: dict[str, float] | None = None) -> SizeChoice:
        """All steps from `start`, with these formal charges as the first; see the head of the file. Without a ceiling only that."""
        self._sizes = self._start = start
        self._figures, self._hyper = self._judge.figures(start, Hyperparameters(), iterations=START_ITERATIONS)
        self._record(self._step("start", start, self._figures, accepted=True))
        if charges is not None:
            self._try_charges(charges)
        while self._ceiling is not None and (good := self._good_steps()):
            reaching = [step for step in good if step.sizes.pair_cutoff > self._sizes.pair_cutoff]
            farther = [step for step in good if step.sizes.triplet_cutoff > self._sizes.triplet_cutoff]
            best = min((step for step in good if not reaching or step not in farther), key=self._price)
            self._record(best)
            self._sizes = best.sizes
            hyper = self._optimised[best.change]
            self._figures, self._hyper = self._judge.figures(best.sizes, hyper, iterations=STEP_ITERATIONS)
        return SizeChoice(self._sizes, self._hyper, self._judge.charges, tuple(self._steps))

    def _try_charges(self, charges: dict[str, float]) -> None:
        """Keep them if they are good enough."""
        change = "charges " + ", ".join(f"{symbol} {charge:+g}" for symbol, charge in charges.items())
        without, self._judge = self._judge, self._judge.with_charges(charges)
        try:
            figures, hyper = self._judge.figures(
                self._sizes,
                self._hyper,
                iterations=STEP_ITERATIONS,
                least_evidence=self._figures.log_evidence + LEAST_GAIN,
            )
            reason = self._refusal(figures, growth=self._judge.cost(self._sizes) / without.cost(self._sizes) - 1)
        except NumericsError as error:
            figures, hyper, reason = None, self._hyper, str(error)
        self._record(self._step(change, self._sizes, figures, accepted=not reason, reason=reason))
        if reason:
            self._judge = without
        elif figures is not None:
            self._figures, self._hyper = figures, hyper

    def _price(self, step: SizeStep) -> float:
        """Error of left-out frames, dearer by what the step adds to the cost."""
        error = np.inf if step.left_out_rmse is None else step.left_out_rmse
        return error * (1 + FALL_PER_COST * (step.cost / self._judge.cost(self._sizes) - 1))

    def _good_steps(self) -> list[SizeStep]:
        """Steps from the present sizes that are good enough; records the others."""
        good = []
        for target, change, sizes in self._changes():
            if target in self._refused:
                continue
            step = self._judged(change, sizes)
            if step.accepted:
                good.append(step)
            else:
                self._refused.add(target)
                self._record(step)
        return good

    def _changes(self) -> Iterator[tuple[str, str, Sizes]]:
        """Name, description and sizes of every step from the present sizes."""
        now, given = self._sizes, self._given
        if given.pair_cutoff is None and now.triplet_cutoff <= self._start.triplet_cutoff:
            for cutoff in PAIR_CUTOFFS_A:
                if cutoff > now.pair_cutoff:
                    yield f"pair {cutoff}", f"pair cutoff {now.pair_cutoff:g} -> {cutoff:g} A", self._pairs_to(cutoff)
        if given.triplet_cutoff is None and now.triplet_cutoff == self._start.triplet_cutoff:
            for cutoff in TRIPLET_CUTOFFS_A:
                longer = cutoff > now.triplet_cutoff
                if cutoff <= now.pair_cutoff and not (longer and now.pair_cutoff > self._start.pair_cutoff):
                    change = f"triplet cutoff {now.triplet_cutoff:g} -> {cutoff:g} A"
                    yield f"triplet {cutoff}", change, replace(now, triplet_cutoff=cutoff)
        if given.n_radial is None:
            for n in RADIAL_SPLINES:
                if n > now.n_radial:
                    yield f"radial {n}", f"radial splines {now.n_radial} -> {n}", replace(now, n_radial=n)
        if given.n_channels is None and now.n_channels == 0:
            yield "quadruplets", f"quadruplets of {CHANNELS} channels", replace(now, n_channels=CHANNELS)
        if given.l_max is None:
            for degree in DEGREES:
                if degree > now.l_max:
                    yield f"degree {degree}", f"degree {now.l_max} -> {degree}", replace(now, l_max=degree)

    def _pairs_to(self, cutoff: float) -> Sizes:
        """Pairs to `cutoff`, in splines of the same spacing."""
        start = self._start.basis(self._judge.species)
        spacing = (start.pair_cutoff - start.r_min) / start.n_pair
        n_pair = round((cutoff - start.r_min) / spacing) if self._given.n_pair is None else self._sizes.n_pair
        return replace(self._sizes, pair_cutoff=cutoff, n_pair=n_pair)

    # ---- one step

    def _judged(self, change: str, sizes: Sizes) -> SizeStep:
        refused = self._too_much(sizes)
        if refused:
            return self._step(change, sizes, None, accepted=False, reason=refused)
        try:
            # Quadruplets are new: from the size of the error that they may explain, their prior is optimised first.
            new_term = sizes.n_channels > 0 and self._sizes.n_channels == 0
            error = self._figures.left_out_rmse
            figures, self._optimised[change] = self._judge.figures(
                sizes,
                replace(self._hyper, quadruplet_amplitude=error) if new_term and error else self._hyper,
                iterations=STEP_ITERATIONS if new_term else 0,
                least_evidence=self._figures.log_evidence + LEAST_GAIN,
            )
        except NumericsError as error:
            return self._step(change, sizes, None, accepted=False, reason=str(error))
        growth = self._judge.cost(sizes) / self._judge.cost(self._sizes) - 1
        reason = self._refusal(figures, growth=growth)
        remark = ""
        if sizes.pair_cutoff > self._height / 2 and sizes.pair_cutoff > self._sizes.pair_cutoff:
            remark = f"beyond half the cell ({self._height / 2:.1f} A): pairs include periodic images"
        return self._step(change, sizes, figures, accepted=not reason, reason=reason or remark)

    def _too_much(self, sizes: Sizes) -> str:
        """Why these sizes are not even tried; empty if they are."""
        longer = sizes.pair_cutoff > self._sizes.pair_cutoff or sizes.triplet_cutoff > self._sizes.triplet_cutoff
        if longer and max(sizes.pair_cutoff, sizes.triplet_cutoff) > self._height:
            return f"longer than the cell ({self._height:.1f} A): atoms would only meet more of their own images"
        assert self._ceiling is not None
        cost = self._judge.cost(sizes) - self._judge.cost_of_charges
        if cost > self._ceiling.cost:
            return f"time per MD step {cost:.1f} times that of the default sizes; the ceiling is {self._ceiling.cost:g}"
        size = max(SMALL_BASIS, sizes.n_coefficients(self._judge.species))
        growth = (size / self._coefficients) ** 3
        if growth > self._ceiling.fit:
            return (
                f"{size} coefficients: time of the fit about {growth:.0f} times; the ceiling is {self._ceiling.fit:g}"
            )
        return ""

    def _refusal(self, figures: Figures, *, growth: float) -> str:
        """Why these figures are not good enough for a cost that grows by this share; empty if they are."""
        left_out, hot = self._figures.left_out_rmse or np.inf, self._figures.hot_rmse or np.inf
        if figures.left_out_rmse is None or figures.hot_rmse is None:  # the errors were not computed
            return f"evidence gains less than {LEAST_GAIN:g}"
        asked = max(LEAST_FALL, FALL_PER_COST * growth)
        if figures.left_out_rmse > (1 - asked) * left_out:
            return f"error of left-out frames falls by less than {100 * asked:.0f} %"
        if figures.hot_rmse > (1 + LARGEST_RISE) * hot:
            return "error on the frames with the largest forces, predicted from the others, rises"
        return ""

    def _step(
        self, change: str, sizes: Sizes, figures: Figures | None, *, accepted: bool, reason: str = ""
    ) -> SizeStep:
        return SizeStep(
            change=change,
            sizes=sizes,
            cost=self._judge.cost(sizes),
            evidence_gain=None if figures is None else figures.log_evidence - self._figures.log_evidence,
            left_out_rmse=None if figures is None else figures.left_out_rmse,
            hot_rmse=None if figures is None else figures.hot_rmse,
            accepted=accepted,
            reason=reason,
        )

    def _record(self, step: SizeStep) -> None:
        self._steps.append(step)
        if self._progress is not None:
            self._progress(step)
