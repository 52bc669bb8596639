"""Is a model good enough, and what would make it better? One judgement for fit, learn, status, evaluate and the report.

The scale is the root mean square of the labelled force components: an error of 50 meV/A is small in a melt and hopeless in a
crystal at 100 K. Limits on the error over it:

| grade | error | what it is good for |
|---|---|---|
| good | up to 5 % | phonon frequencies to about 3 % (they go with the square root of force constants), ensemble averages |
| fair | up to 8 % | structure, dynamics and free-energy differences that are not small; compare with fresh labels |
| poor | above | exploring, not measuring: the model is missing physics that the labels have |

The error is that on frames the model has not seen: every training frame left out in turn, or test frames, or the frames of a
campaign before the model was trained on them. A part of it, the misfit, is not explained by the uncertainty of the coefficients: it
is what the functional form cannot describe, and noise of the labels. More labels do not reduce it, a larger basis or longer cutoffs
do.

An error on training frames is no test: they are named and not graded. A crystal that the reference does not hold at rest is told
beside the grade: a model can follow a reference well that does not describe the crystal.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from trepid.choices import Speed
from trepid.config import Campaign
from trepid.data.frames import read_structure
from trepid.data.supercells import wide_repeats
from trepid.errors import DataError, TrepidError
from trepid.evaluation import Evaluation, summarise
from trepid.potentials.base import Potential, SizeSearch
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.size_search import FEWEST_FRAMES
from trepid.quantities import force, share
from trepid.runs.first_look import CrystalFinding, Matter
from trepid.runs.label_files import LabelledFrame
from trepid.runs.ledger_events import StopReason
from trepid.runs.reading import RunRecord, read_run

logger = logging.getLogger(__name__)

GOOD, FAIR = 0.05, 0.08
"""Largest error over the rms force that is good, and fair."""
MISFIT_SHARE = 0.5
"""From this share of the squared error on, the misfit is what limits a model."""
FEW_DOMINATE = 2.0
"""An error this many times the usual one is that of a few forces."""
NARROW, WIDE = 0.85, 0.999
"""Shares of force components inside the 95 % interval below and above which the intervals are called wrong."""
FEW_FRAMES = 4
"""With fewer frames there is no judgement."""
MUCH_WORSE = 2.0
"""An error on the frames asked for that is this many times the one of the grade is told with the grade."""
MOST_WORST = 3
"""Labels that may make most of an error to be named for it."""
MOST_NAMED = 6
"""Label files named in one sentence."""


class Grade(str, Enum):
    """How good a model is."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    UNKNOWN = "no judgement"


class Basis(str, Enum):
    """The frames that an error is of."""

    LEFT_OUT = "every training frame left out in turn"
    TEST = "on the test frames"
    BEFORE = "on new frames before training on them"


@dataclass(frozen=True)
class Asked:
    """The frames that a campaign asked labels for, predicted before it was trained on them: error and rms force, eV/A."""

    error: float
    forces: float
    n_frames: int

    @property
    def error_share(self) -> float:
        """Error over the rms force; NaN without forces."""
        return self.error / self.forces if self.forces > 0 else math.nan


@dataclass(frozen=True)
class Verdict:
    """A judgement of a model.

    Attributes
    ----------
    basis : Basis
        What the error is of.
    n_frames : int
        Number of those frames.
    error : float
        Root mean square error of a force component, eV/A; NaN where there is none.
    forces : float
        Root mean square of the labelled force components, eV/A.
    misfit : float or None
        What the functional form cannot describe, eV/A per component, from the training frames left out in turn; None where unknown.
    usual : float or None
        The error without the few largest (`LeftOutError.usual`), eV/A; None where unknown.
    coverage_95 : float or None
        Share of the force components inside the 95 % interval, 0 to 1.
    scale : float or None
        Factor on the intervals that would fit the errors.
    asked : Asked or None
        The frames that a campaign asked labels for.
    believed : tuple of str
        Files of the labels that were doubted, computed again and believed, each with the reason of the doubt.
    labels : str
        The label files of a run, for the advice; empty where the labels are the user's.
    search : SizeSearch or None
        The search by which its labels chose the sizes of the model, which is not advised again; None: no search.
    searchable : bool
        Whether its training frames are enough for one.
    worst : tuple of str
        Labels that make most of the squared error, each with its kind: "label 3 (initial, strained by up to 4 %)"; empty where
        unknown, or where they are many.
    worst_files : tuple of str
        Their files.
    n_known : int
        Frames of a test set that are training frames; they are not among `n_frames`.
    crystal : tuple of CrystalFinding
        What the first model of a campaign found wrong with the crystal as given.
    n_first : int
        Labels of that model.
    simulated_ps, planned_ps : float or None
        MD of a campaign on the fly that its labelling budget ended, and of all its stages; else None.
    model, structure, campaign : str
        Files for the commands of the advice; the words in capitals where they are not known.
    repeat : three ints
        Repetitions of the structure that MD with this model needs.
    """

    basis: Basis
    n_frames: int
    error: float
    forces: float
    misfit: float | None = None
    usual: float | None = None
    coverage_95: float | None = None
    scale: float | None = None
    asked: Asked | None = None
    believed: tuple[str, ...] = ()
    labels: str = ""
    search: SizeSearch | None = None
    searchable: bool = True
    worst: tuple[str, ...] = ()
    worst_files: tuple[str, ...] = ()
    n_known: int = 0
    crystal: tuple[CrystalFinding, ...] = ()
    n_first: int = 0
    simulated_ps: float | None = None
    planned_ps: float | None = None
    model: str = "MODEL"
    structure: str = "STRUCTURE"
    campaign: str = "CAMPAIGN"
    repeat: tuple[int, int, int] = (1, 1, 1)

    @property
    def error_share(self) -> float:
        """Error over the rms force."""
        return self.error / self.forces if self.forces > 0 else math.nan

    @property
    def misfit_share(self) -> float | None:
        """Misfit over the rms force."""
        return None if self.misfit is None or not self.forces > 0 else self.misfit / self.forces

    @property
    def grade(self) -> Grade:
        """Good, fair or poor; no judgement without an error on enough frames."""
        value = self.error_share
        if not math.isfinite(value) or self.n_frames < FEW_FRAMES:
            return Grade.UNKNOWN
        return Grade.GOOD if value <= GOOD else Grade.FAIR if value <= FAIR else Grade.POOR

    @property
    def few_dominate(self) -> bool:
        """Whether the error is that of a few forces, such as those of colliding atoms."""
        return self.usual is not None and self.error > FEW_DOMINATE * self.usual

    @property
    def misfit_limits(self) -> bool:
        """Whether the functional form limits the model, not the number of labels."""
        return self.misfit is not None and not self.few_dominate and self.misfit**2 >= MISFIT_SHARE * self.error**2

    def sentences(self) -> list[str]:
        """The judgement in words: the grade, what makes the error, the crystal, intervals, doubted labels, what to do next."""
        return [*self.findings(), f"Next: {self.advice()}"]

    def findings(self) -> list[str]:
        """The sentences without what to do next."""
        return [*self._judgement(), *self._end(), *self._crystal(), *self._asked(), *self._intervals(), *self._doubts()]

    def text(self) -> str:
        """All sentences in one line."""
        return " ".join(self.sentences())

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "grade": self.grade.value,
            "error_eV_per_A": self.error,
            "error_share": self.error_share,
            "rms_force_eV_per_A": self.forces,
            "misfit_share": self.misfit_share,
            "basis": self.basis.value,
            "n_frames": self.n_frames,
            "coverage_95": self.coverage_95,
            "n_doubted_labels_believed": len(self.believed),
            "crystal": [finding.short for finding in self.crystal],
            "text": self.text(),
        }

    def _judgement(self) -> list[str]:
        if self.n_known:
            n = self.n_known + self.n_frames
            named = f"all {n}" if not self.n_frames else f"{self.n_known} of {n}"
            named = "the frame is a training frame" if n == 1 else f"{named} frames are training frames"
            if not self.n_frames:
                return [f"No judgement: {named}: this is no test. The errors say how the model fits what it has seen."]
            rest = replace(self, n_known=0)._judgement()
            left = "the other one is" if self.n_frames == 1 else f"the other {self.n_frames} are"
            return [f"{named[0].upper()}{named[1:]} and no test; {left} judged here. {rest[0]}", *rest[1:]]
        if not math.isfinite(self.error_share):
            return ["No judgement: the model has not been compared with a label yet."]
        error = f"force error {force(self.error)}, {share(self.error_share)} of the rms force of {force(self.forces)}"
        error += f" ({self.basis.value})"
        if self.grade is Grade.UNKNOWN:
            return [
                f"No judgement from {self.n_frames} frame{'s' * (self.n_frames != 1)}, {FEW_FRAMES} are needed: {error}."
            ]
        limits = f"up to {100 * GOOD:g} % is good, up to {100 * FAIR:g} % fair"
        told = [f"{self.grade.value.capitalize()}: {error}; {limits}{self._but_asked()}."]
        if self.usual is not None and self.few_dominate:
            where = f", those of {_listed(self.worst)}" if self.worst else ""
            told.append(
                f"A few forces make most of it{where}: without the largest errors {force(self.usual)}, "
                f"{share(self.usual / self.forces)}."
            )
        elif self.misfit is not None:
            told.append(self._misfit(self.misfit))
        return told

    def _misfit(self, misfit: float) -> str:
        """What the misfit of the training frames says of the error; a part of it only where the frames are the same."""
        if self.basis is Basis.LEFT_OUT:
            if self.misfit_limits:
                return f"Most of it, {force(misfit)} (squares add up), is misfit: what the functional form cannot describe."
            return f"Most of it is lack of data; the misfit of the functional form is {force(misfit)}."
        of_training = f"the misfit of the functional form on the training frames, {force(misfit)}"
        if self.misfit_limits:
            return f"It is about as large as {of_training}: what the form cannot describe."
        return f"It is larger than {of_training}: most of it is lack of data of this kind."

    @property
    def asked_much_worse(self) -> bool:
        """Whether the frames that a campaign asked for were predicted much worse than the frames of the grade, and not well."""
        if self.asked is None:
            return False
        return self.asked.error_share > max(GOOD, MUCH_WORSE * self.error_share)

    def _but_asked(self) -> str:
        if self.asked is None or not self.asked_much_worse:
            return ""
        return f"; but {share(self.asked.error_share)} on frames that it asked for, before training on them"

    def _end(self) -> list[str]:
        if self.simulated_ps is None or self.planned_ps is None:
            return []
        return [
            f"Only {self.simulated_ps:.2g} of {self.planned_ps:g} ps of MD were run: the labelling budget is used up; what comes "
            "later has not been seen."
        ]

    def _crystal(self) -> list[str]:
        if not self.crystal:
            return []
        found = "; ".join(finding.short for finding in self.crystal)
        by = f"the first model (of {self.n_first} label{'s' * (self.n_first != 1)})"
        return [
            f"The crystal as given, by {by}: {found}. The grade says how well the model follows the reference, not "
            "whether the reference describes this crystal."
        ]

    def _asked(self) -> list[str]:
        if self.asked is None:
            return []
        error, n = self.asked.error, self.asked.n_frames
        part = f", {share(self.asked.error_share)}" if self.asked.forces > 0 else ""
        frames = (
            "frame that it asked for, before training on it"
            if n == 1
            else f"{n} frames that it asked for, before training on them"
        )
        return [f"On the {frames}: {force(error)} rms{part}."]

    def _intervals(self) -> list[str]:
        if self.coverage_95 is None:
            return []
        inside = f"{share(self.coverage_95)} of the force components are inside their 95 % interval"
        if self.coverage_95 < NARROW:
            factor = f"; about {self.scale:.2g} times the error bar fits the errors" if self.scale is not None else ""
            calibrate = (
                f" (trepid calibrate {self.model} FRAMES, with labels of this kind)" if self.basis is Basis.TEST else ""
            )
            return [f"Error bars too narrow: {inside}{factor}{calibrate}."]
        return [f"Error bars too wide: {inside}." if self.coverage_95 > WIDE else f"Error bars fit: {inside}."]

    def _doubts(self) -> list[str]:
        if not self.believed:
            return []
        n = len(self.believed)
        were = "was" if n == 1 else "were"
        return [
            f"{n} doubted label{'s' * (n != 1)} {were} computed again, came out the same and {were} believed: look at "
            f"{_listed(self.believed)}; what was measured is in ledger.jsonl, in the lines with the event doubt."
        ]

    def advice(self) -> str:
        """What to do next."""
        return self._crystal_first() + self._more_labels() + self._advice()

    def _more_labels(self) -> str:
        """To go on where the budget ended the run early."""
        if self.simulated_ps is None:
            return ""
        return "raise learning.max_labels and run 'trepid learn' again to go on with the MD; until then: "

    def _crystal_first(self) -> str:
        """What to do about the crystal, before anything about the model."""
        if not self.crystal:
            return ""
        matters = {finding.matter for finding in self.crystal}
        free = (
            ", or let the cell go (on the fly: pressure_GPa: 0 in a stage, with thermostat: nose-hoover in dynamics)"
            if Matter.PRESSURE in matters
            else ""
        )
        larger = ", size of the supercell" if matters & {Matter.PRESSURE, Matter.MODES} else ""
        if matters == {Matter.MODES}:
            return (
                "first the reference, unless such modes are meant, as in phases that heat stabilises: a larger supercell, k "
                "points, another method, or an engine close to DFT (trepid doctor); then learn again. If they are meant: "
            )
        return (
            f"first the crystal: check the settings of the reference (k points, method{larger}), and relax it with the "
            f"reference: 'trepid relax {self.campaign}', then structure.file: relax/relaxed.extxyz and another output.directory "
            f"in your campaign file{free}, and learn again. If it is meant as it is: "
        )

    def _guarded(self) -> str:
        repeated = "" if self.repeat == (1, 1, 1) else f"--repeat {' '.join(map(str, self.repeat))} "
        return (
            f"trepid md {self.model} {self.structure} {repeated}--temperature 300: it warns where the model is uncertain, and "
            "ends there with --guard stop"
        )

    def _advice(self) -> str:
        if self.n_known and not self.n_frames:
            return (
                "give frames that the model was not trained on; trepid fit and trepid status tell the left-out error."
            )
        if self.grade is Grade.UNKNOWN:
            return "label more frames."
        files = self.labels or "TRAIN"
        if self.few_dominate and self.grade is not Grade.GOOD:
            named = _listed(self.worst_files) or f"the frames with the largest forces in {files}"
            return f"look at {named}: are these arrangements that the crystal reaches? Elsewhere use the model ({self._guarded()})."
        search, refit = self.search, ""
        if search is None and self.searchable:
            refit = f"'trepid fit {files} --speed balanced -o better.trepid' (--speed accurate looks further)"
        elif search is not None and search.beyond_ceiling and search.speed is Speed.BALANCED:
            refit = f"'trepid fit {files} --speed accurate -o accurate.trepid'"
        if self.grade is Grade.GOOD:
            better = f"; for less error without new labels: {refit}" if self.misfit_limits and refit else ""
            return f"use it ({self._guarded()}){better}."
        if self.misfit_limits:
            if refit:
                return (
                    "try a larger basis and longer cutoffs before more labels of the same kind; what does not help is refused: "
                    f"{refit}."
                )
            if search is None:
                wider = f"'trepid fit {files} --speed balanced -o better.trepid'"
                return f"more labels; from {FEWEST_FRAMES} frames on {wider} looks for a larger basis."
            within = (
                f" within the time per MD step of --speed {search.speed.value}"
                if search is not None and search.beyond_ceiling
                else ""
            )
            return (
                f"no larger basis{within} helps on these labels; look at the labels and the reference (are its k points, its "
                "convergence and its supercell enough?), and label other arrangements than these."
            )
        return (
            "more labels where the model is used (its temperatures and volumes), or in a campaign a lower "
            f"learning.threshold_noise{f'; then {refit}' if refit else ''}."
        )


def verdict_of_fit(potential: Potential, *, labels: str = "") -> Verdict:
    """Judge a trained model by its training frames, each left out in turn; `labels`: their files, for the advice."""
    rms = potential.typical_force / math.sqrt(3)
    found = potential.left_out_forces if math.isfinite(rms) else None
    return Verdict(
        basis=Basis.LEFT_OUT,
        n_frames=potential.n_frames,
        error=math.nan if found is None else found.rms,
        forces=math.nan if found is None else rms,
        misfit=None if found is None else found.misfit,
        usual=None if found is None else found.usual,
        labels=labels,
        search=potential.size_search,
        searchable=potential.n_frames >= FEWEST_FRAMES,
    )


def verdict_of_test(
    figures: Evaluation | None, potential: Potential | None = None, *, basis: Basis = Basis.TEST, n_known: int = 0
) -> Verdict:
    """Judge a model by frames that it was not trained on; None: there is none, all `n_known` are training frames."""
    left_out = None if potential is None else potential.left_out_forces
    if figures is None:
        return Verdict(basis, 0, math.nan, math.nan, n_known=n_known)
    return Verdict(
        basis=basis,
        n_frames=figures.n_frames,
        error=figures.forces_rmse,
        forces=figures.forces_rms,
        misfit=None if left_out is None else left_out.misfit,
        coverage_95=figures.forces_coverage_95,
        scale=figures.forces_calibration_scale,
        n_known=n_known,
        search=None if potential is None else potential.size_search,
        searchable=potential is None or potential.n_frames >= FEWEST_FRAMES,
    )


def verdict_of_run(record: RunRecord) -> Verdict:
    """Judge the model of a learning run.

    Every label is left out in turn where the model tells its error then (the Bayesian force field); else the error is that on new
    frames before training.
    """
    potential = _bayesian_model(record)
    comparison = record.comparison()
    figures = None if comparison is None else summarise(comparison)
    if potential is not None and potential.left_out_forces is not None:
        verdict = verdict_of_fit(potential)
    elif figures is not None:
        verdict = verdict_of_test(figures, potential, basis=Basis.BEFORE)
    else:
        verdict = Verdict(Basis.BEFORE, 0, math.nan, math.nan)
    asked = None if figures is None or verdict.basis is Basis.BEFORE else figures
    worst = [] if potential is None or not verdict.few_dominate else _worst(record, potential)
    simulated, planned = _unfinished(record)
    believed = [(label, label.confirmed) for label in record.labels if label.confirmed is not None]
    return replace(
        verdict,
        coverage_95=None if figures is None else figures.forces_coverage_95,
        scale=None if figures is None else figures.forces_calibration_scale,
        asked=None if asked is None else Asked(asked.forces_rmse, asked.forces_rms, asked.n_frames),
        believed=tuple(f"{record.label_file(label)} ({doubt.value})" for label, doubt in believed),
        labels=f"{record.paths.labels}/label-????.extxyz",
        model=str(record.paths.model),
        structure=verdict.structure if record.campaign is None else str(record.campaign.structure.file),
        campaign=verdict.campaign if record.campaign is None else str(record.paths.settings),
        repeat=_md_repeat(record, potential),
        worst=tuple(f"label {label.number} ({record.kind_of(label)})" for label in worst),
        worst_files=tuple(str(record.label_file(label)) for label in worst),
        crystal=tuple(record.crystal_findings),
        n_first=0 if record.first_look is None else record.first_look.n_labels,
        simulated_ps=simulated,
        planned_ps=planned,
    )


def _md_repeat(record: RunRecord, potential: BayesianForceField | None) -> tuple[int, int, int]:
    """Repetitions of the structure of a campaign in a cell that is wide enough for its model; once where that is not known."""
    if record.campaign is None or potential is None or potential.reach is None:
        return 1, 1, 1
    try:
        crystal = read_structure(record.campaign.structure.file)
    except DataError:  # it may have moved
        return 1, 1, 1
    return wide_repeats(crystal, potential.reach)


def _unfinished(record: RunRecord) -> tuple[float | None, float | None]:
    """Simulated and planned time of a campaign on the fly that its labelling budget ended, ps."""
    campaign = record.campaign
    if not isinstance(campaign, Campaign) or record.stop is None or record.stop.reason is not StopReason.LABELS:
        return None, None
    return record.time_ps, sum(stage.duration_ps for stage in campaign.dynamics.stages)


def _worst(record: RunRecord, potential: BayesianForceField) -> list[LabelledFrame]:
    """The labels that make half of the squared left-out error, worst first; none where they are more than a few."""
    squares = potential.left_out_squares([label.atoms for label in record.labels])
    if squares is None:
        return []
    order = sorted(range(len(squares)), key=lambda k: -squares[k])
    total, found = sum(squares), 0.0
    for n, k in enumerate(order[:MOST_WORST], start=1):
        found += squares[k]
        if found >= total / 2:
            return [record.labels[k] for k in order[:n]]
    return []


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence: "a, b and c"; of many the first, and how many more."""
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def judge_run(directory: str | Path) -> Verdict:
    """Judge the model of a run directory; see `verdict_of_run`.

    Raises
    ------
    DataError, ConfigError
        As `trepid.runs.reading.read_run`.
    """
    return verdict_of_run(read_run(directory))


def _bayesian_model(record: RunRecord) -> BayesianForceField | None:
    """The model of a run on the Bayesian force field; None where there is none, or none that can be read (logged)."""
    campaign, file = record.campaign, record.paths.model
    if campaign is None or campaign.potential.kind != "bayesian" or not file.is_file():
        return None
    try:
        return BayesianForceField.load(file)
    except TrepidError as error:
        logger.warning("the verdict leaves the model out: %s", error)
        return None
