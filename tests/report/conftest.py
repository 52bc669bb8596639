from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from synthetic_run import write_synthetic_run as write


@pytest.fixture(scope="session")
def write_synthetic_run() -> Callable[..., Path]:
    return write
