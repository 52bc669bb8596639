"""Verdicts against known truths: audits of event classes whose barrier in the reference is found by its own band.

Every case (`_audit_cases.py`) has a truth (a classical potential), a model, and an event; the audit gets at most eight labels of
the truth. The known verdict is that of `trepid.audit.judge` on the truth itself: the model's ends relaxed by it until they are at
rest, and a band of five images between them, or, where the end is held, everything else relaxed by it.

Groups: settings were chosen on the cases of `choose`, figures are quoted for those of `quote`, which have other materials, lattice
constants and stiffnesses. `networks` has committees of neural networks (SO3krates, see `trepid doctor`), `overlooked` models from
which an event of the truth is removed.

    python benchmarks/audits.py run choose          # goes on where it was
    python benchmarks/audits.py run quote
    python benchmarks/audits.py run networks
    python benchmarks/audits.py run overlooked
    python benchmarks/audits.py table
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _common import RESULTS, Report  # first: it sets one thread, before BLAS is loaded

# isort: split

from _audit_cases import Case, choose, network_cases, overlooked, quote
from _audit_estimators import estimates
from _audit_scenes import KEYS, RUNS, Scene
from _ground_truth import append_result

from trepid.audit import (
    Answer,
    AuditSettings,
    Criteria,
    Estimate,
    EventClassAudit,
    SeenClass,
    State,
    Verdict,
    Wanted,
    audit_class,
    judge,
    judge_probe,
)
from trepid.audit.band import BandSettings, find_band, interpolated
from trepid.audit.states import Relaxation, settle
from trepid.audit.surface import BAD_BAND_EV_PER_A
from trepid.data.frames import labels_of
from trepid.reference import Reference
from trepid.reference.as_calculator import ReferenceCalculator

ROWS = RESULTS / "audits_rows.json"
HORIZON_NS = 10.0
EXACT = Relaxation(0.005, 1500)
FINE = BandSettings(n_images=5, fmax_eV_per_A=0.02, max_steps=1000)


@dataclass(frozen=True)
class Known:
    """What the truth says: verdict, barrier, and whether the end exists."""

    verdict: Verdict
    barrier: float | None
    end: State


class Labels:
    """Labels of the truth, counted."""

    def __init__(self, reference: Reference) -> None:
        self.reference, self.n = reference, 0

    def __call__(self, wanted: Sequence[Wanted]) -> list[Answer]:
        """One after the other."""
        answers = []
        for want in wanted:
            self.n += 1
            answers.append(
                Answer(self.n, labels_of(self.reference.label(want.atoms, keys=KEYS), KEYS, where="a label"))
            )
        return answers


def known(case: Case, scene: Scene, audit: EventClassAudit, criteria: Criteria) -> Known | None:
    """The verdict on the truth itself, from the ends of the model relaxed by it and a band between them.

    None where its own band does not converge either: then nothing is known.
    """
    assert audit.band is not None
    assert audit.model_barrier is not None
    potential = case.system.potential()
    calculator = ReferenceCalculator(potential, labels=False)
    motion, sites = scene.motion, scene.sites
    held = audit.end is State.HELD
    start = settle(audit.band.images[0], calculator, sites, motion.before, motion.atoms, relaxation=EXACT)
    end = settle(
        audit.band.images[-1],
        calculator,
        sites,
        motion.after,
        motion.atoms,
        held=motion.atoms if held else (),
        relaxation=EXACT,
    )
    if not end.stays:
        found = Known(Verdict.HALLUCINATED, None, State.ABSENT)
        if case.probe:
            found = Known(Verdict.IMPOSSIBLE, None, State.ABSENT)
    else:
        band = find_band(interpolated(start.bare(), end.bare(), FINE.n_images), calculator, FINE)
        if not band.converged and band.max_force > BAD_BAND_EV_PER_A:
            potential.close()
            return None
        state = State.HELD if held else State.EXISTS
        if not held and band.back < 0.002:
            state = State.ABSENT
        function = judge_probe if case.probe else judge
        verdict = function(audit.model_barrier, Estimate(band.barrier), criteria, end=state).verdict
        found = Known(verdict, band.barrier, state)
    potential.close()
    return found


def audited(case: Case, settings: AuditSettings, *, compare: bool) -> dict[str, Any]:
    """One case: the audit and what is known; other estimators of the barrier too, where they are compared."""
    began = time.process_time()
    scene = case.scene()
    criteria = Criteria(case.system.temperature_K, HORIZON_NS, ways=scene.ways)
    model = case.model(scene)
    trained = time.process_time()
    potential = case.system.potential()
    labels = Labels(potential)
    audit = audit_class(
        SeenClass(case.name, scene.motion, n_seen=0 if case.probe else 1),
        model,
        labels,
        crystal=scene.crystal,
        sites=scene.sites,
        criteria=criteria,
        settings=settings,
        tell=lambda line: print("  ", line, flush=True),
    )
    seconds = time.process_time() - trained
    record: dict[str, Any] = {
        "name": case.name,
        "verdict": str(audit.verdict),
        "reason": audit.judgement.reason,
        "labels": labels.n,
        "model_barrier": audit.model_barrier,
        "model_bar": audit.model_bar,
        "reference_barrier": None if audit.reference_barrier is None else audit.reference_barrier.value,
        "reference_std": None if audit.reference_barrier is None else audit.reference_barrier.std,
        "end": str(audit.end),
        "tolerance": criteria.tolerance,
        "budget": criteria.budget,
        "cpu_s": seconds,
        "training_s": trained - began,
    }
    if audit.band is not None and audit.model_barrier is not None and audit.points:
        truth = known(case, scene, audit, criteria)
        record |= {"known": None, "known_barrier": None, "known_end": None}
        if truth is not None:
            record |= {"known": str(truth.verdict), "known_barrier": truth.barrier, "known_end": str(truth.end)}
        if compare:
            record["estimates"] = estimates(audit, model, case.system, scene)
    else:
        record |= {"known": None, "known_barrier": None, "known_end": None}
    potential.close()
    return record


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {
    "choose": choose,
    "quote": quote,
    "networks": network_cases,
    "overlooked": overlooked,
}


def run(group: str, only: str | None, *, again: bool, compare: bool) -> None:
    settings = AuditSettings(frames_per_class=0)
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else []
    done = {row["name"] for row in rows if row["group"] == group}
    for case in GROUPS[group]():
        if (only is not None and not any(part in case.name for part in only.split("|"))) or (
            case.name in done and not again
        ):
            continue
        print(case.name, flush=True)
        try:
            record = audited(case, settings, compare=compare or group == "choose")
        except Exception:  # one case that fails must not end the others
            traceback.print_exc()
            record = {"name": case.name, "verdict": "error", "known": None, "reason": traceback.format_exc(limit=1)}
        record["group"] = group
        append_result(ROWS, record)
        print(
            f"   -> {record['verdict']}, known {record['known']}: {record.get('reference_barrier')} known "
            f"{record.get('known_barrier')}, {record.get('labels')} labels, {record.get('cpu_s', 0):.0f} s",
            flush=True,
        )


def table() -> None:
    """Precision and recall, and every case."""
    report = Report("audits")
    rows = json.loads(ROWS.read_text())
    latest = {(row["group"], row["name"]): row for row in rows}
    for group in GROUPS:
        mine = [row for (g, _), row in latest.items() if g == group and row["known"] is not None]
        if not mine:
            continue
        report.table(
            f"{group}: {len(mine)} audits", [_figures(mine, str(v)) for v in Verdict if _figures(mine, str(v))]
        )
        report.table(f"{group}: all", [_summary(mine)])
        if estimators := _estimators(mine):
            report.table(f"{group}: estimators of the reference's barrier", estimators)
        report.table(
            f"{group}: cases",
            [
                {
                    k: row.get(k)
                    for k in (
                        "name",
                        "known",
                        "verdict",
                        "known_barrier",
                        "reference_barrier",
                        "model_barrier",
                        "labels",
                        "cpu_s",
                    )
                }
                for row in mine
            ],
        )
    report.write()


def _figures(rows: Sequence[dict[str, Any]], verdict: str) -> dict[str, Any]:
    said = [row for row in rows if row["verdict"] == verdict]
    true = [row for row in rows if row["known"] == verdict]
    both = [row for row in said if row["known"] == verdict]
    decided = [row for row in true if row["verdict"] != "undecided"]
    if not said and not true:
        return {}
    return {
        "verdict": verdict,
        "known": len(true),
        "said": len(said),
        "right": len(both),
        "precision": len(both) / len(said) if said else None,
        "recall": len(both) / len(true) if true else None,
        "recall of decided": len(both) / len(decided) if decided else None,
    }


def _estimators(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Errors of every estimator on the cases that have a barrier, ends that are held apart."""
    table = []
    for held in (False, True):
        mine = [
            r for r in rows if r.get("estimates") and r["known_barrier"] is not None and (r["end"] == "held") == held
        ]
        for name in mine[0]["estimates"] if mine else ():
            errors = [r["estimates"][name] - r["known_barrier"] for r in mine if r["estimates"][name] is not None]
            table.append(
                {
                    "end": "held" if held else "minimum",
                    "estimator": name,
                    "cases": len(errors),
                    "none": len(mine) - len(errors),
                    "rms error eV": float(np.sqrt(np.mean(np.square(errors)))) if errors else None,
                    "largest eV": float(np.max(np.abs(errors))) if errors else None,
                }
            )
    return table


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    swapped = [r for r in rows if {r["verdict"], r["known"]} == {"genuine", "hallucinated"}]
    barriers = [r for r in rows if r["known_barrier"] is not None and r["reference_barrier"] is not None]
    errors = np.array([r["reference_barrier"] - r["known_barrier"] for r in barriers])
    bars = np.array([1.96 * r["reference_std"] for r in barriers])
    fixed = [r for r in rows if "repaired" in r["name"] and r["known_barrier"] is not None]
    own = np.array([r["model_barrier"] - r["known_barrier"] for r in fixed])
    own_bars = np.array([1.96 * (r["model_bar"] or 0.0) for r in fixed])
    return {
        "audits": len(rows),
        "undecided": sum(r["verdict"] == "undecided" for r in rows) / len(rows),
        "genuine/hallucinated swapped": len(swapped),
        "labels, most": max(r["labels"] for r in rows),
        "labels, mean": float(np.mean([r["labels"] for r in rows])),
        "barrier estimated, rms error eV": float(np.sqrt(np.mean(errors**2))) if len(errors) else None,
        "its 95 % bar covers": float(np.mean(np.abs(errors) <= bars + 0.005)) if len(errors) else None,
        "repaired: within 0.05 eV": float(np.mean(np.abs(own) <= 0.05)) if len(own) else None,
        "repaired: announced bar covers": float(np.mean(np.abs(own) <= own_bars + 0.005)) if len(own) else None,
        "cpu s, mean": float(np.mean([r["cpu_s"] for r in rows])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("run", "table"))
    parser.add_argument("group", nargs="?", choices=tuple(GROUPS))
    parser.add_argument("--only", help="cases whose name contains this, or one of several with | between them")
    parser.add_argument("--again", action="store_true", help="also cases that are done")
    parser.add_argument("--estimators", action="store_true", help="compare estimators of the barrier, as in choose")
    options = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    if options.part == "table":
        table()
    elif options.group is None:
        parser.error(f"run needs a group: {', '.join(GROUPS)}")
    else:
        run(options.group, options.only, again=options.again, compare=options.estimators)


if __name__ == "__main__":
    main()
