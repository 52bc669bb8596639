"""Learning in the mode that a campaign names: on the fly or in rounds, two policies over the same parts."""

from __future__ import annotations

from functools import partial

from trepid.campaign.context import CampaignContext, open_campaign
from trepid.campaign.on_the_fly import OnTheFly
from trepid.campaign.result import CampaignResult
from trepid.campaign.round_context import RoundContext
from trepid.campaign.rounds import Rounds
from trepid.campaign.training import PotentialFactory
from trepid.config import AnyCampaign, Campaign, RoundsCampaign
from trepid.dynamics.progress import ProgressView
from trepid.reference.base import Reference


def learn(
    campaign: AnyCampaign,
    *,
    reference: Reference | None = None,
    potentials: PotentialFactory | None = None,
    progress: ProgressView | None = None,
    accept_changes: bool = False,
) -> CampaignResult:
    """Run a campaign, or continue the one in its output directory.

    Parameters
    ----------
    campaign : Campaign or RoundsCampaign
    reference : Reference or None
        None makes the one that the settings name.
    potentials : PotentialFactory or None
        None takes the one that the settings name. In rounds with more than one worker its `load` must be picklable.
    progress : ProgressView or None
    accept_changes : bool
        Go on with files of the run that were changed or lost since it wrote them; this is noted in the ledger.

    Returns
    -------
    CampaignResult

    Raises
    ------
    ConfigError
        The system cannot be labelled by this reference, a setting does not go with the potential, or the output
        directory holds a run that does not go with these settings.
    DataError
        The structure or a file of the run cannot be read, a label, the settings or the ledger of the run was changed or lost,
        or another process uses the run directory.
    """
    opened = partial(
        open_campaign,
        reference=reference,
        potentials=potentials,
        progress=progress,
        accept_changes=accept_changes,
    )
    if isinstance(campaign, RoundsCampaign):
        with opened(campaign, RoundContext) as in_rounds:
            return Rounds(in_rounds).run()
    with opened(campaign, CampaignContext[Campaign]) as on_the_fly:
        return OnTheFly(on_the_fly).run()
