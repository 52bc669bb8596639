from __future__ import annotations

import numpy as np
import pytest

from trepid.acquisition.conformal import (
    WINDOW,
    Basis,
    ScoredFrame,
    calibrate,
    coverage_by_stratum,
    factor_of,
    frames_factor,
    quantile_factor,
    running_coverage,
    running_factors,
)

Z95 = 1.959963984540054


def frame(
    rng: np.random.Generator,
    batch: int,
    scale: dict[str, float],
    *,
    strata: tuple[str, ...] = ("stage 1",),
    n: int = 32,
    shared: float = 0.0,
) -> ScoredFrame:
    """Bars of 0.1 eV/A; the true errors are `scale` times as large, times a factor that the atoms of a frame share."""
    symbols = np.repeat(list(scale), n)
    common = np.exp(shared * rng.normal())
    errors = 0.1 * common * np.repeat(list(scale.values()), n)[:, None] * rng.normal(size=(len(symbols), 3))
    return ScoredFrame.of(symbols, errors, np.full(errors.shape, 0.1), strata=strata, batch=batch)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_the_factor_is_the_conformal_quantile() -> None:
    # 19 scores: rank ceil(0.95 * 20) = 19, the largest; 39: rank 38, the second largest.
    assert quantile_factor(np.arange(1, 20)) == pytest.approx(19 / Z95)
    assert quantile_factor(np.arange(39, 0, -1)) == pytest.approx(38 / Z95)
    assert quantile_factor([0.5, 3.0]) == pytest.approx(3.0 / Z95)
    with pytest.raises(ValueError, match="no score"):
        quantile_factor([])


def test_the_factor_of_few_frames_is_raised_by_what_frames_differ() -> None:
    scores = np.arange(1, 40)
    assert [frames_factor(scores, k) / quantile_factor(scores) for k in (1, 2, 6)] == pytest.approx([1.06, 1.03, 1.01])
    with pytest.raises(ValueError, match="scores of 0 frames"):
        frames_factor(scores, 0)


def test_split_conformal_intervals_hold_their_level_whatever_the_errors_are(rng: np.random.Generator) -> None:
    # Exchangeable scores of a heavy-tailed distribution, one per frame: mean coverage k / (n + 1), exactly.
    n, draws = 59, 4000
    scores = np.abs(rng.standard_t(2, size=(draws, n + 1)))
    inside = [last <= Z95 * quantile_factor(earlier) for *earlier, last in scores]
    assert np.mean(inside) == pytest.approx(57 / 60, abs=4 * np.sqrt(0.05 * 0.95 / draws))


def test_it_repairs_bars_that_are_too_narrow_and_narrows_those_that_are_too_wide(rng: np.random.Generator) -> None:
    frames = [frame(rng, k, {"Cu": 2.0, "I": 0.5}) for k in range(8)]
    assert factor_of(frames, ("stage 1",), "Cu").value == pytest.approx(2.0, rel=0.15)
    assert factor_of(frames, ("stage 1",), "I").value == pytest.approx(0.5, rel=0.15)


def test_two_frames_cover_the_others_on_average(rng: np.random.Generator) -> None:
    # Also where the atoms of a frame share a factor: the unit that is exchangeable is the frame. The quantile alone holds too few.
    covered, by_quantile = [], []
    for _ in range(300):
        frames = [frame(rng, k, {"Cu": 2.0}, shared=0.2) for k in range(3)]
        factor = factor_of(frames[:2], ("stage 1",), "Cu")
        assert factor.n_frames == 2
        pooled = quantile_factor(np.concatenate([known.scores["Cu"] for known in frames[:2]]))
        covered.append(np.mean(frames[2].scores["Cu"] <= Z95 * factor.value))
        by_quantile.append(np.mean(frames[2].scores["Cu"] <= Z95 * pooled))
    assert np.mean(by_quantile) < np.mean(covered) - 0.004
    assert 0.935 <= np.mean(covered) <= 0.965


def test_fewer_than_two_labels_are_said_and_taken_from_the_parent(rng: np.random.Generator) -> None:
    assert factor_of([], ("stage 1",), "Cu").basis is Basis.NONE
    one = [frame(rng, 0, {"Cu": 2.0, "I": 1.0})]
    assert factor_of(one, ("stage 1",), "Cu") == (nothing := factor_of([], ("stage 1",), "Cu"))
    assert (nothing.value, nothing.n_frames) == (1.0, 0)
    two = [*one, frame(rng, 1, {"Cu": 2.0, "I": 1.0})]
    assert factor_of(two, ("stage 2",), "Cu").basis is Basis.SPECIES
    assert factor_of(two, ("stage 2",), "Cu").value == factor_of(two, ("stage 1",), "Cu").value
    assert factor_of(two, ("stage 2",), "Ag").basis is Basis.ALL
    hop = [frame(rng, k, {"Cu": 3.0}, strata=(name, "events")) for k, name in ((2, "hop"), (3, "exchange"))]
    parent = factor_of([*two, *hop], ("hop", "events"), "Cu")
    assert (parent.basis, parent.n_frames) == (Basis.PARENT, 2)
    assert parent.value == pytest.approx(3.0, rel=0.25)


def test_only_the_latest_batches_count_and_batches_are_whole(rng: np.random.Generator) -> None:
    old = [frame(rng, 0, {"Cu": 9.0}) for _ in range(20)]
    new = [frame(rng, 1, {"Cu": 1.0}) for _ in range(WINDOW + 3)]
    factor = factor_of([*old, *new], ("stage 1",), "Cu")
    assert (factor.n_frames, factor.basis) == (WINDOW + 3, Basis.STRATUM)
    assert factor.value == pytest.approx(1.0, rel=0.15)
    # A batch that is too small for the window brings the whole batch before it.
    assert factor_of([*old, new[0]], ("stage 1",), "Cu").n_frames == 21


def test_a_label_is_judged_with_the_factor_of_earlier_batches_alone(rng: np.random.Generator) -> None:
    frames = [frame(rng, batch, {"Cu": 2.0}) for batch in (0, 0, 1, 1, 2, 3)]
    factors = running_factors(frames)
    assert [f["Cu"].n_frames for f in factors] == [0, 0, 2, 2, 4, 5]
    # The errors of a batch do not enter its own factors, nor those of earlier ones.
    wild = [*frames[:4], frame(rng, 2, {"Cu": 50.0}), frames[5]]
    assert running_factors(wild)[:5] == factors[:5]
    assert running_factors(wild)[5] != factors[5]


def test_coverage_is_told_by_stratum_announced_and_corrected(rng: np.random.Generator) -> None:
    frames = [frame(rng, k, {"Cu": 2.0, "I": 1.0}) for k in range(10)]
    frames += [frame(rng, 10, {"Cu": 2.0, "I": 1.0}, strata=("stage 2",))]
    rows = coverage_by_stratum(frames)
    assert [(row.stratum, row.species) for row in rows] == [
        ("stage 1", "Cu"),
        ("stage 1", "I"),
        ("stage 2", "Cu"),
        ("stage 2", "I"),
    ]
    cu = rows[0].coverage
    assert (cu.n_frames, cu.n_own) == (10, 8)
    assert cu.announced == pytest.approx(0.673, abs=0.03)  # erf(1.96 / 2 / sqrt(2))
    assert cu.corrected_own == pytest.approx(0.95, abs=0.03)
    # The first two labels have no factor: they are counted as announced.
    first = np.mean(np.concatenate([f.scores["Cu"] for f in frames[:2]]) <= Z95)
    assert cu.corrected == pytest.approx((2 * first + 8 * cu.corrected_own) / 10)
    assert rows[2].factor.basis is Basis.SPECIES
    assert rows[2].coverage.corrected_own is None
    whole = running_coverage(frames)
    assert whole is not None
    assert whole.announced == pytest.approx(np.mean([np.mean(s <= Z95) for f in frames for s in f.scores.values()]))
    assert running_coverage([]) is None


def test_given_frames_of_one_stratum_calibrate_a_model(rng: np.random.Generator) -> None:
    symbols = np.tile(np.repeat(["Cu", "I"], 32), 3)
    index = np.repeat([0, 1, 2], 64)
    errors = np.where(symbols == "Cu", 0.3, 0.1)[:, None] * rng.normal(size=(192, 3))
    factors = calibrate(symbols, index, errors, np.full(errors.shape, 0.1))
    assert factors["Cu"].value == pytest.approx(3.0, rel=0.2)
    assert factors["I"].value == pytest.approx(1.0, rel=0.2)
    assert factors["Cu"].n_frames == 3
    as_lists = calibrate(symbols.tolist(), index.tolist(), errors.tolist(), np.full(errors.shape, 0.1).tolist())
    assert as_lists == factors
    with pytest.raises(ValueError, match="192 symbols, 64 numbers of frames"):
        calibrate(symbols, index[:64], errors, np.full(errors.shape, 0.1))
    one = calibrate(symbols[:64], index[:64], errors[:64], np.full((64, 3), 0.1))
    assert one["Cu"].basis is Basis.NONE


def test_damaged_input_is_refused(rng: np.random.Generator) -> None:
    symbols, errors = np.array(["Cu", "I"]), rng.normal(size=(2, 3))
    with pytest.raises(ValueError, match="positive"):
        ScoredFrame.of(symbols, errors, np.zeros((2, 3)), strata=("a",), batch=0)
    with pytest.raises(ValueError, match="finite"):
        ScoredFrame.of(symbols, errors * np.nan, np.ones((2, 3)), strata=("a",), batch=0)
    with pytest.raises(ValueError, match="at least one stratum"):
        ScoredFrame.of(symbols, errors, np.ones((2, 3)), strata=(), batch=0)
