"""What a campaign has cost, from its ledger: labels, molecular dynamics, training, and the time of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trepid.config import Campaign
from trepid.potentials.placement import placement_of_campaign
from trepid.quantities import duration
from trepid.report.page import Section, Table

if TYPE_CHECKING:
    from trepid.runs.reading import RunRecord

HEAD = ("", "amount", "time", "each", "share (%)")


def costs_section(record: RunRecord) -> Section:
    """Amounts and wall times; in rounds, those of labels add up over workers."""
    rows = cost_rows(record)
    total = sum(seconds for _, _, seconds, _ in rows)
    shown = [
        (name, amount, duration(seconds), each, f"{100 * seconds / total:.0f}" if total > 0 else "")
        for name, amount, seconds, each in rows
    ]
    text = f"Wall time of all starts together, as far as the ledger has it: {duration(record.wall_time_s)}."
    if record.rounds:
        text += " Labels and trajectories run beside each other where there are several workers: their times are sums."
    n_failed = len(record.failures)
    if n_failed:
        text += f" The time of {n_failed} failed attempt{'s' * (n_failed != 1)} at labels is not known."
    return Section("Costs", text, (), table=Table(HEAD, tuple(shown)))


def placement_sections(record: RunRecord) -> list[Section]:
    """Where the model runs; nothing where the settings are gone."""
    if record.campaign is None:
        return []
    campaign = record.campaign
    engine = campaign.dynamics.engine if isinstance(campaign, Campaign) else campaign.walkers.engine
    rows = [*placement_of_campaign(campaign).rows(), ("molecular dynamics of this run", engine.program)]
    text = "Threads and interpreter are those of the machine that wrote this page."
    return [Section("Where the model runs", text, (), table=Table(("", ""), tuple(rows)))]


def cost_rows(record: RunRecord) -> list[tuple[str, str, float, str]]:
    """What, how much of it, seconds, and the time of one, in the order of the page."""
    n_computed, n_trainings = len(record.attempts), len(record.trainings)
    n_labels = len({label.label for label in record.attempts})
    again = f", {n_computed - n_labels} of them computed again to check" if n_computed > n_labels else ""
    rows = [
        (
            "reference",
            f"{n_labels} label{'s' * (n_labels != 1)}{again}",
            record.seconds_labelling,
            _each(record.seconds_labelling, n_computed, "label"),
        ),
        (
            "training",
            f"{n_trainings} times",
            record.seconds_training,
            _each(record.seconds_training, n_trainings, "time"),
        ),
    ]
    if record.rounds:
        dynamics = record.seconds_walking
        rows.append(("selection", f"{len(record.selections)} rounds", record.seconds_selecting, ""))
    else:
        # The trajectory waits for labels and training, so that the rest of the wall time is its own.
        dynamics = max(record.wall_time_s - record.seconds_labelling - record.seconds_training, 0.0)
    name = "molecular dynamics" if record.rounds else "molecular dynamics and the rest"
    rows.insert(1, (name, f"{record.time_ps:.3g} ps", dynamics, _each(dynamics, record.time_ps, "ps")))
    return rows


def _each(seconds: float, amount: float, what: str) -> str:
    return f"{duration(seconds / amount)} per {what}" if amount > 0 else ""
