"""Worker processes: results, errors, deaths, signals; nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import wait
from pathlib import Path

import pytest

import execution_tasks as tasks
from other_processes import alive, wait_until
from trepid.config import ExecutionSettings
from trepid.errors import ConfigError
from trepid.execution import InlineExecutor, LocalExecutor, TaskCrashed, make_executor

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs process groups")


def test_settings_choose_the_executor(tmp_path: Path) -> None:
    with make_executor(ExecutionSettings(), directory=tmp_path) as executor:
        assert isinstance(executor, InlineExecutor)
    with make_executor(ExecutionSettings(workers=2), directory=tmp_path) as executor:
        assert isinstance(executor, LocalExecutor)
    with pytest.raises(ConfigError, match="workers is 0; give 1 or more"):
        LocalExecutor(0)


def test_tasks_are_computed_by_as_many_processes_as_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with LocalExecutor(2) as executor:
        jobs = [tasks.Job(k, str(tmp_path), seconds=0.05) for k in range(12)]
        done = list(executor.map(tasks.compute, jobs))
        assert executor.submit(tasks.numpy_threads, 0).result() == ("1", False)  # set before numpy reads it
    assert [result.number for result in done] == [k * k for k in range(12)]
    pids = {result.pid for result in done}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert {result.threads for result in done} == {"1"}
    assert "OMP_NUM_THREADS" not in os.environ
    assert wait_until(lambda: not any(alive(pid) for pid in pids))


def test_a_number_of_threads_set_by_the_user_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with LocalExecutor(1) as executor:
        assert executor.submit(tasks.numpy_threads, 0).result()[0] == "3"
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_an_error_is_a_result_and_is_not_repeated() -> None:
    for executor in (InlineExecutor(), LocalExecutor(1)):
        with executor:
            with pytest.raises(ValueError, match="number 3 is odd"):
                executor.submit(tasks.fail, 3).result()
            assert executor.submit(abs, -1).result() == 1
            with (
                pytest.raises(Exception, match="pickle|local object")
                if executor.__class__ is LocalExecutor
                else (pytest.raises(RuntimeError))
            ):
                executor.submit(tasks.unpicklable, 0).result()
                raise RuntimeError  # in this process nothing is pickled


def test_a_task_of_a_killed_worker_is_computed_again(tmp_path: Path) -> None:
    with LocalExecutor(2) as executor:
        jobs = [tasks.Job(k, str(tmp_path), deaths={2: 1, 5: 2}.get(k, 0), seconds=0.02) for k in range(8)]
        futures = [executor.submit(tasks.compute, job) for job in jobs]
        assert [future.result().number for future in futures] == [k * k for k in range(8)]
    # the killed ones were computed again, the others were not
    assert {k: len(list(tmp_path.glob(f"{k}.*"))) for k in range(8)} == dict.fromkeys(range(8), 1) | {2: 2, 5: 3}


def test_a_task_that_keeps_killing_workers_fails_alone(tmp_path: Path) -> None:
    with LocalExecutor(2, max_deaths=2) as executor:
        bad = executor.submit(tasks.compute, tasks.Job(1, str(tmp_path), deaths=99))
        good = [executor.submit(tasks.compute, tasks.Job(k, str(tmp_path), seconds=0.05)) for k in range(2, 8)]
        with pytest.raises(TaskCrashed, match=r"compute: its worker process died 2 times \(a crash of the engine"):
            bad.result()
        assert [future.result().number for future in good] == [k * k for k in range(2, 8)]
    assert len(list(tmp_path.glob("1.*"))) == 2
    assert all(len(list(tmp_path.glob(f"{k}.*"))) == 1 for k in range(2, 8))


def test_what_has_not_begun_can_be_cancelled(tmp_path: Path) -> None:
    executor = LocalExecutor(1)
    futures = [executor.submit(tasks.compute, tasks.Job(k, str(tmp_path), seconds=0.3)) for k in range(4)]
    assert wait_until(lambda: (tmp_path / "0.0").exists())
    executor.shutdown(cancel_futures=True)
    executor.shutdown()  # twice is once
    assert futures[0].result().number == 0
    assert all(future.cancelled() for future in futures[1:])
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(abs, 1)


def test_an_exception_in_the_block_ends_workers_and_what_they_started(tmp_path: Path) -> None:
    def run() -> None:
        with LocalExecutor(2) as executor:
            futures.append(executor.submit(tasks.sleep_with_a_child, str(tmp_path / "pids")))
            futures.append(executor.submit(tasks.compute, tasks.Job(4, str(tmp_path))))
            assert futures[1].result().number == 16
            assert wait_until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text())
            raise KeyboardInterrupt

    futures: list = []
    with pytest.raises(KeyboardInterrupt):
        run()
    with pytest.raises(TaskCrashed):
        futures[0].result(timeout=20)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert wait_until(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_orphans_when_the_parent_ends(tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    parent = subprocess.Popen(
        [sys.executable, tasks.__file__, str(tmp_path)],
        env=environment,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    file = tmp_path / "pids"
    assert wait_until(lambda: file.exists() and len(file.read_text().split()) == 2)
    pids = [int(pid) for pid in file.read_text().split()]
    assert all(alive(pid) for pid in pids)
    # As a terminal does it: to the whole group of the parent, which the workers are not in.
    os.killpg(parent.pid, number)
    assert parent.wait(timeout=30) != 0
    assert wait_until(lambda: not any(alive(pid) for pid in pids))


def test_the_future_is_one_of_the_standard_library(tmp_path: Path) -> None:
    with LocalExecutor(2) as executor:
        futures = [executor.submit(tasks.compute, tasks.Job(k, str(tmp_path))) for k in range(3)]
        done, not_done = wait(futures, timeout=60)
        assert not not_done
        assert {future.result().number for future in done} == {0, 1, 4}
