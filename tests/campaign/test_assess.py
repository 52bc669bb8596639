from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from springs import SiteSprings
from trepid.campaign.assess import calibrate, tolerances_met, typical_force, verdict
from trepid.campaign.events import events_of, events_seen, find_sites
from trepid.config import RoundSettings
from trepid.data.frames import LabelKeys
from trepid.errors import NumericsError
from trepid.evaluation import Evaluation
from trepid.events.sites import Sites
from trepid.potentials.base import Noise, Prediction
from trepid.runs.intervals import scored_labels
from trepid.runs.label_files import LabelledFrame, Origin, PriorPrediction, compare_before_training
from trepid.runs.ledger_events import Reason, StopReason
from trepid.runs.round_files import Pick, RoundRecord, Selection, SigmaA
from trepid.runs.walk_files import Walk, WalkEnd, WalkSummary


def record(
    number: int, *, n_labels: int = 10, mae: float | None = 0.02, worthy: int = 5, **changes: object
) -> RoundRecord:
    new = None if mae is None else Evaluation(3, 24, mae, mae, 1.0, None, None, None, None, None, None, None)
    values: dict[str, object] = {
        "round": number,
        "labels": (number,) if worthy else (),
        "n_failed": 0,
        "n_corrupted": 0,
        "n_labels": n_labels,
        "next_label": n_labels + 1,
        "walks": (),
        "new": new,
        "test": None,
        "calibration": {},
        "sigma_a": (SigmaA(300.0, 0.30, 0.01),),
        "n_worthy": worthy,
        "new_classes": (),
        "noise_forces": 0.01,
    }
    return RoundRecord(**{**values, **changes})  # type: ignore[arg-type]


def settings(**values: object) -> RoundSettings:
    return RoundSettings.model_validate(values)


# ---------------------------------------------------------------------- the verdict


def test_a_new_campaign_continues_with_any_settings() -> None:
    assert verdict([], settings(max_rounds=1, max_labels=1, max_hours=1e-9), hours=5.0) is None


@pytest.mark.parametrize(
    ("records", "values", "hours", "expected"),
    [
        ([record(0)], {"max_rounds": 3}, 0.0, None),
        ([record(k) for k in range(4)], {"max_rounds": 3}, 0.0, StopReason.FINISHED),
        ([record(0, n_labels=20)], {"max_labels": 20}, 0.0, StopReason.LABELS),
        ([record(0, n_labels=19)], {"max_labels": 20}, 0.0, None),
        ([record(0)], {"max_hours": 2.0}, 1.9, None),
        ([record(0)], {"max_hours": 2.0}, 2.0, StopReason.HOURS),
        ([record(0), record(1, worthy=0)], {"patience": 2}, 0.0, None),
        ([record(0), record(1, worthy=0), record(2, worthy=0)], {"patience": 2}, 0.0, StopReason.CONVERGED),
        ([record(0), record(1, worthy=0), record(2), record(3, worthy=0)], {"patience": 2}, 0.0, None),
    ],
)
def test_criteria_that_end_a_campaign(
    records: list[RoundRecord], values: dict[str, object], hours: float, expected: StopReason | None
) -> None:
    found = verdict(records, settings(**values), hours=hours)
    assert (None if found is None else found[0]) is expected


@pytest.mark.parametrize(
    ("last", "met"),
    [
        ({}, True),
        ({"mae": 0.04}, False),
        ({"mae": None}, False),
        ({"new_classes": ("hop",)}, False),
        ({"sigma_a": (SigmaA(300.0, 0.33, 0.01),)}, False),
        ({"sigma_a": (SigmaA(300.0, 0.31, 0.01),)}, True),
        ({"sigma_a": (SigmaA(600.0, 0.30, 0.01),)}, False),
        ({"sigma_a": ()}, True),
    ],
)
def test_tolerances_require_small_errors_no_new_class_and_constant_sigma_a(last: dict[str, object], met: bool) -> None:
    records = [record(0), record(1), record(2, **last)]  # type: ignore[arg-type]
    tolerance = settings(force_error_tolerance_meV_per_A=30.0)
    assert tolerances_met(records, tolerance) is met
    assert not tolerances_met(records, settings())
    assert not tolerances_met(records[:2], tolerance)


# ---------------------------------------------------------------------- figures


def labelled(errors: np.ndarray, std: float, *, noise: float = 0.0) -> LabelledFrame:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    forces = np.zeros((len(atoms), 3))
    atoms.info["REF_energy"] = 0.0
    atoms.arrays["REF_forces"] = forces
    prediction = Prediction(0.0, forces + errors, forces_uncertainty=np.full(forces.shape, std))
    origin = Origin(Reason.UNCERTAINTY, 0, 0.0, 300.0, round=1)
    before = PriorPrediction(prediction, Noise(0.0, noise, 0.0))
    return LabelledFrame(1, atoms, LabelKeys(), origin, seconds=0.0, attempt=1, before=before)


def test_calibration_is_by_species_and_its_factor_from_earlier_rounds() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(60):
        errors = rng.normal(scale=0.1, size=(8, 3))
        sodium = np.array(bulk("NaCl", "rocksalt", a=5.6, cubic=True).symbols) == "Na"
        errors[sodium] *= 2
        frames.append(labelled(errors, 0.1))
    now, before = scored_labels(frames[:30], {}), scored_labels(frames[30:], {})
    found = calibrate(now, [])
    assert set(found) == {"all", "Na", "Cl"}
    assert found["Cl"].before.coverage_68 == pytest.approx(0.68, abs=0.04)
    assert found["Na"].before.scale == pytest.approx(2.0, rel=0.05)
    assert found["Na"].factor is None
    assert found["Na"].after is None
    later = calibrate(now, before)
    assert later["Na"].factor == pytest.approx(2.0, rel=0.1)
    assert later["Cl"].factor == pytest.approx(1.0, rel=0.1)
    assert later["Na"].before == found["Na"].before
    for name in ("Na", "Cl", "all"):
        assert later[name].after is not None
        assert later[name].after.coverage_95 == pytest.approx(0.95, abs=0.03)


def test_frames_without_prediction_are_not_compared() -> None:
    plain = replace(labelled(np.zeros((8, 3)), 0.1), before=PriorPrediction())
    assert compare_before_training([plain]) is None
    assert scored_labels([plain], {}) == []
    assert calibrate([], []) == {}


def test_the_typical_force_is_a_norm_over_atoms() -> None:
    label = labelled(np.zeros((8, 3)), 0.1)
    label.atoms.arrays["REF_forces"][:, 0] = 3.0
    label.atoms.arrays["REF_forces"][:, 2] = 4.0
    assert typical_force([label]) == pytest.approx(5.0)


# ---------------------------------------------------------------------- events


def hopping_walk(crystal: Atoms, *, hop_at: int | None, then_at: int | None = None, n: int = 80) -> Walk:
    """Small vibrations; from `hop_at` on, a Cu sits in the empty site in the middle of its neighbouring octant.

    From `then_at` on, an I does so too, far from that Cu.
    """
    rng = np.random.default_rng(3)
    sites = find_sites(crystal)
    empties = range(sites.n_atoms, sites.n_sites)
    positions = crystal.positions + rng.normal(scale=0.05, size=(n, len(crystal), 3))
    copper = int(np.flatnonzero(crystal.numbers == 29)[0])
    distances = crystal.get_distances(copper, range(len(crystal)), mic=True)
    iodine = int(np.argmax(distances * (crystal.numbers == 53)))
    for atom, start in ((copper, hop_at), (iodine, then_at)):
        if start is not None:
            target = min(empties, key=lambda site: sites.distance(atom, site))
            way = sites.offsets((crystal.positions @ np.linalg.inv(sites.cell))[atom : atom + 1], np.array([target]))[0]
            part = np.clip((np.arange(n) - start) / 6, 0, 1)
            positions[:, atom] -= part[:, None] * way
    summary = WalkSummary(0, 500.0, 20 * n, 2.0, 0, WalkEnd.FINISHED, "")
    flat = np.zeros(n)
    return Walk(
        summary=summary,
        steps=np.arange(1, n + 1) * 20,
        uncertainty=flat,
        forces_uncertainty_max=flat,
        energy=flat,
        temperature_K=flat + 500,
        positions=positions.astype(np.float32),
        forces=np.zeros_like(positions, dtype=np.float32),
        atom_energies=None,
        candidates=[],
    )


@pytest.fixture(scope="module")
def cui() -> Atoms:
    return bulk("CuI", "zincblende", a=6.19, cubic=True).repeat((2, 2, 2))


def test_a_new_class_is_labelled_along_its_path(cui: Atoms) -> None:
    walk = hopping_walk(cui, hop_at=30)
    events = events_of(walk, find_sites(cui))
    assert len(events) == 1
    found = events_seen([walk], cui, [], n_images=1)
    assert [frame.note.split(" | ")[1] for frame in found.frames] == ["before", "on the way", "after"]
    assert len(found.new_classes) == 1
    assert found.counts[0].count == 1
    assert found.counts[0].temperature_K == 500.0
    steps = [frame.step for frame in found.frames]
    assert steps == sorted(steps)
    assert all(20 * 30 <= step <= 20 * 40 for step in steps)
    first, last = found.frames[0].atoms.positions, found.frames[-1].atoms.positions
    assert np.linalg.norm(last - first, axis=1).max() > 0.7  # from core to core
    assert events_seen([walk], cui, [], n_images=1, label=False).frames == ()


def on_sites(sites: Sites, *, empty: bool, kind: type[SiteSprings] = SiteSprings) -> SiteSprings:
    """Springs from every atom to the nearest site, to an empty one if `empty`: a crystal at rest on each of them."""

    def displacements(atoms: Atoms) -> np.ndarray:
        fractional = atoms.get_scaled_positions(wrap=False)
        return sites.offsets(fractional, sites.nearest(fractional)[0] if empty else np.arange(len(atoms)))

    return kind(displacements, stiffness=2.0)


def test_the_inherent_structure_of_a_new_class_is_labelled(cui: Atoms) -> None:
    walk, sites = hopping_walk(cui, hop_at=30), find_sites(cui)
    plain = events_seen([walk], cui, [], n_images=1)
    seen = events_seen([walk], cui, [], n_images=1, quencher=on_sites(sites, empty=True))
    assert [frame.note.split(" | ")[1] for frame in seen.frames] == ["before", "on the way", "after", "quenched"]
    assert (seen.counts, seen.new_classes) == (plain.counts, plain.new_classes)
    rest, after = seen.frames[-1], seen.frames[-2]
    assert (rest.step, rest.walker, rest.reason) == (after.step, after.walker, Reason.EVENT)
    assert rest.atoms.calc is None
    # Every atom on a site, one of them on an empty one; and the thermal displacements of the end are gone.
    places, away = sites.nearest(rest.atoms.get_scaled_positions(wrap=False))
    assert np.linalg.norm(rest.atoms.positions - after.atoms.positions, axis=1).max() > 0.03
    assert away.max() < 0.03 / 2.0 + 1e-6
    (moved,) = np.flatnonzero(places != np.arange(len(cui)))
    assert places[moved] >= sites.n_atoms


def test_an_end_that_relaxes_back_or_cannot_be_relaxed_gives_no_frame(cui: Atoms) -> None:
    walk, sites = hopping_walk(cui, hop_at=30), find_sites(cui)

    class Refusing(SiteSprings):
        def calculate(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
            raise NumericsError("too far from everything")

    class Collapsing(SiteSprings):
        def calculate(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
            super().calculate(*args, **kwargs)
            offset = self.atoms.positions[1] - self.atoms.positions[0]
            self.results["forces"] = np.zeros((len(self.atoms), 3))
            self.results["forces"][0] = 5 * offset

    quenchers = [on_sites(sites, empty=False)]
    quenchers += [on_sites(sites, empty=True, kind=kind) for kind in (Refusing, Collapsing)]
    for quencher in quenchers:
        seen = events_seen([walk], cui, [], n_images=1, quencher=quencher)
        assert [frame.note.split(" | ")[1] for frame in seen.frames] == ["before", "on the way", "after"]


def test_events_of_biased_walks_are_labelled_but_not_counted(cui: Atoms) -> None:
    walk = hopping_walk(cui, hop_at=30)
    biased = replace(walk, summary=replace(walk.summary, biased=True))
    quiet = hopping_walk(cui, hop_at=None)
    found = events_seen([quiet, biased], cui, [], n_images=0)
    assert [count.count for count in found.counts] == [0]
    assert found.counts[0].time_ps == pytest.approx(quiet.summary.time_ps)
    assert len(found.new_classes) == 1
    assert len(found.frames) == 2
    earlier = Selection(1, None, (), (), (), (), 0, (), found.counts, found.new_classes)
    assert events_seen([biased], cui, [earlier], n_images=0).new_classes == ()
    both = events_seen([walk, biased], cui, [], n_images=0)
    assert [(count.count, count.time_ps) for count in both.counts] == [(1, walk.summary.time_ps)]


def test_a_class_is_labelled_once_but_again_if_it_did_not_fit(cui: Atoms) -> None:
    walk = hopping_walk(cui, hop_at=30)
    found = events_seen([walk], cui, [], n_images=0)
    name = found.new_classes[0]
    pick = Pick(5, Reason.EVENT, 0, 10, 20.0, 500.0, event_class=name)
    unlabelled = Selection(1, None, (), (), (), (), 0, (), found.counts, found.new_classes)
    labelled_once = Selection(1, None, (), (), (), (), 0, (pick,), found.counts, found.new_classes)
    again = events_seen([walk], cui, [unlabelled], n_images=0)
    assert again.new_classes == ()
    assert len(again.frames) == 2
    assert events_seen([walk], cui, [labelled_once], n_images=0).frames == ()


def test_events_after_a_new_one_in_the_same_walk_are_left_to_later_rounds(cui: Atoms) -> None:
    walk = hopping_walk(cui, hop_at=20, then_at=50)
    found = events_seen([walk], cui, [], n_images=0)
    assert [count.count for count in found.counts] == [1, 1]
    assert len(found.new_classes) == 2
    (first,) = {frame.event_class for frame in found.frames}
    assert max(frame.step for frame in found.frames) <= 20 * 30
    # Once the first is labelled, the second is selected; and also in a walk where it comes first.
    pick = Pick(5, Reason.EVENT, 0, 10, 20.0, 500.0, event_class=first)
    earlier = Selection(1, None, (), (), (), (), 0, (pick,), found.counts, found.new_classes)
    (second,) = {frame.event_class for frame in events_seen([walk], cui, [earlier], n_images=0).frames}
    other = hopping_walk(cui, hop_at=None, then_at=20)
    both = events_seen([walk, other], cui, [], n_images=0)
    assert {frame.event_class for frame in both.frames} == {first, second} == set(found.new_classes)


def test_vibrations_are_no_events(cui: Atoms) -> None:
    found = events_seen([hopping_walk(cui, hop_at=None)], cui, [], n_images=1)
    assert found.counts == ()
    assert found.frames == ()
