"""Which candidates of a round get a label: P_U and P_E of each, and a batch that does not repeat itself.

The mathematics is in `trepid.acquisition`; here it meets the walks of a round:

- *ordinary* uncertainty is that of the equilibrium walk at the lowest temperature on the present model, so that it adapts
  from round to round; what is below the noise of the labels is never worth one, however still the crystal is;
- viability is judged by the walks of the same temperature: an event that costs too much at 300 K may be common at 800 K;
- walks that were pushed towards uncertainty give candidates, judged by the energies of the model without the push, and no
  statistics: they are no equilibrium;
- frames of new event classes are chosen first, and what the others teach is counted beyond them.

The controls, random and hot, take as many frames from the same walks without asking the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trepid.acquisition.batch import (
    bernoulli,
    greedy_batch,
    localised,
    random_selection,
    rows_from_ensemble,
    similarity_embedding,
)
from trepid.acquisition.neighbourhood import Neighbourhood
from trepid.acquisition.uncertainty import MIN_POINTS, UncertaintyMeasure, WalkStatistics, uncertainty_probability
from trepid.acquisition.viability import (
    Horizon,
    NeighbourhoodStatistics,
    gaussian_viability,
    horizon_viability,
    neighbourhood_costs,
)
from trepid.runs.ledger import Reason
from trepid.runs.round_files import EventCount, Pick, Selection, UncertaintyStatistics
from trepid.campaign.walkers import Walk
from trepid.config import AcquisitionSettings
from trepid.errors import ConfigError
from trepid.potentials.base import FloatArray, Potential, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms

MOST_FOR_GAIN = 200
"""Candidates whose information gain is compared at most, those of largest P first."""
ROW_ATOMS = 16
"""Atoms of a candidate that enter its information gain: the most uncertain ones."""
STILL = 1e-3
"""A walk without any fluctuation of its uncertainty is given this part of its mean as standard deviation."""


@dataclass(frozen=True, eq=False)
class EventFrame:
    """A frame that is labelled whatever its P, because of an event or as a probe of one.

    Attributes
    ----------
    atoms : Atoms
    walker, step : int
    time_fs, temperature_K : float
    note : str
        The class of the event, and which of its frames this is.
    reason : Reason
    """

    atoms: Atoms
    walker: int
    step: int
    time_fs: float
    temperature_K: float
    note: str
    reason: Reason = Reason.EVENT


@dataclass(frozen=True, eq=False)
class EventsSeen:
    """What the walks of a round show of events.

    Attributes
    ----------
    frames : tuple of EventFrame
        To be labelled, those of one class after the other.
    counts : tuple of EventCount
    new_classes : tuple of str
        Classes that no earlier round has seen.
    """

    frames: tuple[EventFrame, ...] = ()
    counts: tuple[EventCount, ...] = ()
    new_classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class RoundInput:
    """What a selection rests on.

    Attributes
    ----------
    round : int
    walks : sequence of Walk
    crystal : Atoms
    potential : Potential
        The model that was walked on.
    n : int
        Frames to choose at most.
    first_label : int
        Number of the first label.
    seed : int
        Of the campaign.
    equilibrate_ps : float
    """

    round: int
    walks: Sequence[Walk]
    crystal: Atoms
    potential: Potential
    n: int
    first_label: int
    seed: int
    equilibrate_ps: float

    @property
    def candidates(self) -> list[Atoms]:
        """Candidates of all walks, walk by walk."""
        return [frame for walk in self.walks for frame in walk.candidates]

    def draw(self, stream: int) -> int:
        """Seed of one kind of draw in this round."""
        return int(np.random.SeedSequence([self.seed, 3, self.round, stream]).generate_state(1)[0])


def select(
    settings: AcquisitionSettings,
    given: RoundInput,
    *,
    events: EventsSeen = EventsSeen(),
) -> tuple[Selection, list[Atoms]]:
    """Choose the frames of a round.

    Returns
    -------
    Selection
    list of Atoms
        The frames, in the order of their label numbers.

    Raises
    ------
    ConfigError
        The measure or the batch does not go with this potential.
    """
    if settings.kind == "uncertainty":
        return _by_uncertainty(settings, given, events)
    candidates = given.candidates
    if settings.kind == "random":
        chosen, reason = random_selection(len(candidates), given.n, seed=given.draw(0)).tolist(), Reason.RANDOM
    else:
        chosen, reason = _hot(given), Reason.HOT
    picks = [_pick(candidates[k], given.first_label + i, reason) for i, k in enumerate(chosen)]
    empty = np.zeros(len(candidates))
    selection = _selection(given, None, candidates, empty + 1, empty + 1, len(candidates), picks, events)
    return selection, [candidates[k] for k in chosen]


def _hot(given: RoundInput) -> list[int]:
    """Equidistant frames of the hottest walks."""
    candidates = given.candidates
    hottest = max((walk.summary.temperature_K for walk in given.walks), default=0.0)
    hot = [k for k, frame in enumerate(candidates) if frame.info["target_temperature_K"] == hottest]
    if not hot:
        return []
    return sorted({hot[int(k)] for k in np.linspace(0, len(hot) - 1, min(given.n, len(hot))).round()})


def _by_uncertainty(
    settings: AcquisitionSettings, given: RoundInput, events: EventsSeen
) -> tuple[Selection, list[Atoms]]:
    candidates = given.candidates
    forced = events.frames[: given.n]
    values = np.array([frame.info["uncertainty"] for frame in candidates], dtype=np.float64)
    statistics = uncertainty_statistics(settings, given)
    ordinary = WalkStatistics(mean=statistics.mean, std=statistics.std, n_points=statistics.n_looks)
    p_u = (
        uncertainty_probability(values, ordinary, shift=settings.shift, width=settings.width) if len(values) else values
    )
    p_u = np.where(values < statistics.floor, 0.0, p_u)
    p_e = viability(settings, given)
    p = p_u * p_e
    worthy = np.flatnonzero(p >= max(settings.least_probability, np.finfo(float).tiny))
    gains: list[float | None]
    if settings.batch == "bernoulli":
        accepted = bernoulli(p[worthy], max(given.n - len(forced), 0), seed=given.draw(1))
        chosen: list[int] = worthy[accepted].tolist()
        gains = [None] * (len(forced) + len(chosen))
    else:
        compared = np.sort(worthy[np.argsort(-(p * values)[worthy], kind="stable")[:MOST_FOR_GAIN]])
        frames = [*(frame.atoms for frame in forced), *(candidates[k] for k in compared)]
        rows = information_rows(given.potential, frames, given.crystal) if frames else []
        weights = np.concatenate([np.ones(len(forced)), p[compared]])
        batch = greedy_batch(
            rows,
            max(given.n, len(forced)),
            noise=max(given.potential.noise.forces, np.finfo(float).eps),
            weights=weights,
            first=range(len(forced)),
        )
        chosen = [int(compared[k - len(forced)]) for k in batch.indices[len(forced) :]]
        gains = [float(gain) for gain in batch.gains]
    picks = [
        Pick(
            label=given.first_label + i,
            reason=frame.reason.value,
            walker=frame.walker,
            step=frame.step,
            time_fs=frame.time_fs,
            temperature_K=frame.temperature_K,
            gain=gains[i],
            note=frame.note,
        )
        for i, frame in enumerate(forced)
    ]
    for i, k in enumerate(chosen, start=len(forced)):
        picks.append(
            _pick(
                candidates[k],
                given.first_label + i,
                Reason.UNCERTAINTY,
                p_uncertainty=float(p_u[k]),
                p_viability=float(p_e[k]),
                gain=gains[i],
            )
        )
    selection = _selection(given, statistics, candidates, p_u, p_e, len(worthy), picks, events)
    return selection, [*(frame.atoms for frame in forced), *(candidates[k] for k in chosen)]


def _selection(
    given: RoundInput,
    statistics: UncertaintyStatistics | None,
    candidates: Sequence[Atoms],
    p_u: FloatArray,
    p_e: FloatArray,
    n_worthy: int,
    picks: Sequence[Pick],
    events: EventsSeen,
) -> Selection:
    return Selection(
        round=given.round,
        statistics=statistics,
        uncertainty=tuple(float(frame.info["uncertainty"]) for frame in candidates),
        p_uncertainty=tuple(p_u.tolist()),
        p_viability=tuple(p_e.tolist()),
        temperature_K=tuple(float(frame.info["target_temperature_K"]) for frame in candidates),
        n_worthy=n_worthy,
        picks=tuple(picks),
        events=events.counts,
        new_classes=events.new_classes,
    )


def _pick(
    frame: Atoms,
    label: int,
    reason: Reason,
    *,
    p_uncertainty: float | None = None,
    p_viability: float | None = None,
    gain: float | None = None,
) -> Pick:
    info = frame.info
    return Pick(
        label=label,
        reason=reason.value,
        walker=int(info["walker"]),
        step=int(info["step"]),
        time_fs=float(info["time_fs"]),
        temperature_K=float(info["target_temperature_K"]),
        uncertainty=float(info["uncertainty"]),
        p_uncertainty=p_uncertainty,
        p_viability=p_viability,
        gain=gain,
    )


def uncertainty_statistics(settings: AcquisitionSettings, given: RoundInput) -> UncertaintyStatistics:
    """What uncertainty is ordinary: in the equilibrium part of the walks at the lowest temperature.

    Biased walks have no say. Walks that ended too soon for a statistics hand over to those of the next temperature; where
    all did, the looks of all of them count, equilibrium or not.
    """
    series = np.empty(0)
    for temperature in sorted({walk.summary.temperature_K for walk in given.walks}):
        series = np.concatenate(
            [
                np.empty(0),
                *(w.uncertainty[w.equilibrium(given.equilibrate_ps)] for w in _unbiased(given.walks, temperature)),
            ]
        )
        if series.size >= MIN_POINTS:
            break
    if series.size < MIN_POINTS:
        unbiased = [walk.uncertainty for walk in given.walks if not walk.summary.biased]
        series = np.concatenate(unbiased) if unbiased else np.zeros(1)
    forces = settings.measure in (UncertaintyMeasure.FORCE_MAX.value, UncertaintyMeasure.FORCE_MEAN.value)
    floor = settings.floor_noise * given.potential.noise.forces if forces else 0.0
    mean = float(series.mean()) if series.size else 0.0
    spread = float(series.std(ddof=1)) if series.size > 1 else 0.0
    std = max(spread, STILL * max(mean, floor), np.finfo(float).eps)
    half = max(mean + settings.shift * std, floor)
    return UncertaintyStatistics(mean=mean, std=std, n_looks=series.size, half=half, floor=floor)


def _unbiased(walks: Sequence[Walk], temperature_K: float) -> list[Walk]:
    """The walks at a temperature that an equilibrium can be learnt from."""
    return [walk for walk in walks if walk.summary.temperature_K == temperature_K and not walk.summary.biased]


# ---------------------------------------------------------------------- viability


def viability(settings: AcquisitionSettings, given: RoundInput) -> FloatArray:
    """P_E of every candidate, (n_candidates,).

    Where the walks of a temperature ended too soon to say what is ordinary there, nothing is ruled out: P_E is 1.

    Raises
    ------
    ConfigError
        `horizon` with a potential that does not share its energy out among the atoms.
    """
    parts = []
    for walk in given.walks:
        n = len(walk.candidates)
        if settings.viability == "none" or n == 0:
            parts.append(np.ones(n))
            continue
        same = _unbiased(given.walks, walk.summary.temperature_K)
        judge = _gaussian if settings.viability == "gaussian" else _horizon
        parts.append(judge(settings, given, walk, same))
    return np.concatenate(parts) if parts else np.empty(0)


def _gaussian(settings: AcquisitionSettings, given: RoundInput, walk: Walk, same: Sequence[Walk]) -> FloatArray:
    series = np.concatenate([np.empty(0), *(other.energy[other.equilibrium(given.equilibrate_ps)] for other in same)])
    if series.size < MIN_POINTS:
        return np.ones(len(walk.candidates))
    energies = np.array([frame.info["energy"] for frame in walk.candidates])
    return gaussian_viability(energies, WalkStatistics.of(series))


def _horizon(settings: AcquisitionSettings, given: RoundInput, walk: Walk, same: Sequence[Walk]) -> FloatArray:
    groups = np.unique(given.crystal.numbers, return_inverse=True)[1]
    cell, pbc = np.array(given.crystal.cell), given.crystal.pbc
    energies, positions = [], []
    for other in same:
        if other.atom_energies is None:
            raise ConfigError(
                "acquisition.viability horizon needs the share of every atom in the energy, which this potential does not "
                "give; take gaussian or none"
            )
        equilibrium = other.equilibrium(given.equilibrate_ps)
        energies.append(other.atom_energies[equilibrium].astype(np.float64))
        positions.append(other.positions[equilibrium].astype(np.float64))
    if sum(len(part) for part in energies) < MIN_POINTS:
        return np.ones(len(walk.candidates))
    statistics = NeighbourhoodStatistics.of_walk(
        np.concatenate(energies),
        np.concatenate(positions),
        cell,
        pbc,
        groups,
        neighbourhood=neighbourhood_for(given.crystal),
    )
    horizon = Horizon(temperature_K=walk.summary.temperature_K, time_ns=settings.horizon_ns)
    costs, doubts = np.empty(len(walk.candidates)), np.zeros(len(walk.candidates))
    for k, frame in enumerate(walk.candidates):
        of_atoms = neighbourhood_costs(frame.arrays["atom_energies"], frame.positions, cell, pbc, groups, statistics)
        atom = int(np.argmax(of_atoms))
        costs[k] = of_atoms[atom]
        if costs[k] > horizon.budget:
            doubts[k] = _doubt(given, frame, atom, statistics.neighbourhood)
    return horizon_viability(costs, horizon, energy_uncertainty=doubts)


def neighbourhood_for(crystal: Atoms) -> Neighbourhood:
    """The default neighbourhood, made smaller where the cell is less than twice as wide."""
    default = Neighbourhood()
    periodic = np.asarray(crystal.pbc, dtype=bool)
    if not periodic.any():
        return default
    widths = 1.0 / np.linalg.norm(np.linalg.inv(np.array(crystal.cell.complete()))[:, periodic], axis=0)
    outer = min(default.outer, 0.5 * float(widths.min()) * (1 - 1e-9))
    return Neighbourhood(inner=min(default.inner, 0.5 * outer), outer=outer)


def _doubt(given: RoundInput, frame: Atoms, atom: int, neighbourhood: Neighbourhood) -> float:
    """Uncertainty of what the surroundings of an atom cost, eV: of the frame against the same with them put back."""
    shift = frame.positions - given.crystal.positions
    drift = np.average(shift, axis=0, weights=frame.get_masses())
    near = frame.get_distances(atom, range(len(frame)), mic=True) <= neighbourhood.inner
    back = frame.copy()
    back.positions[near] = given.crystal.positions[near] + drift
    return given.potential.energy_difference_uncertainty(frame, back)


# ---------------------------------------------------------------------- information


def information_rows(potential: Potential, frames: Sequence[Atoms], crystal: Atoms) -> list[FloatArray]:
    """Rows whose products are the covariances of the forces of these frames, for `greedy_batch`.

    Of a Bayesian force field they are its own features; of a committee the deviations of its members, kept apart between
    frames that are unlike (else a committee of M could tell M - 1 frames apart and no more).

    Raises
    ------
    ConfigError
        The potential gives neither.
    """
    bayesian: Any = getattr(potential, "information_rows", None)
    if bayesian is not None:
        return [bayesian(frame, n_atoms=min(ROW_ATOMS, len(frame))) for frame in frames]
    rows = []
    for frame in frames:
        ensemble = potential.predict(frame, uncertainty=Uncertainty.EXACT).forces_ensemble
        if ensemble is None:
            raise ConfigError(
                "acquisition.batch greedy needs a Bayesian force field or a committee; this potential gives neither feature "
                "rows nor members: take bernoulli"
            )
        rows.append(rows_from_ensemble(ensemble, n_atoms=min(ROW_ATOMS, len(frame))))
    descriptors = np.array([(frame.positions - crystal.positions).ravel() for frame in frames])
    distances = np.linalg.norm(descriptors[:, None] - descriptors[None, :], axis=2)
    apart = distances[np.triu_indices(len(frames), 1)]
    length = float(np.median(apart)) if apart.size and np.median(apart) > 0 else 1.0
    embeddings = similarity_embedding(descriptors, length=length)
    return [localised(row, embedding) for row, embedding in zip(rows, embeddings, strict=True)]
