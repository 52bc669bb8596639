"""Event classes judged within a campaign in rounds: a vacancy hop in copper, on models that are EMT times a factor."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

import trepid.campaign.assess
import trepid.campaign.audits
import trepid.campaign.rounds
from audit_fakes import EMT_BARRIER_EV, ChangedEMT, CountingEMT, copper
from campaign_fakes import MeanCalculator
from kills import Killed, kill_at
from trepid.audit import AuditSettings
from trepid.audit.band import BandSettings
from trepid.audit.labels import same_frame
from trepid.audit.states import Relaxation
from trepid.campaign.audits import classes_to_judge
from trepid.campaign.events import find_sites
from trepid.campaign.learn import learn
from trepid.campaign.result import CampaignResult
from trepid.campaign.round_context import RoundContext
from trepid.campaign.training import PotentialFactory
from trepid.config import RoundsCampaign
from trepid.data.frames import Labels
from trepid.potentials.base import Noise, Potential, Prediction, Uncertainty
from trepid.report import write_report
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger import read_ledger
from trepid.runs.ledger_events import Doubted, Judged, Label, Reason, Request, StopReason
from trepid.runs.properties import latest_verdicts
from trepid.runs.round_files import ClassVerdict, RoundFiles, RoundRecord, complete_rounds
from trepid.runs.walk_files import Walk, WalkEnd, WalkSummary

CRYSTAL = copper()[0]
N = 41


class ScaledEMT(Potential):
    """EMT times a factor that is wrong until the model is trained again: its barriers are wrong by this factor."""

    tunable = False

    def __init__(self, factor: float = 0.75, n: int = 0) -> None:
        self.factor, self._n, self.species = factor, n, ("Cu",)
        self.changed = ChangedEMT(factor)

    @property
    def n_frames(self) -> int:
        return self._n

    @property
    def noise(self) -> Noise:
        return Noise(energy=0.001, forces=0.01, stress=0.001)

    def fit(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> ScaledEMT:
        self._n = len(frames)
        return self

    def update(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> ScaledEMT:
        self.__init__(1.0, self._n + len(frames))  # type: ignore[misc]
        return self

    def mean(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        frame = atoms.copy()
        frame.calc = self.changed
        return float(frame.get_potential_energy()), frame.get_forces()

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        energy, forces = self.mean(atoms)
        return Prediction(energy, forces, energy_uncertainty=0.05, forces_uncertainty=np.full(forces.shape, 0.01))

    def sample(self, n: int, seed: int) -> list[Potential]:
        return [ScaledEMT(self.factor * factor) for factor in np.linspace(0.99, 1.01, 2)]

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> MeanCalculator:
        return MeanCalculator(self.mean)

    def save(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps([self.factor, self._n]))

    @classmethod
    def load(cls, path: str | Path) -> ScaledEMT:
        return cls(*json.loads(Path(path).read_text()))


def hopping_walk(potential: Potential, *, seed: int = 0, hop: bool = True, measured: bool = False) -> Walk:
    """A neighbour of the vacancy goes there within 200 fs and stays; everything else vibrates a little.

    Forces of the potential where sigma^A is measured.
    """
    crystal, sites = copper()
    rng = np.random.default_rng(seed)
    way = sites.positions[31] - crystal.positions[0]
    way -= crystal.cell.array.T @ np.rint(np.linalg.solve(crystal.cell.array.T, way))
    positions = crystal.positions + 0.03 * rng.normal(size=(N, 31, 3))
    if hop:
        positions[:, 0] += np.clip((np.arange(N) - 8) / 10, 0.0, 1.0)[:, None] * way
    forces = np.zeros(positions.shape, dtype=np.float32)
    for r, row in zip(positions, forces, strict=True) if measured else ():
        frame = crystal.copy()
        frame.set_positions(r)
        row[:] = potential.predict(frame).forces
    flat = np.zeros(N)
    return Walk(
        summary=WalkSummary(0, 900.0, 10 * N, 2.0, 0, WalkEnd.FINISHED, ""),
        steps=np.arange(1, N + 1) * 10,
        uncertainty=flat + 0.01,
        forces_uncertainty_max=flat + 0.01,
        energy=flat,
        temperature_K=flat + 900.0,
        positions=positions.astype(np.float32),
        forces=forces,
        atom_energies=None,
        candidates=[],
    )


def campaign(folder: Path, **rounds: Any) -> RoundsCampaign:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "cu.extxyz").exists():
        CRYSTAL.write(folder / "cu.extxyz")
    return RoundsCampaign.model_validate(
        {
            "structure": {"file": str(folder / "cu.extxyz")},
            "mode": "rounds",
            "reference": {"engine": "ase", "calculator": "emt"},
            "potential": {"kind": "bayesian"},
            "start": {"kind": "displaced", "n": 2, "displacement_A": 0.03},
            "walkers": {
                "temperatures_K": [900],
                "duration_ps": 0.82,
                "timestep_fs": 2.0,
                "check_every": 10,
                "equilibrate_ps": 0,
            },
            "acquisition": {"labels_per_round": 2, "viability": "none"},
            "rounds": {
                "audit": {"labels_per_class": 5, "classes_per_round": 1},
                "max_rounds": 2,
                "check_labels": False,
                **rounds,
            },
            "output": {"directory": str(folder / "run")},
            "seed": 5,
        }
    )


QUICK = AuditSettings(
    frames_per_class=1, relaxation=Relaxation(0.03), band=BandSettings(n_images=3, fmax_eV_per_A=0.06)
)


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Hand-made walks in place of molecular dynamics, and loose paths; everything else is as in a campaign."""

    def walks(context: RoundContext, files: RoundFiles, potential: Potential) -> list[Walk]:
        measured = context.campaign.rounds.stop is not None
        # Force constants take longest: none where no test needs sigma^A.
        patch.setattr(trepid.campaign.assess, "has_phonopy", lambda: measured)
        return [hopping_walk(potential, seed=files.number, measured=measured)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trepid.campaign.rounds, "make_walks", walks)
        patch.setattr(trepid.campaign.audits, "AuditSettings", lambda: QUICK)
        yield


def run(folder: Path, reference: CountingEMT | None = None, **rounds: Any) -> tuple[CampaignResult, CountingEMT]:
    emt = reference or CountingEMT()
    factory = PotentialFactory(create=ScaledEMT, load=ScaledEMT.load)
    return learn(campaign(folder, **rounds), reference=emt, potentials=factory), emt


def verdicts(folder: Path) -> list[list[str]]:
    return [[verdict.verdict for verdict in record.verdicts] for record in complete_rounds(folder / "run")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CampaignResult, CountingEMT]:
    folder = tmp_path_factory.mktemp("audits")
    result, emt = run(folder)
    return folder, result, emt


def test_a_wrong_barrier_is_judged_trained_and_judged_again(whole: tuple[Path, CampaignResult, CountingEMT]) -> None:
    folder, result, emt = whole
    assert result.reason is StopReason.FINISHED
    assert verdicts(folder) == [[], ["miscaptured"], ["genuine"]]
    first, second = (record.verdicts[0] for record in complete_rounds(folder / "run")[1:])
    assert first.model_barrier_eV == pytest.approx(0.75 * EMT_BARRIER_EV, abs=0.02)
    assert first.reference_barrier_eV == pytest.approx(EMT_BARRIER_EV, abs=0.03)
    assert first.rate_factor is not None
    assert first.rate_factor > 3
    assert second.model_barrier_eV == pytest.approx(EMT_BARRIER_EV, abs=0.02)
    records = complete_rounds(folder / "run")
    for record in records[1:]:
        judged = record.verdicts[0]
        assert 3 <= len(judged.labels) <= 5
        # Labels of the audit are labels of the round, and were trained on.
        assert set(judged.labels) - {n for r in records if r.round < record.round for n in r.labels} <= set(
            record.labels
        )
    assert result.n_labels == len(emt.frames) == records[-1].n_labels
    assert not any(same_frame(a, b) for k, a in enumerate(emt.frames) for b in emt.frames[:k])
    reasons = [e.event.reason for e in read_ledger(folder / "run" / "ledger.jsonl") if isinstance(e.event, Request)]
    assert reasons.count(Reason.AUDIT) == result.n_labels - 2
    assert Reason.EVENT not in reasons
    entries = [e.event for e in read_ledger(folder / "run" / "ledger.jsonl") if isinstance(e.event, Judged)]
    assert [entry.verdict for entry in entries] == ["miscaptured", "genuine"]


def test_the_report_shows_the_verdicts_over_the_rounds(whole: tuple[Path, CampaignResult, CountingEMT]) -> None:
    page = re.sub('<span class="whole">|</span>', "", write_report(whole[0] / "run").read_text())
    assert "Verdicts" in page
    assert "miscaptured: model 0.57" in page
    assert "genuine: model 0.76" in page


def test_a_campaign_ends_when_no_class_is_open_and_rates_are_known(tmp_path: Path) -> None:
    pytest.importorskip("phonopy")
    # Vibrations are small and the hop is large: sigma^A is far above one, and so is its error.
    stop = {"sigma_a": 5.0, "rate_factor": 10.0, "rare_per_100_ps": 1.0}
    result, _ = run(tmp_path, stop=stop, max_rounds=5)
    assert result.reason is StopReason.CONVERGED
    assert "is genuine" in result.message
    # One hop a walk: known within a factor 10 when two walks on a right model have shown it.
    assert verdicts(tmp_path) == [[], ["miscaptured"], ["genuine"], []]


@pytest.mark.parametrize(
    ("owner", "name", "count", "after"),
    [
        (CountingEMT, "_compute", 5, False),
        (LabelStore, "write", 4, True),
        (ClassVerdict, "write", 1, True),
        (RoundRecord, "write", 2, False),
    ],
)
def test_a_killed_campaign_keeps_verdicts_and_labels(
    whole: tuple[Path, CampaignResult, CountingEMT],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    count: int,
    after: bool,
) -> None:
    undo = kill_at(monkeypatch, owner, name, count, after=after)
    with pytest.raises(Killed):
        run(tmp_path, max_rounds=1)
    undo()
    before = len(LabelStore(tmp_path / "run" / "labels").numbers())
    result, emt = run(tmp_path, max_rounds=1)
    mine, theirs = complete_rounds(tmp_path / "run"), complete_rounds(whole[0] / "run")[:2]
    assert result.n_labels == theirs[-1].n_labels
    assert len(emt.frames) == result.n_labels - before
    assert [record.verdicts for record in mine] == [record.verdicts for record in theirs]
    assert [record.labels for record in mine] == [record.labels for record in theirs]
    labels = [e.event.label for e in read_ledger(tmp_path / "run" / "ledger.jsonl") if isinstance(e.event, Label)]
    assert sorted(labels) == sorted(set(labels))


def test_a_damaged_verdict_is_set_aside_and_made_again(
    whole: tuple[Path, CampaignResult, CountingEMT], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo = kill_at(monkeypatch, ClassVerdict, "write", 1, after=True)
    with pytest.raises(Killed):
        run(tmp_path, max_rounds=1)
    undo()
    (verdict,) = (tmp_path / "run" / "rounds" / "01" / "audit").glob("*/verdict.json")
    verdict.write_text(verdict.read_text()[:100])
    result, emt = run(tmp_path, max_rounds=1)
    assert result.reason is StopReason.FINISHED
    assert not emt.frames
    assert verdict.with_name("verdict.json.damaged").exists()
    assert complete_rounds(tmp_path / "run")[1].verdicts == complete_rounds(whole[0] / "run")[1].verdicts


class OnceWrongEMT(CountingEMT):
    """EMT whose energy of one frame is wrong by 3 eV, the first time."""

    def __init__(self, wrong: int) -> None:
        super().__init__()
        self.wrong = wrong

    def _compute(self, atoms: Atoms) -> Labels:
        labels = super()._compute(atoms)
        assert labels.energy is not None
        return replace(labels, energy=labels.energy + 3.0) if len(self.frames) == self.wrong else labels


def test_a_wrong_label_of_an_audit_is_found_and_computed_again(tmp_path: Path) -> None:
    """The labels of a round are checked, and those of its audits too: here the first one, after two initial labels."""
    emt = OnceWrongEMT(wrong=3)
    result, _ = run(tmp_path, emt, max_rounds=1, check_labels=True)
    events = [entry.event for entry in read_ledger(tmp_path / "run" / "ledger.jsonl")]
    assert 3 in [event.label for event in events if isinstance(event, Doubted)]
    assert len(emt.frames) > result.n_labels
    labelled = LabelStore(tmp_path / "run" / "labels").read(3)
    right = labelled.atoms.copy()
    right.calc = EMT()
    assert labelled.labels.energy == pytest.approx(right.get_potential_energy(), abs=1e-9)
    assert verdicts(tmp_path) == [[], ["miscaptured"]]


def test_a_class_that_earlier_walks_did_not_show_was_overlooked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first model makes the hop cost 2.3 eV, and its first walks do not show it, later ones do: so says every later verdict."""

    def walks(context: RoundContext, files: RoundFiles, potential: Potential) -> list[Walk]:
        return [hopping_walk(potential, seed=files.number, hop=files.number > 1)]

    def stiff(self: ScaledEMT, factor: float = 3.0, n: int = 0) -> None:
        original(self, factor, n)

    original = ScaledEMT.__init__
    monkeypatch.setattr(trepid.campaign.rounds, "make_walks", walks)
    monkeypatch.setattr(trepid.campaign.assess, "has_phonopy", lambda: False)
    monkeypatch.setattr(ScaledEMT, "__init__", stiff)
    run(tmp_path, max_rounds=3)
    first, *later = complete_rounds(tmp_path / "run")[1:]
    assert not first.verdicts
    assert [(v.verdict, v.overlooked_by) for v in later[0].verdicts] == [("miscaptured", 0)]
    assert [v.overlooked_by for record in later for v in record.verdicts] == [0, 0]
    assert "overlooked by the model of round 0" in write_report(tmp_path / "run").read_text()


def test_the_budget_of_labels_bounds_audits(tmp_path: Path) -> None:
    result, _ = run(tmp_path, max_labels=6, max_rounds=4)
    assert result.reason in (StopReason.LABELS, StopReason.FINISHED)
    assert result.n_labels <= 6


def test_which_classes_are_judged() -> None:
    sites, model = find_sites(CRYSTAL), ScaledEMT(1.0)
    shown, quiet = hopping_walk(model), hopping_walk(model, hop=False)
    (fresh,) = classes_to_judge([shown], CRYSTAL, sites, {})
    assert fresh.seen.n_seen == 1
    assert fresh.temperature_K == 900.0
    assert [str(role) for role, _ in fresh.seen.frames] == ["before", "during", "after"]
    motion = fresh.seen.motion

    def last(verdict: str) -> dict[str, ClassVerdict]:
        given = ClassVerdict(
            fresh.seen.name,
            verdict,
            "",
            0.5,
            None,
            0.7,
            0.1,
            9.0,
            5.0,
            12.0,
            900.0,
            fresh.ways,
            (3,),
            (),
            motion.atoms,
            motion.to_sites,
        )
        return latest_verdicts([]) | {given.event_class: given}

    assert classes_to_judge([shown], CRYSTAL, sites, last("genuine")) == []
    for verdict in ("undecided", "miscaptured", "hallucinated"):
        assert len(classes_to_judge([shown], CRYSTAL, sites, last(verdict))) == 1
    assert classes_to_judge([quiet], CRYSTAL, sites, last("hallucinated")) == []
    (again,) = classes_to_judge([quiet], CRYSTAL, sites, last("undecided"))
    assert again.seen.name == fresh.seen.name
    assert again.ways == fresh.ways
    assert np.array_equal(again.seen.motion.after, motion.after)
    assert classes_to_judge([quiet], CRYSTAL, sites, {}) == []
