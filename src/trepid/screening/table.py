"""The table of a screening: one row per material, as CSV and JSON, and the figures over all of them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trepid.screening.record import Bars, MaterialRecord, Status

COLUMNS = (
    "material",
    "formula",
    "status",
    "spacegroup",
    "atoms",
    "volume_ratio",
    "frequency_min_THz",
    "imaginary_modes",
    "held_below_THz",
    "temperature_K",
    "sigma_a_one_shot",
    "sigma_a_one_shot_std",
    "sigma_a",
    "sigma_a_std_frames",
    "sigma_a_std_model",
    "sigma_a_half_95",
    "event_classes",
    "open_classes",
    "verdicts",
    "naive_faults",
    "coverage_95",
    "coverage_components",
    "force_mae_meV_per_A",
    "force_rms_meV_per_A",
    "labels",
    "relaxation_steps",
    "failed_labels",
    "rounds",
    "md_ps",
    "failure",
    "message",
    "seconds",
)
"""Of screening.csv."""


def row(record: MaterialRecord) -> dict[str, Any]:
    """A material as a row; None where a value is not known."""
    one, value = record.one_shot, record.sigma_a
    verdicts = Counter(each.verdict for each in record.classes)
    return dict(
        zip(
            COLUMNS,
            (
                record.name,
                record.formula,
                record.status.value,
                record.spacegroup,
                record.n_atoms or None,
                record.volume_ratio,
                record.frequency_min_THz,
                record.n_imaginary if record.frequency_min_THz is not None else None,
                record.held_below_THz,
                record.temperature_K,
                *_two(one),
                None if value is None else value.value,
                None if value is None else value.frames,
                None if value is None else value.model,
                None if value is None else value.half_width,
                len(record.classes) if record.rounds else None,
                record.open_classes if record.rounds else None,
                "; ".join(f"{n} {name}" for name, n in sorted(verdicts.items())),
                "; ".join(record.naive_fault),
                record.coverage.share,
                record.coverage.n_components,
                record.forces_mae_meV_per_A,
                record.forces_rms_meV_per_A,
                record.n_labels,
                record.n_relaxation,
                record.n_failed,
                len(record.rounds),
                record.time_ps,
                None if record.failure is None else record.failure.value,
                record.message,
                record.seconds,
            ),
            strict=True,
        )
    )


def _two(value: Bars | None) -> tuple[float | None, float | None]:
    return (None, None) if value is None else (value.value, value.frames)


def csv_text(records: Sequence[MaterialRecord]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: _short(value) for name, value in row(record).items()})
    return text.getvalue()


def _short(value: Any) -> Any:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


@dataclass(frozen=True)
class Totals:
    """Figures over all materials.

    Attributes
    ----------
    n_materials : int
    status : mapping of str to int
        Materials by status.
    failures : mapping of str to int
        Failed materials by code.
    n_labels, n_relaxation, n_failed_labels : int
    with_events : int
        Materials whose walks show an event.
    verdicts : mapping of str to int
        Latest verdicts of all classes.
    naive : mapping of str to int
        Materials whose naive model overlooks, miscaptures or hallucinates; one may do more than one of them.
    n_naive_wrong : int
        Materials whose naive model does any of them.
    coverage_frames, coverage_components : int
    coverage : float or None
        Pooled over all materials, bars as announced.
    coverage_corrected : float or None
        With the running factors of earlier labels of the same material, mean over materials by components.
    coverage_90_to_99 : int
        Materials whose own coverage is between 0.90 and 0.99.
    coverage_above_99, coverage_below_90 : int
    sigma_known : int
        Materials with sigma^A known to the wanted width and no open class.
    seconds : float
        Wall time of all materials, one after the other.
    """

    n_materials: int
    status: dict[str, int]
    failures: dict[str, int]
    n_labels: int
    n_relaxation: int
    n_failed_labels: int
    with_events: int
    verdicts: dict[str, int]
    naive: dict[str, int]
    n_naive_wrong: int
    coverage_frames: int
    coverage_components: int
    coverage: float | None
    coverage_corrected: float | None
    coverage_90_to_99: int
    coverage_above_99: int
    coverage_below_90: int
    sigma_known: int
    seconds: float


def totals(records: Sequence[MaterialRecord], tolerance: float) -> Totals:
    """Figures over all materials.

    Parameters
    ----------
    records : sequence of MaterialRecord
    tolerance : float
        Wanted half width of the 95 % interval of sigma^A.
    """
    covered = [record.coverage for record in records if record.coverage.n_components]
    components = sum(each.n_components for each in covered)
    corrected = [(each.corrected, each.n_components) for each in covered if each.corrected is not None]
    shares = [each.inside / each.n_components for each in covered]
    naive = Counter(fault for record in records for fault in record.naive_fault)
    return Totals(
        n_materials=len(records),
        status=dict(Counter(record.status.value for record in records)),
        failures=dict(Counter(record.failure.value for record in records if record.failure is not None)),
        n_labels=sum(record.n_labels for record in records),
        n_relaxation=sum(record.n_relaxation for record in records),
        n_failed_labels=sum(record.n_failed for record in records),
        with_events=sum(any(each.n_seen for each in record.classes) for record in records),
        verdicts=dict(Counter(each.verdict for record in records for each in record.classes)),
        naive={name: naive[name] for name in ("overlooked", "miscaptured", "hallucinated")},
        n_naive_wrong=sum(bool(record.naive_fault) for record in records),
        coverage_frames=sum(each.n_frames for each in covered),
        coverage_components=components,
        coverage=sum(each.inside for each in covered) / components if components else None,
        coverage_corrected=sum(c * n for c, n in corrected) / sum(n for _, n in corrected) if corrected else None,
        coverage_90_to_99=sum(0.90 <= share <= 0.99 for share in shares),
        coverage_above_99=sum(share > 0.99 for share in shares),
        coverage_below_90=sum(share < 0.90 for share in shares),
        sigma_known=sum(settled(record, tolerance) for record in records),
        seconds=sum(record.seconds for record in records),
    )


def settled(record: MaterialRecord, tolerance: float) -> bool:
    """Whether sigma^A is known within the tolerance and no event class is open."""
    if record.status in (Status.FAILED, Status.WAITING) or record.sigma_a is None or record.open_classes:
        return False
    half = record.sigma_a.half_width
    return half is not None and half <= tolerance


def json_text(records: Sequence[MaterialRecord], tolerance: float, versions: dict[str, str]) -> str:
    """Everything as JSON: totals, versions and the full records."""
    data = {
        "totals": asdict(totals(records, tolerance)),
        "versions": versions,
        "materials": [asdict(record) for record in records],
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"
