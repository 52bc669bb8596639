"""Terms, cutoffs and numbers of splines chosen by the training frames, within a ceiling of the cost.

The search starts from the default sizes, or from those that are given, tries every step from there, takes the one after
which the error of a typical left-out frame is smallest (each cost of 100 % counts as 10 % of error), and goes on until no step is
good enough. A step is judged with the hyperparameters found so far, which mean the same for all sizes; those of a new term are
optimised a few steps first. `acceptance` has the rule; besides, the estimated time per MD step (`cost`) and that of the fit
stay under the ceiling. With `Speed.FAST` the terms of `TERMS_ON_OFFER` are the only steps.

Pairs and triplets do not both grow longer than at the start, and pairs go first: with both, models of a zincblende and a
rocksalt crystal became two to three times worse on hot and strained frames than with either (docs/sizes.md). A refused step
is not tried again. After an accepted one the hyperparameters are optimised again. The splines of a pair
energy keep their spacing when its range grows, unless their number is given.

Vocabulary
----------
sizes      cutoffs, numbers of splines, highest degree, channels
step       one change of one size; a new term is a size that was off
cost       time per atom and MD step, in units of that of the default sizes
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from trepid.choices import Speed
from trepid.data import LabelKeys, labels_of
from trepid.data.duplicates import distinct
from trepid.errors import DataError, NumericsError
from trepid.potentials.bayesian.acceptance import FALL_PER_COST, LEAST_FALL, LEAST_GAIN, Figures, Judge, refusal
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.compositions import least_squares_energies
from trepid.potentials.bayesian.cost import Surroundings, microseconds_per_atom, shortest_height
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.sizes import GivenSizes, Sizes, charges_text
from trepid.potentials.bayesian.terms import Hyperparameters

logger = logging.getLogger(__name__)

PAIR_CUTOFFS_A = (8.0, 10.0, 12.0)
TRIPLET_CUTOFFS_A = (4.0, 6.0)
RADIAL_SPLINES = (12, 14)
DEGREES = (6,)
CHANNELS = 3
"""Sizes that are tried. Radial splines come in blocks of eight in the kernel: 9 cost as much as 16 in MD, not in the fit."""

QUADRUPLET_FALL = 0.12
"""Share by which errors and bars of left-out frames must fall with quadruplets, by the logarithmic score."""
CHARGES_FALL = 0.05
"""Share of the error of a typical left-out frame that charges must take away, whatever their time: it does not count, nor against
the ceiling."""
FEWEST_FRAMES = 6
"""Fewer frames with forces choose no sizes."""
LARGEST_SAMPLE = 3000
"""Atoms: of more, steps are judged on evenly spaced frames; at least `FEWEST_FRAMES`."""
START_ITERATIONS, STEP_ITERATIONS = 60, 15
"""Of the optimisation at the start and after an accepted step; the fit after the search goes on to the optimum."""
START = "start"
"""Name of the first step: the sizes that the search begins with."""
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


CEILINGS = {
    Speed.FAST: Ceiling(cost=2.0, fit=4.0),
    Speed.BALANCED: Ceiling(cost=2.0, fit=4.0),
    Speed.ACCURATE: Ceiling(cost=6.0, fit=12.0),
}

Start = Callable[[Hyperparameters, float], Hyperparameters]
"""From the hyperparameters so far and the error of left-out frames (eV/A): where those of a new term start."""


@dataclass(frozen=True)
class Proposal:
    """A change of the sizes that a search may try.

    Attributes
    ----------
    target : str
        What it changes, and to what; a refused target is not tried again.
    change : str
        As the summary of a fit tells it, such as "pair cutoff 6 -> 8 A".
    sizes : Sizes
        After the change.
    start : callable or None
        Of a new term, whose hyperparameters are optimised before it is judged; None: those so far are used.
    least_fall : float
        Share by which the error of a typical left-out frame must fall.
    by_score : bool
        This share is asked of the logarithmic score of all left-out forces instead (`acceptance`).
    """

    target: str
    change: str
    sizes: Sizes
    start: Start | None = None
    least_fall: float = LEAST_FALL
    by_score: bool = False


def quadruplets(now: Sizes, given: GivenSizes) -> Proposal | None:
    """Quadruplets, where there are none; their prior starts from the size of the error that they may explain."""
    if given.n_channels is not None or now.n_channels:
        return None
    return Proposal(
        "quadruplets",
        f"quadruplets of {CHANNELS} channels",
        replace(now, n_channels=CHANNELS),
        least_fall=QUADRUPLET_FALL,
        by_score=True,  # they change the bars as well
        start=lambda hyper, error: replace(hyper, quadruplet_amplitude=error),
    )


def charges(now: Sizes, given: GivenSizes) -> Proposal | None:
    """The formal charges on offer, where there are none."""
    if given.offered_charges is None or now.charges is not None:
        return None
    return Proposal(
        "charges",
        f"charges {charges_text(given.offered_charges)}",
        replace(now, charges=given.offered_charges),
        least_fall=CHARGES_FALL,
        start=lambda hyper, _error: hyper,
    )


TERMS_ON_OFFER: tuple[Callable[[Sizes, GivenSizes], Proposal | None], ...] = (charges, quadruplets)
"""Terms that every fit tries: each gives its proposal, or None where the term is there already or the user decided."""


@dataclass(frozen=True)
class SizeStep:
    """One step of the search.

    Attributes
    ----------
    change : str
        Such as "pair cutoff 6 -> 8 A"; `START` for the sizes the search begins with.
    sizes : Sizes
    cost : float
        In units of the default sizes.
    evidence_gain : float or None
        Against the sizes accepted before, nats; None where the step was not computed.
    left_out_rmse, left_out_typical, hot_rmse : float or None
        See `Figures`.
    accepted : bool
    reason : str
        Why it was refused, or a remark about an accepted one; may be empty.
    beyond_ceiling : bool
        Refused untried, for its time.
    """

    change: str
    sizes: Sizes
    cost: float
    evidence_gain: float | None
    left_out_rmse: float | None
    left_out_typical: float | None
    hot_rmse: float | None
    accepted: bool
    reason: str = ""
    beyond_ceiling: bool = False


Progress = Callable[[SizeStep], None]


@dataclass(frozen=True)
class SizeChoice:
    """Result of a search.

    Attributes
    ----------
    sizes : Sizes
    start : Hyperparameters
        Where the optimisation of the fit starts.
    steps : tuple of SizeStep
        In the order in which they were tried; empty without a search.
    reason : str
        Why there was no search; may be empty.
    """

    sizes: Sizes
    start: Hyperparameters
    steps: tuple[SizeStep, ...] = ()
    reason: str = ""

    @property
    def beyond_ceiling(self) -> bool:
        """Whether sizes were left out for their time."""
        return any(step.beyond_ceiling for step in self.steps)


def choose_sizes(
    frames: Sequence[Atoms],
    species: Sequence[str],
    *,
    given: GivenSizes,
    speed: Speed,
    keys: LabelKeys,
    hyperparameters: Hyperparameters | None = None,
    progress: Progress | None = None,
) -> SizeChoice:
    """Choose the sizes that are not given, and the terms on offer.

    Parameters
    ----------
    frames : sequence of Atoms
        Labelled training frames.
    species : sequence of str
    given : GivenSizes
    speed : Speed
        Ceiling of the cost; with `fast` only terms are tried.
    keys : LabelKeys
    hyperparameters : Hyperparameters, optional
        Where the optimisation starts.
    progress : callable, optional
        Called with every step.

    Raises
    ------
    ConfigError
        A given size is out of range.
    DataError
        No frames, a frame without labels, labels that are not finite, an unknown element.
    """
    if not frames:
        raise DataError("fit needs at least one labelled frame")
    start, hyper = given.sizes(), hyperparameters or Hyperparameters()
    start.basis(species)
    if given.complete or (speed is Speed.FAST and not _terms(start, given)):
        return SizeChoice(start, hyper)
    # Checks the labels of every frame, also of those that are not among the sample.
    chosen = distinct(frames, keys)
    reference_energies = least_squares_energies(FeatureBuilder(start.basis(species)), frames, chosen, keys)
    usable = [frames[k] for k in chosen if labels_of(frames[k], keys).forces is not None]
    if len(usable) < FEWEST_FRAMES:
        reason = f"{len(usable)} frames with forces choose neither sizes nor terms, {FEWEST_FRAMES} do; the defaults are used"
        logger.info(reason)
        return SizeChoice(start, hyper, reason=reason)
    judge = Judge(_sample(usable), keys=keys, reference_energies=reference_energies)
    try:
        return _Search(judge, species, given, speed, progress).run(start, hyper)
    except NumericsError as fault:
        # Labels without noise that the terms describe exactly: a part of them does not determine a posterior in double precision.
        reason = f"neither sizes nor terms were tried, since no figures compare them: {fault}"
        logger.warning(reason)
        return SizeChoice(start, hyper, reason=reason)


def _terms(now: Sizes, given: GivenSizes) -> list[Proposal]:
    return [proposal for term in TERMS_ON_OFFER if (proposal := term(now, given)) is not None]


def _sample(frames: Sequence[Atoms]) -> list[Atoms]:
    """Evenly spaced frames of at most `LARGEST_SAMPLE` atoms, as far as `FEWEST_FRAMES` allow."""
    n_atoms = sum(len(atoms) for atoms in frames)
    n = max(FEWEST_FRAMES, min(len(frames), len(frames) * LARGEST_SAMPLE // n_atoms))
    return [frames[k] for k in np.linspace(0, len(frames) - 1, n).round().astype(int)]


class _Search:
    """The search from one set of sizes."""

    def __init__(
        self, judge: Judge, species: Sequence[str], given: GivenSizes, speed: Speed, progress: Progress | None
    ) -> None:
        self._judge, self._species, self._given, self._speed = judge, species, given, speed
        self._ceiling, self._progress = CEILINGS[speed], progress
        self._surroundings = Surroundings.of(judge.frames, max(*PAIR_CUTOFFS_A, *TRIPLET_CUTOFFS_A))
        self._steps: list[SizeStep] = []
        self._refused: set[str] = set()
        self._optimised: dict[str, tuple[Figures, Hyperparameters]] = {}
        self._height = shortest_height(judge.frames)
        self._coefficients = max(SMALL_BASIS, Sizes().n_coefficients(species))

    def run(self, start: Sizes, hyper: Hyperparameters) -> SizeChoice:
        """All steps from `start` and `hyper`; see the head of the file."""
        self._sizes = self._start = start
        self._figures, self._hyper = self._judge.figures(self._basis(start), hyper, iterations=START_ITERATIONS)
        self._record(self._step(START, start, self._figures, accepted=True))
        while good := self._good_steps():
            reaching = [step for step in good if step.sizes.pair_cutoff > self._sizes.pair_cutoff]
            farther = [step for step in good if step.sizes.triplet_cutoff > self._sizes.triplet_cutoff]
            best = min((step for step in good if not reaching or step not in farther), key=self._price)
            self._record(best)
            self._sizes = best.sizes
            self._figures, self._hyper = self._optimised[best.change]
            if any(proposal.target not in self._refused for proposal in self._proposals()):
                # Where it cannot be optimised further, what the step came to stays.
                with suppress(NumericsError):
                    self._figures, self._hyper = self._judge.figures(
                        self._basis(best.sizes), self._hyper, iterations=STEP_ITERATIONS
                    )
        return SizeChoice(self._sizes, self._hyper, tuple(self._steps))

    def _basis(self, sizes: Sizes) -> Basis:
        return sizes.complete(sizes.basis(self._species), self._judge.frames)

    def _cost(self, sizes: Sizes, *, charges: bool = True) -> float:
        """Time per atom and MD step in units of that of the default sizes, with or without that of charges."""
        times = [
            microseconds_per_atom(
                s.basis(self._species),
                self._surroundings,
                n_triplet_channels=s.n_triplet_channels(self._species),
                quadruplets=s.n_channels > 0,
                charges=charges and s.charges is not None,
            )
            for s in (sizes, Sizes())
        ]
        return times[0] / times[1]

    def _price(self, step: SizeStep) -> float:
        """Error of left-out frames, dearer by what the step adds to the cost."""
        error = np.inf if step.left_out_typical is None else step.left_out_typical
        return error * (1 + FALL_PER_COST * (step.cost / self._cost(self._sizes) - 1))

    def _good_steps(self) -> list[SizeStep]:
        """Steps from the present sizes that are good enough; records the others."""
        good = []
        for proposal in self._proposals():
            if proposal.target in self._refused:
                continue
            step = self._judged(proposal)
            if step.accepted:
                good.append(step)
            else:
                self._refused.add(proposal.target)
                self._record(step)
        return good

    def _proposals(self) -> Iterator[Proposal]:
        """Every step from the present sizes: terms, then other sizes."""
        yield from _terms(self._sizes, self._given)
        if self._speed is not Speed.FAST:
            yield from (Proposal(*change) for change in self._changes())

    def _changes(self) -> Iterator[tuple[str, str, Sizes]]:
        """Target, description and sizes of every step in cutoffs, splines and degrees."""
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
        if given.l_max is None:
            for degree in DEGREES:
                if degree > now.l_max:
                    yield f"degree {degree}", f"degree {now.l_max} -> {degree}", replace(now, l_max=degree)

    def _pairs_to(self, cutoff: float) -> Sizes:
        """Pairs to `cutoff`, in splines of the same spacing."""
        start = self._start.basis(self._species)
        spacing = (start.pair_cutoff - start.r_min) / start.n_pair
        n_pair = round((cutoff - start.r_min) / spacing) if self._given.n_pair is None else self._sizes.n_pair
        return replace(self._sizes, pair_cutoff=cutoff, n_pair=n_pair)

    # ---- one step

    def _judged(self, proposal: Proposal) -> SizeStep:
        sizes = proposal.sizes
        useless = self._longer_than_the_cell(sizes)
        too_dear = "" if useless else self._too_dear(sizes)
        if useless or too_dear:
            refused = self._step(proposal.change, sizes, None, accepted=False, reason=useless or too_dear)
            return replace(refused, beyond_ceiling=bool(too_dear))
        error = self._figures.left_out_rmse
        hyper = self._hyper if proposal.start is None or not error else proposal.start(self._hyper, error)
        try:
            figures, hyper = self._judge.figures(
                self._basis(sizes),
                hyper,
                iterations=0 if proposal.start is None else STEP_ITERATIONS,
                least_evidence=self._figures.log_evidence + LEAST_GAIN,
            )
        except NumericsError as fault:
            return self._step(proposal.change, sizes, None, accepted=False, reason=str(fault))
        self._optimised[proposal.change] = figures, hyper
        # What charges gain in larger cells than those of the training set pays for their time, and no frame left out shows it.
        growth = self._cost(sizes, charges=False) / self._cost(self._sizes, charges=False) - 1
        reason = refusal(
            self._figures, figures, growth=growth, least_fall=proposal.least_fall, by_score=proposal.by_score
        )
        remark = ""
        if sizes.pair_cutoff > self._height / 2 and sizes.pair_cutoff > self._sizes.pair_cutoff:
            remark = f"beyond half the cell ({self._height / 2:.1f} A): pairs include periodic images"
        return self._step(proposal.change, sizes, figures, accepted=not reason, reason=reason or remark)

    def _longer_than_the_cell(self, sizes: Sizes) -> str:
        """Why these cutoffs are not even tried; empty if they are."""
        longer = sizes.pair_cutoff > self._sizes.pair_cutoff or sizes.triplet_cutoff > self._sizes.triplet_cutoff
        if longer and max(sizes.pair_cutoff, sizes.triplet_cutoff) > self._height:
            return f"longer than the cell ({self._height:.1f} A): atoms would only meet more of their own images"
        return ""

    def _too_dear(self, sizes: Sizes) -> str:
        """Why these sizes are beyond the ceiling; empty if they are not."""
        cost = self._cost(sizes, charges=False)
        if cost > self._ceiling.cost:
            return f"time per MD step {cost:.1f} times that of the default sizes; the ceiling is {self._ceiling.cost:g}"
        size = max(SMALL_BASIS, sizes.n_coefficients(self._species))
        growth = (size / self._coefficients) ** 3
        if growth > self._ceiling.fit:
            return (
                f"{size} coefficients: time of the fit about {growth:.0f} times; the ceiling is {self._ceiling.fit:g}"
            )
        return ""

    def _step(
        self, change: str, sizes: Sizes, figures: Figures | None, *, accepted: bool, reason: str = ""
    ) -> SizeStep:
        return SizeStep(
            change=change,
            sizes=sizes,
            cost=self._cost(sizes),
            evidence_gain=None if figures is None else figures.log_evidence - self._figures.log_evidence,
            left_out_rmse=None if figures is None else figures.left_out_rmse,
            left_out_typical=None if figures is None else figures.left_out_typical,
            hot_rmse=None if figures is None else figures.hot_rmse,
            accepted=accepted,
            reason=reason,
        )

    def _record(self, step: SizeStep) -> None:
        self._steps.append(step)
        if self._progress is not None:
            self._progress(step)
