"""A calculator that stays loaded is loaded once per process, and its labels do not depend on the frames before."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from other_processes import alive, wait_until
from trepid.config import ExecutionSettings
from trepid.data import LabelKeys, Labels, labels_of
from trepid.errors import ConfigError
from trepid.execution import make_executor
from trepid.labelling.labeller import LabelTask, compute_label
from trepid.reference import (
    ASECalculatorReference,
    FailureReason,
    IsolatedReference,
    LabelError,
    Reference,
    make_reference,
)
from trepid.reference.loaded import ROUND_OFF_FORCES, difference

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs process groups")

Make = Callable[..., Reference]


@pytest.fixture
def loading(tmp_path: Path) -> Iterator[Make]:
    """Make a reference that stays loaded, closed at the end."""
    made: list[Reference] = []

    def make(
        how: str = "nothing", *, isolated: bool = False, timeout_s: float | None = None, **more: object
    ) -> Reference:
        parameters = {"folder": str(tmp_path), "how": how, **more}
        reference = make_reference(
            "ase",
            calculator="loading:Loading",
            parameters=parameters,
            keep_loaded=True,
            isolated=isolated,
        )
        made.append(reference)
        return reference

    yield make
    for reference in made:
        reference.close()


def noted(folder: Path, file: str = "loads") -> list[int]:
    """Process of every load, or call."""
    path = folder / file
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def frames_of(atoms: Atoms, n: int) -> list[Atoms]:
    frames = []
    for k in range(n):
        frames.append(atoms.copy())
        frames[-1].rattle(0.05, seed=k)
    return frames


def emt_forces(atoms: Atoms) -> np.ndarray:
    labels = labels_of(make_reference("ase", calculator="emt").label(atoms))
    assert labels.forces is not None
    return labels.forces


def assert_correct(labelled: Atoms) -> None:
    found = labels_of(labelled).forces
    assert found is not None
    np.testing.assert_allclose(found, emt_forces(labelled), atol=1e-12)


def test_one_load_in_this_process(loading: Make, copper: Atoms, tmp_path: Path) -> None:
    reference = loading()
    for atoms in frames_of(copper, 4):
        assert_correct(reference.label(atoms))
    assert len(noted(tmp_path)) == 1
    assert len(noted(tmp_path, "calls")) == 4 + 2  # the first frame again, and the one in between


def test_one_load_in_the_process_of_an_isolated_reference(loading: Make, copper: Atoms, tmp_path: Path) -> None:
    reference = loading(isolated=True)
    assert noted(tmp_path) == [os.getpid()]  # the parameters are tried, and what was loaded is dropped
    assert isinstance(reference, IsolatedReference)
    for atoms in frames_of(copper, 4):
        assert_correct(reference.label(atoms))
    assert reference._process is not None
    assert noted(tmp_path) == [os.getpid(), reference._process.pid]


def test_without_the_setting_every_label_has_a_calculator_of_its_own(copper: Atoms, tmp_path: Path) -> None:
    reference = make_reference("ase", calculator="loading:Loading", parameters={"folder": str(tmp_path)})
    for atoms in frames_of(copper, 3):
        reference.label(atoms)
    assert len(noted(tmp_path)) == 1 + 3


@pytest.mark.parametrize(
    ("how", "message"),
    [("density", "forces by "), ("random", "forces by 0.0"), ("stress_drift", "stresses by 0.0002 eV/A^3")],
)
def test_a_calculator_that_remembers_is_refused(
    loading: Make, copper: Atoms, tmp_path: Path, how: str, message: str
) -> None:
    reference = loading(how)
    for _ in range(2):  # it is not accepted at the second try either
        with pytest.raises(ConfigError, match="two labels of one frame of Cu8 differ") as caught:
            reference.label(copper)
        assert message in str(caught.value)
        assert "without `keep_loaded` every label gets a new loading:Loading" in str(caught.value)
    assert len(noted(tmp_path)) == 2


def test_isolated_it_is_refused_in_the_same_words(loading: Make, copper: Atoms) -> None:
    with pytest.raises(ConfigError, match="two labels of one frame of Cu8 differ"):
        loading("density", isolated=True).label(copper)


def test_a_memory_of_the_composition_is_found_when_the_composition_changes(loading: Make, copper: Atoms) -> None:
    reference = loading("offset")
    for atoms in frames_of(copper, 3):
        reference.label(atoms)
    vacancy = copper.copy()
    del vacancy[3]
    with pytest.raises(ConfigError, match="two labels of one frame of Cu8 differ.*energies by 0.02 eV"):
        reference.label(vacancy)


def test_compositions_take_turns_on_one_load(loading: Make, copper: Atoms, tmp_path: Path) -> None:
    reference = loading()
    alloy = copper.copy()
    alloy.numbers[0] = 79
    vacancy = copper.copy()
    del vacancy[3]
    for k, atoms in enumerate([copper, alloy, vacancy, copper, alloy, vacancy]):
        frame = atoms.copy()
        frame.rattle(0.05, seed=k)
        assert_correct(reference.label(frame))
    assert len(noted(tmp_path)) == 1
    assert len(noted(tmp_path, "calls")) == 6 + 3 * 2


def test_last_digits_that_change_once_are_those_of_every_later_label(loading: Make, copper: Atoms) -> None:
    reference = loading("warm_up")
    first, later = reference.label(copper), reference.label(copper)
    np.testing.assert_array_equal(labels_of(first).forces, labels_of(later).forces)
    assert_correct(later)


def test_a_frame_without_a_label_leaves_the_test_to_the_next(loading: Make, copper: Atoms, tmp_path: Path) -> None:
    reference = loading("no_forces", once=True)
    with pytest.raises(LabelError) as caught:
        reference.label(copper)
    assert caught.value.reason is FailureReason.NO_FORCES
    assert_correct(reference.label(copper))
    assert len(noted(tmp_path, "calls")) == 1 + 3


def test_results_of_the_frame_before_are_no_labels(loading: Make, copper: Atoms) -> None:
    reference = loading("no_forces", at=5)
    frames = frames_of(copper, 3)
    reference.label(frames[0])
    reference.label(frames[1])
    with pytest.raises(LabelError, match="ended without forces") as caught:
        reference.label(frames[2])
    assert caught.value.reason is FailureReason.NO_FORCES


def test_a_calculator_that_failed_is_not_used_again(loading: Make, copper: Atoms, tmp_path: Path) -> None:
    reference = loading("fail", at=5, once=True)
    frames = frames_of(copper, 4)
    reference.label(frames[0])
    reference.label(frames[1])
    with pytest.raises(LabelError, match="the weights are on fire") as caught:
        reference.label(frames[2])
    assert caught.value.reason is FailureReason.CRASHED
    assert_correct(reference.label(frames[3]))
    assert len(noted(tmp_path)) == 2


@pytest.mark.parametrize(
    ("how", "reason", "message"),
    [
        ("die", FailureReason.CRASHED, "its process was ended by SIGABRT"),
        ("hang", FailureReason.TIMEOUT, "took longer than 1 s and was stopped"),
    ],
)
def test_a_crash_or_a_hang_in_mid_run_is_one_failed_label(
    loading: Make, copper: Atoms, tmp_path: Path, how: str, reason: FailureReason, message: str
) -> None:
    reference = loading(how, at=5, once=True, isolated=True)
    assert isinstance(reference, IsolatedReference)
    frames = frames_of(copper, 4)
    reference.label(frames[0])
    reference.label(frames[1])
    reference.timeout_s = 1.0  # not before: starting may take longer than that
    first = noted(tmp_path)[-1]
    with pytest.raises(LabelError, match=message) as caught:
        reference.label(frames[2])
    assert caught.value.reason is reason
    assert not alive(first)
    reference.timeout_s = None
    assert_correct(reference.label(frames[2]))
    assert_correct(reference.label(frames[3]))
    loads = noted(tmp_path)[1:]
    assert len(loads) == 2
    assert loads[1] != first


def test_nothing_outlives_a_parent_that_is_killed(copper: Atoms, tmp_path: Path) -> None:
    script = (
        "from ase.build import bulk\n"
        "from trepid.reference import make_reference\n"
        f"parameters = {{'folder': {str(tmp_path)!r}, 'how': 'hang', 'at': 4}}\n"
        "reference = make_reference('ase', calculator='loading:Loading', parameters=parameters, keep_loaded=True, isolated=True)\n"
        "for a in (3.6, 3.7):\n"
        "    reference.label(bulk('Cu', a=a))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment)
    assert wait_until(lambda: len(noted(tmp_path, "calls")) == 4)
    child = noted(tmp_path, "calls")[-1]
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_until(lambda: not alive(child))


def test_a_copy_for_another_process_loads_its_own(loading: Make, copper: Atoms, tmp_path: Path) -> None:
    reference = loading()
    reference.label(copper)
    copy = pickle.loads(pickle.dumps(reference))
    assert_correct(copy.label(copper))
    assert len(noted(tmp_path)) == 2


def test_a_fork_does_not_use_what_its_parent_loaded(loading: Make, copper: Atoms, tmp_path: Path) -> None:
    reference = loading()
    reference.label(copper)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if labels_of(reference.label(copper)).kinds == ("energy", "forces", "stress") else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert_correct(reference.label(copper))
    assert noted(tmp_path) == [os.getpid(), pid]


PARSL = """\
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

executor = HighThroughputExecutor(
    address="127.0.0.1", max_workers_per_node=2, provider=LocalProvider(init_blocks=1, max_blocks=1)
)
config = Config(executors=[executor], strategy="none")
"""


@pytest.mark.parametrize(
    ("how", "workers"),
    [
        ("inline", 1),
        ("processes", 2),
        pytest.param(
            "parsl",
            2,
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(find_spec("parsl") is None, reason="Parsl is an optional extra"),
            ],
        ),
    ],
)
def test_one_load_per_worker(
    loading: Make, copper: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, workers: int
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    (tmp_path / "config.py").write_text(PARSL)
    settings = ExecutionSettings(parsl=tmp_path / "config.py") if how == "parsl" else ExecutionSettings(workers=workers)
    pickled = pickle.dumps(loading(isolated=True))
    tasks = [LabelTask(pickled, atoms, LabelKeys()) for atoms in frames_of(copper, 6)]
    with make_executor(settings, directory=tmp_path / "parsl") as executor:
        answers = list(executor.map(compute_label, tasks))
    for answer in answers:
        assert answer.labelled is not None
        assert_correct(answer.labelled)
    loads = Counter(noted(tmp_path)[1:])
    assert max(loads.values()) == 1
    assert len(loads) <= workers


def test_threads_have_copies_of_their_own(loading: Make, copper: Atoms, tmp_path: Path) -> None:
    pickled = pickle.dumps(loading())
    with ThreadPoolExecutor(3) as threads:
        tasks = [LabelTask(pickled, atoms, LabelKeys()) for atoms in frames_of(copper, 9)]
        answers = list(threads.map(compute_label, tasks))
    for answer in answers:
        assert answer.labelled is not None
        assert_correct(answer.labelled)
    assert len(noted(tmp_path)) <= 1 + 3


def test_random_numbers_of_the_caller_stay_as_they_are(loading: Make, copper: Atoms) -> None:
    np.random.seed(5)  # noqa: NPY002 (the global generator is what is tested)
    expected = np.random.rand(3)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    loading().label(copper)
    np.testing.assert_array_equal(np.random.rand(3), expected)  # noqa: NPY002


def test_every_run_gives_the_same_labels(copper: Atoms, tmp_path: Path) -> None:
    def run(folder: str) -> list[Labels]:
        (tmp_path / folder).mkdir()
        parameters = {"folder": str(tmp_path / folder)}
        reference = make_reference("ase", calculator="loading:Loading", parameters=parameters, keep_loaded=True)
        return [labels_of(reference.label(atoms)) for atoms in frames_of(copper, 2)]

    for first, second in zip(run("a"), run("b"), strict=True):
        assert first.energy == second.energy
        np.testing.assert_array_equal(first.forces, second.forces)


def test_a_folder_for_every_label_of_a_calculator_that_writes_files(copper: Atoms, tmp_path: Path) -> None:
    reference = ASECalculatorReference("loading:Logging", {}, keep_loaded=True, directory=tmp_path / "engine")
    for atoms in frames_of(copper, 2):
        reference.label(atoms)
    reference.close()
    assert len(list((tmp_path / "engine").glob("label-*/log"))) == 4


@given(
    relative=st.floats(0.0, 1e-3),
    size=st.floats(0.1, 30.0),
    seed=st.integers(0, 100),
)
def test_differences_of_forces_count_relative_to_the_largest(relative: float, size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    forces = rng.normal(size=(5, 3))
    forces *= size / np.abs(forces).max()
    other = forces.copy()
    atom, axis = rng.integers(5), rng.integers(3)
    other[atom, axis] += relative * size
    told = difference(Labels(energy=-1.0, forces=forces), Labels(energy=-1.0, forces=other))
    limit = ROUND_OFF_FORCES * max(1.0, size)
    assert bool(told) is bool(abs(other[atom, axis] - forces[atom, axis]) > limit)
