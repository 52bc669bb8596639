"""Are the properties that a campaign is made for known? sigma^A and event rates, each with its 95 % interval.

A campaign that stops here does not look at force errors: small ones neither mean that a barrier is right, nor large ones on
chosen frames that a property is wrong.

Vocabulary
----------
settled    the rounds at the end whose walks showed no event class that was not genuine at that time: their walks sample events as
           the reference would, so they are counted together
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trepid.config.rounds import PropertyStop
from trepid.events.counting import ClassRate, class_rate
from trepid.quantities import Z_95
from trepid.runs.ledger_events import Reason
from trepid.runs.round_files import ClassVerdict, RoundRecord, Selection
from trepid.runs.walk_files import WalkEnd

GENUINE, HALLUCINATED = "genuine", "hallucinated"
"""Verdicts of `trepid.audit.judgement` by their names in files."""
LEAST_ROUNDS = 2
"""Rounds with walks before a property counts as known: one alone cannot show that it has stopped changing."""


@dataclass(frozen=True)
class PropertyStatus:
    """What is known, and what is missing.

    Attributes
    ----------
    known : tuple of str
        Properties inside of their tolerance, with their intervals.
    missing : tuple of str
        Properties that are not known well enough; empty where the campaign may end.
    """

    known: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether every property is known."""
        return not self.missing

    def line(self) -> str:
        """In one line."""
        if self.met:
            return "; ".join(self.known)
        return "not known yet: " + "; ".join(self.missing)


def latest_verdicts(records: Sequence[RoundRecord]) -> dict[str, ClassVerdict]:
    """The last verdict of every class."""
    return {verdict.event_class: verdict for record in records for verdict in record.verdicts}


def property_status(
    records: Sequence[RoundRecord], selections: Sequence[Selection], stop: PropertyStop, *, audited: bool
) -> PropertyStatus:
    """Compare sigma^A, event rates and verdicts with what was asked for.

    Parameters
    ----------
    records : sequence of RoundRecord
        Of the complete rounds, round 0 included.
    selections : sequence of Selection
        Of the same rounds.
    stop : PropertyStop
    audited : bool
        Whether event classes are judged; where not, a round with a new class is not settled.
    """
    walked = [record for record in records if record.walks]
    if len(walked) < LEAST_ROUNDS:
        return PropertyStatus((), (f"{len(walked)} of at least {LEAST_ROUNDS} rounds with walks",))
    known: list[str] = []
    missing: list[str] = []
    for parts in (
        _sigma_a(walked, stop),
        _rates(walked, selections, stop, audited=audited),
        _verdicts(records, selections) if audited else ([], []),
    ):
        known += parts[0]
        missing += parts[1]
    missing += [
        f"a walk of the last round at {walk.temperature_K:g} K left what the model knows after {walk.time_ps:.3g} ps"
        for walk in walked[-1].walks
        if walk.end is not WalkEnd.FINISHED
    ]
    missing += _unknown_ways(walked[-1], selections, stop)
    return PropertyStatus(tuple(known), tuple(missing))


def settled_rounds(
    records: Sequence[RoundRecord], selections: Sequence[Selection], *, audited: bool
) -> list[RoundRecord]:
    """The last rounds in whose walks every event class was genuine; without audits, was not new."""
    by_round = {selection.round: selection for selection in selections}
    settled: list[RoundRecord] = []
    for record in reversed(records):
        if not record.walks:
            break
        selection = by_round.get(record.round)
        shown = {event.event_class for event in selection.events} if selection is not None else set()
        if audited:
            then = latest_verdicts([other for other in records if other.round <= record.round])
            sound = all(name in then and then[name].verdict == GENUINE for name in shown)
        else:
            sound = not record.new_classes
        if not sound:
            break
        settled.append(record)
    return settled[::-1]


def pooled_rates(records: Sequence[RoundRecord], selections: Sequence[Selection]) -> dict[tuple[str, float], ClassRate]:
    """Rate of every class at every temperature in the walks of these rounds, one after the other.

    A class that the campaign knows and these walks do not show has a rate of zero with an upper end.

    Parameters
    ----------
    records : sequence of RoundRecord
        Rounds that are counted.
    selections : sequence of Selection
        Of all rounds: they tell which classes there are.
    """
    names = sorted({event.event_class for selection in selections for event in selection.events})
    by_round = {selection.round: selection for selection in selections}
    temperatures = sorted({walk.temperature_K for record in records for walk in record.walks})
    found = {}
    for temperature in temperatures:
        onsets: dict[str, list[float]] = {name: [] for name in names}
        time = 0.0
        for record in records:
            selection = by_round.get(record.round)
            for event in () if selection is None else selection.events:
                if event.temperature_K == temperature:
                    onsets[event.event_class] += [time + onset for onset in event.onsets_ps]
            time += sum(w.time_ps for w in record.walks if w.temperature_K == temperature and not w.biased)
        if time > 0:
            found.update({(name, temperature): class_rate(onsets[name], time) for name in names})
    return found


def _sigma_a(walked: Sequence[RoundRecord], stop: PropertyStop) -> tuple[list[str], list[str]]:
    known, missing = [], []
    last, before = walked[-1], walked[-2]
    earlier = {value.temperature_K: value for value in before.sigma_a}
    temperatures = sorted({walk.temperature_K for walk in last.walks})
    found = {value.temperature_K: value for value in last.sigma_a}
    for temperature in temperatures:
        value = found.get(temperature)
        where = f"at {temperature:g} K"
        if value is None:
            missing.append(f"sigma^A {where} is not measured: walks too short, or phonopy is not installed")
        elif value.error is None or value.model_error is None:
            missing.append(f"sigma^A {where} has no error bar")
        else:
            half = Z_95 * math.hypot(value.error, value.model_error)
            text = f"sigma^A {value.value:.3f} +- {half:.3f} {where}"
            old = earlier.get(temperature)
            moved = math.inf if old is None else abs(value.value - old.value)
            if half > stop.sigma_a:
                missing.append(f"{text}, wanted +- {stop.sigma_a:g}")
            elif moved > max(stop.sigma_a, half):
                change = "not measured in the round before" if old is None else f"was {old.value:.3f} a round before"
                missing.append(f"{text}, {change}")
            else:
                known.append(text)
    return known, missing


def _rates(
    walked: Sequence[RoundRecord], selections: Sequence[Selection], stop: PropertyStop, *, audited: bool
) -> tuple[list[str], list[str]]:
    known, missing = [], []
    settled = settled_rounds(walked, selections, audited=audited)
    if not settled:
        names = ", ".join(walked[-1].new_classes[:3])
        what = "classes that are not genuine" if audited else f"new event classes ({names})"
        return [], [f"the walks of the last round showed {what}"]
    for (name, temperature), rate in pooled_rates(settled, selections).items():
        used = rate.used
        text = (
            f"{name} at {temperature:g} K {100 * used.rate_per_ps:.3g} ({100 * used.low_per_ps:.3g} to "
            f"{100 * used.high_per_ps:.3g}) per 100 ps"
        )
        rare = 100 * used.high_per_ps <= stop.rare_per_100_ps
        within = (
            rate.n > 0
            and used.high_per_ps <= stop.rate_factor * used.rate_per_ps
            and used.rate_per_ps <= stop.rate_factor * used.low_per_ps
        )
        if rare or within:
            known.append(text)
        else:
            missing.append(f"{text}, wanted within a factor {stop.rate_factor:g} or below {stop.rare_per_100_ps:g}")
    return known, missing


def _unknown_ways(last: RoundRecord, selections: Sequence[Selection], stop: PropertyStop) -> list[str]:
    """Ways to empty sites whose energies the model of the last walks did not know well enough, as far as the horizon reaches.

    That the walks show no event says little where the model does not know what the way costs. A probe whose forces are known less
    well than labels are does not keep a campaign open where the energies of its way are known: they make the rate.
    """
    picks = next((s.picks for s in selections if s.round == last.round), ())
    bars = {
        pick.event_class: math.inf if pick.way_bar_eV is None else pick.way_bar_eV
        for pick in picks
        if pick.reason is Reason.PROBE
    }
    return [
        f"the way of {way} was still to be probed"
        + (f": known to +- {bar:.3f} eV, wanted +- {stop.barrier_eV:g}" if math.isfinite(bar) else "")
        for way, bar in sorted(bars.items())
        if bar > stop.barrier_eV
    ]


def _verdicts(records: Sequence[RoundRecord], selections: Sequence[Selection]) -> tuple[list[str], list[str]]:
    known, missing = [], []
    latest = latest_verdicts(records)
    shown = {event.event_class for selection in selections for event in selection.events}
    last = next((s for s in reversed(selections) if s.round == records[-1].round), None)
    now = set() if last is None else {event.event_class for event in last.events}
    for name in sorted(shown | set(latest)):
        verdict = latest.get(name)
        if verdict is None:
            missing.append(f"{name} is not judged")
        elif verdict.verdict == GENUINE:
            known.append(f"{name} is genuine")
        elif verdict.verdict == HALLUCINATED and name not in now:
            known.append(f"{name} was hallucinated, and is not shown any more")
        else:
            missing.append(f"{name} is {verdict.verdict}")
    return known, missing
