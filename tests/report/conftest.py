from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

_PATH = Path(__file__).with_name("synthetic.py")


@pytest.fixture(scope="session")
def write_synthetic_run() -> Callable[..., Path]:
    spec = importlib.util.spec_from_file_location("trepid_synthetic_run", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_synthetic_run
