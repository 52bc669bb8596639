from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trepid.errors import ConfigError
from trepid.potentials.committee import BayesianSettings, CommitteeSettings, NequipSettings, So3kratesSettings
from trepid.potentials.committee.subsets import seed_of, subset_of


@given(
    seed=st.integers(0, 10**6),
    member=st.integers(0, 3),
    n=st.integers(1, 80),
    more=st.integers(0, 40),
    fraction=st.floats(0.05, 1.0),
    share=st.floats(0.0, 1.0),
)
def test_a_frame_keeps_its_role(seed: int, member: int, n: int, more: int, fraction: float, share: float) -> None:
    settings = CommitteeSettings(
        backend="nequip", seed=seed, subset_fraction=fraction, validation_fraction=share * (1 - fraction)
    )
    before, after = subset_of(settings, member, n), subset_of(settings, member, n + more)
    assert before.train == tuple(i for i in after.train if i < n)
    assert before.validation == tuple(i for i in after.validation if i < n)
    assert before.held_out == tuple(i for i in after.held_out if i < n)
    assert sorted((*before.train, *before.held_out)) == list(range(n))
    assert set(before.validation) <= set(before.held_out)
    assert 0 in before.train


def test_fractions_hold_in_every_block() -> None:
    settings = CommitteeSettings(backend="nequip", subset_fraction=0.7, validation_fraction=0.2)
    subset = subset_of(settings, 1, 200)
    for start in range(10, 200, 10):
        assert sum(start <= i < start + 10 for i in subset.train) == 7
        assert sum(start <= i < start + 10 for i in subset.validation) == 2


def test_a_fractional_frame_is_drawn_at_random() -> None:
    settings = CommitteeSettings(backend="nequip", subset_fraction=0.75, validation_fraction=0.0)
    subset = np.array(subset_of(settings, 0, 4000).train)
    counts = np.bincount(subset // 10)
    assert set(counts[1:]) == {7, 8}
    assert abs(counts.mean() - 7.5) < 0.1


def test_members_differ_and_are_reproducible() -> None:
    settings = CommitteeSettings(backend="nequip", n_members=4, subset_fraction=0.7, seed=5)
    subsets = [subset_of(settings, k, 50).train for k in range(4)]
    assert len(set(subsets)) == 4
    assert len({seed_of(settings, k) for k in range(4)}) == 4
    again = CommitteeSettings(backend="nequip", n_members=4, subset_fraction=0.7, seed=5)
    assert [subset_of(again, k, 50).train for k in range(4)] == subsets
    other = CommitteeSettings(backend="nequip", n_members=4, subset_fraction=0.7, seed=6)
    assert subset_of(other, 0, 50).train != subsets[0]


def test_subsets_may_be_shared_by_members_of_different_seeds() -> None:
    settings = CommitteeSettings(backend="nequip", n_members=4, n_subsets=2, subset_fraction=0.7)
    assert subset_of(settings, 0, 40) == subset_of(settings, 2, 40) != subset_of(settings, 1, 40)
    assert seed_of(settings, 0) != seed_of(settings, 2)


def test_all_frames_where_nothing_is_held_out() -> None:
    settings = CommitteeSettings(backend="nequip", subset_fraction=1.0, validation_fraction=0.0)
    assert subset_of(settings, 3, 33).train == tuple(range(33))
    assert subset_of(settings, 3, 33).held_out == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_members": 0}, "n_members is 0"),
        ({"subset_fraction": 0.0}, "subset_fraction is 0"),
        ({"subset_fraction": 0.9, "validation_fraction": 0.2}, "at most 0.1"),
        ({"backend": "vasp"}, "it must be one of bayesian"),
        ({"backend": "nequip", "model": BayesianSettings()}, "takes NequipSettings"),
        ({"backend": "bayesian", "subset_fraction": 1.0, "validation_fraction": 0.0}, "would be the same"),
        ({"backend": "bayesian", "n_subsets": 2}, "would be the same"),
        ({"n_subsets": 9}, "between 1 and n_members"),
        ({"backend": "nequip", "model": NequipSettings(r_max_A=0.0)}, "r_max_A is 0"),
        ({"backend": "nequip", "model": NequipSettings(ema_decay=1.0)}, "ema_decay is 1"),
        ({"backend": "so3krates", "model": So3kratesSettings(n_heads=5)}, "must divide"),
        ({"backend": "script"}, "needs the path"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CommitteeSettings(**settings)  # type: ignore[arg-type]


def test_settings_as_plain_types_and_back() -> None:
    settings = CommitteeSettings(backend="mace", n_members=3, seed=7)
    assert CommitteeSettings.from_dict(settings.as_dict()) == settings
    with pytest.raises(ConfigError, match="r_cut"):
        CommitteeSettings.from_dict({"backend": "mace", "model": {"r_cut": 4.0}})
