"""What the record of a material says of its naive model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from trepid.runs.reading import RunRecord
from trepid.runs.round_files import ClassVerdict
from trepid.screening.record import class_figures

HOP = "hop Ag: Ag -> empty 4Ag6I, 2.87 A"


def judged(verdict: str, *, overlooked_by: int | None = None) -> ClassVerdict:
    barriers = dict.fromkeys(("model_barrier_eV", "reference_barrier_eV"), 0.3)
    bars = dict.fromkeys(("model_bar_eV", "reference_bar_eV"), 0.01)
    rates = dict.fromkeys(("rate_factor", "rate_factor_low", "rate_factor_high"), 1.0)
    return ClassVerdict(
        HOP, verdict, "", **barriers, **bars, **rates, temperature_K=300.0, ways=16, labels=(), displaced=(), atoms=(0,),
        targets=(9,), overlooked_by=overlooked_by,
    )  # fmt: skip


def run_of(shown_in: set[int], verdicts: dict[int, ClassVerdict]) -> RunRecord:
    """Two rounds: those whose walks show the class, and its verdict in a round."""
    rounds = [SimpleNamespace(verdicts=(verdicts[k],) if k in verdicts else ()) for k in range(3)]
    event = SimpleNamespace(event_class=HOP, count=2)
    selections = [SimpleNamespace(round=k, events=(event,) if k in shown_in else ()) for k in (1, 2)]
    return cast("RunRecord", SimpleNamespace(rounds=tuple(rounds), selections=selections))


@pytest.mark.parametrize(
    ("shown_in", "verdicts", "naive"),
    [
        ({1, 2}, {1: judged("miscaptured"), 2: judged("genuine")}, "miscaptured"),
        ({2}, {2: judged("genuine", overlooked_by=0)}, "overlooked"),
        ({2}, {2: judged("miscaptured", overlooked_by=0)}, "overlooked"),
        # That its few picoseconds do not show a class which it has right, or which is beyond reach, is no fault of the naive model.
        ({2}, {2: judged("genuine")}, ""),
        ({2}, {2: judged("genuine", overlooked_by=1)}, ""),
        ({1}, {}, ""),
    ],
)
def test_the_naive_model_overlooks_what_it_puts_out_of_reach(
    shown_in: set[int], verdicts: dict[int, ClassVerdict], naive: str
) -> None:
    (found,) = class_figures(run_of(shown_in, verdicts))
    assert found.naive == naive
    assert found.n_seen == 2 * len(shown_in)
