"""Is the rare event that a simulation shows real? Event classes judged against the reference with a handful of labels.

Start reading at `classes.audit_class` (one event class) and `judgement` (numbers in, verdict out).
"""

from __future__ import annotations

from trepid.audit.classes import audit_class
from trepid.audit.event_class import (
    Answer,
    AuditSettings,
    EventClassAudit,
    LabelSource,
    Role,
    SeenClass,
    Wanted,
)
from trepid.audit.judgement import Criteria, Estimate, Judgement, State, Verdict, judge, judge_probe
from trepid.audit.model import AuditedModel, EngineModel, PotentialModel
from trepid.audit.states import Motion

__all__ = [
    "Answer",
    "AuditSettings",
    "AuditedModel",
    "Criteria",
    "EngineModel",
    "Estimate",
    "EventClassAudit",
    "Judgement",
    "LabelSource",
    "Motion",
    "PotentialModel",
    "Role",
    "SeenClass",
    "State",
    "Verdict",
    "Wanted",
    "audit_class",
    "judge",
    "judge_probe",
]
