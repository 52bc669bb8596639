"""`trepid status`: progress of a learning run, or of a screening."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, say


def command(run: options.RunDirectory, json: options.Json = False) -> None:
    """Show the progress of a learning run: labels, simulated time, failures, error bars, reason of its end.

    Of a screening: materials by status, budget, what is being computed, and the materials of largest risk.
    The terms of the output (misfit, left out in turn, stratum, running factor, typical force error) are in docs/glossary.md.
    """
    from trepid.acquisition.conformal import coverage_by_stratum, running_coverage
    from trepid.evaluation import summarise
    from trepid.runs.reading import read_run
    from trepid.screening.status import is_screening, screening_status
    from trepid.verdict import verdict_of_run

    if is_screening(run):
        status = screening_status(run)
        if json:
            emit_json(status.as_dict())
        else:
            emit_table(status.rows())
        return
    record = read_run(run)
    comparison = record.comparison()
    figures = None if comparison is None else summarise(comparison)
    scored = record.scored()
    running = running_coverage(scored)
    state = record.state()
    stop_reason = None if record.stop is None else record.stop.reason.value
    training = record.trainings[-1] if record.trainings else None
    uncertainty = record.trace["forces_uncertainty_max_eV_per_A"]
    mode = record.mode
    last = record.rounds[-1] if record.rounds else None
    rounds: dict[str, Any] = {}
    if mode == "rounds":
        rounds = {
            "n_rounds": max(len(record.rounds) - 1, 0),
            "n_walks_last_round": None if last is None else len(last.walks),
            "n_worthy_last_round": None if last is None else last.n_worthy,
            "forces_mae_new_labels_eV_per_A": None if last is None or last.new is None else last.new.forces_mae,
            "forces_mae_test_eV_per_A": None if last is None or last.test is None else last.test.forces_mae,
            "sigma_a": {} if last is None else {f"{value.temperature_K:g}": value.value for value in last.sigma_a},
            "seconds_walking": record.seconds_walking,
        }
    facts: dict[str, Any] = {
        "run": str(record.directory),
        "mode": mode,
        **rounds,
        "state": state.text,
        "running": state.running,
        "pid": None if state.holder is None else state.holder.pid,
        "host": None if state.holder is None else state.holder.host,
        "stop_reason": stop_reason,
        "n_labels": len(record.labels),
        "n_labels_on_call": len(record.called),
        "n_failures": len(record.failures),
        "time_ps": record.time_ps,
        "last_forces_uncertainty_max_eV_per_A": float(uncertainty[-1]) if uncertainty.size else None,
        "noise_forces_eV_per_A": None if training is None else training.noise_forces,
        "forces_mae_before_training_eV_per_A": None if figures is None else figures.forces_mae,
        "forces_coverage_95_before_training": None if figures is None else figures.forces_coverage_95,
        "forces_coverage_95_running_factor": None if running is None else running.corrected,
        "interval_factors": [
            {
                "stratum": row.stratum,
                "species": row.species,
                "n_labels": row.coverage.n_frames,
                "coverage_95_announced": row.coverage.announced,
                "coverage_95_running_factor": row.coverage.corrected,
                **row.factor.as_dict(),
            }
            for row in coverage_by_stratum(scored)
        ],
        "seconds_labelling": record.seconds_labelling,
        "seconds_training": record.seconds_training,
        "changed_files": list(record.changes),
        "model": str(record.paths.model) if record.paths.model.is_file() else None,
    }
    facts["first_look"] = None if record.first_look is None else asdict(record.first_look)
    verdict = verdict_of_run(record)
    facts["verdict"] = verdict.as_dict()
    for change in record.changes:
        say(f"warning: {change}")
    if json:
        emit_json(facts)
        return
    rows = [
        ("state", state.text),
        *([("rounds", f"{facts['n_rounds']} complete, not counting the start")] if rounds else []),
        (
            "labels",
            f"{facts['n_labels']} ({facts['n_labels_on_call']} after the start, {facts['n_failures']} failed attempts)",
        ),
        ("molecular dynamics", f"{record.time_ps:.3f} ps"),
        (
            "time",
            f"{record.seconds_labelling:.1f} s labelling, {record.seconds_training:.1f} s training"
            + (f", {record.seconds_walking:.1f} s trajectories" if rounds else ""),
        ),
    ]
    if training is not None and training.noise_forces:
        rows.append(
            (
                "residual noise of forces",
                f"{1000 * training.noise_forces:.2g} meV/A per component, the constant part of every predicted error",
            )
        )
    if figures is not None:
        rows.append(("force MAE before training", f"{1000 * figures.forces_mae:.2f} meV/A"))
    if running is not None:
        rows.append(
            (
                "inside the 95 % interval",
                f"{100 * running.announced:.1f} % of force components, {100 * running.corrected:.1f} % with running factors",
            )
        )
    for row in facts["interval_factors"]:
        rows.append((f"conformal factor, {row['stratum']}, {row['species']}", _factor(row)))
    if rounds and last is not None and last.test is not None:
        rows.append(("force MAE on test frames", f"{1000 * last.test.forces_mae:.2f} meV/A"))
    if rounds and last is not None and last.sigma_a:
        rows.append(("sigma^A", ", ".join(f"{value.value:.3f} at {value.temperature_K:g} K" for value in last.sigma_a)))
    rows += [("crystal as given", finding.short) for finding in record.crystal_findings]
    if facts["model"] is not None:
        rows.append(("model", facts["model"]))
    emit_table(rows)
    emit("\n".join(verdict.sentences()))


def _factor(row: dict[str, Any]) -> str:
    """A factor in words: what it rests on, too."""
    if row["basis"] == "none":
        n = row["n_labels"]
        return f"none yet: {n} label{'s' * (n != 1)}, two are needed"
    return f"{row['factor']:.2f} from {row['n_frames']} labels{_OF[row['basis']]}"


_OF = {
    "stratum": "",
    "parent": " of this element in all events: this class has too few",
    "species": " of this element in all strata: this one has too few",
    "all": " of all elements: this one has too few",
}
"""Whose labels a factor rests on (`trepid.acquisition.conformal.Basis`)."""
