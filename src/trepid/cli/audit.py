"""`trepid audit`: are the rare events of a trajectory real? Verdicts by a handful of reference labels."""

from __future__ import annotations

import json as jsonlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, free_path, say
from trepid.errors import ConfigError, ExitCode, UntrustedFileError

if TYPE_CHECKING:
    from trepid.audit.model import AuditedModel, PotentialModel
    from trepid.audit.run import AuditPlan, AuditResult
    from trepid.config import AnyCampaign
    from trepid.config.reference import ReferenceSettings
    from trepid.report.plan import LabelTime

AGAIN = "again"
"""Folder of the second audit, in the directory of the first."""


def command(
    trajectory: Annotated[
        Path,
        typer.Argument(
            metavar="TRAJECTORY", help="Trajectory of the model, of any format of 'trepid events'.", show_default=False
        ),
    ],
    reference: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Campaign (YAML), or a file with its section reference alone.", show_default=False
        ),
    ],
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            "-T",
            metavar="K",
            min=0,
            help="Of the trajectory, K: that of the rates.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Model (.trepid), or a file with a section reference (YAML).", show_default=False
        ),
    ] = None,
    calculator: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="ASE calculator instead of a model file, by name or module:Class."),
    ] = None,
    parameters: Annotated[
        str | None, typer.Option(metavar="JSON", help="Its parameters, such as '{\"epsilon\": 0.1}'.")
    ] = None,
    structure: Annotated[
        Path | None,
        typer.Option(metavar="CRYSTAL", help="Relaxed crystal; the structure of the campaign if absent."),
    ] = None,
    interval: options.Interval = None,
    species: options.DumpSpecies = None,
    dwell: Annotated[
        float, typer.Option(metavar="FS", min=0, help="How long an atom must stay to have arrived at a site, fs.")
    ] = 200.0,
    factor: Annotated[float, typer.Option(min=1, help="Rates within this factor are right.")] = 3.0,
    horizon: Annotated[
        float | None,
        typer.Option(
            metavar="NS",
            min=0,
            help="Length of the simulations that the model is made for, ns: of the campaign, or 10, if absent.",
        ),
    ] = None,
    labels: Annotated[int, typer.Option(min=3, help="Labels per class at most.")] = 8,
    frames: Annotated[int, typer.Option(min=0, help="Frames of the trajectory among them, at most.")] = 3,
    classes: Annotated[
        int | None, typer.Option(min=0, help="Classes that are judged, the most frequent first; all if absent.")
    ] = None,
    probes: Annotated[
        bool, typer.Option("--probes/--no-probes", help="Whether ways that the trajectory does not show are judged.")
    ] = True,
    later: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Trajectory of another model, such as a later one of a campaign: classes that it alone shows are judged too, "
            "overlooked or not.",
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=3, help="Images of a path between its ends.")] = 5,
    retries: Annotated[int, typer.Option(min=0, help="Further attempts at a label that failed.")] = 1,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Run directory.")] = Path("audit"),
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be judged and labelled; run nothing.")] = False,
    learn: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Then train the model on the labels too, write it here, and judge it again, in DIR/again.",
        ),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run what the model file names: a calculator, a worker script.")
    ] = False,
    figures: options.Figures = False,
    json: options.Json = False,
) -> None:
    """Judge every class of events in a trajectory: genuine, miscaptured, hallucinated or undecided; and what is overlooked.

    For each class the ends are relaxed on the model and a path is found between them; a few frames on it are labelled by the
    reference, until the verdict is certain. The same command resumes an audit.

    Into DIR: certificate.json, audit.html, the labels, and a ledger. Exit code 5: no class could be labelled. 130: interrupted.

    JSON keys: those of certificate.json, and directory.
    """
    from trepid.audit.band import BandSettings
    from trepid.audit.certificate import Inputs, summary
    from trepid.audit.event_class import AuditSettings
    from trepid.audit.run import DEFAULT_TIME_NS, AuditTask, plan_audit, run_audit
    from trepid.config import RoundsCampaign
    from trepid.config.engine_file import load_engine
    from trepid.data.formula import formula_of
    from trepid.events.analysis import EventSettings, analyse_events
    from trepid.events.detection import DetectionSettings
    from trepid.execution import InlineExecutor, make_executor
    from trepid.reference import make_reference

    if (model is None) == (calculator is None):
        raise ConfigError("give the model with --model FILE, or an ASE calculator with --calculator NAME; one of them")
    if temperature <= 0:
        raise ConfigError(f"--temperature {temperature:g}: the temperature must be positive")
    if learn is not None and (model is None or model.suffix in (".yaml", ".yml")):
        raise ConfigError("--learn trains a model of trepid (.trepid): this one has no training")
    if learn is not None:
        free_path(learn, inputs=[trajectory, reference])
    method, campaign = load_engine(reference)
    crystal = _crystal(structure, campaign, reference)
    if horizon is None:
        horizon = campaign.acquisition.horizon_ns if isinstance(campaign, RoundsCampaign) else DEFAULT_TIME_NS
    task = AuditTask(
        temperature_K=temperature,
        time_ns=horizon,
        factor=factor,
        most_classes=classes,
        probes=probes,
        retries=retries,
        settings=AuditSettings(labels, frames, band=BandSettings(n_images=images)),
    )
    task.criteria  # noqa: B018 a value out of range shows before the trajectory is read
    analysis, other = (
        None
        if path is None
        else analyse_events(
            path,
            crystal,
            interval_fs=interval,
            species=species or (),
            settings=EventSettings(detection=DetectionSettings(dwell_fs=dwell)),
        )
        for path in (trajectory, later)
    )
    assert analysis is not None
    for remark in analysis.remarks:
        say(f"note: {remark}")
    found = plan_audit(analysis, task, later=other)
    if plan:
        _model(model, calculator, parameters, trust=trust)[0].close()
        _show_plan(found, _label_time(campaign, output, analysis.sites.n_atoms), json=json)
        return
    with ExitStack() as closing:
        audited, described = _model(model, calculator, parameters, trust=trust)
        closing.callback(audited.close)
        source = make_reference(method.engine, directory=output / "reference", isolated=True, **method.arguments())
        closing.callback(source.close)
        executor = InlineExecutor()
        if isinstance(campaign, RoundsCampaign):
            executor = make_executor(campaign.execution, directory=output)  # type: ignore[assignment]
        closing.enter_context(executor)
        facts = {**Inputs.file(trajectory), "n_frames": analysis.n_frames, "duration_ps": analysis.duration_ps}
        inputs = Inputs(
            trajectory=facts if later is None else {**facts, "later": Inputs.file(later)},
            model=described,
            reference=dict(source.describe()),
            crystal={"formula": formula_of(analysis.crystal.atoms), "n_atoms": len(analysis.crystal.atoms)},
        )
        result = run_audit(
            analysis, audited, source, task, output, inputs=inputs, later=other, executor=executor, tell=say
        )
        if learn is not None and not result.interrupted:
            first, learnt = result, _learn(learn, audited, result)
            _show(first, summary(first.facts), figures=figures, quiet=json)
            say(f"the model that has learnt, {learn}, is judged again:")
            inputs = replace(inputs, model={**Inputs.file(learn), **learnt.describe()})
            result = run_audit(
                analysis, learnt, source, task, output / AGAIN, inputs=inputs, later=other, executor=executor, tell=say
            )
    _finish(result, summary(result.facts), figures=figures, json=json)


def _show(result: AuditResult, rows: list[tuple[str, str]], *, figures: bool, quiet: bool) -> None:
    """Write the page, and show the verdicts: among the messages where standard output is for JSON."""
    from trepid.report.audit import write_audit_page
    from trepid.report.page import FIGURES, figure_files

    if not result.interrupted:
        with figure_files(result.directory / FIGURES if figures else None):
            page = write_audit_page(result.directory)
        say(f"page: {page}")
    if quiet:
        for name, text in rows:
            say(f"{name}: {text}")
    else:
        emit_table(rows)


def _finish(result: AuditResult, rows: list[tuple[str, str]], *, figures: bool, json: bool) -> None:
    _show(result, rows if not json else [], figures=figures, quiet=json)
    if json:
        emit_json({**result.facts, "directory": str(result.directory)})
    if result.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if result.facts["n_failed_labels"] and not result.facts["n_labels"]:
        raise typer.Exit(ExitCode.LABELS)


def _crystal(structure: Path | None, campaign: Any, reference: Path) -> Any:
    from trepid.campaign.context import crystal_of
    from trepid.data.frames import read_structure

    if structure is not None:
        return read_structure(structure)
    if campaign is None:
        raise ConfigError(f"{reference} names no structure; give the relaxed crystal with --structure")
    return crystal_of(campaign)


def _model(
    model: Path | None, calculator: str | None, parameters: str | None, *, trust: bool
) -> tuple[AuditedModel, dict[str, Any]]:
    """The model, and how the certificate calls it."""
    from trepid.audit.certificate import Inputs
    from trepid.audit.model import EngineModel, PotentialModel
    from trepid.config.engine_file import load_engine
    from trepid.config.reference import ASECalculatorSettings
    from trepid.potentials import load_potential

    if model is not None and parameters is not None:
        raise ConfigError("--parameters are those of --calculator; a model file has its own")
    if model is None:
        settings: ReferenceSettings = ASECalculatorSettings(
            engine="ase", calculator=str(calculator), parameters=_parameters(parameters)
        )
        audited: AuditedModel = EngineModel(_engine(settings))
        return audited, dict(audited.describe())
    if model.suffix in (".yaml", ".yml"):
        from trepid.reference import ENGINES

        settings, _ = load_engine(model)
        code = ENGINES[settings.engine].code_in(settings.arguments())
        if code is not None and not trust:
            raise UntrustedFileError(f"{model} names {code}; --trust runs it")
        audited = EngineModel(_engine(settings))
    else:
        audited = PotentialModel(load_potential(model, trust=trust))
    return audited, {**Inputs.file(model), **audited.describe()}


def _engine(settings: ReferenceSettings) -> Any:
    """The method in this process: a path takes thousands of energies."""
    from trepid.reference import make_reference

    arguments = {key: value for key, value in settings.arguments().items() if key != "timeout_s"}
    return make_reference(settings.engine, **arguments)


def _parameters(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        found = jsonlib.loads(text)
    except ValueError as error:
        raise ConfigError(f"--parameters {text!r} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"--parameters {text!r} is no JSON object, such as '{{\"epsilon\": 0.1}}'")
    return found


def _label_time(campaign: AnyCampaign | None, output: Path, n_atoms: int) -> LabelTime | None:
    """Time of a label of so many atoms, by an earlier start of this audit or the run of the campaign; None: not measured."""
    from trepid.report.plan import measured_label_time
    from trepid.runs.directory import RunPaths

    runs = [RunPaths(output)] + ([] if campaign is None else [RunPaths(campaign.output.directory)])
    times = (measured_label_time(run, n_atoms=n_atoms) for run in runs if run.begun)
    return next((time for time in times if time is not None), None)


def _show_plan(plan: AuditPlan, time: LabelTime | None, *, json: bool) -> None:
    from trepid.audit.run import seen_text
    from trepid.quantities import duration

    rows = [("classes", len(plan.classes)), ("left out", plan.left_out), ("probes", len(plan.probes))]
    if json:
        emit_json(
            {
                "classes": [{"class": c.seen.name, "n_seen": c.seen.n_seen, "ways": c.ways} for c in plan.classes],
                "probes": [{"class": c.seen.name, "n_seen_later": c.seen.n_later, "ways": c.ways} for c in plan.probes],
                "classes_left_out": plan.left_out,
                "most_labels": plan.most_labels,
                "seconds_per_label": None if time is None else time.seconds.expected,
                "most_seconds": None if time is None else time.of_labels(plan.most_labels),
            }
        )
        return
    most = str(plan.most_labels)
    if time is None:
        took = "not known: no label of this campaign or audit was measured (trepid check --time-label measures one)"
    else:
        most_time, each = duration(time.of_labels(plan.most_labels)), duration(time.seconds.expected)
        took = f"at most {most_time}, one after the other; {each} per label, {time.source}"
    emit_table(
        [(name, str(number)) for name, number in rows] + [("labels at most", most), ("time of the labels", took)]
    )
    for candidate in (*plan.classes, *plan.probes):
        emit(f"  {candidate.seen.name}: {seen_text(candidate.seen)}, {candidate.ways} ways")


def _learn(path: Path, audited: AuditedModel, result: AuditResult) -> PotentialModel:
    """The model trained on the labels of an audit, too, and written to a file."""
    from trepid.audit.model import PotentialModel
    from trepid.runs.label_files import LabelStore

    assert isinstance(audited, PotentialModel)
    frames = [label.atoms for label in LabelStore(result.directory / "labels").read_all()]
    say(f"training the model on {len(frames)} labels more")
    audited.potential.update(frames)
    audited.potential.optimize()
    audited.potential.save(path)
    return PotentialModel(audited.potential)
