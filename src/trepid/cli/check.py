"""`trepid check`: check a campaign file, labelled frames or a model before it is used."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.choices import NARROW_A
from trepid.cli import options
from trepid.cli.labels import inspected, label_keys, refused_by_fit
from trepid.cli.output import emit, emit_json, say
from trepid.errors import ConfigError, DataError, ExitCode, TrepidError
from trepid.quantities import duration

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.config import Campaign, RoundsCampaign, RoundSettings
    from trepid.data.frames import LabelKeys
    from trepid.potentials.bayesian.force_field import BayesianForceField


@dataclass
class Verdict:
    """What was found in one file: `facts` in order, `warnings` that may be harmless, `problems` to correct."""

    kind: str
    facts: dict[str, object] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def raise_problem(self) -> None:
        """Raise the first problem, if there is one, as DataError."""
        if self.problems:
            raise DataError(self.problems[0])


def command(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Campaign (YAML), labelled frames (extxyz) or model.", show_default=False),
    ],
    energy_key: options.EnergyKey = options.ENERGY_KEY,
    forces_key: options.ForcesKey = options.FORCES_KEY,
    stress_key: options.StressKey = options.STRESS_KEY,
    virial_key: options.VirialKey = None,
    strict: Annotated[bool, typer.Option("--strict", help="Count a warning as a problem.")] = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Import and run what a campaign names, such as a calculator of your own; without it nothing of it runs.",
        ),
    ] = False,
    time_label: Annotated[
        bool,
        typer.Option("--time-label", help="Of a campaign: label one displaced crystal now, and say what it will cost."),
    ] = False,
    json: options.Json = False,
) -> None:
    """Check a file: a campaign before it is run, frames before they are trained on, a model before it is used.

    For a campaign: every setting, the structure, and whether the reference can label it. For frames: missing and
    invalid labels, duplicates, atoms too close. Exit code 1 where a problem was found.
    """
    if not file.exists():
        raise DataError(f"{file}: no such file; give a campaign (YAML), labelled frames (extxyz) or a model")
    if file.suffix in (".yaml", ".yml"):
        verdict = look_over_campaign(file, trust=trust)
        if time_label and not verdict.problems:
            _add_cost(file, verdict, trust=trust)
    elif time_label:
        raise ConfigError(f"--time-label is for a campaign (YAML), not for {file}")
    elif file.suffix == ".trepid":
        verdict = _model(file, trust=trust)
    else:
        verdict = _frames(file, label_keys(energy_key, forces_key, stress_key, virial_key))
    if strict:
        verdict.problems, verdict.warnings = verdict.problems + verdict.warnings, []
    if json:
        emit_json(
            {
                "file": str(file),
                "kind": verdict.kind,
                "ok": not verdict.problems,
                "facts": verdict.facts,
                "warnings": verdict.warnings,
                "problems": verdict.problems,
            }
        )
    else:
        emit(f"{file}: {verdict.kind}")
        for name, value in verdict.facts.items():
            emit(f"  {name}: {value}")
    for warning in verdict.warnings:
        say(f"warning: {warning}")
    for problem in verdict.problems:
        say(f"problem: {problem}")
    if verdict.problems:
        raise typer.Exit(ExitCode.PROBLEMS)
    if not json:
        emit("  OK")


_NOT_TESTED = "not tested"


def look_over_campaign(path: Path, *, trust: bool) -> Verdict:
    """Read a campaign, build its crystal, and test whether the reference can label it.

    A campaign can name code: a calculator of the user, commands of LAMMPS. That is imported and run with `trust` only.
    """
    from trepid.campaign.context import code_in, crystal_of, look_over, reference_of
    from trepid.config import RoundsCampaign, doubts, load_campaign
    from trepid.config.engine_file import is_engine_file, load_engine
    from trepid.data.formula import formula_of
    from trepid.data.geometry import atoms_far_apart
    from trepid.data.supercells import periodicity
    from trepid.potentials.placement import placement_of_campaign

    try:
        campaign = load_campaign(path)
    except ConfigError:
        if not is_engine_file(path):
            raise
        return Verdict(
            "engine file",
            facts={
                "reference": load_engine(path)[0].engine,
                "for": "--model, --reference and --check of other verbs; a campaign has more sections ('trepid init')",
                _NOT_TESTED: "whether it can label, which depends on the crystal",
            },
        )
    crystal = crystal_of(campaign)
    verdict = Verdict(
        "campaign",
        facts={
            "structure": f"{formula_of(crystal, reduced=True)}, {len(crystal)} atoms, "
            f"{periodicity(crystal)}{_width(crystal, campaign)}",
            "reference": campaign.reference.engine,
            "mode": campaign.mode,
            "model runs": placement_of_campaign(campaign).text(),
            **(_rounds(campaign) if isinstance(campaign, RoundsCampaign) else _on_the_fly(campaign)),
            "run directory": campaign.output.directory,
        },
    )
    try:
        code = code_in(campaign)
        if code is not None and not trust:
            verdict.facts[_NOT_TESTED] = f"{code}: --trust runs it, as 'trepid learn' does"
        else:
            with closing(reference_of(campaign)) as reference:
                reference.check(crystal)
            if code is not None:
                verdict.facts[_NOT_TESTED] = "whether the code starts and converges: --time-label computes one label"
    except TrepidError as error:
        verdict.problems.append(str(error))
    try:
        look_over(campaign, crystal)
    except TrepidError as error:
        verdict.problems.append(str(error))
    far = atoms_far_apart(crystal)
    verdict.warnings += [*([f"{campaign.structure.file}: {far}"] if far else []), *doubts(campaign, crystal)]
    if isinstance(campaign, RoundsCampaign):
        _look_over_rounds(campaign, crystal, verdict)
    verdict.problems = list(dict.fromkeys(verdict.problems))
    return verdict


def _add_cost(path: Path, verdict: Verdict, *, trust: bool) -> None:
    """Time one label, and forecast the campaign from it."""
    from trepid.campaign.context import code_in
    from trepid.campaign.costs import measure_cost
    from trepid.cli.plan import cost_rows
    from trepid.config import RoundsCampaign, load_campaign
    from trepid.report.plan import plan_campaign

    campaign = load_campaign(path)
    code = code_in(campaign)
    if code is not None and not trust:
        raise ConfigError(f"--time-label runs {code}: give --trust too")
    say("labelling one displaced crystal ...")
    cost = measure_cost(campaign)
    plan = plan_campaign(path, label_seconds=cost.label_s, label_source="measured on one displaced crystal")
    verdict.facts.pop(_NOT_TESTED, None)
    verdict.facts["time of a label"] = f"{duration(cost.label_s)} ({cost.n_atoms} atoms, measured)"
    verdict.facts |= dict(cost_rows(plan))
    if cost.md_s is not None:
        each = " a round" if isinstance(campaign, RoundsCampaign) else ""
        verdict.facts["time of the molecular dynamics"] = (
            f"about {duration(cost.md_s)}{each}, without labels and training"
        )


def _width(crystal: Atoms, campaign: Campaign | RoundsCampaign) -> str:
    """Width of the cell, with a remark where it is narrow for the reference."""
    from trepid.data.supercells import width_A

    width = width_A(crystal)
    if not math.isfinite(width):
        return ""
    narrow = campaign.reference.engine == "tblite" and width < NARROW_A
    remark = f" (narrow for tblite, which has one k point: {NARROW_A:g} A or more are better)" if narrow else ""
    return f", {width:.1f} A wide{remark}"


def _on_the_fly(campaign: Campaign) -> dict[str, object]:
    dynamics, learning = campaign.dynamics, campaign.learning
    budget = "no limit (learning.max_labels)" if learning.max_labels is None else f"{learning.max_labels} at most"
    return {
        "labels": f"{budget}, {learning.initial_frames} of them before any MD",
        "dynamics": f"{dynamics.n_steps} steps of {dynamics.timestep_fs:g} fs, {dynamics.thermostat.value}, in "
        f"{dynamics.engine.program}",
    }


def _rounds(campaign: RoundsCampaign) -> dict[str, object]:
    w, acquisition, rounds = campaign.walkers, campaign.acquisition, campaign.rounds
    potential = campaign.potential
    model = (
        f"committee of {potential.members} {potential.backend}"
        if potential.kind == "committee"
        else "Bayesian force field"
    )
    temperatures = ", ".join(f"{temperature:g}" for temperature in w.temperatures_K)
    budget = "" if rounds.max_labels is None else f", {rounds.max_labels} labels at most"
    hours = "" if rounds.max_hours is None else f", {rounds.max_hours:g} h at most"
    execution = campaign.execution
    return {
        "potential": model,
        "start": campaign.start.kind,
        "walkers": f"{w.n_walkers} a round, {w.n_steps} steps of {w.timestep_fs:g} fs each, at {temperatures} K, in "
        f"{w.engine.program}",
        "acquisition": f"{acquisition.kind}, {acquisition.labels_per_round} labels a round{_audits(rounds)}",
        "rounds": f"{rounds.max_rounds} at most{budget}{hours}",
        "execution": f"{execution.workers} on this machine" if execution.parsl is None else f"Parsl: {execution.parsl}",
    }


def _audits(rounds: RoundSettings) -> str:
    audit = rounds.audit
    if audit is None:
        return ""
    return f", and up to {audit.classes_per_round} event classes judged with {audit.labels_per_class} labels each"


def _look_over_rounds(campaign: RoundsCampaign, crystal: Atoms, verdict: Verdict) -> None:
    """Find what would fail only after hours: a missing backend, test frames without labels, no phonopy."""
    from trepid.campaign.context import potentials_of
    from trepid.campaign.start import require_phonopy
    from trepid.data.findings import located
    from trepid.data.labelled import read_labelled

    try:
        potentials_of(campaign, crystal).create()
        if campaign.start.kind == "harmonic":
            require_phonopy("start.kind harmonic")
        if campaign.rounds.stop is not None:
            require_phonopy("rounds.stop")
        if campaign.rounds.test_frames is not None:
            test = read_labelled(campaign.rounds.test_frames)
            verdict.facts["test frames"] = (
                f"{len(test.frames)} in {campaign.rounds.test_frames} ({test.report.summary()})"
            )
            verdict.warnings += [located(finding, test.numbers) for finding in test.findings]
        if campaign.start.kind == "frames":
            start = read_labelled(campaign.start.file, require=())
            verdict.facts["start frames"] = f"{len(start.frames)} in {campaign.start.file} ({start.report.summary()})"
            verdict.warnings += [located(finding, start.numbers) for finding in start.findings]
    except TrepidError as error:
        verdict.problems.append(str(error))


def _frames(path: Path, keys: LabelKeys) -> Verdict:
    from trepid.data.findings import Level, located, shortened
    from trepid.data.labelled import read_labelled

    labelled = read_labelled(path, keys=keys, require=())
    frames, report = labelled.frames, labelled.report
    say(report.line())
    sizes = sorted({len(frame) for frame in frames})
    verdict = Verdict("labelled frames")
    verdict.facts = {
        "frames": len(frames),
        "atoms per frame": sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}",
        "species": " ".join(sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()})),
        "labels": ", ".join(f"{found.kind} in {found.n_frames}" for found in report.kinds),
    }
    if not any(found.n_frames for found in report.kinds):
        verdict.problems.append(
            f"no frame has an energy, forces or stress: a model cannot be trained on {path}. Of a crystal to start from, 'trepid "
            f"init {path}' writes a campaign. {report.summary()}"
        )
        return verdict
    problems: list[str] = []
    warnings: list[str] = []
    for finding in [*refused_by_fit(frames, keys), *labelled.findings, *inspected(labelled, keys).findings]:
        texts = problems if finding.level is Level.ERROR else warnings
        text = located(finding, labelled.numbers)
        if text not in texts:
            texts.append(text)
    verdict.problems, verdict.warnings = shortened(problems), shortened(warnings)
    return verdict


def _model(path: Path, *, trust: bool) -> Verdict:
    from trepid.potentials.committee.committee_file import is_committee_file

    return _committee(path, trust=trust) if is_committee_file(path) else _force_field(path)


def _force_field(path: Path) -> Verdict:
    from trepid.potentials.bayesian.examination import examine
    from trepid.potentials.placement import placement_of_force_field

    found = examine(path)
    model = found.model
    basis, hyper = model.basis, model.hyperparameter_values
    kinds = model.statistics.kinds.items()
    verdict = Verdict(
        "model",
        facts={
            "class": type(model).__name__,
            "species": " ".join(model.species),
            "trained on": f"{model.n_frames} frames",
            "labels": ", ".join(f"{s.count} {kind.value}" for kind, s in kinds if s.count),
            "runs": placement_of_force_field().text(),
            "cutoffs": f"{basis.pair_cutoff:g} A (pairs), {basis.triplet_cutoff:g} A (triplets)",
            "sizes": f"n_pair {basis.n_pair}, n_radial {basis.n_radial}, l_max {basis.l_max}, "
            f"{basis.layout.size} coefficients, {model.live_rank} live directions",
            "residual noise of forces": f"{1000 * model.noise.forces:.3g} meV/A, in every predicted error",
            **_calibration(model),
            "hyperparameters": ", ".join(f"{k} {v:.3g}" for k, v in hyper.items() if isinstance(v, float)),
            "written by": f"trepid {found.written_by}" if found.written_by else "an earlier version of trepid",
            "check sum": f"right (SHA-256 {found.check_sum})" if found.check_sum else "none",
            "tables": "those of the coefficients" if not found.table_problems else "not those of the coefficients",
            "coefficients": f"those of the statistics, forces within {1000 * found.force_difference:.1g} meV/A"
            if not found.coefficient_problems
            else "not those of the statistics",
        },
    )
    verdict.problems += [*found.table_problems, *found.coefficient_problems]
    return verdict


def _calibration(model: BayesianForceField) -> dict[str, object]:
    """What `trepid calibrate` did to the bars."""
    found = model.calibration
    if found is None:
        return {}
    factors = ", ".join(f"{kind.value} {factor:.3g}" for kind, factor in found.factors.items())
    return {"error bars": f"calibrated on {found.n_frames} frames: times {factors}"}


def _committee(path: Path, *, trust: bool) -> Verdict:
    from trepid.potentials.committee import Committee
    from trepid.potentials.committee.committee_file import read_committee
    from trepid.potentials.committee.settings import Programs
    from trepid.potentials.placement import placement_of_committee

    contents = read_committee(path)
    assert contents.settings.model is not None
    programs = Programs.of(contents.settings.model)
    # Nothing runs before a prediction.
    committee = Committee.load(path, trust=True)
    verdict = Verdict(
        "model",
        facts={
            "class": type(committee).__name__,
            "members": f"{committee.n_members} ({contents.settings.backend.value})",
            "species": " ".join(committee.species),
            "trained on": f"{committee.n_frames} frames",
            "residual noise of forces": f"{1000 * committee.noise.forces:.3g} meV/A, in every predicted error",
            "written by": f"trepid {contents.written_by}" if contents.written_by else "an earlier version of trepid",
            "check sum": "right (SHA-256 of every entry)" if contents.has_sums else "right (CRC-32 of the zip)",
            "runs": placement_of_committee(contents.settings).text(),
            "names to run": str(programs) or "nothing",
        },
    )
    if programs != Programs() and not trust:
        verdict.warnings.append(
            f"it names code to run: {programs}. Nothing was run; other verbs run it with --trust only"
        )
    return verdict
