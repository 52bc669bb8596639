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
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from trepid.choices import Speed
from trepid.errors import TrepidError
from trepid.evaluation import Evaluation, summarise
from trepid.potentials.base import Potential
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.quantities import force, share
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
_GUARDED = "trepid md MODEL STRUCTURE --temperature 300 --guard stop"


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
        What the functional form cannot describe, eV/A per component; None where unknown.
    usual : float or None
        The error without the few largest (`LeftOutError.usual`), eV/A; None where unknown.
    coverage_95 : float or None
        Share of the force components inside the 95 % interval, 0 to 1.
    scale : float or None
        Factor on the intervals that would fit the errors.
    asked : (float, float, int) or None
        Rms error before training and rms force on the frames that a campaign asked labels for, eV/A, and their number.
    believed : int
        Labels that were doubted, computed again and believed.
    labels : str
        The label files of a run, for the advice; empty where the labels are the user's.
    searched : Speed or None
        Ceiling up to which these labels chose the sizes of the model: the same search is not advised again. None: no search.
    beyond_ceiling : bool
        Whether that search left sizes out because of their time.
    """

    basis: Basis
    n_frames: int
    error: float
    forces: float
    misfit: float | None = None
    usual: float | None = None
    coverage_95: float | None = None
    scale: float | None = None
    asked: tuple[float, float, int] | None = None
    believed: int = 0
    labels: str = ""
    searched: Speed | None = None
    beyond_ceiling: bool = False

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
        """The judgement in words: the grade with its reason, intervals that are wrong, doubted labels, what to do next."""
        return [*self.findings(), f"Next: {self.advice()}"]

    def findings(self) -> list[str]:
        """The sentences without what to do next."""
        return [*self._judgement(), *self._asked(), *self._intervals(), *self._doubts()]

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
            "n_doubted_labels_believed": self.believed,
            "text": self.text(),
        }

    def _judgement(self) -> list[str]:
        if not math.isfinite(self.error_share):
            return ["No judgement: the model has not been compared with a label yet."]
        error = f"force error {force(self.error)}, {share(self.error_share)} of the rms force of {force(self.forces)}"
        error += f" ({self.basis.value})"
        if self.grade is Grade.UNKNOWN:
            return [
                f"No judgement from {self.n_frames} frame{'s' * (self.n_frames != 1)}, {FEW_FRAMES} are needed: {error}."
            ]
        limits = f"up to {100 * GOOD:g} % is good, up to {100 * FAIR:g} % fair"
        told = [f"{self.grade.value.capitalize()}: {error}; {limits}."]
        if self.usual is not None and self.few_dominate:
            told.append(
                f"A few forces make most of it: without the largest errors {force(self.usual)}, {share(self.usual / self.forces)}."
            )
        elif self.misfit is not None and self.misfit_limits:
            told.append(f"Most of it, {force(self.misfit)}, is misfit: what the functional form cannot describe.")
        elif self.misfit is not None:
            told.append(f"Most of it is lack of data; the misfit of the functional form is {force(self.misfit)}.")
        return told

    def _asked(self) -> list[str]:
        if self.asked is None:
            return []
        error, forces, n = self.asked
        part = f", {share(error / forces)}" if forces > 0 else ""
        frames = (
            "frame that it asked for, before training on it"
            if n == 1
            else f"{n} frames that it asked for, before training on them"
        )
        return [f"On the {frames}: {force(error)}{part}."]

    def _intervals(self) -> list[str]:
        if self.coverage_95 is None:
            return []
        inside = f"{share(self.coverage_95)} of the force components are inside their 95 % interval"
        if self.coverage_95 < NARROW:
            factor = f"; about {self.scale:.2g} times the error bar fits the errors" if self.scale is not None else ""
            calibrate = " (trepid calibrate MODEL FRAMES, with labels of this kind)" if self.basis is Basis.TEST else ""
            return [f"Error bars too narrow: {inside}{factor}{calibrate}."]
        return [f"Error bars too wide: {inside}." if self.coverage_95 > WIDE else f"Error bars fit: {inside}."]

    def _doubts(self) -> list[str]:
        if not self.believed:
            return []
        one = self.believed == 1
        return [
            f"{self.believed} doubted label{'' if one else 's'} {'was' if one else 'were'} computed again, came out the same and "
            f"{'was' if one else 'were'} believed: look at {'it' if one else 'them'} in the ledger (doubt)."
        ]

    def advice(self) -> str:
        """What to do next."""
        if self.grade is Grade.UNKNOWN:
            return "label more frames."
        files = self.labels or "TRAIN"
        if self.few_dominate and self.grade is not Grade.GOOD:
            return (
                f"look at the frames with the largest forces (trepid evaluate MODEL {files} -o judged.extxyz): are these "
                f"arrangements that the crystal reaches? Elsewhere use the model with a guard on the uncertainty ({_GUARDED})."
            )
        refit = {
            None: f"trepid fit {files} --speed balanced (or accurate) -o better.trepid",
            Speed.BALANCED: f"trepid fit {files} --speed accurate -o accurate.trepid" if self.beyond_ceiling else "",
        }.get(self.searched, "")
        if self.grade is Grade.GOOD:
            better = f"; for less error without new labels: {refit}" if self.misfit_limits and refit else ""
            return f"use it with a guard on the uncertainty ({_GUARDED}){better}."
        if self.misfit_limits:
            if refit:
                return f"a larger basis and longer cutoffs, without new labels, as more of the same kind will not help: {refit}."
            within = (
                f" within the time per MD step of --speed {self.searched.value}"
                if self.searched and self.beyond_ceiling
                else ""
            )
            return (
                f"no larger basis{within} helps on these labels: more labels, of other arrangements, or look at the labels and "
                "the reference (are its k points, its convergence and its supercell enough?)."
            )
        return (
            "more labels where the model is used (its temperatures and volumes), or in a campaign a lower "
            f"learning.threshold_noise{f'; then {refit}' if refit else ''}."
        )


def verdict_of_fit(potential: Potential, *, searched: Speed | None = None, beyond_ceiling: bool = False) -> Verdict:
    """Judge a trained model by its training frames, each left out in turn; `searched` and `beyond_ceiling`: see `Verdict`."""
    rms = potential.typical_force / math.sqrt(3)
    found = potential.left_out_forces if math.isfinite(rms) else None
    return Verdict(
        basis=Basis.LEFT_OUT,
        n_frames=potential.n_frames,
        error=math.nan if found is None else found.rms,
        forces=math.nan if found is None else rms,
        misfit=None if found is None else found.misfit,
        usual=None if found is None else found.usual,
        searched=searched,
        beyond_ceiling=beyond_ceiling,
    )


def verdict_of_test(figures: Evaluation, potential: Potential | None = None, *, basis: Basis = Basis.TEST) -> Verdict:
    """Judge a model by frames that it was not trained on."""
    left_out = None if potential is None else potential.left_out_forces
    return Verdict(
        basis=basis,
        n_frames=figures.n_frames,
        error=figures.forces_rmse,
        forces=figures.forces_rms,
        misfit=None if left_out is None else left_out.misfit,
        coverage_95=figures.forces_coverage_95,
        scale=figures.forces_calibration_scale,
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
    return replace(
        verdict,
        coverage_95=None if figures is None else figures.forces_coverage_95,
        scale=None if figures is None else figures.forces_calibration_scale,
        asked=None if asked is None else (asked.forces_rmse, asked.forces_rms, asked.n_frames),
        believed=sum(label.confirmed is not None for label in record.labels),
        labels=f"{record.paths.labels}/label-*.extxyz",
    )


def judge_run(directory: str | Path) -> Verdict:
    """Judge the model of a run directory; see `verdict_of_run`.

    Raises
    ------
    DataError, ConfigError
        As `trepid.runs.reading.read_run`.
    """
    return verdict_of_run(read_run(directory))


def _bayesian_model(record: RunRecord) -> Potential | None:
    """The model of a run on the Bayesian force field; None where there is none, or none that can be read (logged)."""
    campaign, file = record.campaign, record.paths.model
    if campaign is None or campaign.potential.kind != "bayesian" or not file.is_file():
        return None
    try:
        return BayesianForceField.load(file)
    except TrepidError as error:
        logger.warning("the verdict leaves the model out: %s", error)
        return None
