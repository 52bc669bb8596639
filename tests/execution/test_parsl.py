"""Parsl on this machine: results, errors, a worker killed in mid-task, configurations that cannot be used."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import execution_tasks as tasks
from other_processes import alive, wait_until
from trepid.config import ExecutionSettings
from trepid.errors import ConfigError
from trepid.execution import JobsFailed, TaskCrashed, make_executor

pytestmark = pytest.mark.skipif(importlib.util.find_spec("parsl") is None, reason="Parsl is an optional extra")

THREADS = """\
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

config = Config(executors=[ThreadPoolExecutor(max_threads=2)])
"""
PROCESSES = """\
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            address="127.0.0.1",
            max_workers_per_node=2,
            heartbeat_period=1,
            heartbeat_threshold=4,
            poll_period=10,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
    ],
    strategy="none",
)
"""


def configuration(folder: Path, text: str) -> ExecutionSettings:
    file = folder / "config.py"
    file.write_text(text)
    return ExecutionSettings(parsl=file)


def test_tasks_and_errors_through_threads(tmp_path: Path) -> None:
    with make_executor(configuration(tmp_path, THREADS), directory=tmp_path / "run") as executor:
        assert list(executor.map(abs, [-1, -2, 3])) == [1, 2, 3]
        with pytest.raises(ValueError, match="number 3 is odd"):
            executor.submit(tasks.fail, 3).result()
    assert (tmp_path / "run" / "parsl").is_dir()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(abs, 1)
    # a second one after the first: nothing global is left behind
    with make_executor(configuration(tmp_path, THREADS), directory=tmp_path / "run") as executor:
        assert executor.submit(abs, -5).result() == 5


@pytest.mark.slow  # Parsl notices a dead worker when its heartbeat fails to come, which takes long on a busy machine
def test_a_worker_killed_in_mid_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    with make_executor(configuration(tmp_path, PROCESSES), directory=tmp_path / "run") as executor:
        jobs = [tasks.Job(k, str(tmp_path), deaths={1: 1, 4: 99}.get(k, 0)) for k in range(6)]
        futures = [executor.submit(tasks.compute, job) for job in jobs]
        for k in (0, 1, 2, 3, 5):
            done = futures[k].result(timeout=120)
            assert done.number == k * k
            assert done.pid != os.getpid()
        with pytest.raises(TaskCrashed, match="compute: its worker process died 3 times"):
            futures[4].result(timeout=120)
    assert len(list(tmp_path.glob("1.*"))) == 2
    assert len(list(tmp_path.glob("4.*"))) == 3


def test_a_watch_kills_what_is_left_when_its_process_is_killed(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, time; from trepid.processes import Watch\n"
        "children = [subprocess.Popen(['sleep', '600'], start_new_session=True) for _ in range(2)]\n"
        "kept, left = (child.pid for child in children)\n"
        "released = Watch([kept]); released.release(); released.release()\n"
        "watch = Watch([left])\n"
        "print(kept, left, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    kept, left = map(int, process.stdout.readline().split())
    process.kill()
    process.wait()
    try:
        assert wait_until(lambda: not alive(left))
        assert alive(kept)
    finally:
        os.kill(kept, signal.SIGKILL)


@pytest.mark.slow  # starts Parsl's processes
def test_jobs_that_fail_are_no_fault_of_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker command of every job is `false`: Parsl gives its executor up."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    broken = PROCESSES.replace("max_workers_per_node=2,", "max_workers_per_node=2, launch_cmd='false',")
    broken = broken.replace("LocalProvider(", "LocalProvider(min_blocks=1, ").replace(
        'strategy="none"', "strategy_period=1"
    )
    broken = broken.replace("config = Config(", "LocalProvider.status_polling_interval = 1\nconfig = Config(")
    with make_executor(configuration(tmp_path, broken), directory=tmp_path / "run") as executor:
        future = executor.submit(abs, -1)
        with pytest.raises(JobsFailed, match="because its jobs fail: .*the same command goes on") as caught:
            future.result(timeout=120)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", r"`config` is nothing; define config = parsl.config.Config\(...\)"),
        ("config = {}\n", "`config` is a dict"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("config =\n", "SyntaxError"),
    ],
)
def test_configurations_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_executor(configuration(tmp_path, text), directory=tmp_path)
    assert str(tmp_path / "config.py") in str(caught.value)
    assert "\n" not in str(caught.value)
