"""Weights of the labels of a campaign by their kind: the setting `weights`.

The kind of a label is the `config_type` of its frame, which frames of `start.file` may have; for all others it is the reason of the
label (`trepid.runs.ledger_events.Reason`): initial, uncertainty, event, probe, ... Weights act in training alone, and label files
stay as they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trepid.config import AnyCampaign, FramesStart, RoundsCampaign
from trepid.data.frames import LabelKeys
from trepid.data.labelled import read_labelled
from trepid.data.noise_factors import config_type_of, with_weight
from trepid.errors import ConfigError
from trepid.runs.label_files import LabelledFrame
from trepid.runs.ledger_events import Reason

if TYPE_CHECKING:
    from ase import Atoms

ON_THE_FLY = (Reason.INITIAL, Reason.UNCERTAINTY)
IN_ROUNDS = (*ON_THE_FLY, Reason.EVENT, Reason.PROBE, Reason.RANDOM, Reason.HOT, Reason.HARMONIC, Reason.AUDIT)


def kind_of(label: LabelledFrame) -> str:
    """What the weight of a label is looked up by."""
    return config_type_of(label.atoms) or label.origin.reason.value


def weighted(labels: Sequence[LabelledFrame], weights: Mapping[str, float]) -> list[Atoms]:
    """Frames to train on: copies that carry their weight where it is not 1, times that of the frame itself."""
    return [
        label.atoms if (weight := weights.get(kind_of(label), 1.0)) == 1.0 else with_weight(label.atoms, weight)
        for label in labels
    ]


def require_known_kinds(campaign: AnyCampaign) -> None:
    """Refuse weights of kinds that no label of the campaign can have.

    Raises
    ------
    ConfigError
        There is no such kind, or the potential is one that takes no weights.
    DataError
        The frames to start from cannot be read.
    """
    if not campaign.weights:
        return
    if campaign.potential.kind != "bayesian":
        raise ConfigError("weights: a committee takes none; use potential.kind bayesian, or leave weights out")
    known = [reason.value for reason in (IN_ROUNDS if isinstance(campaign, RoundsCampaign) else ON_THE_FLY)]
    if isinstance(campaign, RoundsCampaign) and isinstance(campaign.start, FramesStart):
        frames = read_labelled(campaign.start.file, keys=LabelKeys(), require=()).frames
        known = [*sorted({name for frame in frames if (name := config_type_of(frame)) is not None}), *known]
    for name in campaign.weights:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"kinds: {', '.join(known)}"
            raise ConfigError(f"weights: no label of this campaign is of the kind '{name}'; {hint}")
