"""What is said of where models run, against what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from trepid import _native
from trepid.choices import Engine
from trepid.config.potential import CommitteeSettings as CampaignCommittee
from trepid.config.potential import PotentialSettings
from trepid.data.labels import Labels, attach_labels
from trepid.errors import ConfigError
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.committee import Committee
from trepid.potentials.committee.settings import Backend, CommitteeSettings, NetworkSettings
from trepid.potentials.placement import (
    LIVE_PRECISION,
    Placement,
    placement_of_committee,
    placement_of_file,
    placement_of_force_field,
    placement_of_settings,
)
from trepid.workers.environments import WORKERS
from trepid.workers.process import WorkerProcess, worker_threads

ROOT = Path(__file__).parents[2]
NETWORKS = (Backend.NEQUIP, Backend.SO3KRATES, Backend.MACE)


def settings_of(backend: Backend) -> CommitteeSettings:
    return CommitteeSettings(backend=backend, n_members=2)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[BayesianForceField, Committee, Path]:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(3):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += rng.normal(0, 0.05, (4, 3))
        frames.append(attach_labels(atoms, Labels(energy=float(rng.normal()), forces=rng.normal(0, 0.3, (4, 3)))))
    sizes = {"pair_cutoff": 3.5, "triplet_cutoff": 3.0, "n_pair": 6, "n_radial": 4, "l_max": 1}
    force_field = BayesianForceField(["Cu"], **sizes)
    force_field.fit(frames)
    committee = Committee(["Cu"], settings=CommitteeSettings(n_members=2))
    committee.fit(frames)
    folder = tmp_path_factory.mktemp("models")
    force_field.save(folder / "force_field.trepid")
    committee.save(folder / "committee.trepid")
    return force_field, committee, folder


def test_engines_are_those_that_can_run_the_model(models: tuple[BayesianForceField, Committee, Path]) -> None:
    force_field, committee, folder = models
    for model, placement in (
        (force_field, placement_of_file(folder / "force_field.trepid")),
        (committee, placement_of_file(folder / "committee.trepid")),
    ):
        if Engine.LAMMPS in placement.engines:
            assert model.to_bytes()
        else:
            with pytest.raises(ConfigError, match="LAMMPS cannot run"):
                model.to_bytes()


def test_only_the_force_field_has_a_bar_that_is_cheaper_than_the_exact_one(
    models: tuple[BayesianForceField, Committee, Path],
) -> None:
    force_field, committee, _ = models
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0] += 0.1
    live, exact = (force_field.predict(atoms, uncertainty=kind).forces_uncertainty for kind in ("live", "exact"))
    assert live is not None
    assert exact is not None
    assert "live" in placement_of_force_field().bar
    assert not np.array_equal(live, exact)
    header = (ROOT / "src" / "trepid" / "native" / "kernel_live.h").read_text(encoding="utf-8")
    (sums,) = re.findall(r"^void live\(.*\b(float|double)\* out\)", header, re.MULTILINE)
    assert {"float": "float32", "double": "float64"}[sums] == LIVE_PRECISION
    spread = [committee.predict(atoms, uncertainty=kind).forces_uncertainty for kind in ("live", "exact")]
    assert np.array_equal(*spread)
    assert "no live bar" in placement_of_committee(settings_of(Backend.BAYESIAN)).bar


def test_the_core_is_evaluated_in_its_precision(models: tuple[BayesianForceField, Committee, Path]) -> None:
    # A displacement of 1e-10 A, lost in float32, changes forces by the stiffness times as much.
    force_field = models[0]
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0] += 0.1
    moved = atoms.copy()
    moved.positions[0, 0] += 1e-10
    change = force_field.predict(moved).forces - force_field.predict(atoms).forces
    moved.positions[0, 0] += 1e-4 - 1e-10
    slope = (force_field.predict(moved).forces - force_field.predict(atoms).forces) / 1e-4
    assert placement_of_force_field().precision == "float64"
    np.testing.assert_allclose(change / 1e-10, slope, atol=2e-3 * np.abs(slope).max())


@pytest.mark.parametrize("backend", NETWORKS)
def test_networks_run_in_a_worker_with_the_precision_and_threads_that_it_is_started_with(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    settings = settings_of(backend)
    placement = placement_of_committee(settings)
    assert isinstance(settings.model, NetworkSettings)
    scripts = [
        (WORKERS / name).read_text() for name in ("worker_torch.py", "worker_training.py", f"{backend.value}_worker.py")
    ]
    named = {
        each
        for text in scripts
        for each in re.findall(r"(?:dtype\(torch\.|dtype=torch\.|model_dtype=\")(float\d+)", text)
    }
    assert named == {placement.precision}
    assert placement.process.startswith("one worker process")
    assert placement.device == settings.model.device
    assert placement.threads == "3" == worker_threads({"OMP_NUM_THREADS": "3"})
    assert "worker_threads(variables)" in inspect.getsource(WorkerProcess)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert placement_of_committee(settings).threads == "1"


def test_campaigns_models_and_commands_tell_the_same(
    tmp_path: Path, models: tuple[BayesianForceField, Committee, Path]
) -> None:
    folder = models[2]
    assert placement_of_settings(PotentialSettings()) == placement_of_file(folder / "force_field.trepid")
    campaign = CampaignCommittee(kind="committee", backend="bayesian", members=2)
    assert placement_of_settings(campaign) == placement_of_file(folder / "committee.trepid")
    assert placement_of_force_field().threads == str(_native.max_threads())
    gpu = CampaignCommittee(kind="committee", backend="mace", members=3, settings={"device": "cuda"})
    assert placement_of_settings(gpu).device == "cuda"
    assert "3 members" in placement_of_settings(gpu).process


@pytest.mark.parametrize("backend", [None, Backend.BAYESIAN, *NETWORKS])
def test_the_table_of_the_documentation_is_that_of_the_code(backend: Backend | None) -> None:
    placement: Placement = (
        placement_of_force_field() if backend is None else placement_of_committee(settings_of(backend))
    )
    name = "Bayesian force field" if backend is None else f"committee, `{backend.value}`"
    text = (ROOT / "docs" / "committees.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    _, process, device, precision, bar, engines = (cell.strip() for cell in row.strip("|").split("|"))
    assert process.split(" (")[0] in placement.process
    assert placement.device in device
    assert precision.startswith(placement.precision)
    assert engines == ", ".join(engine.value for engine in placement.engines)
    assert bar.startswith("live") == placement.bar.startswith("live")
