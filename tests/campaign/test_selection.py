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
    information_rows,
    neighbourhood_for,
    select,
    uncertainty_statistics,
    viability,
)
from trepid.config import AcquisitionSettings
from trepid.errors import ConfigError
from trepid.potentials.base import Potential
from trepid.runs.ledger import Reason
from trepid.runs.round_files import EventCount
from trepid.runs.walk_files import Walk, WalkSummary

N_LOOKS = 60


def displaced(seed: int, size: float) -> Atoms:
    atoms = crystal()
    atoms.positions += np.random.default_rng(seed).normal(scale=size, size=(len(atoms), 3))
    return atoms


def test_what_members_share_is_no_doubt_about_a_difference() -> None:
    model = EnsembleSprings([1.0, 2.0, 4.0])
    frame, other = displaced(1, 0.2), displaced(2, 0.1)
    squares = [float(((atoms.positions - crystal().positions) ** 2).sum()) for atoms in (frame, other)]
    expected = 0.5 * abs(squares[0] - squares[1]) * np.std([1.0, 2.0, 4.0], ddof=1)
    assert model.energy_difference_uncertainty(frame, other) == pytest.approx(expected, rel=1e-12)
    assert model.energy_difference_uncertainty(frame, frame) == 0.0
    at_hand = model.predict(frame), model.predict(other)
    lost = EnsembleSprings([7.0, 9.0])  # would say something else, were it asked again
    assert lost.energy_difference_uncertainty(frame, other, predictions=at_hand) == pytest.approx(expected, rel=1e-12)


def test_without_members_the_other_energy_counts_as_known() -> None:
    model, frame = SpringPotential(crystal()), displaced(1, 0.2)
    assert model.energy_difference_uncertainty(frame, crystal()) == model.predict(frame).energy_uncertainty == 0.1


def frame_of(
    model: Potential, walker: int, look: int, temperature: float, seed: int, size: float, *, lift_eV: float = 0.0
) -> Atoms:
    """A thermal frame as a walk keeps it; `lift_eV` raises the energy of its first atom."""
    atoms = crystal()
    atoms.positions += np.random.default_rng(seed).normal(scale=size, size=(len(atoms), 3))
    prediction = model.predict(atoms)
    assert prediction.atom_energies is not None
    energies = prediction.atom_energies.copy()
    energies[0] += lift_eV
    atoms.info.update(
        walker=walker,
        look=look,
        step=10 * look,
        time_fs=20.0 * look,
        target_temperature_K=temperature,
        temperature_K=temperature,
        uncertainty=prediction.frame_uncertainty,
        energy=prediction.energy + lift_eV,
    )
    atoms.arrays["forces"] = prediction.forces
    atoms.arrays["atom_energies"] = energies
    return atoms


def walk_of(model: Potential, walker: int, temperature: float, *, size: float, every: int = 6) -> Walk:
    frames = [frame_of(model, walker, k, temperature, 1000 * walker + k, size) for k in range(N_LOOKS)]
    summary = WalkSummary(walker, temperature, 10 * N_LOOKS, 2.0, N_LOOKS // every, "finished", "")
    return Walk(
        summary=summary,
        steps=np.arange(N_LOOKS) * 10,
        uncertainty=np.array([frame.info["uncertainty"] for frame in frames]),
        forces_uncertainty_max=np.array([frame.info["uncertainty"] for frame in frames]),
        energy=np.array([frame.info["energy"] for frame in frames]),
        temperature_K=np.full(N_LOOKS, temperature),
        positions=np.array([frame.positions for frame in frames], dtype=np.float32),
        forces=np.array([frame.arrays["forces"] for frame in frames], dtype=np.float32),
        atom_energies=np.array([frame.arrays["atom_energies"] for frame in frames], dtype=np.float32),
        candidates=frames[::every],
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


def with_candidate(walk: Walk, frame: Atoms) -> Walk:
    return replace(walk, candidates=[*walk.candidates, frame])


# ---------------------------------------------------------------------- P_U


def test_ordinary_is_what_the_coldest_walk_shows() -> None:
    statistics = uncertainty_statistics(settings(), given())
    assert statistics.mean == pytest.approx(COLD.uncertainty.mean())
    assert statistics.std == pytest.approx(COLD.uncertainty.std(ddof=1))
    assert statistics.n_looks == N_LOOKS
    assert statistics.half == pytest.approx(statistics.mean + 2 * statistics.std)
    only_hot = uncertainty_statistics(settings(), given([HOT]))
    assert only_hot.mean == pytest.approx(HOT.uncertainty.mean())


def test_a_cold_walk_that_ended_at_once_hands_over_to_the_next() -> None:
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
    push = replace(
        walk_of(MODEL, 2, 300.0, size=0.25), summary=WalkSummary(2, 300.0, 10 * N_LOOKS, 2.0, 10, "finished", "", True)
    )
    for viability_kind in ("horizon", "gaussian"):
        asked = settings(viability=viability_kind, horizon_ns=1e-3)
        alone, beside = given([COLD, HOT]), given([push, COLD, HOT])
        assert uncertainty_statistics(asked, beside) == uncertainty_statistics(asked, alone)
        judged = viability(asked, beside)
        n = len(push.candidates)
        np.testing.assert_array_equal(judged[n:], viability(asked, alone))
        # Judged by the equilibrium at its temperature, the hot frames of a biased walk are no ordinary ones.
        assert judged[:n].max() < 0.5
    # No equilibrium walk at this temperature: nothing is ruled out.
    other = replace(push, summary=replace(push.summary, temperature_K=600.0))
    assert viability(settings(), given([COLD, other]))[-len(other.candidates) :].tolist() == [1.0] * len(
        other.candidates
    )


def _of(statistics):  # type: ignore[no-untyped-def]
    from trepid.acquisition.uncertainty import WalkStatistics

    return WalkStatistics(statistics.mean, statistics.std, statistics.n_looks)


def test_below_the_noise_nothing_is_worth_a_label() -> None:
    found, frames = select(settings(floor_noise=1e4), given())
    assert found.n_worthy == 0
    assert frames == []
    assert set(found.p_uncertainty) == {0.0}
    partly, _ = select(settings(floor_noise=10.0), given())  # noise 0.01 eV/A: 0.1 eV/A
    assert all((u >= 0.1) or p == 0.0 for u, p in zip(partly.uncertainty, partly.p_uncertainty, strict=True))


def test_energy_has_no_floor_of_force_noise() -> None:
    assert uncertainty_statistics(settings(measure="energy", floor_noise=1e4), given()).floor == 0.0


# ---------------------------------------------------------------------- P_E


def test_an_impossible_frame_is_not_viable_and_a_dear_one_is_when_hot_or_for_long() -> None:
    dear = [frame_of(MODEL, w, 59, t, 5, 0.1, lift_eV=0.6) for w, t in ((0, 300.0), (1, 900.0))]
    walks = [with_candidate(COLD, dear[0]), with_candidate(HOT, dear[1])]
    cold, hot = (viability(settings(horizon_ns=1.0), given(walks))[k] for k in (10, 21))
    assert cold < 0.05
    assert hot == 1.0
    assert viability(settings(horizon_ns=1e9), given(walks))[10] > cold
    assert viability(settings(viability="none"), given(walks)).tolist() == [1.0] * 22
    ordinary = viability(settings(), given())
    assert (ordinary > 0.9).all()
    assert viability(settings(viability="gaussian"), given(walks))[10] < 0.5


def test_what_cannot_happen_is_not_chosen() -> None:
    impossible = frame_of(MODEL, 0, 59, 300.0, 5, 0.3, lift_eV=5.0)
    walks = [with_candidate(COLD, impossible), HOT]
    without, _ = select(settings(viability="none"), given(walks, n=20))
    found, _ = select(settings(), given(walks, n=20))
    assert 590 in [pick.step for pick in without.picks if pick.walker == 0]
    assert 590 not in [pick.step for pick in found.picks if pick.walker == 0]


def test_horizon_needs_the_shares_of_the_atoms() -> None:
    with pytest.raises(ConfigError, match="take gaussian or none"):
        viability(settings(), given([replace(COLD, atom_energies=None)]))


def test_neighbourhoods_fit_into_the_cell() -> None:
    small = neighbourhood_for(crystal())
    assert small.outer <= 1.8
    assert small.inner < small.outer
    assert neighbourhood_for(crystal().repeat((5, 5, 3))).outer == 6.0


# ---------------------------------------------------------------------- the batch


def test_greedy_takes_what_is_worth_it_and_no_more() -> None:
    found, frames = select(settings(), given(n=3))
    assert [pick.label for pick in found.picks] == [7, 8, 9]
    assert len(frames) == 3
    p = np.array(found.p_uncertainty) * np.array(found.p_viability)
    assert found.n_worthy == int((p >= 0.05).sum())
    for pick, frame in zip(found.picks, frames, strict=True):
        assert pick.reason == Reason.UNCERTAINTY.value
        assert frame.info["step"] == pick.step
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
    frames = [HOT.candidates[0], HOT.candidates[3]]
    rows = information_rows(MODEL, frames, crystal())
    prediction = MODEL.predict(frames[0])
    assert prediction.forces_ensemble is not None
    covariance = np.cov(prediction.forces_ensemble.reshape(4, -1), rowvar=False)
    np.testing.assert_allclose(rows[0] @ rows[0].T, covariance, atol=1e-12)


def test_greedy_needs_rows_or_members() -> None:
    plain = SpringPotential(crystal())
    plain.seen, plain._n_frames, plain.stiffness = np.array([0.05]), 3, 3.0
    with pytest.raises(ConfigError, match="take bernoulli"):
        select(settings(viability="none"), given(potential=plain))


# ---------------------------------------------------------------------- events and controls


def event_frames(n: int) -> EventsSeen:
    frames = tuple(
        EventFrame(crystal(), 0, 10 * k, 20.0 * k, 300.0, f"hop Cu | {where}")
        for k, where in enumerate(["before", "on the way", "after", "before", "after"][:n])
    )
    return EventsSeen(frames, (EventCount("hop Cu", "hop", 300.0, 2, 1.2),), ("hop Cu",))


def test_frames_of_events_come_first_whatever_their_uncertainty() -> None:
    found, frames = select(settings(), given(n=5), events=event_frames(3))
    assert [pick.reason for pick in found.picks] == ["event"] * 3 + ["uncertainty"] * 2
    assert [pick.note for pick in found.picks[:3]] == ["hop Cu | before", "hop Cu | on the way", "hop Cu | after"]
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
