r"""The judgement of an event class: numbers in, verdict out. Pure functions.

Vocabulary
----------
barrier      highest energy on the way of an event above the state where it starts, eV
difference   barrier of the reference minus that of the model, eV: positive where the model makes the event too easy
tolerance    kT ln(factor): barriers that differ by less give rates within the factor, by transition state theory with
             one attempt frequency for both (G. H. Vineyard, J. Phys. Chem. Solids 3, 121 (1957))
ways         number of equivalent events that can happen in the crystal: every one attempts by itself
horizon      kT ln(ways nu0 t): an event that costs more is not expected once in the time t
bar          an estimate is known to +- z standard deviations; a verdict holds for all values inside, or is undecided

Verdicts
--------
genuine       the rate of the model is within the factor of that of the reference
miscaptured   the event exists, but its rate is off by more than the factor
hallucinated  a state of it does not exist in the reference, or it costs more there than the horizon allows
undecided     the bars are too wide; so many labels more are expected to decide
overlooked    (of probes) possible within the horizon, and the model makes it rarer than the factor allows
impossible    (of probes) beyond the horizon in the reference, and in the model too
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from trepid.acquisition.viability import ATTEMPT_FREQUENCY_HZ, Horizon
from trepid.errors import ConfigError
from trepid.quantities import Z_95

DEFAULT_FACTOR = 3.0
SHRINK = 3.0
"""Factor by which one more label at a stationary point is taken to narrow its bar, for the forecast of labels: an estimate, not
measured."""
MOST_NEEDED = 20
"""More labels than this are not forecast."""


class Verdict(str, Enum):
    """What is known about an event class; see the module."""

    GENUINE = "genuine"
    MISCAPTURED = "miscaptured"
    HALLUCINATED = "hallucinated"
    UNDECIDED = "undecided"
    OVERLOOKED = "overlooked"
    IMPOSSIBLE = "impossible"

    def __str__(self) -> str:
        return str(self.value)


class State(str, Enum):
    """Whether a state of the model is one of the reference too."""

    EXISTS = "exists"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    HELD = "held"
    """Neither has to be a minimum: the moving atoms are held in their place, and everything else is relaxed."""

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Estimate:
    """A value with one standard deviation, both in eV.

    Raises
    ------
    ConfigError
        The value is not finite, or the standard deviation is negative or not a number.
    """

    value: float
    std: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or not self.std >= 0.0:
            raise ConfigError(
                f"an estimate of {self.value} +- {self.std} eV is none: finite and not negative is expected"
            )

    def text(self, z: float) -> str:
        """Value and bar in words."""
        return f"{self.value:.3f} +- {z * self.std:.3f} eV"

    def low(self, z: float) -> float:
        """Lower end of the bar."""
        return self.value - z * self.std

    def high(self, z: float) -> float:
        """Upper end of the bar."""
        return self.value + z * self.std


@dataclass(frozen=True)
class Criteria:
    """What a rate has to be right within, and what counts as possible.

    Attributes
    ----------
    temperature_K : float
    time_ns : float
        t of the horizon.
    ways : int
        Equivalent events in the crystal.
    factor : float
        Of the rates; above 1.
    attempt_frequency_Hz : float
        nu0.
    z : float
        Half width of a bar in standard deviations.

    Raises
    ------
    ConfigError
        A value is out of range.
    """

    temperature_K: float
    time_ns: float
    ways: int = 1
    factor: float = DEFAULT_FACTOR
    attempt_frequency_Hz: float = ATTEMPT_FREQUENCY_HZ
    z: float = Z_95

    def __post_init__(self) -> None:
        if not (self.factor > 1.0 and math.isfinite(self.factor)):
            raise ConfigError(f"the factor between rates is {self.factor}; it must be above 1")
        if not self.z > 0.0:
            raise ConfigError(f"z is {self.z}; it must be positive")
        self.horizon  # noqa: B018 a value out of range shows here

    @property
    def horizon(self) -> Horizon:
        """Of the class: that of the probes of a campaign too."""
        return Horizon(self.temperature_K, self.time_ns, self.attempt_frequency_Hz, self.ways)

    @property
    def thermal_energy(self) -> float:
        """kT, eV."""
        return self.horizon.thermal_energy

    @property
    def tolerance(self) -> float:
        """KT ln(factor), eV."""
        return self.thermal_energy * math.log(self.factor)

    @property
    def budget(self) -> float:
        """KT ln(ways nu0 t), eV: the horizon."""
        return self.horizon.budget

    def expected_events(self, barrier_eV: float) -> float:
        """Number of events in the time t by transition state theory: ways nu0 t exp(-barrier / kT)."""
        return math.exp(min((self.budget - barrier_eV) / self.thermal_energy, 700.0))


@dataclass(frozen=True)
class Judgement:
    """A verdict with its numbers.

    Attributes
    ----------
    verdict : Verdict
    reason : str
        In words, with the numbers it rests on.
    difference : Estimate or None
        Barrier of the reference minus that of the model, eV.
    rate_factor : float or None
        Rate of the model over that of the reference, exp(difference / kT).
    rate_factor_low, rate_factor_high : float or None
        Ends of its bar.
    labels_needed : int or None
        Of an undecided class: labels more that are expected to decide it; None where no number of them is.
    """

    verdict: Verdict
    reason: str
    difference: Estimate | None = None
    rate_factor: float | None = None
    rate_factor_low: float | None = None
    rate_factor_high: float | None = None
    labels_needed: int | None = None


def judge(
    model_eV: float,
    reference: Estimate | None,
    criteria: Criteria,
    *,
    start: State = State.EXISTS,
    end: State = State.EXISTS,
    least: Estimate | None = None,
    place: Estimate | None = None,
    missing: str = "the reference's barrier is not known",
    missing_labels: int | None = None,
) -> Judgement:
    """Judge an event that the model shows.

    Parameters
    ----------
    model_eV : float
        Barrier of the model, eV.
    reference : Estimate or None
        Barrier of the reference; None where it could not be estimated.
    criteria : Criteria
    start, end : State
        Of the two ends, in the reference.
    least : Estimate or None
        What the barrier is at least, such as the energy of the end state.
    place : Estimate or None
        Of an end that is held: its energy in the reference minus that in the model, eV. The way to it can be right as far as
        its highest point and then lead to a place that the reference does not have.
    missing : str
        Why there is no estimate.
    missing_labels : int or None
        Labels more that are expected to give one; None where no number is.
    """
    for name, state in (("start", start), ("end", end)):
        if state is State.ABSENT:
            return Judgement(Verdict.HALLUCINATED, f"the {name} state does not exist in the reference")
    if least is not None and _beyond(least, model_eV, criteria):
        return Judgement(
            Verdict.HALLUCINATED,
            f"the end state alone costs {least.text(criteria.z)} in the reference; the horizon allows {criteria.budget:.3f} eV",
        )
    if reference is None:
        return Judgement(Verdict.UNDECIDED, missing, labels_needed=missing_labels)
    difference = Estimate(reference.value - model_eV, reference.std)
    numbers = _numbers(difference, criteria)
    size, half = abs(difference.value), criteria.z * difference.std
    unknown = [name for name, state in (("start", start), ("end", end)) if state is State.UNKNOWN]
    if size + half < criteria.tolerance:
        if unknown:
            return Judgement(
                Verdict.UNDECIDED,
                f"the barrier is right, but whether the {unknown[0]} state is a minimum of the reference is not known yet",
                *numbers,
                1,
            )
        if end is State.HELD and place is not None:
            wrong = _judge_place(place, criteria)
            if wrong is not None:
                return replace(
                    wrong,
                    difference=difference,
                    rate_factor=numbers[1],
                    rate_factor_low=numbers[2],
                    rate_factor_high=numbers[3],
                )
        return Judgement(
            Verdict.GENUINE,
            f"barriers of model and reference differ by {difference.text(criteria.z)}; {criteria.tolerance:.3f} eV is a factor "
            f"{criteria.factor:g} in the rate",
            *numbers,
        )
    if size - half > criteria.tolerance:
        if _beyond(reference, model_eV, criteria):
            return Judgement(
                Verdict.HALLUCINATED,
                f"it costs {reference.text(criteria.z)} in the reference; the horizon allows {criteria.budget:.3f} eV",
                *numbers,
            )
        if difference.value < 0 or reference.high(criteria.z) < criteria.budget:
            if unknown and difference.value > 0:
                return Judgement(
                    Verdict.UNDECIDED,
                    f"the rate is wrong; whether the {unknown[0]} state exists in the reference is not known yet",
                    *numbers,
                    1,
                )
            often = "often" if difference.value > 0 else "rarely"
            return Judgement(
                Verdict.MISCAPTURED,
                f"it happens too {often} by a factor {_factor(abs(difference.value), criteria)}: the barrier is "
                f"{size:.3f} eV too {'low' if difference.value > 0 else 'high'}",
                *numbers,
            )
        gap = abs(reference.value - criteria.budget)
        return Judgement(
            Verdict.UNDECIDED,
            f"the rate is wrong, but whether {reference.text(criteria.z)} is within the horizon of {criteria.budget:.3f} eV is not "
            "known",
            *numbers,
            labels_needed(reference.std, gap, z=criteria.z),
        )
    gap = abs(size - criteria.tolerance)
    return Judgement(
        Verdict.UNDECIDED,
        f"the difference of the barriers, {difference.text(criteria.z)}, may be below or above {criteria.tolerance:.3f} eV",
        *numbers,
        labels_needed(difference.std, gap, z=criteria.z),
    )


def judge_probe(
    model_eV: float | None,
    reference: Estimate | None,
    criteria: Criteria,
    *,
    end: State = State.EXISTS,
    least: Estimate | None = None,
    place: Estimate | None = None,
    missing: str = "the reference's barrier is not known",
    missing_labels: int | None = None,
) -> Judgement:
    """Judge an event that the trajectory does not show.

    Parameters
    ----------
    model_eV : float or None
        Barrier of the model; None where it has no such event.
    reference, criteria, end, least, place, missing, missing_labels
        As in `judge`.
    """
    out_of_reach = model_eV is None or model_eV > criteria.budget
    beyond = next(
        (e for e in (least, reference) if e is not None and not criteria.horizon.reaches(e.low(criteria.z))), None
    )
    if end is State.ABSENT or beyond is not None:
        cost = "has no such state" if beyond is None else f"makes it cost {beyond.text(criteria.z)}"
        if model_eV is None or out_of_reach:
            return Judgement(Verdict.IMPOSSIBLE, f"the reference {cost}, and the model does not show it either")
        return Judgement(
            Verdict.HALLUCINATED,
            f"the reference {cost}, the model {model_eV:.3f} eV; the horizon allows {criteria.budget:.3f} eV",
        )
    if reference is None:
        return Judgement(Verdict.UNDECIDED, missing, labels_needed=missing_labels)
    if reference.high(criteria.z) >= criteria.budget:
        gap = abs(reference.value - criteria.budget)
        return Judgement(
            Verdict.UNDECIDED,
            f"whether {reference.text(criteria.z)} is within the horizon of {criteria.budget:.3f} eV is not known",
            labels_needed=labels_needed(reference.std, gap, z=criteria.z),
        )
    if model_eV is None:
        return Judgement(
            Verdict.OVERLOOKED,
            f"the reference makes it possible at {reference.text(criteria.z)}, and the model has no such event",
        )
    seen = judge(model_eV, reference, criteria, end=end, place=place)
    if seen.verdict is Verdict.MISCAPTURED and seen.difference is not None and seen.difference.value < 0:
        return Judgement(
            Verdict.OVERLOOKED,
            f"the reference makes it possible at {reference.text(criteria.z)}, the model at {model_eV:.3f} eV only: too rare by a "
            f"factor {_factor(-seen.difference.value, criteria)}",
            seen.difference,
            seen.rate_factor,
            seen.rate_factor_low,
            seen.rate_factor_high,
        )
    return seen


def labels_needed(std: float, gap: float, *, z: float = Z_95) -> int | None:
    """Labels with which a bar of z standard deviations becomes narrower than the gap to the boundary; None if too many.

    Parameters
    ----------
    std, gap : float
        eV.
    z : float
    """
    if gap <= 0.0:
        return None
    if z * std < gap:
        return 1
    n = math.floor(math.log(z * std / gap) / math.log(SHRINK)) + 1
    return n if n <= MOST_NEEDED else None


def _judge_place(place: Estimate, criteria: Criteria) -> Judgement | None:
    """Why an event with the right barrier is not genuine: where it ends. None where the place has the right energy too."""
    size, half = abs(place.value), criteria.z * place.std
    if size + half < criteria.tolerance:
        return None
    if size - half > criteria.tolerance:
        return Judgement(
            Verdict.MISCAPTURED,
            f"the barrier is right, but the place that it leads to lies {size:.3f} eV too {'low' if place.value > 0 else 'high'} "
            "in the model",
        )
    return Judgement(
        Verdict.UNDECIDED,
        f"the barrier is right, but the energies of the place that it leads to differ by {place.text(criteria.z)}, which may be "
        f"below or above {criteria.tolerance:.3f} eV",
        labels_needed=labels_needed(place.std, abs(size - criteria.tolerance), z=criteria.z),
    )


def _beyond(estimate: Estimate, model_eV: float, criteria: Criteria) -> bool:
    """Whether the reference excludes what the model makes easier."""
    low = estimate.low(criteria.z)
    return low > criteria.budget and low - model_eV > criteria.tolerance


def _numbers(difference: Estimate, criteria: Criteria) -> tuple[Estimate, float, float, float]:
    kT = criteria.thermal_energy
    values = (difference.value, difference.low(criteria.z), difference.high(criteria.z))
    middle, low, high = (math.exp(min(max(value / kT, -700.0), 700.0)) for value in values)
    return difference, middle, low, high


def _factor(difference_eV: float, criteria: Criteria) -> str:
    """Factor between rates, in words short enough for a sentence."""
    return f"{math.exp(min(difference_eV / criteria.thermal_energy, 700.0)):.2g}"
