"""Whether a change of the form of the force field is accepted: one rule for new terms and for sizes, on training frames alone.

A change (`size_search.Proposal`) gives another basis. A `Judge` computes the `Figures` of both bases on the same frames, and
`refusal` compares them. The change is good enough if

- the log evidence gains at least `LEAST_GAIN`;
- the force error of a typical left-out frame (geometric mean over the frames) falls by `LEAST_FALL`, or by what the change asks
  for, and by `FALL_PER_COST` of what it adds to the time per MD step;
- that of all left-out frames together, which a few violent ones decide, does not rise by more than `LARGEST_RISE`; or, in place of
  these two, where a change asks for it, the logarithmic score of the left-out forces rises by as much as it would if all errors and
  their bars fell by that share. It weighs every error by its bar, so that one violent frame, which no other resembles and whose
  bar says so, does not decide;
- the force error on the third of the frames with the largest forces, predicted from the others alone, does not rise by
  more than `LARGEST_RISE`: evidence alone prefers forms that describe the calm frames and fail outside;
- the announced standard deviation of the forces in perturbed environments (`live.environment_rows`: strained, rattled, with a
  displaced atom, a vacancy or a surface) does not grow by more than `LARGEST_DOUBT` on average over their atoms. These need no
  labels: a form that the frames do not determine there says so itself. With quadruplets on calm InP (Vashishta), labels at full
  weight (`noise_factor`), it grows by a factor of four, and the error of hot frames by fourteen.

A new term is proposed in three steps: a field of `sizes.Sizes`, off by default; what it needs in `sizes.Sizes.complete`, which
chooses from the frames what the term keeps fixed; a `Proposal` in `size_search.TERMS_ON_OFFER`. Then every fit tries it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from trepid.data import LabelKeys, labels_of
from trepid.errors import NumericsError
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.evidence import FIRST_PRIOR_WEIGHT, optimize_hyperparameters
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.leave_one_out import (
    ErrorBar,
    LeftOut,
    error_bars,
    joined,
    leave_frame_out,
    noise_factor,
)
from trepid.potentials.bayesian.live import environment_rows
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.statistics import LabelKind, LabelRows, SufficientStatistics, merged_rows
from trepid.potentials.bayesian.terms import Hyperparameters

LEAST_GAIN = 20.0
"""Nats."""
LEAST_FALL = 0.03
FALL_PER_COST = 0.1
"""A step that adds 50 % to the cost must lower the error by 5 %."""
LARGEST_RISE = 0.01
LARGEST_DOUBT = 1.5
"""Factor, the geometric mean over atoms."""
HOT_SHARE = 1 / 3
"""Share of the frames, those with the largest rms forces, that the others predict."""
MOST_TEMPLATES = 8
"""Training frames that are perturbed."""


@dataclass(frozen=True, eq=False)
class Figures:
    """What a form is judged by.

    Attributes
    ----------
    log_evidence : float
    left_out_rmse, left_out_typical : float or None
        Of force components, each frame left out in turn, eV/A: of all, and the geometric mean over the frames. None where the
        evidence was too small to go on.
    left_out_score : float or None
        Mean logarithm of the density of these components under their error bars (`ErrorBar.log_score`), nats.
    hot_rmse : float or None
        Of force components of the frames with the largest forces, predicted from the others, eV/A, with the weights of
        the labels.
    outside_std : (n,) array
        Announced standard deviation of the force on atoms of perturbed environments, a norm, eV/A; empty as above.
    """

    log_evidence: float
    left_out_rmse: float | None
    left_out_typical: float | None
    left_out_score: float | None
    hot_rmse: float | None
    outside_std: FloatArray

    @classmethod
    def of_evidence(cls, log_evidence: float) -> Figures:
        """Where the evidence was too small to go on."""
        return cls(log_evidence, None, None, None, None, np.empty(0))

    def doubt(self, before: Figures) -> float:
        """Geometric mean of the announced standard deviation in perturbed environments over that of `before`; 1 if unknown."""
        if len(self.outside_std) != len(before.outside_std) or not len(self.outside_std):
            return 1.0
        known = (self.outside_std > 0) & (before.outside_std > 0)  # an atom without neighbours has no force
        ratios = np.log(self.outside_std[known] / before.outside_std[known])
        return float(np.exp(ratios.mean())) if len(ratios) else 1.0


def refusal(
    before: Figures, after: Figures, *, growth: float, least_fall: float = LEAST_FALL, by_score: bool = False
) -> str:
    """Why a change is refused; empty if it is good enough.

    Parameters
    ----------
    before, after : Figures
        Of the same frames.
    growth : float
        Share that the change adds to the time per MD step; negative where it saves time.
    least_fall : float
        Share by which the error of left-out frames must fall, whatever the time.
    by_score : bool
        Ask the logarithmic score for this, not the errors of a typical frame and of all.
    """
    if after.hot_rmse is None:  # nor were the others computed
        return f"evidence gains less than {LEAST_GAIN:g}"
    asked = max(least_fall, FALL_PER_COST * growth)
    refused = _low_score(before, after, asked) if by_score else _large_errors(before, after, asked)
    if refused:
        return refused
    if after.hot_rmse > (1 + LARGEST_RISE) * (before.hot_rmse or np.inf):
        return "error on the frames with the largest forces, predicted from the others, rises"
    doubt = after.doubt(before)
    if doubt > LARGEST_DOUBT:
        return f"uncertainty in perturbed environments grows {doubt:.1f} times; {LARGEST_DOUBT:g} is the limit"
    return ""


def _large_errors(before: Figures, after: Figures, asked: float) -> str:
    if (after.left_out_typical or 0) > (1 - asked) * (before.left_out_typical or np.inf):
        return f"error of a typical left-out frame falls by less than {100 * asked:.0f} %"
    if (after.left_out_rmse or 0) > (1 + LARGEST_RISE) * (before.left_out_rmse or np.inf):
        return "error of all left-out frames together rises"
    return ""


def _low_score(before: Figures, after: Figures, asked: float) -> str:
    least = -np.log(1 - asked)  # of a Gaussian whose width falls by the share
    if before.left_out_score is not None and after.left_out_score is not None:
        gain = after.left_out_score - before.left_out_score
        if gain < least:
            return f"log score of left-out forces gains {gain:.2f}; {least:.2f} is asked"
    return ""


class Judge:
    """Figures of any basis on one set of frames.

    Parameters
    ----------
    frames : sequence of Atoms
        Labelled, with forces.
    keys : LabelKeys
    reference_energies : (n_species,) array
        eV.
    seed : int
        Of the perturbed environments.
    """

    def __init__(
        self, frames: Sequence[Atoms], *, keys: LabelKeys, reference_energies: FloatArray, seed: int = 0
    ) -> None:
        self.frames, self._keys, self._reference_energies, self._seed = frames, keys, reference_energies, seed
        labels = [labels_of(atoms, keys, require=("forces",)).forces for atoms in frames]
        strengths = [float(np.sqrt(np.mean(forces**2))) for forces in labels if forces is not None]
        n_hot = max(1, round(HOT_SHARE * len(frames)))
        self._hot = set(np.argsort(strengths, kind="stable")[-n_hot:].tolist())
        chosen = np.linspace(0, len(frames) - 1, min(MOST_TEMPLATES, len(frames))).astype(int)
        self._templates = [frames[k] for k in chosen]

    def figures(
        self, basis: Basis, hyper: Hyperparameters, *, iterations: int, least_evidence: float = -np.inf
    ) -> tuple[Figures, Hyperparameters]:
        """Figures after so many iterations of the optimisation from `hyper`, and the hyperparameters it came to.

        Below `least_evidence` the figures are those of the evidence alone.

        Raises
        ------
        NumericsError
            The posterior is not positive definite in double precision, or the mean of the squared charges is negative.
        """
        features = FeatureBuilder(basis)
        labels = [self._rows(features, atoms, hyper) for atoms in self.frames]
        calm, hot = (
            _sums(basis, [own for k, own in enumerate(labels) if (k in self._hot) is side]) for side in (False, True)
        )
        total = SufficientStatistics(basis.layout.size)
        total.merge(calm)
        total.merge(hot)
        if iterations:
            posterior = optimize_hyperparameters(
                basis, hyper, total, prior_weight=FIRST_PRIOR_WEIGHT, max_iterations=iterations
            ).posterior
        else:
            posterior = Posterior(basis, hyper, total)
        if posterior.log_evidence < least_evidence:
            return Figures.of_evidence(posterior.log_evidence), hyper
        if basis.charges is not None and not posterior.mean[-1] > 0:
            raise NumericsError("the frames ask for charges whose square is negative")
        evidence, hyper = posterior.log_evidence, posterior.hyper
        each = [leave_frame_out(posterior, own) for own in labels]
        bar = _force_bar(each, hyper)
        factor = noise_factor(basis, bar.scale)
        if factor > 1:
            posterior = Posterior(basis, hyper.with_noise_times(factor), total)
            each = [leave_frame_out(posterior, own) for own in labels]
            bar = _force_bar(each, hyper)
        of_forces = [left_out[LabelKind.FORCES] for left_out in each]
        together = LeftOut.concatenate(of_forces)
        mean, forces = Posterior(basis, posterior.hyper, calm).mean, hot.kinds[LabelKind.FORCES]
        misfit = forces.squared - 2 * float(forces.projection @ mean) + float(mean @ forces.gram @ mean)
        figures = Figures(
            evidence,
            together.rms,
            float(np.exp(np.mean([np.log(max(labels.rms, 1e-300)) for labels in of_forces]))),
            bar.log_score(together),
            float(np.sqrt(max(misfit, 0.0) / forces.count)),
            bar.scale * self._outside(features, posterior),
        )
        return figures, hyper

    def _rows(self, features: FeatureBuilder, atoms: Atoms, hyper: Hyperparameters) -> list[LabelRows]:
        return merged_rows(
            features.label_rows(atoms, keys=self._keys, reference_energies=self._reference_energies, noise=hyper.noise)
        )

    def _outside(self, features: FeatureBuilder, posterior: Posterior) -> FloatArray:
        """Posterior standard deviation of the force on atoms of perturbed environments, a norm, eV/A."""
        rows = environment_rows(features, self._templates, seed=self._seed)
        deviation = posterior.standard_deviation(rows).reshape(-1, 3)
        return np.asarray(np.linalg.norm(deviation, axis=1))


def _force_bar(left_out: Sequence[Mapping[LabelKind, LeftOut]], hyper: Hyperparameters) -> ErrorBar:
    return error_bars(joined(*left_out), hyper.noise)[LabelKind.FORCES]


def _sums(basis: Basis, labels: Sequence[Sequence[LabelRows]]) -> SufficientStatistics:
    """Statistics of the labels of some frames."""
    sums = SufficientStatistics(basis.layout.size)
    for parts in labels:
        for part in parts:
            sums.kind(part.kind).add(part.rows, part.residuals, part.multipliers)
        sums.n_frames += 1
    return sums
