from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trepid.config import CommitteeSettings as CampaignCommittee
from trepid.errors import BackendError, ConfigError
from trepid.potentials.committee import Backend, Committee, CommitteeSettings, NequipSettings
from trepid.potentials.committee.environments import NETWORKS
from trepid.potentials.committee.settings import KINDS, PACKAGES
from trepid.workers.environments import (
    WORKERS,
    Environment,
    find_python,
    home,
    install_commands,
    installed_version,
    variable,
)
from trepid.workers.process import SILENCE_S, WorkerDied, WorkerProcess, default_silence_s
from trepid.workers.scripts.worker_channel import (
    PREFIX,
    ChannelClosed,
    ChannelError,
    receive,
    send,
)

Make = Callable[..., Committee]


@given(
    header=st.dictionaries(st.text(max_size=5).filter(lambda k: k != "arrays"), st.integers() | st.text(max_size=9)),
    array=arrays.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.bool_]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
)
def test_messages_come_back(header: dict[str, Any], array: np.ndarray) -> None:
    stream = io.BytesIO()
    send(stream, header, {"a": array, "b": np.arange(3)})
    send(stream, {"last": 1})
    stream.seek(0)
    back, out = receive(stream)
    assert back == header
    assert out["a"].dtype == array.dtype
    assert out["a"].shape == array.shape
    assert out["a"].tobytes() == array.tobytes()
    assert receive(stream) == ({"last": 1}, {})
    with pytest.raises(ChannelClosed):
        receive(stream)


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 100,
        PREFIX.pack(b"trepid1\n", 1 << 60, 0),
        PREFIX.pack(b"trepid1\n", 3, 0) + b"abc",
        PREFIX.pack(b"trepid1\n", 2, 0) + b"{}",
        PREFIX.pack(b"trepid1\n", 14, 8) + b'{"arrays": []}' + b"12345678",
        PREFIX.pack(b"trepid1\n", 30, 0) + b'{"arrays": [["a", "|O", [2]]]}',
    ],
)
def test_garbage_is_not_a_message(data: bytes) -> None:
    with pytest.raises(ChannelError):
        receive(io.BytesIO(data))


def times(folder: Path, n: int) -> str:
    (folder / "times").write_text(str(n))
    return str(folder / "times")


def test_a_worker_that_died_is_started_once_more(toy: Make, copper: list[Atoms], tmp_path: Path) -> None:
    counter = times(tmp_path, 0)
    committee = toy(n_members=1, die="evaluate", times=counter).fit(copper[:10])
    before = committee.member(0).predict(copper[20])
    times(tmp_path, 1)
    after = committee.member(0).predict(copper[20])
    assert (tmp_path / "times").read_text() == "0"
    np.testing.assert_array_equal(before.forces, after.forces)
    times(tmp_path, 2)
    with pytest.raises(BackendError, match=r"exit code 7; .*exit as requested") as caught:
        committee.member(0).predict(copper[20])
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(committee.member(0).predict(copper[20]).forces, before.forces)


def test_a_worker_killed_between_two_requests(toy: Make, copper: list[Atoms]) -> None:
    committee = toy().fit(copper[:10])
    before = committee.predict(copper[20])
    process = committee._evaluator._worker._process
    process.kill()
    process.wait()
    np.testing.assert_array_equal(committee.predict(copper[20]).forces, before.forces)


def test_death_in_a_training_leaves_the_committee_unchanged(toy: Make, copper: list[Atoms], tmp_path: Path) -> None:
    committee = toy(die="train", times=times(tmp_path, 0)).fit(copper[:10])
    before = committee.predict(copper[20])
    times(tmp_path, 1)
    with pytest.raises(BackendError, match=r"member 0: .*exit code 7"):
        committee.update(copper[10:12])
    assert committee.n_frames == 10
    np.testing.assert_array_equal(committee.predict(copper[20]).forces, before.forces)
    committee.update(copper[10:12])
    assert committee.n_frames == 12


def test_an_error_of_a_worker_is_one_line(toy: Make, copper: list[Atoms]) -> None:
    with pytest.raises(BackendError, match="refuses to train, with a message") as caught:
        toy(fail=True).fit(copper[:10])
    assert "\n" not in str(caught.value)
    with pytest.raises(BackendError, match="shape"):
        toy(n_members=1, wrong_shape=True).fit(copper[:10])


def test_a_script_that_is_no_worker(tmp_path: Path) -> None:
    def fail(text: str) -> str:
        script = tmp_path / "worker.py"
        script.write_text(text)
        worker = WorkerProcess(Environment("other", sys.executable, str(script)))
        with pytest.raises(WorkerDied) as caught:
            worker.request("hello")
        assert not worker.alive
        assert not worker.folder.exists()
        return str(caught.value)

    assert "SyntaxError" in fail("def worker(")
    assert "sent no response (garbage" in fail("import time\nprint('x' * 1000, flush=True)\ntime.sleep(60)")
    assert "exit code 3" in fail("raise SystemExit(3)")
    with pytest.raises(BackendError, match="cannot be started"):
        WorkerProcess(Environment("absent", str(tmp_path / "no_python"), "x.py"))


def test_a_worker_that_hangs_is_ended(tmp_path: Path) -> None:
    """A training has no time limit for silence, another request has one."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import time\n"
        "from worker_server import serve\n"
        "serve('sleeper', '1', lambda request: time.sleep(1), lambda path: time.sleep(600))\n"
    )
    worker = WorkerProcess(Environment("sleeper", sys.executable, str(script)), silence_s=0.1)
    request = {
        "train": "",
        "validation": "",
        "settings": {},
        "strong_force_eV_per_A": 0.0,
        "seed": 0,
        "initial": None,
        "output": "x",
    }
    assert worker.request("train", **request)[0] == {"report": None}
    with pytest.raises(WorkerDied, match=r"did not respond for 0\.1 s \(load\)"):
        worker.request("load", member=0, path="x")
    assert not worker.alive
    assert not worker.folder.exists()


def test_a_worker_that_hangs_in_the_middle_of_its_response(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        f"import time\nprint('trepid1', flush=True)\nopen({str(tmp_path / 'sent')!r}, 'w').close()\ntime.sleep(600)\n"
    )
    worker = WorkerProcess(Environment("sleeper", sys.executable, str(script)), silence_s=0.1)
    deadline = time.monotonic() + 60
    while not (tmp_path / "sent").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(WorkerDied, match="did not respond"):
        worker.request("hello")
    assert not worker.alive


def test_a_worker_that_hangs_and_does_not_read_its_request(tmp_path: Path) -> None:
    """More than a pipe holds: the sender must not wait for ever. A pipe closed at the other end counts as a death."""
    script = tmp_path / "worker.py"
    script.write_text("import time\ntime.sleep(600)\n")
    worker = WorkerProcess(Environment("sleeper", sys.executable, str(script)), silence_s=0.1)
    with pytest.raises(WorkerDied, match=r"did not respond for 0\.1 s \(evaluate\)"):
        worker.request("evaluate", {"positions": np.zeros((100_000, 3))})
    assert not worker.alive
    script.write_text("import sys\nsys.exit(3)\n")
    worker = WorkerProcess(Environment("sleeper", sys.executable, str(script)))
    with pytest.raises(WorkerDied, match="died with exit code 3"):
        worker.request("evaluate", {"positions": np.zeros((100_000, 3))})


def test_how_long_a_worker_may_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TREPID_WORKER_SILENCE_S", raising=False)
    assert default_silence_s() == SILENCE_S
    for text, seconds in (("20", 20.0), ("inf", math.inf)):
        monkeypatch.setenv("TREPID_WORKER_SILENCE_S", text)
        assert default_silence_s() == seconds
    for text in ("0", "-1", "nan", "", "ten"):
        monkeypatch.setenv("TREPID_WORKER_SILENCE_S", text)
        with pytest.raises(ConfigError, match="TREPID_WORKER_SILENCE_S"):
            default_silence_s()


def test_a_worker_ends_with_its_owner(tmp_path: Path) -> None:
    """The owner is killed, without closing the worker, which is in the middle of a long request."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import os, pathlib, time\n"
        "from worker_server import serve\n"
        "def train(request):\n"
        f"    pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        "serve('sleeper', '1', train, None)\n"
    )
    owner = tmp_path / "owner.py"
    owner.write_text(
        "import sys\n"
        "from trepid.workers.environments import Environment\n"
        "from trepid.workers.process import WorkerProcess\n"
        f"w = WorkerProcess(Environment('sleeper', sys.executable, {str(worker)!r}))\n"
        "w.request('train', train='', validation='', settings={}, strong_force_eV_per_A=0.0, seed=0, initial=None, output='x')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, str(owner)], env=environment)
    deadline = time.monotonic() + 60
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0]:
        assert time.monotonic() < deadline, "the worker outlived its owner"
        time.sleep(0.05)


@pytest.mark.parametrize("backend", NETWORKS)
def test_search_order_of_environments(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = PACKAGES[backend]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv(variable(package), raising=False)
    monkeypatch.setattr("trepid.workers.environments.find_spec", lambda _: None)
    assert find_python(package) is None
    with pytest.raises(BackendError, match=f"TREPID_{backend.value.upper()}_PYTHON"):
        Committee(["Cu"], settings=CommitteeSettings(backend=backend)).fit(
            [_labelled(Atoms("Cu", cell=[3, 3, 3], pbc=True))]
        )
    python = home(package) / "bin" / "python"
    assert str(home(package)) in " ".join(install_commands(package))
    python.parent.mkdir(parents=True)
    python.touch()
    assert find_python(package) == str(python)
    monkeypatch.setenv(variable(package), "/elsewhere/python")
    assert find_python(package) == "/elsewhere/python"
    with pytest.raises(BackendError, match="cannot be run"):
        installed_version(package, "/elsewhere/python")
    monkeypatch.undo()
    monkeypatch.setattr("trepid.workers.environments.find_spec", lambda _: True)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "empty"))
    monkeypatch.delenv(variable(package), raising=False)
    assert find_python(package) == sys.executable


def _labelled(atoms: Atoms) -> Atoms:
    atoms.info["REF_energy"] = 0.0
    atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
    return atoms


def test_a_python_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CommitteeSettings(backend="nequip", model=NequipSettings(python="/elsewhere/python"))
    with pytest.raises(BackendError, match="/elsewhere/python"):
        Committee(["Cu"], settings=settings).fit([_labelled(Atoms("Cu", cell=[3, 3, 3], pbc=True))])


def test_one_declaration_per_backend() -> None:
    """Campaign files offer exactly the declared backends; every package has its worker script."""
    offered = get_args(CampaignCommittee.model_fields["backend"].annotation)
    assert [kind.backend.value for kind in KINDS] == list(offered) == [backend.value for backend in Backend]
    assert set(NETWORKS) == set(Backend) - {Backend.BAYESIAN, Backend.SCRIPT}
    for backend in NETWORKS:
        assert (WORKERS / PACKAGES[backend].script).is_file()
