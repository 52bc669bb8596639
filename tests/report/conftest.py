from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from synthetic_run import Written
from synthetic_run import write_synthetic_run as write
from trepid.report import write_report
from trepid.runs.reading import read_run


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A run, and its report with the files of all figures."""
    folder = tmp_path_factory.mktemp("written")
    run = write(folder / "run", n_calls=6, checks=60)
    return Written(read_run(run), write_report(run, folder / "page.html", figures=True))


@pytest.fixture(scope="session")
def write_synthetic_run() -> Callable[..., Path]:
    return write
