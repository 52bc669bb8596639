"""Committees: several potentials, Bayesian or neural networks of other packages, whose spread is the uncertainty."""

from __future__ import annotations

from trepid.potentials.committee.committee import Committee, Member
from trepid.potentials.committee.settings import (
    Backend,
    BayesianSettings,
    CommitteeSettings,
    MaceSettings,
    NequipSettings,
    NetworkSettings,
    ScriptSettings,
    So3kratesSettings,
)

__all__ = [
    "Backend",
    "BayesianSettings",
    "Committee",
    "CommitteeSettings",
    "MaceSettings",
    "Member",
    "NequipSettings",
    "NetworkSettings",
    "ScriptSettings",
    "So3kratesSettings",
]
