from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from campaign_fakes import SpringPotential, crystal
from rounds_fakes import EnsembleSprings
from trepid.acquisition.uncertainty import WIDTH, uncertainty_probability
from trepid.campaign.selection import (
    EventFrame,
    EventsSeen,
    RoundInput,
    neighbourhood_for,
    select,
    uncertainty_statistics,
    viability,
)
from trepid.config import AcquisitionSettings
from trepid.errors import ConfigError
from trepid.potentials.base import Potential
from trepid.runs.ledger_events import Reason
from trepid.runs.round_files import EventCount
from trepid.runs.walk_files import Candidate, Walk, WalkEnd, WalkSummary

N_CHECKS = 60


def displaced(seed: int, size: float) -> Atoms:
    atoms = crystal()
    atoms.positions += np.random.default_rng(seed).normal(scale=size, size=(len(atoms), 3))
    return atoms


def test_what_members_share_cancels_in_the_uncertainty_of_a_difference() -> None:
    model = EnsembleSprings([1.0, 2.0, 4.0])
    frame, other = displaced(1, 0.2), displaced(2, 0.1)
    squares = [float(((atoms.positions - crystal().positions) ** 2).sum()) for atoms in (frame, other)]
    expected = 0.5 * abs(squares[0] - squares[1]) * np.std([1.0, 2.0, 4.0], ddof=1)
    assert model.energy_difference_uncertainty(frame, other) == pytest.approx(expected, rel=1e-12)
    assert model.energy_difference_uncertainty(frame, frame) == 0.0
    at_hand = model.predict(frame), model.predict(other)
    lost = EnsembleSprings([7.0, 9.0])  # would give another result if it were evaluated again
    assert lost.energy_difference_uncertainty(frame, other, predictions=at_hand) == pytest.approx(expected, rel=1e-12)


def test_without_members_the_other_energy_counts_as_certain() -> None:
    model, frame = SpringPotential(crystal()), displaced(1, 0.2)
    assert model.energy_difference_uncertainty(frame, crystal()) == model.predict(frame).energy_uncertainty == 0.1


def candidate_of(
    model: Potential, walker: int, check: int, temperature: float, seed: int, size: float, *, lift_eV: float = 0.0
) -> Candidate:
    """A thermal frame as a walk keeps it; `lift_eV` raises the energy of its first atom."""
    atoms = displaced(seed, size)
    prediction = model.predict(atoms)
    assert prediction.atom_energies is not None
    energies = prediction.atom_energies.copy()
    energies[0] += lift_eV
    return Candidate(
        atoms=atoms,
        prediction=replace(prediction, energy=prediction.energy + lift_eV, atom_energies=energies),
        walker=walker,
        check=check,
        step=10 * check,
        time_fs=20.0 * check,
        target_temperature_K=temperature,
        temperature_K=temperature,
        uncertainty=prediction.frame_uncertainty,
    )


def walk_of(model: Potential, walker: int, temperature: float, *, size: float, every: int = 6) -> Walk:
    checks = [candidate_of(model, walker, k, temperature, 1000 * walker + k, size) for k in range(N_CHECKS)]
    summary = WalkSummary(walker, temperature, 10 * N_CHECKS, 2.0, N_CHECKS // every, WalkEnd.FINISHED, "")
    return Walk(
        summary=summary,
        steps=np.arange(N_CHECKS) * 10,
        uncertainty=np.array([check.uncertainty for check in checks]),
        forces_uncertainty_max=np.array([check.uncertainty for check in checks]),
        energy=np.array([check.prediction.energy for check in checks]),
        temperature_K=np.full(N_CHECKS, temperature),
        positions=np.array([check.atoms.positions for check in checks], dtype=np.float32),
        forces=np.array([check.prediction.forces for check in checks], dtype=np.float32),
        atom_energies=np.array([check.prediction.atom_energies for check in checks], dtype=np.float32),
        candidates=checks[::every],
    )


MODEL = EnsembleSprings((2.8, 3.0, 3.3, 3.5))
COLD, HOT = walk_of(MODEL, 0, 300.0, size=0.09), walk_of(MODEL, 1, 900.0, size=0.16)


def given(walks: Sequence[Walk] = (COLD, HOT), *, n: int = 4, potential: Potential = MODEL) -> RoundInput:
    return RoundInput(
        round=1,
        walks=walks,
        crystal=crystal(),
        potential=potential,
        n=n,
        first_label=7,
        seed=3,
        equilibrate_ps=0.0,
    )


def settings(**values: object) -> AcquisitionSettings:
    return AcquisitionSettings.model_validate({"floor_noise": 0.0, **values})


def with_candidate(walk: Walk, candidate: Candidate) -> Walk:
    return replace(walk, candidates=[*walk.candidates, candidate])


# ---------------------------------------------------------------------- P_U


def test_reference_statistics_are_those_of_the_coldest_walk() -> None:
    statistics = uncertainty_statistics(settings(), given())
    assert statistics.mean == pytest.approx(COLD.uncertainty.mean())
    assert statistics.std == pytest.approx(COLD.uncertainty.std(ddof=1))
    assert statistics.n_looks == N_CHECKS
    assert statistics.half == pytest.approx(statistics.mean + 2 * statistics.std)
    only_hot = uncertainty_statistics(settings(), given([HOT]))
    assert only_hot.mean == pytest.approx(HOT.uncertainty.mean())


def test_after_a_short_cold_walk_the_next_temperature_counts() -> None:
    short = replace(COLD, uncertainty=COLD.uncertainty[:3], steps=COLD.steps[:3], candidates=COLD.candidates[:1])
    assert uncertainty_statistics(settings(), given([short, HOT])).mean == pytest.approx(HOT.uncertainty.mean())


def test_p_u_is_the_published_function_of_these_statistics() -> None:
    found, _ = select(settings(viability="none"), given())
    statistics = uncertainty_statistics(settings(), given())
    z = (np.array(found.uncertainty) - statistics.mean) / statistics.std
    from scipy.special import erf

    np.testing.assert_allclose(found.p_uncertainty, 0.5 * (1 + erf((z - 2) / WIDTH)), atol=2e-4)
    assert uncertainty_probability(statistics.mean, _of(statistics)).item() < 1e-4


def test_biased_walks_give_candidates_and_no_statistics() -> None:
    biased = replace(
        walk_of(MODEL, 2, 300.0, size=0.25),
        summary=WalkSummary(2, 300.0, 10 * N_CHECKS, 2.0, 10, WalkEnd.FINISHED, "", True),
    )
    for viability_kind in ("horizon", "gaussian"):
        chosen = settings(viability=viability_kind, horizon_ns=1e-3)
        alone, beside = given([COLD, HOT]), given([biased, COLD, HOT])
        assert uncertainty_statistics(chosen, beside) == uncertainty_statistics(chosen, alone)
        p_e = viability(chosen, beside)
        n = len(biased.candidates)
        np.testing.assert_array_equal(p_e[n:], viability(chosen, alone))
        # Relative to the equilibrium at their temperature, the hot frames of a biased walk are improbable.
        assert p_e[:n].max() < 0.5
    # No equilibrium walk at this temperature: nothing is ruled out.
    other = replace(biased, summary=replace(biased.summary, temperature_K=600.0))
    assert viability(settings(), given([COLD, other]))[-len(other.candidates) :].tolist() == [1.0] * len(
        other.candidates
    )


def _of(statistics):  # type: ignore[no-untyped-def]
    from trepid.acquisition.uncertainty import WalkStatistics

    return WalkStatistics(statistics.mean, statistics.std, statistics.n_looks)


def test_below_the_noise_nothing_is_selected() -> None:
    found, frames = select(settings(floor_noise=1e4), given())
    assert found.n_worthy == 0
    assert frames == []
    assert set(found.p_uncertainty) == {0.0}
    partly, _ = select(settings(floor_noise=10.0), given())  # noise 0.01 eV/A: 0.1 eV/A
    assert all((u >= 0.1) or p == 0.0 for u, p in zip(partly.uncertainty, partly.p_uncertainty, strict=True))


def test_energy_has_no_floor_of_force_noise() -> None:
    assert uncertainty_statistics(settings(measure="energy", floor_noise=1e4), given()).floor == 0.0


# ---------------------------------------------------------------------- P_E


def test_viability_falls_with_the_cost_and_rises_with_temperature_and_time() -> None:
    dear = [candidate_of(MODEL, w, 59, t, 5, 0.1, lift_eV=0.6) for w, t in ((0, 300.0), (1, 900.0))]
    walks = [with_candidate(COLD, dear[0]), with_candidate(HOT, dear[1])]
    cold, hot = (viability(settings(horizon_ns=1.0), given(walks))[k] for k in (10, 21))
    assert cold < 0.05
    assert hot == 1.0
    assert viability(settings(horizon_ns=1e9), given(walks))[10] > cold
    assert viability(settings(viability="none"), given(walks)).tolist() == [1.0] * 22
    equilibrium = viability(settings(), given())
    assert (equilibrium > 0.9).all()
    assert viability(settings(viability="gaussian"), given(walks))[10] < 0.5


def test_an_improbable_frame_is_not_selected() -> None:
    impossible = candidate_of(MODEL, 0, 59, 300.0, 5, 0.3, lift_eV=5.0)
    walks = [with_candidate(COLD, impossible), HOT]
    without, _ = select(settings(viability="none"), given(walks, n=20))
    found, _ = select(settings(), given(walks, n=20))
    assert 590 in [pick.step for pick in without.picks if pick.walker == 0]
    assert 590 not in [pick.step for pick in found.picks if pick.walker == 0]


def test_horizon_needs_atomic_energies() -> None:
    with pytest.raises(ConfigError, match="take gaussian or none"):
        viability(settings(), given([replace(COLD, atom_energies=None)]))


def test_neighbourhoods_fit_into_the_cell() -> None:
    small = neighbourhood_for(crystal())
    assert small.outer <= 1.8
    assert small.inner < small.outer
    assert neighbourhood_for(crystal().repeat((5, 5, 3))).outer == 6.0


# ---------------------------------------------------------------------- the batch


def test_greedy_selects_sufficient_candidates_only() -> None:
    found, frames = select(settings(), given(n=3))
    assert [pick.label for pick in found.picks] == [7, 8, 9]
    assert len(frames) == 3
    p = np.array(found.p_uncertainty) * np.array(found.p_viability)
    assert found.n_worthy == int((p >= 0.05).sum())
    for pick, frame in zip(found.picks, frames, strict=True):
        assert pick.reason is Reason.UNCERTAINTY
        (walk,) = (walk for walk in (COLD, HOT) if walk.summary.walker == pick.walker)
        (candidate,) = (candidate for candidate in walk.candidates if candidate.step == pick.step)
        np.testing.assert_array_equal(frame.positions, candidate.atoms.positions)
        assert pick.forces_uncertainty == candidate.prediction.frame_uncertainty
        assert pick.p_uncertainty is not None
        assert pick.p_uncertainty >= 0.05
    everything, _ = select(settings(), given(n=99))
    assert len(everything.picks) <= everything.n_worthy


def test_a_copy_of_a_chosen_frame_is_chosen_last() -> None:
    twice = [with_candidate(COLD, HOT.candidates[0]), HOT]
    order, _ = select(settings(viability="none"), given(twice, n=4))
    pairs = [(pick.walker, pick.step) for pick in order.picks]
    assert len(set(pairs)) == len(pairs)


def test_bernoulli_is_seeded_and_follows_p() -> None:
    bernoulli = settings(batch="bernoulli", viability="none")
    one, _ = select(bernoulli, given(n=5))
    again, _ = select(bernoulli, given(n=5))
    assert one == again
    assert all(pick.gain is None for pick in one.picks)
    certain = [k for k, p in enumerate(one.p_uncertainty) if p > 0.9999]
    assert len(one.picks) >= min(5, len(certain))


def test_rows_of_a_committee_reproduce_its_covariance_within_a_frame() -> None:
    frames = [HOT.candidates[0].atoms, HOT.candidates[3].atoms]
    rows = MODEL.information(frames, crystal(), n_atoms=16)
    prediction = MODEL.predict(frames[0])
    assert prediction.forces_ensemble is not None
    covariance = np.cov(prediction.forces_ensemble.reshape(4, -1), rowvar=False)
    np.testing.assert_allclose(rows[0] @ rows[0].T, covariance, atol=1e-12)


def test_greedy_needs_rows_or_members() -> None:
    plain = SpringPotential(crystal())
    plain.seen, plain._n_frames, plain.stiffness = np.array([0.05]), 3, 3.0
    with pytest.raises(ConfigError, match="use bernoulli"):
        select(settings(viability="none"), given(potential=plain))


# ---------------------------------------------------------------------- events and controls


def event_frames(n: int) -> EventsSeen:
    frames = tuple(
        EventFrame(crystal(), 0, 10 * k, 20.0 * k, 300.0, "hop Cu", f"hop Cu | {where}")
        for k, where in enumerate(["before", "on the way", "after", "before", "after"][:n])
    )
    return EventsSeen(frames, (EventCount("hop Cu", "hop", 300.0, 2, 1.2),), ("hop Cu",))


def test_frames_of_events_come_first_whatever_their_uncertainty() -> None:
    found, frames = select(settings(), given(n=5), events=event_frames(3))
    assert [pick.reason for pick in found.picks] == ["event"] * 3 + ["uncertainty"] * 2
    assert [pick.note for pick in found.picks[:3]] == ["hop Cu | before", "hop Cu | on the way", "hop Cu | after"]
    assert {pick.event_class for pick in found.picks[:3]} == {"hop Cu"}
    assert found.new_classes == ("hop Cu",)
    assert len(frames) == 5
    assert all(pick.gain is not None for pick in found.picks)


def test_events_keep_to_the_budget() -> None:
    found, frames = select(settings(), given(n=2), events=event_frames(5))
    assert [pick.reason for pick in found.picks] == ["event"] * 2
    assert len(frames) == 2


@pytest.mark.parametrize("kind", ["random", "hot"])
def test_controls_take_as_many_and_only_their_own(kind: str) -> None:
    found, frames = select(settings(kind=kind), given(n=6))
    assert len(frames) == 6
    assert found.statistics is None
    again, _ = select(settings(kind=kind), given(n=6))
    assert found == again
    if kind == "hot":
        assert {pick.walker for pick in found.picks} == {1}
        assert [pick.step for pick in found.picks] == sorted(pick.step for pick in found.picks)
    else:
        other, _ = select(settings(kind=kind), replace(given(n=6), round=2))
        assert [pick.step for pick in other.picks] != [pick.step for pick in found.picks]


def test_without_candidates_nothing_is_chosen() -> None:
    none = [replace(COLD, candidates=[]), replace(HOT, candidates=[])]
    for kind in ("uncertainty", "random", "hot"):
        found, frames = select(settings(kind=kind), given(none))
        assert found.picks == ()
        assert frames == []
