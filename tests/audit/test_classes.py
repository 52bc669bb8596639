"""The audit of one class where the truth is known: EMT and EMT with known changes, a vacancy hop in copper."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.geometry import find_mic

from audit_fakes import EMT_BARRIER_EV, CalculatorModel, ChangedEMT, CollidingEMT, Oracle, SoftModel, copper, hop
from trepid.arrays import FloatArray, IntArray
from trepid.audit import AuditSettings, Criteria, EngineModel, EventClassAudit, Role, State, Verdict, audit_class
from trepid.audit.band import BandSettings
from trepid.audit.certificate import still_needed
from trepid.audit.event_class import ClassFiles
from trepid.audit.judgement import judge, judge_probe
from trepid.audit.states import Relaxation, RelaxedState, end_state, held_end, settle, start_state
from trepid.audit.surface import CorrectedSurface, Course, Found
from trepid.errors import NumericsError
from trepid.events.sites import Sites
from trepid.potentials.base import Prediction
from trepid.reference import FailureReason, LabelError

QUICK = AuditSettings(relaxation=Relaxation(0.02), band=BandSettings(n_images=3, fmax_eV_per_A=0.05))
CRITERIA = Criteria(temperature_K=900.0, time_ns=10.0, ways=12)


def audited(model: ChangedEMT, oracle: Oracle | None = None, *, files: ClassFiles | None = None) -> EventClassAudit:
    crystal, sites = copper()
    return audit_class(
        hop(),
        CalculatorModel(model),
        oracle or Oracle(),
        crystal=crystal,
        sites=sites,
        criteria=CRITERIA,
        settings=QUICK,
        files=files,
    )


def test_a_right_model_is_genuine_with_three_labels() -> None:
    audit = audited(ChangedEMT())
    assert audit.verdict is Verdict.GENUINE
    assert len(audit.points) == 3
    assert audit.reference_barrier is not None
    assert audit.reference_barrier.value == pytest.approx(EMT_BARRIER_EV, abs=0.005)
    assert [point.wanted.role for point in audit.points] == [Role.START, Role.END, Role.SADDLE]
    assert audit.end is State.EXISTS


@pytest.mark.parametrize(("factor", "sign"), [(0.75, "too often"), (1.3, "too rarely")])
def test_a_barrier_off_by_a_factor_is_miscaptured_and_the_reference_is_found(factor: float, sign: str) -> None:
    audit = audited(ChangedEMT(factor))
    assert audit.verdict is Verdict.MISCAPTURED
    assert sign in audit.judgement.reason
    assert audit.reference_barrier is not None
    assert audit.model_barrier == pytest.approx(factor * EMT_BARRIER_EV, abs=0.01)
    assert audit.reference_barrier.value == pytest.approx(EMT_BARRIER_EV, abs=0.02)


def test_a_state_of_the_model_alone_is_hallucinated() -> None:
    """A well half the way to the hole: the model has a state there that EMT does not have."""
    crystal, sites = copper()
    middle = 0.5 * (sites.positions[0] + sites.positions[31])
    model = ChangedEMT(well_eV=1.4, place=middle, width_A=0.4)
    crystal_sites = type(sites).of(crystal, empty=[middle])
    oracle = Oracle()
    audit = audit_class(
        hop(), CalculatorModel(model), oracle, crystal=crystal, sites=crystal_sites, criteria=CRITERIA, settings=QUICK
    )
    assert audit.verdict is Verdict.HALLUCINATED
    assert audit.end is State.ABSENT
    assert len(oracle.asked) <= 8


def test_what_the_model_does_not_show_is_overlooked() -> None:
    crystal, sites = copper()
    audit = audit_class(
        hop(n_seen=0),
        CalculatorModel(ChangedEMT(1.6)),
        Oracle(),
        crystal=crystal,
        sites=sites,
        criteria=CRITERIA,
        settings=QUICK,
    )
    assert audit.verdict is Verdict.OVERLOOKED


@pytest.mark.parametrize(("failing", "verdict"), [((3,), None), ((1, 2, 3), Verdict.UNDECIDED)])
def test_a_label_that_fails_is_noted_and_the_others_are_used(failing: tuple[int, ...], verdict: Verdict | None) -> None:
    audit = audited(ChangedEMT(), Oracle(failing=failing))
    assert len(audit.problems) >= len(failing)
    assert "took longer than 1 s" in audit.problems[0]
    if verdict is None:
        assert len(audit.points) >= 2
    else:
        assert audit.verdict is verdict
        assert "start could not be labelled" in audit.judgement.reason


@pytest.mark.parametrize(("failing", "state"), [(2, "end"), (1, "start")])
def test_a_state_that_the_reference_refuses_for_its_forces_is_none_of_it(failing: int, state: str) -> None:
    """Labels of the same atoms came, so that the reference is not to blame; one that failed otherwise says nothing."""
    audit = audited(ChangedEMT(), Oracle(failing=(failing,), reason=FailureReason.EXTREME_FORCE))
    assert audit.verdict is Verdict.HALLUCINATED
    assert audit.judgement.reason.startswith(f"the {state} state does not exist in the reference; ")
    assert (audit.end if state == "end" else audit.start) is State.ABSENT
    assert len(audit.points) == 2
    other = audited(ChangedEMT(), Oracle(failing=(failing,), reason=FailureReason.CRASHED))
    assert other.verdict is not Verdict.HALLUCINATED
    none = audited(ChangedEMT(), Oracle(failing=(1, 2, 3), reason=FailureReason.EXTREME_FORCE))
    assert none.verdict is Verdict.UNDECIDED


def test_a_probe_whose_end_the_reference_refuses_is_in_neither_or_hallucinated() -> None:
    crystal, sites = copper()
    for factor, verdict in ((1.0, Verdict.HALLUCINATED), (4.0, Verdict.IMPOSSIBLE)):
        audit = audit_class(
            hop(n_seen=0),
            CalculatorModel(ChangedEMT(factor)),
            Oracle(failing=(2,), reason=FailureReason.EXTREME_FORCE),
            crystal=crystal,
            sites=sites,
            criteria=CRITERIA,
            settings=QUICK,
        )
        assert audit.verdict is verdict


def test_atoms_that_the_model_lets_collide_are_followed_down_the_reference() -> None:
    """0.6 A from a neighbour: EMT gives 250 eV and 540 eV/A there, as a label; no frame is asked for twice."""
    crystal, _ = copper()
    way = find_mic(crystal.positions[1] - crystal.positions[0], crystal.cell, crystal.pbc)[0]
    place = crystal.positions[0] + (1 - 0.6 / np.linalg.norm(way)) * way
    oracle = Oracle()
    audit = audit_class(
        hop(),
        CalculatorModel(SoftModel(crystal, place)),
        oracle,
        crystal=crystal,
        sites=Sites.of(crystal, empty=[place]),
        criteria=CRITERIA,
        settings=QUICK,
    )
    assert max(point.energy for point in audit.points) > 100.0
    assert audit.verdict is Verdict.HALLUCINATED
    assert audit.end is State.ABSENT
    assert len(audit.points) == len({point.wanted.atoms.positions.tobytes() for point in audit.points})


def test_a_model_that_gives_no_energy_of_a_frame_costs_no_label_and_ends_no_audit() -> None:
    class Failing(CalculatorModel):
        def predict(self, atoms: Atoms) -> Prediction:
            if len(oracle.asked) >= 3:
                raise NumericsError("energies are not finite")
            return super().predict(atoms)

    oracle, (crystal, sites) = Oracle(), copper()
    model = Failing(ChangedEMT(0.885))
    audit = audit_class(hop(), model, oracle, crystal=crystal, sites=sites, criteria=CRITERIA, settings=QUICK)
    assert audit.verdict is Verdict.UNDECIDED
    assert "the model gives no energy of a frame" in audit.judgement.reason
    assert "energies are not finite" in audit.judgement.reason
    assert len(oracle.asked) == len(audit.points) == 3


@pytest.mark.parametrize("labels", [True, False])
def test_an_engine_as_model_may_have_forces_that_no_label_has(labels: bool) -> None:
    """A minimiser that starts with atoms too close comes back from there."""
    crystal, _ = copper()
    engine = CollidingEMT(crystal.positions[0])
    if labels:
        with pytest.raises(LabelError, match="2.9e"):
            engine.label(crystal)
    else:
        model = EngineModel(engine)
        assert np.abs(model.predict(crystal).forces).max() > 2000.0
        frame = crystal.copy()
        frame.calc = model.calculator()
        assert np.abs(frame.get_forces()).max() > 2000.0


def test_a_band_that_does_not_converge_costs_no_label() -> None:
    crystal, sites = copper()
    oracle = Oracle()
    short = BandSettings(n_images=3, max_steps=1, fmax_eV_per_A=1e-4)
    audit = audit_class(
        hop(),
        CalculatorModel(ChangedEMT()),
        oracle,
        crystal=crystal,
        sites=sites,
        criteria=CRITERIA,
        settings=AuditSettings(band=short),
    )
    assert audit.verdict is Verdict.UNDECIDED
    assert re.search(r"NOT converged, \d\.\d{3} eV/A left after \d+ steps", audit.judgement.reason)
    assert not oracle.asked


def test_a_surface_that_falls_without_end_is_undecided_and_said() -> None:
    """What the model says far from its data can be an error, and the labels are kept."""
    oracle = Oracle()

    class Falling(ChangedEMT):
        def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
            if oracle.asked:
                raise NumericsError("a force of 2e+03 eV/A on atom 4")
            super().calculate(atoms, properties, system_changes)

    audit = audited(Falling(), oracle)
    assert audit.verdict is Verdict.UNDECIDED
    assert "cannot be relaxed with 3 labels: a force of 2e+03 eV/A on atom 4" in audit.judgement.reason
    assert audit.judgement.reason in audit.problems
    assert len(audit.points) == 3


def test_the_band_on_disk_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ClassFiles(tmp_path / "01")
    first = audited(ChangedEMT(0.75), files=files)
    assert files.path.exists()
    assert not files.restart.exists()
    calls: list[Atoms] = []
    original = ChangedEMT.calculate

    def counted(self, atoms=None, *args, **kwargs):  # type: ignore[no-untyped-def]
        calls.append(atoms)
        return original(self, atoms, *args, **kwargs)

    monkeypatch.setattr(ChangedEMT, "calculate", counted)
    again = audited(ChangedEMT(0.75), files=files)
    assert again.model_barrier == first.model_barrier
    assert again.band is not None
    assert first.band is not None
    np.testing.assert_array_equal(again.band.energies, first.band.energies)


def test_around_a_held_atom_the_crystal_does_not_slide() -> None:
    """A crystal that slides towards a held atom takes its way back, and the energy depends on how far it came."""
    crystal, sites = copper()
    seen = hop()
    start = start_state(crystal, seen.motion, sites, EMT())
    half = replace(seen.motion, reach=0.5)
    end = held_end(start, half, sites, EMT())
    others = np.arange(1, 31)
    way = find_mic(end.atoms.positions - start.atoms.positions, crystal.cell)[0]
    assert end.held == (0,)
    assert end.converged
    np.testing.assert_allclose(way[others].mean(axis=0), 0.0, atol=1e-9)
    assert np.linalg.norm(way[0]) > 1.0
    assert np.linalg.norm(way[others], axis=1).max() > 0.01
    shaken = end.bare()
    shaken.positions[others] += 0.05 * np.random.default_rng(0).normal(size=(30, 3))
    again = settle(shaken, EMT(), sites, half.after, half.atoms, held=half.atoms)
    assert again.energy == pytest.approx(end.energy, abs=0.004)


@pytest.fixture(scope="module")
def surface() -> tuple[CorrectedSurface, Found, FloatArray]:
    """Of a model with too low a barrier, after three labels, whose displacements are given."""
    crystal, sites = copper()
    model = ChangedEMT(0.75)
    audit = audited(model)
    assert audit.band is not None
    motion, points = hop().motion, audit.points[:3]
    start = start_state(crystal, motion, sites, model, QUICK.relaxation)
    end = end_state(start, motion, sites, model, QUICK.relaxation)
    course = Course(motion, start, end, audit.band)
    made = CorrectedSurface(
        CalculatorModel(model), course, sites=sites, criteria=CRITERIA, settings=QUICK, interrupted=lambda: None
    )
    return made, made.renew(points), np.array([point.wanted.atoms.positions for point in points])


def farthest(atoms: Atoms, labelled: FloatArray) -> float:
    """Longest way of an atom from the nearest labelled frame, A."""
    moves = find_mic((atoms.positions - labelled).reshape(-1, 3), atoms.cell, atoms.pbc)[1].reshape(len(labelled), -1)
    return float(moves[int(np.argmin((moves**2).sum(axis=1)))].max())


def collapsed(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.rattle(1.5, seed=3)
    return copy


def test_what_lies_far_in_the_unknown_is_not_labelled_but_the_way_to_it(
    surface: tuple[CorrectedSurface, Found, FloatArray],
) -> None:
    made, found, labelled = surface
    images = [image.copy() for image in found.band.images]
    images[found.band.top] = collapsed(images[found.band.top])
    following = made.following(replace(found, band=replace(found.band, images=tuple(images))))
    assert following is not None
    assert farthest(images[found.band.top], labelled) > 2.0
    assert farthest(following[1], labelled) < 0.61
    assert not found.lost


def test_an_undecided_class_says_how_many_labels_decide_or_that_none_is_known(
    surface: tuple[CorrectedSurface, Found, FloatArray],
) -> None:
    made, found, _ = surface
    falls = replace(found, relaxed_end=replace(found.relaxed_end, stays=False), barrier=None, end=State.UNKNOWN)
    assert made.missing(falls).labels_needed == 2
    assert "2 labels on the way down from it tell, 0 of them are there" in made.missing(falls).reason
    known = made._points
    down = [replace(point, wanted=replace(point.wanted, role=Role.DESCENT)) for point in known[-2:]]
    made._points = [*known, down[0]]
    assert made.missing(falls).labels_needed == 1
    made._points = [*known, *down]
    assert made.missing(falls).labels_needed is None
    assert "do not fall throughout" in made.missing(falls).reason
    made._points = known
    rough = replace(found, barrier=None, band=replace(found.band, converged=False, max_force=0.7, n_steps=50))
    assert made.missing(rough).labels_needed is None
    assert "the path in the reference is NOT converged, 0.700 eV/A left after 50 steps" in made.missing(rough).reason
    assert judge(0.3, None, CRITERIA, missing_labels=2).labels_needed == 2
    assert judge_probe(0.3, None, CRITERIA, missing_labels=2).labels_needed == 2

    facts = {"settings": {"labels_per_class": 8}}
    entry = {"verdict": "undecided", "labels_needed": 2, "path": {}}
    assert still_needed(facts, entry) == "; about 2 labels more: the same command with --labels 10"
    assert still_needed(facts, entry | {"labels_needed": None}) == "; how many labels decide it cannot be known"
    assert still_needed(facts, entry | {"labels_needed": None, "path": None}) == "; labels do not decide that"
    assert still_needed(facts, entry | {"verdict": "genuine"}) == ""


def test_an_end_that_relaxes_into_the_unknown_is_labelled_on_the_way_and_not_called_a_state(
    surface: tuple[CorrectedSurface, Found, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _, labelled = surface
    settled = made._settled

    def falling(state: RelaxedState, assigned: IntArray) -> RelaxedState:
        rest = settled(state, assigned)
        return replace(rest, atoms=collapsed(rest.atoms)) if state is made._course.end else rest

    monkeypatch.setattr(made, "_settled", falling)
    found = made.renew(made._points)
    assert found.lost
    assert found.end is State.UNKNOWN
    assert found.barrier is None
    following = made.following(found)
    assert following is not None
    assert following[0] is Role.END
    assert farthest(following[1], labelled) < 0.7
