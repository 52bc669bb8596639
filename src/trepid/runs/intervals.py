"""The labels of a run as a calibration of its error bars: strata, scores, and the conformal factors in force.

The label files are the source: each holds what had been predicted for its frame. What the factors were at any label follows
from the labels before it, so that a resumed campaign announces the same intervals.

Strata
------
on the fly   the stage: "stage 1"
in rounds    the class of the event, and "events" around it; "probes"; else the temperature of the walk: "600 K"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trepid.acquisition.conformal import Basis, Factor, ScoredFrame, factors_of
from trepid.runs.label_files import LabelledFrame, Origin, compare_before_training
from trepid.runs.ledger_events import Reason
from trepid.runs.round_files import Selection

EVENTS, PROBES = "events", "probes"


def strata_of(origin: Origin, event_class: str = "") -> tuple[str, ...]:
    """Strata of a frame, from the most specific to the widest.

    Parameters
    ----------
    origin : Origin
    event_class : str
        In rounds, the class of the event the frame belongs to; empty where there is none, or it is not known.
    """
    if origin.stage is not None:
        return (f"stage {origin.stage + 1}",)
    if origin.reason is Reason.EVENT:
        return (event_class, EVENTS) if event_class else (EVENTS,)
    if origin.reason is Reason.PROBE:
        return (PROBES,)
    return (f"{origin.target_temperature_K:g} K",)


def event_classes(selections: Iterable[Selection]) -> dict[int, str]:
    """Event class of every label that has one, by its number."""
    return {pick.label: pick.event_class for selection in selections for pick in selection.picks if pick.event_class}


def score_of(label: LabelledFrame, event_class: str = "") -> ScoredFrame | None:
    """Scores of a label, predicted before the model was trained on it; None without a prediction or an error bar."""
    comparison = compare_before_training([label])
    stds = None if comparison is None else comparison.forces_std
    # A model without noise may predict a bar of exactly zero, on which nothing can be scored.
    if comparison is None or stds is None or not (stds > 0).all():
        return None
    return ScoredFrame.of(
        comparison.symbols,
        comparison.forces_error,
        stds,
        strata=strata_of(label.origin, event_class),
        batch=label.number if label.origin.round is None else label.origin.round,
    )


def scored_labels(labels: Iterable[LabelledFrame], classes: Mapping[int, str]) -> list[ScoredFrame]:
    """Scores of all labels that have some, in their order.

    Parameters
    ----------
    labels : iterable of LabelledFrame
    classes : mapping of int to str
        Event classes, by number of the label.
    """
    scores = (score_of(label, classes.get(label.number, "")) for label in labels)
    return [frame for frame in scores if frame is not None]


@dataclass(frozen=True)
class Announced:
    """What is announced when a label is requested: the interval of a force component is 1.96 factor bar.

    Attributes
    ----------
    stratum : str
        Of the frame.
    factors : mapping of str to Factor
        By species.
    """

    stratum: str
    factors: Mapping[str, Factor]

    @classmethod
    def of(
        cls, earlier: Sequence[ScoredFrame], origin: Origin, species: Iterable[str], event_class: str = ""
    ) -> Announced:
        """From the labels before the request.

        Parameters
        ----------
        earlier : sequence of ScoredFrame
            On the fly all labels before it, in rounds those of earlier rounds.
        origin : Origin
            Of the frame.
        species : iterable of str
            Its elements.
        event_class : str
            As in `strata_of`.
        """
        strata = strata_of(origin, event_class)
        return cls(strata[0], factors_of(earlier, strata, sorted(set(species))))

    def __str__(self) -> str:
        factors = {name: factor for name, factor in self.factors.items() if factor.basis is not Basis.NONE}
        if not factors:
            return "interval as predicted"
        return "interval x " + ", ".join(f"{factor.value:.2f} ({name})" for name, factor in factors.items())
