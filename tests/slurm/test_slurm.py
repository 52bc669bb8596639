"""Campaigns and a screening through Parsl and a SLURM of one node on this machine, which `node.sh` sets up and takes down.

Every test ends something in the middle of the labels: the job at its time limit, by `scancel`, with its node, or the manager of
the workers. The campaign must go on and come to the files of a local one, bit by bit, without a label computed twice.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import counted
from counted import noted
from rounds_fakes import SMALL, assert_same_rounds, content, files_of, rounds_campaign
from screening_fakes import outcome, screening
from trepid.campaign.learn import learn
from trepid.config import RoundsCampaign
from trepid.runs.ledger import events_of, read_ledger
from trepid.runs.ledger_events import Label, StopReason
from trepid.screening.entries import ScreeningEnd
from trepid.screening.run import screen

_HERE = Path(__file__).parent
_PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
_MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name, path=_PATH) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(_MISSING), reason=f"no SLURM here: apt install slurm-wlm munge ({', '.join(_MISSING)} missing)"
    ),
    pytest.mark.skipif(importlib.util.find_spec("parsl") is None, reason="Parsl is an optional extra"),
]

CONFIG = """\
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider


class Watched(SlurmProvider):
    status_polling_interval = 2  # s; 60 is right on a cluster


config = Config(
    executors=[
        HighThroughputExecutor(
            label="labels",
            address="127.0.0.1",
            max_workers_per_node=2,
            heartbeat_period=1,
            heartbeat_threshold=8,
            encrypted=False,
            provider=Watched(
                partition="debug",
                exclusive=False,
                init_blocks=1,
                min_blocks=0,
                max_blocks=1,
                walltime="{walltime}",
                launcher=SrunLauncher(),
            ),
        )
    ],
    strategy_period=2,
)
"""


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Configuration of a running node, which is taken down at the end, also where the tests are killed."""
    folder = tmp_path_factory.mktemp("slurm")
    waits = f'while kill -0 {os.getpid()} 2>/dev/null; do sleep 2; done; exec "$0" down "$1"'
    watch = subprocess.Popen(["sh", "-c", waits, _HERE / "node.sh", folder], start_new_session=True)
    try:
        subprocess.run([_HERE / "node.sh", "up", folder], check=True)
        yield folder / "slurm.conf"
        subprocess.run([_HERE / "node.sh", "down", folder], check=True)
    finally:
        watch.kill()
        watch.wait()
    for name in ("munged", "slurmctld", "slurmd"):
        assert not alive(folder / f"{name}.pid")


@pytest.fixture
def slurm(node: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Slurm]:
    """The node, with an environment in which jobs find trepid and the fakes; no process of a test outlives it."""
    monkeypatch.setenv("SLURM_CONF", str(node))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), _PATH]))
    (tmp_path / "notes").mkdir()
    monkeypatch.setenv(counted.NOTES, str(tmp_path / "notes"))
    found = Slurm(tmp_path / "notes")
    yield found
    _, left = psutil.wait_procs(found.processes(), timeout=20)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=10)
    assert found.may_leave_processes or not left, left


class Slurm:
    """What a test asks of the node."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.may_leave_processes = False

    def processes(self) -> list[psutil.Process]:
        """What the test has started, jobs among it: all have the folder of its notes in their environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(counted.NOTES) == str(self.notes):
                    found.append(process)
        return found

    def config(self, folder: Path, walltime: str = "00:30:00") -> dict[str, str]:
        """Section `execution`, with a configuration of Parsl in `folder`."""
        path = folder / "slurm.py"
        path.write_text(CONFIG.format(walltime=walltime))
        return {"parsl": str(path)}

    def call(self, *command: str) -> str:
        """Answer of a program of SLURM."""
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def jobs(self) -> list[str]:
        """Numbers of the running jobs."""
        return self.call("squeue", "--noheader", "--format=%i", "--states=running").split()

    def after(self, computed: int, act: Callable[[], None]) -> threading.Thread:
        """Act once so many labels are computed and one more is being computed."""

        def watch() -> None:
            while len(noted(self.notes, "ended")) < computed or len(noted(self.notes, "begun")) <= computed:
                time.sleep(0.05)
            act()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        return thread


def alive(pid_file: Path) -> bool:
    """Whether the process of a file runs."""
    return pid_file.exists() and psutil.pid_exists(int(pid_file.read_text()))


def managers() -> list[psutil.Process]:
    """Managers of workers, which Parsl starts in its jobs."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(word.endswith("process_worker_pool.py") for word in process.info["cmdline"] or [])
    ]


def campaign(folder: Path, execution: dict[str, str] | None = None) -> RoundsCampaign:
    """Eleven labels in two rounds; trainings of a committee, labels and walks go through the executor."""
    folder.mkdir(exist_ok=True)
    return rounds_campaign(
        folder,
        reference={"engine": "ase", "calculator": "counted:CountedEMT"},
        start={"n": 5},
        walkers={"duration_ps": 0.4},
        **({} if execution is None else {"execution": execution}),
    )


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of the campaign in this process."""
    folder = tmp_path_factory.mktemp("local")
    assert learn(campaign(folder)).reason is StopReason.FINISHED
    return folder / "run"


def assert_nothing_lost_and_nothing_twice(run: Path, local: Path, notes: Path, in_flight: int = 0) -> None:
    """Files bit by bit those of the local run, every label once in the ledger and computed to its end once.

    `in_flight`: labels that may have come to their end without anybody left to take them.
    """
    assert_same_rounds(local, run)
    numbers = [event.label for event in events_of(read_ledger(run / "ledger.jsonl"), Label)]
    assert len(numbers) == len(set(numbers)) == len(list((run / "labels").glob("label-*.extxyz")))
    ended = noted(notes, "ended")
    assert len(set(ended)) == len(numbers)
    assert len(ended) <= len(numbers) + in_flight


def test_labels_trainings_and_walks_through_slurm_equal_the_local_ones(slurm: Slurm, tmp_path: Path) -> None:
    committee = {"kind": "committee", "backend": "bayesian", "members": 2, "settings": SMALL}
    sections = {"potential": committee, "walkers": {"duration_ps": 0.4}, "rounds": {"max_rounds": 1}}
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    assert learn(rounds_campaign(tmp_path / "here", **sections)).reason is StopReason.FINISHED
    execution = slurm.config(tmp_path)
    assert learn(rounds_campaign(tmp_path / "there", execution=execution, **sections)).reason is StopReason.FINISHED
    one, other = files_of(tmp_path / "here" / "run"), files_of(tmp_path / "there" / "run")
    assert one.keys() == other.keys()
    for name in one:
        if not name.endswith(".trepid"):  # members are files in a file, whose headers come in any order
            assert content(one[name]) == content(other[name]), name
    assert not slurm.jobs()


def test_a_cancelled_job(slurm: Slurm, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(counted.SECONDS, "2")
    watch = slurm.after(3, lambda: slurm.call("scancel", *slurm.jobs()))
    assert learn(campaign(tmp_path / "there", slurm.config(tmp_path))).reason is StopReason.FINISHED
    assert not watch.is_alive()
    assert_nothing_lost_and_nothing_twice(tmp_path / "there" / "run", local, slurm.notes)
    assert len(noted(slurm.notes, "begun")) > len(noted(slurm.notes, "ended"))


def test_a_killed_manager(slurm: Slurm, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(counted.SECONDS, "2")

    # A worker of Parsl waits without end for a lock that the manager held when it died. SLURM ends what is left of a job where it
    # has cgroups; this node has none.
    slurm.may_leave_processes = True

    def kill() -> None:
        for process in managers():
            process.send_signal(signal.SIGKILL)

    watch = slurm.after(3, kill)
    assert learn(campaign(tmp_path / "there", slurm.config(tmp_path))).reason is StopReason.FINISHED
    assert not watch.is_alive()
    # The two workers outlive their manager for a moment, and may end the label that they are at.
    assert_nothing_lost_and_nothing_twice(tmp_path / "there" / "run", local, slurm.notes, in_flight=2)


def test_a_drained_node(slurm: Slurm, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(counted.SECONDS, "2")
    waited: list[int] = []

    def drain() -> None:
        (name,) = slurm.call("sinfo", "--noheader", "--format=%n").split()
        slurm.call("scontrol", "update", f"nodename={name}", "state=drain", "reason=test")
        slurm.call("scancel", *slurm.jobs())
        while slurm.call("squeue", "--noheader", "--states=running,completing"):
            time.sleep(0.2)
        before = len(noted(slurm.notes, "ended"))
        time.sleep(12)  # the next job waits for the node
        waited.append(len(noted(slurm.notes, "ended")) - before)
        slurm.call("scontrol", "update", f"nodename={name}", "state=resume")

    watch = slurm.after(3, drain)
    assert learn(campaign(tmp_path / "there", slurm.config(tmp_path))).reason is StopReason.FINISHED
    watch.join()
    assert waited == [0]
    assert_nothing_lost_and_nothing_twice(tmp_path / "there" / "run", local, slurm.notes)


def test_a_job_at_its_time_limit(slurm: Slurm, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(counted.SECONDS, "20")  # 11 labels, two at a time: longer than a job of one minute
    execution = slurm.config(tmp_path, walltime="00:01:00")
    assert learn(campaign(tmp_path / "there", execution)).reason is StopReason.FINISHED
    assert_nothing_lost_and_nothing_twice(tmp_path / "there" / "run", local, slurm.notes)
    log = "\n".join(path.read_text() for path in (tmp_path / "there" / "run" / "parsl").rglob("*.stderr"))
    assert "DUE TO TIME LIMIT" in log


def test_a_killed_campaign_leaves_no_job_and_goes_on(slurm: Slurm, local: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    settings = campaign(tmp_path / "there", slurm.config(tmp_path))
    (tmp_path / "campaign.yaml").write_text(settings.to_yaml())
    command = [sys.executable, "-m", "trepid", "learn", str(tmp_path / "campaign.yaml")]
    process = subprocess.Popen(command, env={**os.environ, counted.SECONDS: "2"}, start_new_session=True)
    slurm.after(3, process.kill).join()
    process.wait()
    deadline = time.monotonic() + 60
    while slurm.jobs() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not slurm.jobs()  # the manager misses the heartbeat and ends
    done = {path: content(path) for path in (tmp_path / "there" / "run" / "labels").glob("label-*.extxyz")}
    assert len(done) >= 2
    assert learn(settings).reason is StopReason.FINISHED
    assert_same_rounds(local, tmp_path / "there" / "run")
    assert all(content(path) == value for path, value in done.items())


def test_a_screening_whose_job_is_cancelled_has_the_table_of_the_local_one(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("Cu", "Ag", "Ni")
    sections = {"reference": {"calculator": "counted:CountedEMT"}}
    assert screen(screening(tmp_path / "here", names, **sections)).reason is ScreeningEnd.DONE
    shutil.rmtree(slurm.notes)
    slurm.notes.mkdir()
    monkeypatch.setenv(counted.SECONDS, "0.3")
    watch = slurm.after(10, lambda: slurm.call("scancel", *slurm.jobs()))
    execution = slurm.config(tmp_path)
    assert screen(screening(tmp_path / "there", names, execution=execution, **sections)).reason is ScreeningEnd.DONE
    assert not watch.is_alive()
    assert outcome(tmp_path / "there" / "out", names) == outcome(tmp_path / "here" / "out", names)
