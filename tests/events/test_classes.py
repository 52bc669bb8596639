from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import poisson

from trepid.events.classes import event_class, event_rate, jumps
from trepid.events.detection import Event, EventKind
from trepid.events.sites import Sites

CRYSTAL = bulk("CuI", "zincblende", a=6.19, cubic=True).repeat(2)
SITES = Sites.of(CRYSTAL)


def event(kind: EventKind, moves: list[tuple[int, int, int]], sites: Sites = SITES) -> Event:
    atoms, origins, targets = zip(*moves, strict=True)
    return Event(kind, atoms, tuple(sites.species[a] for a in atoms), origins, targets, 0, 1, 0.0, 20.0, 1.0)


# --- classes


@settings(max_examples=30)
@given(shift=st.tuples(*[st.integers(0, 3)] * 3), noise=st.integers(0, 100))
def test_a_class_does_not_change_under_translations_of_the_crystal(shift, noise):
    # A crystal relaxed to a finite precision: equivalent distances differ in the last digits.
    crystal = CRYSTAL.copy()
    crystal.positions += np.random.default_rng(noise).normal(0, 0.003, crystal.positions.shape)
    sites = Sites.of(crystal, empty=SITES.positions[64:])
    half = 6.19 / 2
    i, j, k = shift
    vector = np.array([j + k, i + k, i + j]) * half
    image, distance = sites.nearest((SITES.positions + vector) @ np.linalg.inv(sites.cell))
    assert distance.max() < 0.02
    empty = int(np.flatnonzero(np.array(SITES.kinds) == "empty 4Cu6I")[3])
    for kind, moves in (
        (EventKind.FRENKEL, [(0, 0, empty)]),
        (EventKind.EXCHANGE, [(0, 0, 2), (2, 2, 0)]),
        (EventKind.EXCHANGE, [(4, 4, 7), (7, 7, 4)]),
        (EventKind.HOP, [(6, 80, 90)]),
    ):
        moved = [(int(image[a]) if a < 64 else a, int(image[b]), int(image[c])) for a, b, c in moves]
        first, second = event_class(event(kind, moves, sites), sites), event_class(event(kind, moved, sites), sites)
        assert first == second
        assert hash(first) == hash(second)


def test_classes_tell_apart_what_differs():
    nearest = sorted(range(64, 128), key=lambda k: SITES.distance(0, k))
    close, far = nearest[0], next(k for k in nearest if SITES.kinds[k] == SITES.kinds[nearest[0]] and k != nearest[0]
                                  and SITES.distance(0, k) > SITES.distance(0, nearest[0]) + 1)  # fmt: skip
    other = next(k for k in nearest if SITES.kinds[k] != SITES.kinds[close])
    classes = {
        event_class(event(EventKind.FRENKEL, [(0, 0, close)]), SITES),
        event_class(event(EventKind.EXCURSION, [(0, 0, close)]), SITES),
        event_class(event(EventKind.FRENKEL, [(0, 0, far)]), SITES),
        event_class(event(EventKind.FRENKEL, [(0, 0, other)]), SITES),
        event_class(event(EventKind.FRENKEL, [(1, 1, close)]), SITES),
        event_class(event(EventKind.EXCHANGE, [(0, 0, 2), (2, 2, 0)]), SITES),
        event_class(event(EventKind.EXCHANGE, [(0, 0, 1), (1, 1, 0)]), SITES),
    }
    assert len(classes) == 7
    assert str(event_class(event(EventKind.FRENKEL, [(0, 0, close)]), SITES)) == "frenkel Cu: Cu -> empty 4Cu6I, 2.68 A"
    assert sorted(classes)


def test_all_nearest_hops_are_one_class():
    classes = {
        event_class(event(EventKind.FRENKEL, [(a, a, k)]), SITES)
        for a in range(0, 64, 2)
        for k in range(64, 128)
        if SITES.distance(a, k) < 2.7
    }
    assert len(classes) == 1


# --- rates


@pytest.mark.parametrize("level", [0.5, 0.68, 0.95])
@pytest.mark.parametrize("n", [0, 1, 3, 20, 400])
def test_the_interval_of_a_rate_has_the_tails_it_claims(n, level):
    rate = event_rate(n, 250.0, level=level)
    tail = (1 - level) / 2
    assert rate.rate_per_ps == n / 250.0
    assert poisson.cdf(n, rate.high_per_ps * 250.0) == pytest.approx(tail)
    if n:
        assert poisson.sf(n - 1, rate.low_per_ps * 250.0) == pytest.approx(tail)
    else:
        assert rate.low_per_ps == 0.0


@pytest.mark.parametrize("level", [0.68, 0.95])
def test_the_interval_has_its_nominal_coverage(level):
    counts = np.arange(0, 120)
    intervals = np.array([event_rate(int(n), 1.0, level=level)[1:] for n in counts])
    for truth in np.linspace(0.05, 40.0, 200):
        covered = (intervals[:, 0] <= truth) & (truth <= intervals[:, 1])
        assert poisson.pmf(counts[covered], truth).sum() >= level - 1e-9


@pytest.mark.parametrize(("n", "time", "level"), [(-1, 1.0, 0.68), (1, 0.0, 0.68), (1, np.inf, 0.68), (1, 1.0, 1.0)])
def test_rates_without_meaning_are_refused(n, time, level):
    with pytest.raises(ValueError, match="must"):
        event_rate(n, time, level=level)


# --- jumps


def noise(n: int, seed: int, std: float = 0.05, memory: float = 0.8) -> np.ndarray:
    x = lfilter([1.0], [1.0, -memory], np.random.default_rng(seed).normal(size=n + 200))[200:]
    return 0.56 + std * np.sqrt(1 - memory**2) * x


@pytest.mark.parametrize("seed", range(5))
def test_no_jump_in_ten_thousand_values_of_correlated_noise(seed):
    assert jumps(noise(10_000, seed), window=50) == []


@pytest.mark.parametrize("seed", range(5))
def test_jumps_up_and_down_are_found_where_they_are(seed):
    series = noise(2000, seed)
    series[700:1200] += 0.29
    up, down = jumps(series, window=50)
    assert abs(up.index - 700) <= 8
    assert abs(down.index - 1200) <= 8
    assert up.after - up.before == pytest.approx(0.29, abs=0.06)
    assert down.after - down.before == pytest.approx(-0.29, abs=0.06)
    assert up.score > 3.0


def test_a_peak_and_a_slow_drift_are_no_jump_and_scale_does_not_matter():
    series = noise(2000, 9)
    series[900:915] += 1.0
    assert jumps(series, window=50) == []
    assert jumps(noise(2000, 9) + np.linspace(0, 0.5, 2000), window=50) == []
    series[1500:] += 0.4
    (jump,) = jumps(series, window=50)
    (scaled,) = jumps(1000 * series - 7, window=50)
    assert scaled.index == jump.index
    assert scaled.score == pytest.approx(jump.score)
    assert jumps(series, window=50, least=0.5) == []


def test_a_jump_without_noise_is_exact_and_a_short_series_has_none():
    (jump,) = jumps(np.r_[np.zeros(60), np.ones(60)], window=20)
    assert (jump.index, jump.before, jump.after, jump.score) == (60, 0.0, 1.0, np.inf)
    assert jumps(np.r_[np.zeros(10), np.ones(10)], window=20) == []
    with pytest.raises(ValueError, match="finite"):
        jumps([0.0, np.nan] * 30, window=5)
    with pytest.raises(ValueError, match="window"):
        jumps(np.zeros(30), window=2)
