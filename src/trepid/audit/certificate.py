"""The certificate of an audit: inputs by hash, versions, criteria, labels and verdicts, as plain types for JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trepid.audit.band import Band
from trepid.audit.event_class import AuditSettings, EventClassAudit, LabelledPoint, Role
from trepid.audit.judgement import Criteria, Estimate, Verdict
from trepid.audit.labels import label_file
from trepid.errors import DataError
from trepid.runs.checksums import file_sha256

FORMAT = 2
"""1: without `n_seen_later` of classes, or without `path_A` of labels, or with both."""


@dataclass(frozen=True)
class Inputs:
    """What an audit was made of.

    Attributes
    ----------
    trajectory, model, reference, crystal : mapping
        Files with their SHA-256, and descriptions.
    trajectory_facts : mapping
        Number of frames, duration, remarks.
    """

    trajectory: Mapping[str, Any]
    model: Mapping[str, Any]
    reference: Mapping[str, Any]
    crystal: Mapping[str, Any]

    @classmethod
    def file(cls, path: Path) -> dict[str, str]:
        """Name and hash of a file."""
        return {"file": path.name, "sha256": file_sha256(path)}


def certificate(
    inputs: Inputs,
    settings: AuditSettings,
    criteria: Criteria,
    classes: Sequence[EventClassAudit],
    probes: Sequence[EventClassAudit],
    *,
    directory: Path,
    versions: Mapping[str, str],
    n_labels: int,
    n_failed: int,
    left_out: int,
) -> dict[str, Any]:
    """Everything as plain types.

    Parameters
    ----------
    inputs, settings, criteria
        Of all classes; the number of ways is that of each class.
    classes, probes : sequences of EventClassAudit
        Seen in the trajectory, and not.
    directory : Path
        Of the run, for the hashes of the labels.
    versions : mapping of str to str
    n_labels, n_failed : int
        Of the run.
    left_out : int
        Classes that were not judged.
    """
    counts = Counter(str(audit.verdict) for audit in (*classes, *probes))
    general = asdict(criteria)
    del general["ways"]
    return {
        "format": FORMAT,
        "inputs": {
            "trajectory": dict(inputs.trajectory),
            "model": dict(inputs.model),
            "reference": dict(inputs.reference),
            "crystal": dict(inputs.crystal),
        },
        "versions": dict(versions),
        "criteria": general | {"tolerance_eV": criteria.tolerance},
        "settings": asdict(settings),
        "n_labels": n_labels,
        "n_failed_labels": n_failed,
        "verdicts": {str(verdict): counts[str(verdict)] for verdict in Verdict if counts[str(verdict)]},
        "classes_left_out": left_out,
        "classes": [class_facts(audit, number, directory) for number, audit in enumerate(classes, 1)],
        "probes": [class_facts(audit, number, directory) for number, audit in enumerate(probes, 1)],
    }


def read_certificate(path: Path) -> dict[str, Any]:
    """A certificate of this version or an earlier one, with the keys of this one.

    What an earlier version did not write is None, such as the place of a label on the path, or 0, such as how often a later
    trajectory showed a class: it had none.

    Raises
    ------
    DataError
        There is none, it is damaged, or a later version wrote it.
    """
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number, version = int(facts["format"]), facts["versions"]["trepid"]
        if number > FORMAT:
            raise DataError(
                f"{path}: certificate of format {number}, written by trepid {version}; this version reads formats 1 to {FORMAT}. "
                "Use that version, or repeat the audit with this one: its labels are not computed again"
            )
        for entry in (*facts["classes"], *facts["probes"]):
            entry.setdefault("n_seen_later", 0)
            for label in entry["labels"]:
                label.setdefault("path_A", None)
        return facts
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = " ".join(str(error).split())
        raise DataError(
            f"{path}: no certificate of an audit, or a damaged one ({type(error).__name__}: {what}); repeat the 'trepid audit' "
            "command: it writes the certificate again from the labels that are there"
        ) from error


def class_facts(audit: EventClassAudit, number: int, directory: Path) -> dict[str, Any]:
    """One class as plain types."""
    judgement, criteria = audit.judgement, audit.criteria
    return {
        "number": number,
        "class": audit.seen.name,
        "n_seen": audit.seen.n_seen,
        "n_seen_later": audit.seen.n_later,
        "verdict": str(judgement.verdict),
        "reason": judgement.reason,
        "labels_needed": judgement.labels_needed,
        "ways": criteria.ways,
        "horizon_eV": criteria.budget,
        "tolerance_eV": criteria.tolerance,
        "model_barrier_eV": audit.model_barrier,
        "model_bar_eV": None if audit.model_bar is None else criteria.z * audit.model_bar,
        "model_end_eV": audit.model_end,
        **_estimate("reference_barrier", audit.reference_barrier, criteria),
        **_estimate("reference_end", audit.reference_end, criteria),
        **_estimate("difference", judgement.difference, criteria),
        "rate_factor": judgement.rate_factor,
        "rate_factor_low": judgement.rate_factor_low,
        "rate_factor_high": judgement.rate_factor_high,
        "expected_events": None
        if audit.reference_barrier is None
        else criteria.expected_events(audit.reference_barrier.value),
        "start": str(audit.start),
        "end": str(audit.end),
        "path": None if audit.band is None else _band(audit.band),
        "corrected_path": None if audit.corrected is None else _band(audit.corrected),
        "labels": _labels(audit, directory),
        "problems": list(audit.problems),
    }


def _estimate(name: str, estimate: Estimate | None, criteria: Criteria) -> dict[str, float | None]:
    return {
        f"{name}_eV": None if estimate is None else estimate.value,
        f"{name}_bar_eV": None if estimate is None else criteria.z * estimate.std,
    }


def _band(band: Band) -> dict[str, Any]:
    return {
        "lengths_A": [float(length) for length in band.lengths],
        "energies_eV": [float(energy) for energy in band.energies - band.energies[0]],
        "converged": band.converged,
        "max_force_eV_per_A": band.max_force,
        "n_steps": band.n_steps,
    }


def _labels(audit: EventClassAudit, directory: Path) -> list[dict[str, Any]]:
    """Labels side by side with what the model announced, energies above the start of the event."""
    starts = [point for point in audit.points if point.wanted.role is Role.START]
    return [_label(point, starts[0], audit, directory) for point in audit.points] if starts else []


def _label(point: LabelledPoint, zero: LabelledPoint, audit: EventClassAudit, directory: Path) -> dict[str, Any]:
    model = point.wanted.prediction.energy - zero.wanted.prediction.energy
    reference = point.energy - zero.energy
    bar = None if point.wanted.bar_eV is None or point is zero else audit.criteria.z * point.wanted.bar_eV
    uncertainty = point.wanted.prediction.forces_uncertainty
    path = directory / label_file(point.number)
    return {
        "number": point.number,
        "file": label_file(point.number),
        "sha256": file_sha256(path) if path.exists() else None,
        "role": str(point.wanted.role),
        "path_A": None if audit.band is None else _place(point, audit.band),
        "model_eV": model,
        "announced_bar_eV": bar,
        "reference_eV": reference,
        "error_eV": model - reference,
        "force_error_eV_per_A": point.force_error,
        "force_uncertainty_eV_per_A": None if uncertainty is None else float(np.sqrt(np.mean(uncertainty**2))),
        "largest_force_eV_per_A": float(np.linalg.norm(point.forces, axis=1).max()),
    }


def _place(point: LabelledPoint, band: Band) -> float:
    """Length of the model's path where it is nearest to a label, A."""
    lengths = band.lengths
    places = np.array([image.positions.ravel() for image in band.images])
    best, found = np.inf, 0.0
    for k in range(len(places) - 1):
        way = places[k + 1] - places[k]
        part = float(np.clip((point.wanted.atoms.positions.ravel() - places[k]) @ way / (way @ way), 0.0, 1.0))
        distance = float(np.linalg.norm(point.wanted.atoms.positions.ravel() - places[k] - part * way))
        if distance < best:
            best, found = distance, float(lengths[k] + part * (lengths[k + 1] - lengths[k]))
    return found


def summary(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A certificate in a few lines: name and text."""
    rows = [
        (
            "labels",
            f"{facts['n_labels']}" + (f", {facts['n_failed_labels']} failed" if facts["n_failed_labels"] else ""),
        )
    ]
    for kind in ("classes", "probes"):
        for entry in facts[kind]:
            rows.append((str(entry["verdict"]), f"{entry['class']}: {entry['reason']}{still_needed(facts, entry)}"))
    if facts["classes_left_out"]:
        rows.append(("left out", f"{facts['classes_left_out']} rarer classes; --classes judges more"))
    return rows


def still_needed(facts: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """The end of the reason of an undecided class: how many labels are expected to decide it, or that no number is known."""
    if entry["verdict"] != str(Verdict.UNDECIDED):
        return ""
    needed = entry["labels_needed"]
    if entry["path"] is None:
        return "; labels do not decide that"
    if needed is None:
        return "; how many labels decide it cannot be known"
    budget = facts["settings"]["labels_per_class"] + needed
    return f"; about {needed} label{'s' * (needed != 1)} more: the same command with --labels {budget}"


def finite(value: Any) -> Any:
    """The same with None for numbers that are not finite, which JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
