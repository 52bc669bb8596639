"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Threaded linear algebra may add up in another order from call to call; tests that compare bits, and the processes they start,
# need one thread. Set before anything imports numpy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from command_line import Outcome, Trepid
from trepid.cli.main import run

# A shell that starts the tests in the background has them ignore SIGINT, and so would everything that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
settings.register_profile("trepid", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trepid")


@pytest.fixture
def trepid(capsys: pytest.CaptureFixture[str]) -> Trepid:
    """Run one command line in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of labelled frames; its README says what each file is."""
    return Path(__file__).parent / "data_files"
