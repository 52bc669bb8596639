"""Whether the rounds of a campaign are enough: a pure function of their records and of the time spent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trepid.runs.ledger import StopReason
from trepid.runs.round_files import RoundRecord
from trepid.config import RoundSettings


def verdict(records: Sequence[RoundRecord], settings: RoundSettings, *, hours: float) -> tuple[StopReason, str] | None:
    """Why no further round is made, and a line more about it; None where one is.

    Parameters
    ----------
    records : sequence of RoundRecord
        Of the complete rounds, round 0 included.
    settings : RoundSettings
    hours : float
        Wall time spent over all starts of the campaign.
    """
    if not records:
        return None
    n_labels = records[-1].n_labels
    if settings.max_labels is not None and n_labels >= settings.max_labels:
        return StopReason.LABELS, f"{n_labels} of {settings.max_labels} labels"
    quiet = [record.n_worthy == 0 and not record.labels for record in records[1:]]
    if len(quiet) >= settings.patience and all(quiet[-settings.patience :]):
        return StopReason.CONVERGED, f"nothing was worth a label in {settings.patience} rounds in a row"
    if tolerances_met(records, settings):
        return StopReason.CONVERGED, "the tolerances are met"
    if len(records) > settings.max_rounds:
        return StopReason.FINISHED, f"{settings.max_rounds} rounds"
    if settings.max_hours is not None and hours >= settings.max_hours:
        return StopReason.HOURS, f"{hours:.2f} of {settings.max_hours:g} h"
    return None


def tolerances_met(records: Sequence[RoundRecord], settings: RoundSettings) -> bool:
    """Whether the last round asks for nothing more: small errors on new labels, no new event class, steady sigma^A.

    A force error on its own is no sign of convergence; without sigma^A (no phonopy) the other two decide.
    """
    tolerance = settings.force_error_tolerance_meV_per_A
    if tolerance is None or len(records) < 3:
        return False
    last, before = records[-1], records[-2]
    if last.new is None or last.new_classes or 1000 * last.new.forces_mae > tolerance:
        return False
    earlier = {value.temperature_K: value.value for value in before.sigma_a}
    return all(
        abs(value.value - earlier.get(value.temperature_K, np.inf)) <= settings.sigma_a_tolerance
        for value in last.sigma_a
    )
