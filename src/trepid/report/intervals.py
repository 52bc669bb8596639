"""The table of conformal factors: how the labels of every stratum correct its intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trepid.acquisition.conformal import Basis, Factor, coverage_by_stratum
from trepid.config import Campaign
from trepid.report.page import Section, Table

if TYPE_CHECKING:
    from trepid.runs.reading import RunRecord

HEAD = ("stratum", "species", "labels", "inside, announced", "with running factor", "factor now", "from")
_BASIS = {
    Basis.STRATUM: "its own labels",
    Basis.PARENT: "all events: fewer than two labels of its own",
    Basis.SPECIES: "the species in all strata: fewer than two labels of its own",
    Basis.ALL: "all labels: fewer than two of its own",
    Basis.NONE: "none: fewer than two labels",
}


def intervals_section(record: RunRecord) -> list[Section]:
    """The section with the table; nothing before the first label that was predicted."""
    table = intervals_table(record)
    if table is None:
        return []
    text = (
        "Force components inside the 95 % interval that was announced before each label, and the factor on it with which it "
        "would have held 95 % of those of the latest labels (conformal quantile). It is running: every label is judged with the "
        "factor from the labels before it. A factor from few labels is uncertain, since the atoms of a frame are correlated."
    )
    return [Section("Intervals corrected by labels", text, (), table=table)]


def intervals_table(record: RunRecord) -> Table | None:
    """Coverage and factor by stratum and species; None before the first label that was predicted."""
    rows = []
    names = stratum_names(record)
    for row in coverage_by_stratum(record.scored()):
        c = row.coverage
        rows.append(
            (
                names.get(row.stratum, row.stratum),
                row.species,
                str(c.n_frames),
                f"{100 * c.announced:.1f} %",
                f"{100 * c.corrected:.1f} %",
                "" if row.factor.basis is Basis.NONE else f"{row.factor.value:.2f}",
                _source(row.factor),
            )
        )
    return Table(HEAD, tuple(rows)) if rows else None


def _source(factor: Factor) -> str:
    n = f" ({factor.n_frames})" if factor.basis is not Basis.NONE else ""
    return _BASIS[factor.basis] + n


def stratum_names(record: RunRecord) -> dict[str, str]:
    """Strata by name, as the page shows them: stages with their temperatures."""
    if not isinstance(record.campaign, Campaign):
        return {}
    named = {}
    for k, stage in enumerate(record.campaign.dynamics.stages, start=1):
        first, last = stage.temperature_at(0.0), stage.temperature_at(1.0)
        span = f"{first:.0f} K" if abs(first - last) < 2.0 else f"{first:.0f} to {last:.0f} K"
        named[f"stage {k}"] = f"stage {k}, {span}"
    return named
