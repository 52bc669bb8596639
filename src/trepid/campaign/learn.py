"""Learning in the mode that a campaign names."""

from __future__ import annotations

from trepid.campaign.on_the_fly import learn_on_the_fly
from trepid.campaign.result import CampaignResult
from trepid.campaign.rounds import learn_in_rounds
from trepid.campaign.training import PotentialFactory
from trepid.config import AnyCampaign, RoundsCampaign
from trepid.dynamics.progress import ProgressView
from trepid.reference.base import Reference


def learn(
    campaign: AnyCampaign,
    *,
    reference: Reference | None = None,
    potentials: PotentialFactory | None = None,
    progress: ProgressView | None = None,
) -> CampaignResult:
    """Run a campaign, or continue the one in its output directory; see `learn_on_the_fly` and `learn_in_rounds`.

    Parameters
    ----------
    campaign : Campaign or RoundsCampaign
    reference : Reference or None
        None makes the one that the settings name.
    potentials : PotentialFactory or None
        None takes the one that the settings name.
    progress : ProgressView or None

    Raises
    ------
    ConfigError, DataError, ModelFileError
        As described there.
    """
    if isinstance(campaign, RoundsCampaign):
        return learn_in_rounds(campaign, reference=reference, potentials=potentials, progress=progress)
    return learn_on_the_fly(campaign, reference=reference, potentials=potentials, progress=progress)
