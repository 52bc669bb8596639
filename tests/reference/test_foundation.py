"""Foundation potentials: one load in an environment of its own, failures as of any reference, facts as documented."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from fake_foundation import FakeFoundation
from other_processes import alive, wait_until
from trepid.config.reference import REFERENCE_SETTINGS, engine_of
from trepid.data import labels_of
from trepid.errors import BackendError, ConfigError
from trepid.reference import (
    ENGINES,
    CHGNetReference,
    FailureReason,
    FoundationReference,
    IsolatedReference,
    LabelError,
    Reference,
    SevenNetReference,
    Tolerances,
    make_reference,
    validate_reference,
)
from trepid.workers.environments import WORKERS, Package, find_python, variable

SHIPPED = (SevenNetReference, CHGNetReference)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the worker notes its loads; also what is left in the folder of temporary files."""
    monkeypatch.setenv("FAKE_FOUNDATION_FOLDER", str(tmp_path))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def loads(folder: Path) -> list[int]:
    path = folder / "loads"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def frames_of(atoms: Atoms, n: int) -> list[Atoms]:
    frames = []
    for k in range(n):
        frames.append(atoms.copy())
        frames[-1].rattle(0.05, seed=k)
    return frames


def assert_correct(labelled: Atoms) -> None:
    emt = EMT()
    emt.calculate(labelled.copy(), ["energy", "forces", "stress"])
    found = labels_of(labelled)
    assert found.energy == pytest.approx(emt.results["free_energy"], abs=1e-12)
    np.testing.assert_allclose(found.forces, emt.results["forces"], atol=1e-12)
    np.testing.assert_allclose(found.stress, emt.results["stress"], atol=1e-12)


@pytest.mark.parametrize("isolated", [False, True])
def test_one_load_and_nothing_left_behind(copper: Atoms, folder: Path, isolated: bool) -> None:
    reference: Reference = FakeFoundation()
    if isolated:
        reference = IsolatedReference(reference)
    for atoms in frames_of(copper, 3):
        assert_correct(reference.label(atoms))
    (worker,) = loads(folder)
    assert worker != os.getpid()
    assert alive(worker)
    reference.close()
    assert wait_until(lambda: not alive(worker))
    assert list((folder / "temporary").iterdir()) == []
    assert_correct(reference.label(copper))  # may be used again
    reference.close()


def test_other_compositions_and_a_cluster(copper: Atoms, folder: Path) -> None:
    reference = FakeFoundation()
    reference.label(copper)
    alloy = copper.copy()
    alloy.numbers[0] = 28
    assert_correct(reference.label(alloy))
    cluster = Atoms(copper.symbols, copper.positions)
    assert labels_of(reference.label(cluster)).kinds == ("energy", "forces")
    reference.close()
    assert len(loads(folder)) == 1


def test_an_element_that_the_model_does_not_know(copper: Atoms) -> None:
    reference = FakeFoundation()
    gold = copper.copy()
    gold.numbers[2] = 79
    with pytest.raises(ConfigError, match="fake: plain does not know Au"):
        reference.label(gold)
    assert_correct(reference.label(copper))
    reference.close()


def test_labels_that_depend_on_the_frames_before(copper: Atoms) -> None:
    with pytest.raises(ConfigError, match="fake: two labels of one frame of Cu8 differ"):
        FakeFoundation(model="density").label(copper)


@pytest.mark.parametrize(
    ("how", "message"), [("die", "died with exit code 3"), ("fail", "RuntimeError: out of memory")]
)
def test_a_worker_that_fails_is_a_failed_label(copper: Atoms, folder: Path, how: str, message: str) -> None:
    reference = FakeFoundation(model=how)
    frames = frames_of(copper, 2)
    reference.label(frames[0])
    with pytest.raises(LabelError, match=message) as caught:
        reference.label(frames[1])
    assert caught.value.reason is FailureReason.CRASHED
    assert_correct(reference.label(frames[0]))
    reference.close()
    assert len(loads(folder)) == 2


def test_a_worker_that_hangs_is_stopped(copper: Atoms, folder: Path) -> None:
    reference = IsolatedReference(FakeFoundation(model="hang"))
    frames = frames_of(copper, 2)
    reference.label(frames[0])
    reference.timeout_s = 1.0  # not before: starting may take longer than that
    with pytest.raises(LabelError, match="took longer than 1 s and was stopped") as caught:
        reference.label(frames[1])
    reference.timeout_s = None
    assert caught.value.reason is FailureReason.TIMEOUT
    assert wait_until(lambda: not alive(loads(folder)[0]))
    assert list((folder / "temporary").iterdir()) == []
    assert_correct(reference.label(frames[0]))
    reference.close()


@pytest.mark.parametrize("isolated", [False, True])
def test_no_worker_outlives_a_parent_that_is_killed(copper: Atoms, folder: Path, isolated: bool) -> None:
    script = (
        "from ase.build import bulk\n"
        "from fake_foundation import FakeFoundation\n"
        "from trepid.reference import IsolatedReference\n"
        "reference = FakeFoundation(model='hang')\n"
        f"reference = IsolatedReference(reference) if {isolated} else reference\n"
        "for a in (3.6, 3.7):\n"
        "    reference.label(bulk('Cu', a=a))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment)
    assert wait_until(lambda: loads(folder))
    (worker,) = loads(folder)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_until(lambda: not alive(worker))


def test_a_copy_and_a_fork_load_their_own(copper: Atoms, folder: Path) -> None:
    reference = FakeFoundation()
    reference.label(copper)
    copy = pickle.loads(pickle.dumps(reference))
    assert_correct(copy.label(copper))
    copy.close()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if labels_of(reference.label(copper)).kinds == ("energy", "forces", "stress") else 2
            reference.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert_correct(reference.label(copper))  # the fork has not taken this worker away
    reference.close()
    assert len(set(loads(folder))) == 3


def test_what_cannot_be_loaded(copper: Atoms) -> None:
    with pytest.raises(BackendError, match="FileNotFoundError: no weights for no_load on cuda"):
        FakeFoundation(model="no_load", device="cuda").label(copper)
    with pytest.raises(ConfigError, match="fake: model is 'large'; the package brings plain, density"):
        FakeFoundation(model="large")
    with pytest.raises(BackendError, match="/nowhere/python, does not exist"):
        FakeFoundation(python="/nowhere/python")


@pytest.mark.parametrize("kind", SHIPPED)
def test_without_the_package_the_message_has_the_commands(
    kind: type[FoundationReference], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = kind.foundation.package
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv(variable(package), raising=False)
    monkeypatch.setattr("trepid.workers.environments.find_spec", lambda _: None)
    with pytest.raises(BackendError, match=rf"set {variable(package)} .*pip install {package.distribution}=="):
        make_reference(kind.name)
    availability = ENGINES[kind.name].availability
    assert availability is not None
    with pytest.raises(BackendError, match="no environment found"):
        availability.probe()
    assert "pip install torch" in availability.remedy
    assert not availability.needed
    assert kind.foundation.licence in availability.role


@pytest.mark.parametrize("kind", SHIPPED)
def test_campaign_files_offer_the_models_that_the_package_brings(kind: type[FoundationReference]) -> None:
    (settings,) = (each for each in REFERENCE_SETTINGS if engine_of(each) == kind.name)
    field = settings.model_fields["model"]
    names = [model.name for model in kind.foundation.models]
    assert list(get_args(field.annotation)) == names
    assert field.default == names[0]
    assert (WORKERS / kind.foundation.package.script).is_file()


@pytest.mark.parametrize("kind", SHIPPED)
def test_the_page_about_references_has_the_declared_facts(kind: type[FoundationReference]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "references.md").read_text(encoding="utf-8")
    facts = kind.foundation
    (row,) = (line for line in page.splitlines() if line.startswith(f"| `{kind.name}` |"))
    for model in facts.models:
        assert f"`{model.name}`" in row
    counted = [f"{model.n_parameters:,}".replace(",", " ") for model in facts.models if model.n_parameters]
    assert counted[0] in row
    told = (facts.licence, f"{facts.package.distribution} {facts.package.version}", f"{facts.seconds_per_label:g} s")
    for fact in told:
        assert fact in row
    assert re.search(rf"\b{facts.seconds_to_load:g} s\b", row)


def environment(kind: type[FoundationReference]) -> str:
    """Skips where the test environment does not name the Python of a package."""
    name = variable(kind.foundation.package)
    if not os.environ.get(name):
        pytest.skip(f"{name} is not set: no environment with {kind.name}")
    return name


@pytest.mark.parametrize("kind", SHIPPED)
def test_a_package_that_is_there_gives_labels_within_the_contract(kind: type[FoundationReference]) -> None:
    """Energies in single precision: 1e-5 eV, against 0.02 A times a force."""
    environment(kind)
    reference = make_reference(kind.name, isolated=True)
    crystal = bulk("CuI", "zincblende", a=6.05) * (2, 2, 1)
    crystal.rattle(0.05, seed=2)
    tolerances = Tolerances(repeat_forces=1e-5, stress_gradient=0.05)
    report = validate_reference(reference, crystal, tolerances=tolerances)
    assert report
    described = reference.describe()
    assert described["version"] == kind.foundation.package.version
    reference.close()


def test_the_interpreter_named_by_hand_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package("named", "ase", "ase", "3", "x.py")
    monkeypatch.setenv("TREPID_NAMED_PYTHON", "/elsewhere/python")
    assert find_python(package) == "/elsewhere/python"
