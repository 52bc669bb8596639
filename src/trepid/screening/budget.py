"""Who gets the next rounds of a screening: where the most risk of being wrong about a material goes for what it costs.

Risk of a material
------------------
    (1 + classes that are not settled) * upper end of sigma^A * half width of its interval / tolerance

A strongly anharmonic material, an event class without a verdict and a wide bar each make it likely that its properties are not
what they seem; the product is zero where sigma^A is zero or exactly known, and rises with every one of them. A material without
its first round comes before all others, in the order of the list.

Order
-----
Bars fall with the square root of the effort, so what a material still costs grows with the square of its half width over the
tolerance, and the order is that of risk over this cost. Materials whose bar is narrow enough and that have no open class come
last: only the rates of rare events can gain there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trepid.config.screening import BudgetSettings
from trepid.screening.record import MaterialRecord, Status

NO_BAR = 4.0
"""Half width over tolerance that is taken where sigma^A has no bar."""
NO_VALUE = 1.0
"""Upper end of sigma^A that is taken where there is no value."""


@dataclass(frozen=True)
class Choice:
    """A material that gets a round in the next turn, and its risk."""

    name: str
    risk: float


def risk_of(record: MaterialRecord, tolerance: float) -> float:
    """Risk of a material; infinite before its first round, zero where nothing is left to do.

    Parameters
    ----------
    record : MaterialRecord
    tolerance : float
        Wanted half width of the 95 % interval of sigma^A.
    """
    if record.status is Status.WAITING:
        return math.inf
    if record.done:
        return 0.0
    width = _width(record, tolerance)
    upper = NO_VALUE if record.sigma_a is None else record.sigma_a.value + width * tolerance
    return (1 + record.open_classes) * upper * width


def _width(record: MaterialRecord, tolerance: float) -> float:
    """Half width of the 95 % interval of sigma^A over the tolerance."""
    half = None if record.sigma_a is None else record.sigma_a.half_width
    return NO_BAR if half is None else half / tolerance


def priority_of(record: MaterialRecord, tolerance: float) -> float:
    """Risk over what it costs to remove it; negative where the bar is narrow enough and no class is open."""
    risk = risk_of(record, tolerance)
    if not 0 < risk < math.inf:
        return risk
    width = _width(record, tolerance)
    if width <= 1 and not record.open_classes:
        return -1 / risk
    return risk / max(1.0, width) ** 2


def next_turn(
    records: Sequence[MaterialRecord],
    settings: BudgetSettings,
    *,
    tolerance: float,
    grant: int,
    turn: int,
    seed: int,
) -> list[Choice]:
    """Materials of the next turn, in order; empty where all are done or the budget allows no further round.

    A pure function of the records, so that an interrupted screening chooses as an uninterrupted one.

    Parameters
    ----------
    records : sequence of MaterialRecord
        Of all materials, in the order of the list.
    settings : BudgetSettings
    tolerance : float
        Wanted half width of the 95 % interval of sigma^A.
    grant : int
        Labels that one round may take.
    turn : int
        Number of the turn.
    seed : int
        Of `share: random`.
    """
    waiting = [record for record in records if record.status is Status.WAITING]
    open_ones = [record for record in records if record.status is Status.OPEN]
    risks = {record.name: risk_of(record, tolerance) for record in open_ones}
    if settings.share == "risk":
        ordered = sorted(open_ones, key=lambda record: -priority_of(record, tolerance))
    elif settings.share == "equal":
        ordered = sorted(open_ones, key=lambda record: record.n_computations)
    else:
        order = np.random.default_rng([seed, 7, turn]).permutation(len(open_ones))
        ordered = [open_ones[k] for k in order]
    # The first rounds come first: nothing is known about a material without one.
    chosen = (waiting or ordered)[: settings.materials_per_turn]
    room = room_of(records, settings)
    if room is not None:
        cost = first_cost(records, grant) if waiting else grant
        chosen = chosen[: max(0, room // max(1, cost))]
    return [Choice(record.name, risks.get(record.name, math.inf)) for record in chosen]


def first_cost(records: Sequence[MaterialRecord], grant: int) -> int:
    """Computations of a first round: as the largest so far; one round and a relaxation of as many where there is none.

    How many displacements and steps of a relaxation a crystal needs is not known before. With the largest so far a budget is
    exceeded only by a material that costs more than all before it.
    """
    begun = [record.rounds[0].n_labels for record in records if record.rounds]
    return max(grant, *begun) if begun else 2 * grant


def room_of(records: Sequence[MaterialRecord], settings: BudgetSettings) -> int | None:
    """Reference computations that are left; None without a limit."""
    if settings.max_labels is None:
        return None
    return settings.max_labels - sum(record.n_computations for record in records)
