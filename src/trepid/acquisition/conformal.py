r"""Conformal factors: error bars corrected by the labels of a stratum, which were predicted before. Pure functions.

A calibrated 95 % interval holds 95 % of the errors. Where a model extrapolates it may hold fewer; labels that learning makes
anyway show by how much. With the scores s = |error| / bar of the labelled frames of a stratum, the factor is

.. math::

    f = \Big(1 + \frac{0.06}{K}\Big) \frac{s_{(k)}}{z}, \qquad k = \lceil 0.95\, (n + 1) \rceil

with s_(k) the k-th smallest of all n scores (force components) of K frames, and z = 1.96 the half width of the interval in
units of the bar. The corrected interval, z f bar, is that of split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic
Learning in a Random World, 2005; Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018)).

What it does not promise: components of one frame are correlated, the exchangeable unit is the frame. A bound that holds
for every number of frames would need 19 of them. The quantile of the pooled components estimates the coverage of the mean
frame (Dunn, Wasserman and Ramdas, J. Am. Stat. Assoc. 118, 2491 (2023)); from few frames it is uncertain, so that a
factor is always shown with its number of frames. The coverage of a normal error is concave in the logarithm of the width: where
frames differ, a factor that is right on average holds too few. The term 0.06 / K pays for that. On 28 strata of four truths, whose
factors came from every pair of 12 frames, too few errors (below 92 %) lay inside for 5.0 % of the pairs without it, for 2.5 %
with it; too many (above 98 %) for 1.5 and 3.5 %. On 42 strata of six other truths: 5.3 and 2.6 %, 1.3 and 2.9 %.

Vocabulary
----------
bar           standard deviation predicted for an error: sqrt(uncertainty^2 + noise^2)
score         |error| / bar of a force component
stratum       frames of one kind: a temperature stage, an event class
batch         frames that are labelled together, with the factors of the batches before
factor        of a stratum and a species; below 1: the interval is too wide
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trepid.acquisition.calibration import interval_half_width, z_scores
from trepid.arrays import FloatArray

LEVEL = 0.95
"""Probability of the interval that the factor corrects."""
FEWEST_FRAMES = 2
"""Labelled frames that give a stratum a factor of its own."""
FRAME_SPREAD = 0.06
"""Share by which the factor of one frame is raised, of K frames by this over K: frames differ."""
WINDOW = 4
"""The latest batches of a stratum that hold so many frames count: earlier ones were predicted by a model that has learned
much since."""


class Basis(str, Enum):
    """The labels that a factor rests on."""

    STRATUM = "stratum"
    """Those of the species in the stratum."""
    PARENT = "parent"
    """Those of the species in a wider stratum: all events, where a class of events has too few."""
    SPECIES = "species"
    """Those of the species in all strata."""
    ALL = "all"
    """All labels, of all species."""
    NONE = "none"
    """There are fewer than two labels: the factor is 1."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Factor:
    """A conformal factor, with what it rests on.

    Attributes
    ----------
    value : float
        The corrected bar is `value` times the predicted one.
    n_frames : int
        Labelled frames it rests on; 0 for the factor 1 of `Basis.NONE`.
    basis : Basis
    """

    value: float
    n_frames: int
    basis: Basis

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionary, for JSON."""
        return {"factor": self.value, "n_frames": self.n_frames, "basis": self.basis.value}


_GIVEN = "given"
NO_FACTOR = Factor(1.0, 0, Basis.NONE)


@dataclass(frozen=True, eq=False)
class ScoredFrame:
    """A labelled frame that was predicted before it was labelled.

    Attributes
    ----------
    strata : tuple of str
        Its stratum, then wider ones that hold it too.
    batch : int
        Frames of one batch use the factors of earlier ones; rising.
    scores : mapping of str to (n,) array
        Scores of the force components, by species.
    """

    strata: tuple[str, ...]
    batch: int
    scores: Mapping[str, FloatArray]

    @classmethod
    def of(
        cls, symbols: NDArray[np.str_], errors: ArrayLike, stds: ArrayLike, *, strata: Sequence[str], batch: int
    ) -> ScoredFrame:
        """Score a frame.

        Parameters
        ----------
        symbols : (n_atoms,) array of str
        errors, stds : (n_atoms, 3) arrays
            Errors of the predicted forces, and their bars, eV/A.
        strata : sequence of str
            At least one, from the most specific to the widest.
        batch : int

        Raises
        ------
        ValueError
            Shapes differ, a value is not finite, a bar is not positive, or there is no stratum.
        """
        if not strata:
            raise ValueError("a scored frame needs at least one stratum")
        scores = np.abs(z_scores(errors, stds)).reshape(len(symbols), -1)
        names = sorted(set(symbols.tolist()))
        return cls(tuple(strata), batch, {name: scores[symbols == name].ravel() for name in names})

    @property
    def stratum(self) -> str:
        """The most specific stratum."""
        return self.strata[0]


def quantile_factor(scores: ArrayLike, level: float = LEVEL) -> float:
    """The factor on the bar with which the interval of probability `level` holds these scores and, likely, the next.

    The largest score counts where there are too few for the level: fewer than 19 for 95 %.

    Raises
    ------
    ValueError
        There is no score, or `level` is not between 0 and 1.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not values.size:
        raise ValueError("there is no score to take a quantile of")
    rank = min(math.ceil(level * (values.size + 1)), values.size)
    return float(values[rank - 1]) / interval_half_width(level)


def frames_factor(scores: ArrayLike, n_frames: int) -> float:
    """`quantile_factor` of the scores of so many frames, raised by what frames differ.

    Raises
    ------
    ValueError
        There is no score, or no frame.
    """
    if n_frames < 1:
        raise ValueError(f"scores of {n_frames} frames; a factor needs at least one")
    return (1 + FRAME_SPREAD / n_frames) * quantile_factor(scores)


def factor_of(frames: Sequence[ScoredFrame], strata: Sequence[str], species: str) -> Factor:
    """The factor of a species in a stratum, from the labelled frames so far.

    Parameters
    ----------
    frames : sequence of ScoredFrame
        In the order of their labels.
    strata : sequence of str
        As in `ScoredFrame`: the first that has two labelled frames gives the factor; if none has, the species in all
        frames; then all species.
    species : str
    """
    for k, stratum in enumerate(strata):
        members = [frame for frame in frames if stratum in frame.strata]
        found = _latest([(frame.batch, frame.scores[species]) for frame in members if species in frame.scores])
        if found:
            return _factor(found, Basis.PARENT if k else Basis.STRATUM)
    found = _latest([(frame.batch, frame.scores[species]) for frame in frames if species in frame.scores])
    if found:
        return _factor(found, Basis.SPECIES)
    found = _latest([(frame.batch, np.concatenate(list(frame.scores.values()))) for frame in frames])
    if found:
        return _factor(found, Basis.ALL)
    return NO_FACTOR


def _factor(scores: Sequence[FloatArray], basis: Basis) -> Factor:
    return Factor(frames_factor(np.concatenate(scores), len(scores)), len(scores), basis)


def _latest(scores: Sequence[tuple[int, FloatArray]]) -> list[FloatArray]:
    """Scores of the latest batches, as many as it takes for `WINDOW` frames; none where a factor has too few."""
    if len(scores) < FEWEST_FRAMES:
        return []
    oldest = scores[-min(WINDOW, len(scores))][0]
    return [part for batch, part in scores if batch >= oldest]


def factors_of(frames: Sequence[ScoredFrame], strata: Sequence[str], species: Sequence[str]) -> dict[str, Factor]:
    """The factors of several species in a stratum; see `factor_of`."""
    return {name: factor_of(frames, strata, name) for name in species}


def running_factors(frames: Sequence[ScoredFrame]) -> list[dict[str, Factor]]:
    """The factors by species that were in force when each frame was labelled: from earlier batches alone."""
    found = []
    for frame in frames:
        earlier = [other for other in frames if other.batch < frame.batch]
        found.append(factors_of(earlier, frame.strata, list(frame.scores)))
    return found


def calibrate(
    symbols: ArrayLike,
    frame: ArrayLike,
    errors: ArrayLike,
    stds: ArrayLike,
    *,
    species: Iterable[str] | None = None,
) -> dict[str, Factor]:
    """Factors by species from labelled frames of one stratum, such as two frames of a phase that is to be simulated.

    All frames count.

    Parameters
    ----------
    symbols : (n_atoms,) sequence of str
        Of the atoms of all frames, one after the other.
    frame : (n_atoms,) sequence of int
        Frame of each atom.
    errors, stds : (n_atoms, 3) arrays
        Errors of the predicted forces, and their bars, eV/A.
    species : iterable of str, optional
        For which factors are asked; default: those of the frames. One that is not in them takes the factor of all.

    Raises
    ------
    ValueError
        As `ScoredFrame.of`, and where the lengths differ.
    """
    symbols, frame = np.asarray(symbols, dtype=np.str_), np.asarray(frame)
    e, s = np.asarray(errors, dtype=np.float64), np.asarray(stds, dtype=np.float64)
    if not len(symbols) == len(frame) == len(e) == len(s):
        raise ValueError(
            f"{len(symbols)} symbols, {len(frame)} numbers of frames, {len(e)} errors and {len(s)} bars: one of each per atom"
        )
    # One batch, which is never cut by the window.
    frames = [
        ScoredFrame.of(symbols[frame == k], e[frame == k], s[frame == k], strata=(_GIVEN,), batch=0)
        for k in np.unique(frame)
    ]
    return factors_of(frames, (_GIVEN,), sorted(set(symbols.tolist() if species is None else species)))


@dataclass(frozen=True)
class IntervalCoverage:
    """Share of force components inside the 95 % interval, of frames that were labelled one after the other.

    Attributes
    ----------
    n_frames : int
        Labelled frames; of several species, counted for each.
    announced : float
        With the bars as predicted, 0 to 1.
    corrected : float
        With the factors in force when the frames were labelled.
    mean_factor : float
        Mean of these factors: corrected over announced width.
    n_own : int
        Frames for which the stratum had a factor of its own.
    corrected_own : float or None
        Of these frames; None without any.
    """

    n_frames: int
    announced: float
    corrected: float
    mean_factor: float
    n_own: int
    corrected_own: float | None

    @classmethod
    def of(cls, known: Sequence[tuple[FloatArray, Factor]]) -> IntervalCoverage:
        """From scores, each with the factor in force; at least one."""
        own = [(scores, factor) for scores, factor in known if factor.basis is Basis.STRATUM]
        return cls(
            n_frames=len(known),
            announced=_inside([(scores, NO_FACTOR) for scores, _ in known]),
            corrected=_inside(known),
            mean_factor=float(np.average([f.value for _, f in known], weights=[s.size for s, _ in known])),
            n_own=len(own),
            corrected_own=_inside(own) if own else None,
        )


def _inside(known: Sequence[tuple[FloatArray, Factor]]) -> float:
    half = interval_half_width(LEVEL)
    return float(np.mean(np.concatenate([scores <= half * factor.value for scores, factor in known])))


@dataclass(frozen=True)
class StratumCoverage:
    """Coverage of one species in one stratum, and its factor now, from all labels."""

    stratum: str
    species: str
    coverage: IntervalCoverage
    factor: Factor


def running_coverage(frames: Sequence[ScoredFrame]) -> IntervalCoverage | None:
    """Coverage over all strata and species; None without a scored frame."""
    known = [
        (scores, factors[name])
        for frame, factors in zip(frames, running_factors(frames), strict=True)
        for name, scores in frame.scores.items()
    ]
    return IntervalCoverage.of(known) if known else None


def coverage_by_stratum(frames: Sequence[ScoredFrame]) -> list[StratumCoverage]:
    """Coverage by stratum, in the order in which the strata were met, and by species, sorted."""
    factors = running_factors(frames)
    found = []
    for stratum in dict.fromkeys(frame.stratum for frame in frames):
        members = [(frame, given) for frame, given in zip(frames, factors, strict=True) if frame.stratum == stratum]
        for species in sorted({name for frame, _ in members for name in frame.scores}):
            known = [(frame.scores[species], given[species]) for frame, given in members if species in frame.scores]
            now = factor_of(frames, members[0][0].strata, species)
            found.append(StratumCoverage(stratum, species, IntervalCoverage.of(known), now))
    return found
