"""Selection of the frames of a round: P_U and P_E of every candidate, and a batch without near-duplicates.

The mathematics is in `trepid.acquisition`, with a registry for each choice of the settings; here it is applied to the walks
of a round:

- the reference statistics of the uncertainty are those of the equilibrium walk at the lowest temperature on the present
  model, so that they adapt from round to round; an uncertainty below the noise of the labels is never labelled;
- the statistics of viability are those of the walks at the same temperature: what is improbable at 300 K may be common
  at 800 K;
- biased walks give candidates, with energies of the model without bias, but no statistics: they sample no equilibrium;
- frames of new event classes are selected first, and the information gain of the others is computed beyond them.

The controls, random and hot, take as many frames from the same walks without using the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trepid.acquisition.batch import BATCHES, CONTROLS, ControlPool, Pool
from trepid.acquisition.choices import Strategy
from trepid.acquisition.neighbourhood import Neighbourhood
from trepid.acquisition.uncertainty import MEASURES, MIN_POINTS, WalkStatistics, uncertainty_probability
from trepid.acquisition.viability import VIABILITIES, FrameEnergies, Horizon, ViabilityInput
from trepid.arrays import FloatArray
from trepid.config import AcquisitionSettings
from trepid.potentials.base import Potential
from trepid.runs.ledger_events import Reason
from trepid.runs.round_files import EventCount, Pick, Selection, UncertaintyStatistics
from trepid.runs.walk_files import Candidate, Walk

if TYPE_CHECKING:
    from ase import Atoms

ROW_ATOMS = 16
"""Atoms of a candidate that enter its information gain: the most uncertain ones."""
STILL = 1e-3
"""A walk without any fluctuation of its uncertainty is given this part of its mean as standard deviation."""


@dataclass(frozen=True, eq=False)
class EventFrame:
    """A frame that is labelled whatever its P_U P_E, because of an event or as a probe of one.

    Attributes
    ----------
    atoms : Atoms
    walker, step : int
    time_fs, temperature_K : float
    event_class : str
        Class of the event, or path of the probe.
    note : str
        The class, and which of its frames this is.
    reason : Reason
    way_bar_eV : float or None
        Of a probe: how well the energies on its path are known (`trepid.runs.round_files.Pick`).
    """

    atoms: Atoms
    walker: int
    step: int
    time_fs: float
    temperature_K: float
    event_class: str
    note: str
    reason: Reason = Reason.EVENT
    way_bar_eV: float | None = None

    def pick(self, label: int, *, gain: float | None) -> Pick:
        """The entry of selection.json."""
        return Pick(
            label=label,
            reason=self.reason,
            walker=self.walker,
            step=self.step,
            time_fs=self.time_fs,
            temperature_K=self.temperature_K,
            gain=gain,
            event_class=self.event_class,
            note=self.note,
            way_bar_eV=self.way_bar_eV,
        )


@dataclass(frozen=True, eq=False)
class EventsSeen:
    """Events in the walks of a round.

    Attributes
    ----------
    frames : tuple of EventFrame
        To be labelled, class by class.
    counts : tuple of EventCount
    new_classes : tuple of str
        Classes that were found in no earlier round.
    """

    frames: tuple[EventFrame, ...] = ()
    counts: tuple[EventCount, ...] = ()
    new_classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class RoundInput:
    """The input of a selection.

    Attributes
    ----------
    round : int
    walks : sequence of Walk
    crystal : Atoms
    potential : Potential
        The model of the walks.
    n : int
        Frames to select at most.
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
    def candidates(self) -> list[Candidate]:
        """Candidates of all walks, walk by walk."""
        return [candidate for walk in self.walks for candidate in walk.candidates]

    def draw(self, stream: int) -> int:
        """Seed of one kind of draw in this round."""
        return int(np.random.SeedSequence([self.seed, 3, self.round, stream]).generate_state(1)[0])

    def unbiased(self, temperature_K: float) -> list[Walk]:
        """The walks at a temperature that sample an equilibrium."""
        return [w for w in self.walks if w.summary.temperature_K == temperature_K and not w.summary.biased]


@dataclass(frozen=True, eq=False)
class _Choice:
    """What was selected, before it becomes a Selection."""

    picks: tuple[Pick, ...]
    frames: tuple[Atoms, ...]
    p_uncertainty: FloatArray
    p_viability: FloatArray
    n_sufficient: int
    statistics: UncertaintyStatistics | None = None


def select(
    settings: AcquisitionSettings,
    given: RoundInput,
    *,
    events: EventsSeen = EventsSeen(),
) -> tuple[Selection, list[Atoms]]:
    """Select the frames of a round.

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
    control = settings.kind in CONTROLS
    choice = _control(settings.kind, given) if control else _by_uncertainty(settings, given, events)
    candidates = given.candidates
    selection = Selection(
        round=given.round,
        statistics=choice.statistics,
        uncertainty=tuple(candidate.uncertainty for candidate in candidates),
        p_uncertainty=tuple(choice.p_uncertainty.tolist()),
        p_viability=tuple(choice.p_viability.tolist()),
        temperature_K=tuple(candidate.target_temperature_K for candidate in candidates),
        n_worthy=choice.n_sufficient,
        picks=choice.picks,
        events=events.counts,
        new_classes=events.new_classes,
    )
    return selection, list(choice.frames)


def _control(kind: Strategy, given: RoundInput) -> _Choice:
    """A selection without the model."""
    candidates = given.candidates
    pool = ControlPool(
        temperatures_K=np.array([candidate.target_temperature_K for candidate in candidates], dtype=np.float64),
        hottest_K=max((walk.summary.temperature_K for walk in given.walks), default=0.0),
        n=given.n,
        seed=given.draw(0),
    )
    chosen = [candidates[int(k)] for k in CONTROLS[kind](pool)]
    ones = np.ones(len(candidates))
    return _Choice(
        picks=tuple(_pick(c, given.first_label + i, Reason(kind.value)) for i, c in enumerate(chosen)),
        frames=tuple(c.atoms for c in chosen),
        p_uncertainty=ones,
        p_viability=ones,
        n_sufficient=len(candidates),
    )


def _by_uncertainty(settings: AcquisitionSettings, given: RoundInput, events: EventsSeen) -> _Choice:
    candidates, forced = given.candidates, events.frames[: given.n]
    values = np.array([candidate.uncertainty for candidate in candidates], dtype=np.float64)
    statistics = uncertainty_statistics(settings, given)
    reference = WalkStatistics(mean=statistics.mean, std=statistics.std, n_points=statistics.n_looks)
    p_u = (
        uncertainty_probability(values, reference, shift=settings.shift, width=settings.width)
        if len(values)
        else values
    )
    p_u = np.where(values < statistics.floor, 0.0, p_u)
    p_e = viability(settings, given)
    p = p_u * p_e

    def rows(indices: np.ndarray) -> list[FloatArray]:
        frames = [*(frame.atoms for frame in forced), *(candidates[int(k)].atoms for k in indices)]
        return given.potential.information(frames, given.crystal, n_atoms=ROW_ATOMS)

    sufficient = np.flatnonzero(p >= max(settings.least_probability, np.finfo(float).tiny))
    chosen = BATCHES[settings.batch](
        Pool(
            probabilities=p,
            uncertainties=values,
            sufficient=sufficient,
            n_forced=len(forced),
            n=given.n,
            rows=rows,
            noise=given.potential.label_noise,
            seed=given.draw(1),
        )
    )
    picks = [frame.pick(given.first_label + i, gain=chosen.gains[i]) for i, frame in enumerate(forced)]
    for i, k in enumerate(chosen.indices, start=len(forced)):
        picks.append(
            _pick(
                candidates[k],
                given.first_label + i,
                Reason.UNCERTAINTY,
                p_uncertainty=float(p_u[k]),
                p_viability=float(p_e[k]),
                gain=chosen.gains[i],
            )
        )
    return _Choice(
        picks=tuple(picks),
        frames=(*(frame.atoms for frame in forced), *(candidates[k].atoms for k in chosen.indices)),
        p_uncertainty=p_u,
        p_viability=p_e,
        n_sufficient=len(sufficient),
        statistics=statistics,
    )


def _pick(
    candidate: Candidate,
    label: int,
    reason: Reason,
    *,
    p_uncertainty: float | None = None,
    p_viability: float | None = None,
    gain: float | None = None,
) -> Pick:
    return Pick(
        label=label,
        reason=reason,
        walker=candidate.walker,
        step=candidate.step,
        time_fs=candidate.time_fs,
        temperature_K=candidate.target_temperature_K,
        uncertainty=candidate.uncertainty,
        forces_uncertainty=candidate.prediction.frame_uncertainty,
        p_uncertainty=p_uncertainty,
        p_viability=p_viability,
        gain=gain,
    )


def uncertainty_statistics(settings: AcquisitionSettings, given: RoundInput) -> UncertaintyStatistics:
    """Reference statistics of the uncertainty: the equilibrium part of the walks at the lowest temperature.

    Biased walks do not enter. Where the walks ended too early for statistics, those of the next temperature are added; where
    all did, the checks of all of them count, equilibrium or not.
    """
    series = np.empty(0)
    for temperature in sorted({walk.summary.temperature_K for walk in given.walks}):
        walks = given.unbiased(temperature)
        series = np.concatenate([np.empty(0), *(w.uncertainty[w.equilibrium(given.equilibrate_ps)] for w in walks)])
        if series.size >= MIN_POINTS:
            break
    if series.size < MIN_POINTS:
        unbiased = [walk.uncertainty for walk in given.walks if not walk.summary.biased]
        series = np.concatenate(unbiased) if unbiased else np.zeros(1)
    forces = MEASURES[settings.measure].is_force
    floor = settings.floor_noise * given.potential.typical_force_error if forces else 0.0
    mean = float(series.mean()) if series.size else 0.0
    spread = float(series.std(ddof=1)) if series.size > 1 else 0.0
    std = max(spread, STILL * max(mean, floor), np.finfo(float).eps)
    half = max(mean + settings.shift * std, floor)
    return UncertaintyStatistics(mean=mean, std=std, n_looks=series.size, half=half, floor=floor)


# ---------------------------------------------------------------------- viability


def viability(settings: AcquisitionSettings, given: RoundInput) -> FloatArray:
    """P_E of every candidate, (n_candidates,).

    Where the walks of a temperature ended too early for statistics, P_E is 1.

    Raises
    ------
    ConfigError
        `horizon` with a potential without atomic energies.
    """
    parts = [
        VIABILITIES[settings.viability](_viability_input(settings, given, walk)) if walk.candidates else np.empty(0)
        for walk in given.walks
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _viability_input(settings: AcquisitionSettings, given: RoundInput, walk: Walk) -> ViabilityInput:
    crystal, candidates, temperature = given.crystal, walk.candidates, walk.summary.temperature_K
    same = [(other, other.equilibrium(given.equilibrate_ps)) for other in given.unbiased(temperature)]
    shares = [w.atom_energies[mask].astype(np.float64) for w, mask in same if w.atom_energies is not None]
    no_frames = np.empty((0, len(crystal), 3))
    neighbourhood = neighbourhood_for(crystal)
    shared = [c.prediction.atom_energies for c in candidates if c.prediction.atom_energies is not None]
    return ViabilityInput(
        candidates=FrameEnergies(
            energies=np.array([c.prediction.energy for c in candidates]),
            positions=np.array([c.atoms.positions for c in candidates]),
            atom_energies=np.array(shared) if len(shared) == len(candidates) else None,
        ),
        equilibrium=FrameEnergies(
            energies=np.concatenate([np.empty(0), *(w.energy[mask] for w, mask in same)]),
            positions=np.concatenate([no_frames, *(w.positions[mask].astype(np.float64) for w, mask in same)]),
            atom_energies=np.concatenate([no_frames[..., 0], *shares]) if len(shares) == len(same) else None,
        ),
        cell=np.array(crystal.cell),
        pbc=crystal.pbc,
        groups=np.unique(crystal.numbers, return_inverse=True)[1],
        horizon=Horizon(temperature_K=temperature, time_ns=settings.horizon_ns),
        neighbourhood=neighbourhood,
        doubt=lambda k, atom: _cost_uncertainty(given, candidates[k].atoms, atom, neighbourhood),
    )


def neighbourhood_for(crystal: Atoms) -> Neighbourhood:
    """The default neighbourhood, reduced where the cell is less than twice as wide."""
    default = Neighbourhood()
    periodic = np.asarray(crystal.pbc, dtype=bool)
    if not periodic.any():
        return default
    widths = 1.0 / np.linalg.norm(np.linalg.inv(np.array(crystal.cell.complete()))[:, periodic], axis=0)
    outer = min(default.outer, 0.5 * float(widths.min()) * (1 - 1e-9))
    return Neighbourhood(inner=min(default.inner, 0.5 * outer), outer=outer)


def _cost_uncertainty(given: RoundInput, frame: Atoms, atom: int, neighbourhood: Neighbourhood) -> float:
    """Uncertainty of the energy of an atom's neighbourhood, eV: of the frame relative to the same with it put back."""
    shift = frame.positions - given.crystal.positions
    drift = np.average(shift, axis=0, weights=frame.get_masses())
    near = frame.get_distances(atom, range(len(frame)), mic=True) <= neighbourhood.inner
    back = frame.copy()
    back.positions[near] = given.crystal.positions[near] + drift
    return given.potential.energy_difference_uncertainty(frame, back)
