"""An audit as a run: directory, ledger, labels, verdicts, certificate; a kill loses nothing, and the same command goes on.

A run directory holds audit.yaml (settings as used), versions.json, ledger.jsonl, labels/, classes/01/path.extxyz (the path of
the model of every class; probes/ for ways that the trajectory does not show), certificate.json and audit.html.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from trepid.acquisition.viability import ATTEMPT_FREQUENCY_HZ
from trepid.audit.certificate import Inputs, certificate, finite
from trepid.audit.classes import audit_class
from trepid.audit.event_class import AuditSettings, ClassFiles, EventClassAudit, SeenClass
from trepid.audit.judgement import DEFAULT_FACTOR, Criteria, Verdict
from trepid.audit.labels import AuditLabels
from trepid.audit.model import AuditedModel
from trepid.audit.seen import Candidate, probes, seen_classes, shown_later
from trepid.data.arrays import structure_digest
from trepid.data.atomic import write_text_atomic
from trepid.data.formula import formula_of
from trepid.data.progress_file import ProgressFile
from trepid.dynamics.interrupt import Interrupted, Interruptible
from trepid.errors import ConfigError, DataError
from trepid.events.analysis import EventAnalysis
from trepid.execution import InlineExecutor
from trepid.labelling.labeller import Labeller
from trepid.reference.base import Reference
from trepid.runs.checksums import text_sha256
from trepid.runs.directory import RunDirectory
from trepid.runs.integrity import changes
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import Judged, Resume, SettingsUsed, Start, Stop, StopReason
from trepid.runs.versions import versions_now

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

CERTIFICATE = "certificate.json"
DEFAULT_TIME_NS = 10.0


@dataclass(frozen=True)
class AuditTask:
    """What is to be judged, and how.

    Attributes
    ----------
    temperature_K : float
        Of the trajectory: that of the rates.
    time_ns : float
        Length of the simulations that the model is made for, ns: the horizon.
    factor : float
        Of the rates.
    attempt_frequency_Hz : float
    most_classes : int or None
        Classes that are judged, the most frequent first.
    probes : bool
        Whether ways that the trajectory does not show are judged too.
    retries : int
        Further attempts at a label that failed.
    settings : AuditSettings
    """

    temperature_K: float
    time_ns: float = DEFAULT_TIME_NS
    factor: float = DEFAULT_FACTOR
    attempt_frequency_Hz: float = ATTEMPT_FREQUENCY_HZ
    most_classes: int | None = None
    probes: bool = True
    retries: int = 1
    settings: AuditSettings = field(default_factory=AuditSettings)

    @property
    def criteria(self) -> Criteria:
        """For one way."""
        return Criteria(
            self.temperature_K, self.time_ns, factor=self.factor, attempt_frequency_Hz=self.attempt_frequency_Hz
        )


@dataclass(frozen=True, eq=False)
class AuditPlan:
    """What an audit will do.

    Attributes
    ----------
    classes, probes : tuple of Candidate
    left_out : int
        Classes beyond `most_classes`.
    most_labels : int
        Labels at most.
    """

    classes: tuple[Candidate, ...]
    probes: tuple[Candidate, ...]
    left_out: int
    most_labels: int


def plan_audit(analysis: EventAnalysis, task: AuditTask, *, later: EventAnalysis | None = None) -> AuditPlan:
    """Classes and probes of an audit, and the most it may cost.

    Parameters
    ----------
    analysis : EventAnalysis
        Of the trajectory of the model.
    task : AuditTask
    later : EventAnalysis, optional
        Of the trajectory of another model, such as a later one of a campaign: the classes that it alone shows are probes.
    """
    everything = seen_classes(analysis)
    chosen = everything[: task.most_classes]
    others = [] if later is None else shown_later(analysis, later, everything)
    others += probes(analysis.sites, [*everything, *others]) if task.probes else []
    per_class = task.settings.labels_per_class
    return AuditPlan(
        tuple(chosen), tuple(others), len(everything) - len(chosen), per_class * (len(chosen) + len(others))
    )


class AuditDirectory(RunDirectory):
    """The run directory of an audit."""

    settings_name: ClassVar[str] = "audit.yaml"

    @property
    def certificate(self) -> Path:
        """The certificate."""
        return self.path / CERTIFICATE

    def files_of(self, kind: str, number: int) -> ClassFiles:
        """Files of a class or a probe, by its number from 1."""
        return ClassFiles(self.path / kind / f"{number:02d}")


@dataclass(frozen=True, eq=False)
class AuditResult:
    """A finished audit.

    Attributes
    ----------
    classes, probes : tuple of EventClassAudit
    facts : mapping
        The certificate.
    directory : Path
    interrupted : bool
        A signal came: what is there is on disk, and the same command goes on.
    """

    classes: tuple[EventClassAudit, ...]
    probes: tuple[EventClassAudit, ...]
    facts: dict[str, Any]
    directory: Path
    interrupted: bool = False


def run_audit(
    analysis: EventAnalysis,
    model: AuditedModel,
    reference: Reference,
    task: AuditTask,
    directory: str | Path,
    *,
    inputs: Inputs,
    later: EventAnalysis | None = None,
    executor: Executor | None = None,
    tell: Callable[[str], None] = logger.info,
) -> AuditResult:
    """Run or resume an audit.

    Parameters
    ----------
    analysis : EventAnalysis
        Of the trajectory (`trepid.events.analysis.analyse_events`).
    model : AuditedModel
    reference : Reference
    task : AuditTask
    directory : path
        Run directory; one with an audit of the same inputs is continued.
    inputs : Inputs
        For the certificate, and to know an audit again.
    later : EventAnalysis, optional
        Of the trajectory of another model; see `plan_audit`.
    executor : Executor, optional
        Computes labels; by default this process.
    tell : callable
        Gets progress in lines.

    Raises
    ------
    ConfigError
        The directory holds something else or an audit of other inputs, or the reference cannot label such a crystal.
    DataError
        A label of the run was changed or lost.
    """
    crystal = analysis.crystal.atoms
    reference.check(crystal)
    task.criteria  # noqa: B018 a value out of range shows here
    plan = plan_audit(analysis, task, later=later)
    with ExitStack() as closing:
        home = AuditDirectory(Path(directory))
        closing.callback(home.release)
        ledger = Ledger(home.ledger)
        closing.callback(ledger.close)
        _claim(home, ledger, crystal, reference, _settings_text(task, inputs), tell)
        interrupt = closing.enter_context(Interruptible())
        progress = closing.enter_context(ProgressFile(home.path, job="audit", unit="event classes", stage="paths"))
        run = _Run(
            analysis,
            model,
            task,
            plan,
            home,
            ledger,
            interrupt,
            reference,
            executor or InlineExecutor(),
            inputs,
            tell,
            progress,
        )
        return run.go()


def _settings_text(task: AuditTask, inputs: Inputs) -> str:
    return yaml.safe_dump(
        {"inputs": json.loads(json.dumps(finite(asdict(inputs)), default=str)), "task": asdict(task)}, sort_keys=False
    )


_MAY_CHANGE = ("retries", "most_classes", "probes", "settings")
"""Of the task: labels and paths do not depend on them."""


def _claim(
    home: AuditDirectory,
    ledger: Ledger,
    crystal: Atoms,
    reference: Reference,
    text: str,
    tell: Callable[[str], None],
) -> None:
    """Write settings and first entry of a new audit, or check that the one in the directory is of the same inputs."""
    if ledger.recovered:
        tell(ledger.recovered)
    if not ledger.all(Start):
        home.write(text, versions_now())
        ledger.append(
            Start(
                n_atoms=len(crystal),
                formula=formula_of(crystal),
                structure_sha256=structure_digest(crystal),
                reference=dict(reference.describe()),
                settings_sha256=text_sha256(text),
            )
        )
        return
    lost = [change for change in changes(home, ledger.entries) if change.path != home.settings]
    if lost:
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        raise DataError(f"{lost[0]}{more}; put it back as it was, or audit into another directory")
    old, new = _comparable(home.settings.read_text(encoding="utf-8")), _comparable(text)
    for section in ("inputs", "task"):
        for key in new[section]:
            if old.get(section, {}).get(key) != new[section][key]:
                raise ConfigError(
                    f"{home.path} holds an audit with another {key}: {_short(old.get(section, {}).get(key))}, not "
                    f"{_short(new[section][key])}; give another directory with --output"
                )
    if text != home.settings.read_text(encoding="utf-8"):
        ledger.append(SettingsUsed(text_sha256(text)))
        home.write(text, versions_now())
    n_labels = len(LabelStore(home.labels).numbers())
    ledger.append(Resume(None, None, n_labels, f"{n_labels} labels, {len(ledger.all(Judged))} verdicts", []))
    tell(f"resuming: {n_labels} labels are there")


def _comparable(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text)
    task = {key: value for key, value in found.get("task", {}).items() if key not in _MAY_CHANGE}
    band = {key: found.get("task", {}).get("settings", {}).get(key) for key in ("relaxation", "band")}
    return {"inputs": found.get("inputs", {}), "task": task | band}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(eq=False)
class _Run:
    analysis: EventAnalysis
    model: AuditedModel
    task: AuditTask
    plan: AuditPlan
    home: AuditDirectory
    ledger: Ledger
    interrupt: Interruptible
    reference: Reference
    executor: Executor
    inputs: Inputs
    tell: Callable[[str], None]
    progress: ProgressFile

    def go(self) -> AuditResult:
        store = LabelStore(self.home.labels)
        self.labeller = Labeller(
            self.reference,
            self.executor,
            store,
            self.ledger,
            self.task.retries,
            lambda: self.interrupt.requested,
            self.tell,
            self.progress,
        )
        done: dict[str, list[EventClassAudit]] = {"classes": [], "probes": []}
        stopped = False
        try:
            for kind, candidates in (("classes", self.plan.classes), ("probes", self.plan.probes)):
                for number, candidate in enumerate(candidates, 1):
                    n_done = len(done["classes"]) + len(done["probes"])
                    self.progress.whole(n_done, len(self.plan.classes) + len(self.plan.probes))
                    done[kind].append(self._one(kind, number, candidate, len(candidates)))
        except Interrupted:
            stopped = True
            self.progress.interrupted()
        n_done = len(done["classes"]) + len(done["probes"])
        self.progress.whole(n_done, len(self.plan.classes) + len(self.plan.probes))
        n_failed = len(list(self.home.labels.glob("*.failed.extxyz"))) if self.home.labels.is_dir() else 0
        facts = finite(
            certificate(
                self.inputs,
                self.task.settings,
                self.task.criteria,
                done["classes"],
                done["probes"],
                directory=self.home.path,
                versions=versions_now(),
                n_labels=len(store.numbers()),
                n_failed=n_failed,
                left_out=self.plan.left_out,
            )
        )
        if not stopped:
            write_text_atomic(self.home.certificate, json.dumps(facts, indent=2) + "\n")
        reason = StopReason.INTERRUPTED if stopped else StopReason.FINISHED
        self.ledger.append(Stop(reason, None, None, len(store.numbers())))
        return AuditResult(tuple(done["classes"]), tuple(done["probes"]), facts, self.home.path, stopped)

    def _one(self, kind: str, number: int, candidate: Candidate, n: int) -> EventClassAudit:
        what = "class" if kind == "classes" else "probe"
        self.tell(f"{what} {number} of {n}: {candidate.seen.name}, {seen_text(candidate.seen)}")
        self._stop_if_interrupted()
        audit = audit_class(
            candidate.seen,
            self.model,
            AuditLabels(self.labeller, number, self.task.temperature_K),
            crystal=self.analysis.crystal.atoms,
            sites=self.analysis.sites,
            criteria=replace(self.task.criteria, ways=candidate.ways),
            settings=self.task.settings,
            files=self.home.files_of(kind, number),
            tell=lambda line: self.tell(f"  {line}"),
            interrupted=self._stop_if_interrupted,
        )
        entry = Judged(
            number,
            candidate.seen.name,
            kind == "probes",
            str(audit.verdict),
            audit.judgement.reason,
            len(audit.points),
        )
        if entry not in self.ledger.all(Judged):
            self.ledger.append(entry)
        return audit

    def _stop_if_interrupted(self) -> None:
        if self.interrupt.requested:
            raise Interrupted


def seen_text(seen: SeenClass) -> str:
    """How often, in words."""
    if seen.n_seen:
        return f"seen {seen.n_seen} times"
    return f"seen {seen.n_later} times in the later trajectory alone" if seen.n_later else "a way that was not seen"


def undecided(audits: Sequence[EventClassAudit]) -> list[EventClassAudit]:
    """Classes that need more labels."""
    return [audit for audit in audits if audit.verdict is Verdict.UNDECIDED]
