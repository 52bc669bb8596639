"""What the next round of a material needs more of: time, or labels.

sigma^A has two bars (`trepid.screening.record.Bars`). The one of the frames falls with the square root of the time that the
walks of a round take, for every round starts anew on a better model. The one of the model falls with labels; but a campaign
labels only frames whose uncertainty stands out from that of the training frames, and where harmonic frames are as uncertain as
those of the walks none does. So each later round walks twice as long where the bar of the frames is too wide, and labels the most
uncertain frames in any case where that of the model is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trepid.quantities import Z_95
from trepid.screening.record import RoundFigures


@dataclass(frozen=True)
class Effort:
    """Of one round.

    Attributes
    ----------
    longer : int
        Factor on `walkers.duration_ps`.
    fill : bool
        Label as many frames as a round may, the most uncertain first, whether they stand out or not, from the other frames or from
        the typical error of the model.
    """

    longer: int = 1
    fill: bool = False


NO_MORE = Effort()
"""That of a first round."""


def effort_of(rounds: Sequence[RoundFigures], *, tolerance: float, longest: int) -> Effort:
    """Of the next round of a material; a pure function of the rounds before, as everything that a resume relies on.

    Parameters
    ----------
    rounds : sequence of RoundFigures
        Complete rounds.
    tolerance : float
        Wanted half width of the 95 % interval of sigma^A; each of the two bars may have its part.
    longest : int
        Largest factor on the duration of walks.
    """
    part = tolerance / math.sqrt(2)
    known = [each.sigma_a for each in rounds if each.sigma_a is not None]
    too_short = sum(bars.frames is None or Z_95 * bars.frames > part for bars in known)
    last = known[-1] if known else None
    fill = last is not None and last.model is not None and Z_95 * last.model > part
    return Effort(min(longest, 2 ** min(too_short, 30)), fill)
