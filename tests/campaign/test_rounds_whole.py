"""Whole campaigns in rounds with their rarer parts: biased walks, sigma^A as measure, an unreliable reference, Parsl."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms

import trepid.campaign.start
from campaign_fakes import LoggedReference, crystal, springs
from comparison import frame_hash
from label_fakes import CORRUPTIONS, corrupted
from rounds_fakes import SMALL, content, files_of, rounds_campaign
from trepid.campaign.learn import learn
from trepid.campaign.training import PotentialFactory
from trepid.data.frames import Labels, read_frames
from trepid.errors import ConfigError
from trepid.potentials import Potential, load_potential
from trepid.reference.base import FailureReason, LabelError
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger import read_ledger
from trepid.runs.ledger_events import Doubted, Failure, Label, Reason, Request, StopReason
from trepid.runs.round_files import RoundFiles, Selection, complete_rounds
from trepid.runs.walk_files import WalkEnd, read_walk

SHORT = {"duration_ps": 0.4, "temperatures_K": [300]}


# ---------------------------------------------------------------------- biased walks


def test_biased_walks_give_candidates_beside_an_equilibrium_walk(tmp_path: Path) -> None:
    campaign = rounds_campaign(
        tmp_path,
        walkers={**SHORT, "per_temperature": 2, "bias": {"strength": 20.0, "largest_eV": 0.5}},
        acquisition={"labels_per_round": 2},
        rounds={"max_rounds": 1},
    )
    assert learn(campaign).reason is StopReason.FINISHED
    record = complete_rounds(tmp_path / "run")[1]
    assert [walk.biased for walk in record.walks] == [False, True]
    files = RoundFiles(tmp_path / "run", 1)
    plain = read_walk(files.walk(0))
    statistics = Selection.read(files.selection).statistics
    assert statistics is not None
    checks = plain.uncertainty[plain.equilibrium(campaign.walkers.equilibrate_ps)]
    assert statistics.n_looks == len(checks)
    assert statistics.mean == pytest.approx(checks.mean())


def test_controls_use_no_bias(tmp_path: Path) -> None:
    learn(
        rounds_campaign(
            tmp_path,
            walkers={**SHORT, "per_temperature": 2, "bias": {"strength": 20.0}},
            acquisition={"kind": "hot", "labels_per_round": 2},
            rounds={"max_rounds": 1},
        ),
        potentials=springs(crystal()),
    )
    assert [walk.biased for walk in complete_rounds(tmp_path / "run")[1].walks] == [False, False]


# ---------------------------------------------------------------------- sigma^A


def test_sigma_a_as_the_measure_of_a_committee(tmp_path: Path) -> None:
    pytest.importorskip("phonopy")
    from trepid.anharmonicity import read_phonopy

    campaign = rounds_campaign(
        tmp_path,
        potential={"kind": "committee", "backend": "bayesian", "members": 3, "subset_fraction": 0.6, "settings": SMALL},
        start={"kind": "harmonic", "n": 4, "temperature_K": 200},
        walkers=SHORT,
        acquisition={"measure": "sigma_a", "labels_per_round": 2, "least_probability": 0.0, "shift": 0.0},
        rounds={"max_rounds": 2},
    )
    assert learn(campaign).reason is StopReason.FINISHED
    run = tmp_path / "run"
    harmonic = read_phonopy(run / "rounds" / "00" / "phonopy.yaml")
    model = load_potential(run / "rounds" / "00" / "model.trepid")
    walk = read_walk(RoundFiles(run, 1).walk(0))
    for candidate in walk.candidates[::8]:
        forces = model.predict(candidate.atoms).forces_ensemble
        assert forces is not None
        rest = forces - harmonic.forces(candidate.atoms)
        of_members = np.sqrt((rest**2).sum(axis=(1, 2)) / (forces**2).sum(axis=(1, 2)))
        assert candidate.uncertainty == pytest.approx(of_members.std(ddof=1), rel=1e-6)
    for number in (1, 2):
        selection = Selection.read(RoundFiles(run, number).selection)
        assert len(selection.picks) == 2
        assert all(pick.uncertainty is not None and pick.uncertainty > 0 for pick in selection.picks)
    records = complete_rounds(run)
    assert records[-1].n_labels == records[0].n_labels + 4
    assert [value.temperature_K for value in records[-1].sigma_a] == [300.0]
    assert 0.0 < records[-1].sigma_a[0].value < 0.5


# ---------------------------------------------------------------------- walks that end early, user errors in the settings


def test_a_walk_that_is_unstable_at_once_does_not_end_the_campaign(tmp_path: Path) -> None:
    campaign = rounds_campaign(
        tmp_path,
        walkers={**SHORT, "temperatures_K": [300, 400], "max_force_eV_per_A": 1e-6},
        acquisition={"labels_per_round": 2, "batch": "bernoulli", "viability": "none"},
        rounds={"max_rounds": 2, "patience": 2},
    )
    result = learn(campaign, potentials=springs(crystal()))
    assert result.reason is StopReason.CONVERGED
    records = complete_rounds(tmp_path / "run")
    assert [walk.end for record in records[1:] for walk in record.walks] == [WalkEnd.UNSTABLE] * 4
    assert all("predicted force" in walk.message for record in records[1:] for walk in record.walks)


def test_sigma_a_needs_a_committee(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"measure sigma_a needs a committee .* force_max, force_mean or energy"):
        rounds_campaign(tmp_path, acquisition={"measure": "sigma_a"})
    # The controls use no measure.
    rounds_campaign(tmp_path, acquisition={"measure": "sigma_a", "kind": "random"})


def test_missing_phonopy_names_the_setting_that_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trepid.campaign.start, "has_phonopy", lambda: False)
    committee = {"kind": "committee", "backend": "bayesian", "members": 2, "settings": SMALL}
    campaign = rounds_campaign(tmp_path, potential=committee, walkers=SHORT, acquisition={"measure": "sigma_a"})
    with pytest.raises(ConfigError, match="acquisition.measure sigma_a needs phonopy"):
        learn(campaign)


@pytest.mark.parametrize("measure", ["force_max", "force_mean", "energy"])
def test_the_ledger_holds_the_force_uncertainty_whatever_the_measure(tmp_path: Path, measure: str) -> None:
    campaign = rounds_campaign(
        tmp_path,
        walkers=SHORT,
        acquisition={"measure": measure, "labels_per_round": 3, "least_probability": 0.0, "shift": 0.0},
        rounds={"max_rounds": 1},
    )
    learn(campaign)
    entries = [entry.event for entry in read_ledger(tmp_path / "run" / "ledger.jsonl")]
    requests = [event for event in entries if isinstance(event, Request) and event.reason is Reason.UNCERTAINTY]
    assert requests
    store = LabelStore(tmp_path / "run" / "labels")
    for request in requests:
        prediction = store.read(request.label).prediction
        assert prediction is not None
        assert request.forces_uncertainty == pytest.approx(prediction.frame_uncertainty, rel=1e-9)


def test_a_round_loads_its_model_once(tmp_path: Path) -> None:
    loads: list[Path] = []
    factory = springs(crystal())

    def load(path: Path) -> Potential:
        loads.append(path)
        return factory.load(path)

    campaign = rounds_campaign(
        tmp_path,
        walkers={**SHORT, "temperatures_K": [300, 500]},
        acquisition={"labels_per_round": 2, "batch": "bernoulli", "viability": "none", "events": False},
        rounds={"max_rounds": 2},
    )
    learn(campaign, potentials=PotentialFactory(create=factory.create, load=load))
    # After each training; the walks of one process, the selection, the test and the next round use the same.
    trained = [record.round for record in complete_rounds(tmp_path / "run") if record.labels]
    assert len(trained) >= 2
    assert [int(path.parent.name) for path in loads] == trained


# ---------------------------------------------------------------------- an unreliable reference


class Unreliable(LoggedReference):
    """One new frame in twenty fails and another is corrupted, at the first call; every second failing one fails for good.

    The outcome of every frame is kept in a file, since every batch of labels uses a copy.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def outcomes(self) -> dict[str, str]:
        """Outcome of every frame."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return dict(line.split(" ") for line in lines)

    def of(self, *what: str) -> list[str]:
        """Frames of these outcomes."""
        return [key for key, happened in self.outcomes().items() if happened in what]

    def _compute(self, atoms: Atoms) -> Labels:
        key, outcomes = frame_hash(atoms), self.outcomes()
        labels = super()._compute(atoms)
        again = key in outcomes
        if not again:
            turn, cycle = len(outcomes) % 20, len(outcomes) // 20
            outcomes[key] = {12: "gone" if cycle % 2 else "fails", 16: CORRUPTIONS[cycle]}.get(turn, "fine")
            with self.file.open("a") as file:
                file.write(f"{key} {outcomes[key]}\n")
        what = outcomes[key]
        if what == "gone" or (what == "fails" and not again):
            raise LabelError(FailureReason.NOT_CONVERGED, "no convergence")
        if what in CORRUPTIONS and not again:
            return corrupted(labels, what, np.random.default_rng(0))
        return labels


def test_five_percent_fail_and_five_percent_are_corrupted_over_a_long_campaign(tmp_path: Path) -> None:
    reference = Unreliable(tmp_path / "outcomes.txt")
    campaign = rounds_campaign(
        tmp_path,
        start={"n": 11},
        walkers={"duration_ps": 0.4, "temperatures_K": [300, 600]},
        acquisition={"labels_per_round": 14, "viability": "none", "floor_noise": 0.0, "least_probability": 0.0},
        rounds={"max_rounds": 5},
    )
    result = learn(campaign, reference=reference)
    assert result.reason is StopReason.FINISHED
    damaged, gone, failed = reference.of(*CORRUPTIONS), reference.of("gone"), reference.of("fails")
    assert len(damaged) >= 4
    assert len(gone) + len(failed) >= 4
    assert result.n_labels == len(reference.outcomes()) - len(gone) >= 60
    events = [entry.event for entry in read_ledger(tmp_path / "run" / "ledger.jsonl")]
    reasons = [event.reason for event in events if isinstance(event, Failure)]
    assert reasons.count("corrupted") == len(damaged) == sum(r.n_corrupted for r in complete_rounds(tmp_path / "run"))
    assert reasons.count("not_converged") == len(failed) + 2 * len(gone)
    assert len({event.label for event in events if isinstance(event, Doubted)}) >= len(damaged)
    # The model is trained on the labels of an error-free reference, all of them and nothing else.
    correct, trained = LoggedReference(), set()
    labels = sorted((tmp_path / "run" / "labels").glob("label-????.extxyz"))
    for path in labels:
        frame = read_frames(path)[0]
        expected = correct.label(frame)
        np.testing.assert_allclose(frame.arrays["REF_forces"], expected.arrays["REF_forces"], atol=1e-8)
        assert frame.info["REF_energy"] == pytest.approx(expected.info["REF_energy"], abs=1e-8)
        trained.add(int(frame.info["label_index"]))
    assert trained == {event.label for event in events if isinstance(event, Label) and event.attempt > 0}
    assert len(labels) == result.n_labels
    assert load_potential(tmp_path / "run" / "model.trepid").n_frames == result.n_labels
    assert len(list((tmp_path / "run" / "labels").glob("*.failed.extxyz"))) == len(gone)
    assert sum(record.n_failed for record in complete_rounds(tmp_path / "run")) == len(gone)


# ---------------------------------------------------------------------- Parsl

THREADS = """\
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

config = Config(executors=[ThreadPoolExecutor(max_threads=2)])
"""
PROCESSES = """\
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

executor = HighThroughputExecutor(
    address="127.0.0.1", max_workers_per_node=2, provider=LocalProvider(init_blocks=1, max_blocks=1)
)
config = Config(executors=[executor], strategy="none")
"""


@pytest.mark.skipif(importlib.util.find_spec("parsl") is None, reason="Parsl is an optional extra")
@pytest.mark.parametrize(
    "config", [pytest.param(THREADS, id="threads"), pytest.param(PROCESSES, id="processes", marks=pytest.mark.slow)]
)
def test_parsl_makes_the_same_campaign_as_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    sections = {
        "potential": {"kind": "committee", "backend": "bayesian", "members": 2, "settings": SMALL},
        "walkers": {"duration_ps": 0.4},
        "acquisition": {"labels_per_round": 2},
        "rounds": {"max_rounds": 1},
    }
    for name in ("serial", "parsl"):
        (tmp_path / name).mkdir()
    (tmp_path / "config.py").write_text(config)
    assert learn(rounds_campaign(tmp_path / "serial", **sections)).reason is StopReason.FINISHED
    execution = {"parsl": str(tmp_path / "config.py")}
    parallel = learn(rounds_campaign(tmp_path / "parsl", execution=execution, **sections))
    assert parallel.reason is StopReason.FINISHED
    one, other = files_of(tmp_path / "serial" / "run"), files_of(tmp_path / "parsl" / "run")
    assert one.keys() == other.keys()
    atoms = crystal()
    atoms.rattle(0.1, seed=0)
    for name in one:
        if name.endswith(".trepid"):  # members are files in a file, whose headers come in any order
            mine, theirs = (load_potential(found[name]).predict(atoms) for found in (one, other))
            np.testing.assert_array_equal(mine.forces_ensemble, theirs.forces_ensemble)
            np.testing.assert_array_equal(mine.energy_ensemble, theirs.energy_ensemble)
        else:
            assert content(one[name]) == content(other[name]), name


# ---------------------------------------------------------------------- runs of earlier versions


def without_check_sums(ledger: Path) -> None:
    """As versions before check sums wrote it."""
    lines = []
    for line in ledger.read_text().splitlines():
        record = json.loads(line)
        for name in ("sum", "settings_sha256", "sha256"):
            record.pop(name, None)
        lines.append(json.dumps(record))
    ledger.write_text("\n".join(lines) + "\n")


def test_a_run_of_a_version_without_a_setting_continues(tmp_path: Path) -> None:
    sections = {"walkers": SHORT, "acquisition": {"labels_per_round": 1, "viability": "none"}}
    assert learn(rounds_campaign(tmp_path, **sections, rounds={"max_rounds": 1})).n_rounds == 1
    file = tmp_path / "run" / "campaign.yaml"
    settings = yaml.safe_load(file.read_text())
    del settings["acquisition"]["event_quench"]
    file.write_text(yaml.safe_dump(settings))
    other = {**sections, "acquisition": {**sections["acquisition"], "event_quench": False}}
    without_check_sums(tmp_path / "run" / "ledger.jsonl")
    with pytest.raises(ConfigError, match=r"another acquisition\.event_quench"):
        learn(rounds_campaign(tmp_path, **other))
    assert learn(rounds_campaign(tmp_path, **sections, rounds={"max_rounds": 2})).n_rounds == 2
    assert "event_quench" in file.read_text()
