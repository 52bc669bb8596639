"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of labelled frames; its README says what each file is."""
    return Path(__file__).parent / "data_files"
