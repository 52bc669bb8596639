"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Threaded linear algebra may add up in another order from call to call; tests that compare bits, and the processes they start,
# need one thread. Set before anything imports numpy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# A shell that starts the tests in the background has them ignore SIGINT, and so would everything that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of labelled frames; its README says what each file is."""
    return Path(__file__).parent / "data_files"
