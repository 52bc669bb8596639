"""progress.json: what it says, when it is written, what it does not do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trepid.data.progress_file import FILE, INTERVAL_S, ProgressFile


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def read(folder: Path) -> dict:
    return json.loads((folder / FILE).read_text())


def test_stages_share_the_time_and_the_rate_gives_what_is_left(tmp_path: Path) -> None:
    clock = Clock()
    with ProgressFile(tmp_path, job="learn", unit="MD steps", stage="dynamics", clock=clock) as file:
        file.whole(0, 1000)
        clock.now += 10
        with file.stage("labels", total=2):
            clock.now += 30
            with file.stage("training"):
                clock.now += 5
                file.done(0)
            clock.now += INTERVAL_S  # the next version is due
            file.done(1)
            found = read(tmp_path)
        assert (found["stage"], found["stage_done"], found["stage_total"]) == ("labels", 1, 2)
        assert (found["state"], found["pid"], found["job"], found["format"]) == ("running", os.getpid(), "learn", 1)
        clock.now += 5
        file.whole(250, 1000)
        found = read(tmp_path)
        assert found["seconds"] == {"dynamics": 15.0, "labels": 32.0, "training": 5.0}
        assert found["eta_s"] == pytest.approx(52 * 750 / 250)
        assert (found["done"], found["total"], found["unit"], found["stage"]) == (250, 1000, "MD steps", "dynamics")
        assert found["stage_total"] is None
    assert read(tmp_path)["state"] == "ended"
    assert {path.name for path in tmp_path.iterdir()} == {FILE}


def test_a_resumed_job_keeps_the_seconds_and_takes_its_own_rate(tmp_path: Path) -> None:
    clock = Clock()
    with ProgressFile(tmp_path, job="md", unit="MD steps", stage="dynamics", clock=clock) as file:
        file.whole(0, 1000)
        clock.now += 500
        file.whole(500, 1000)
        file.interrupted()
    assert read(tmp_path)["state"] == "interrupted"
    with ProgressFile(tmp_path, job="md", unit="MD steps", stage="dynamics", clock=clock) as file:
        file.whole(500, 1000)
        assert read(tmp_path)["eta_s"] is None
        clock.now += 10
        file.whole(600, 1000)
        assert read(tmp_path)["eta_s"] == pytest.approx(40)
        assert read(tmp_path)["seconds"] == {"dynamics": 510.0}
        clock.now += INTERVAL_S / 2
        file.whole(700, 1000)  # too soon
        assert read(tmp_path)["done"] == 600
    assert (read(tmp_path)["done"], read(tmp_path)["state"], read(tmp_path)["eta_s"]) == (700, "ended", None)


def test_an_error_is_a_failure_and_a_job_with_nothing_to_do_writes_nothing(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path, job="md", unit="MD steps")
    file.whole(1, 2)
    with pytest.raises(ValueError, match="broken"), file:
        raise ValueError("broken")
    assert read(tmp_path)["state"] == "failed"
    before = (tmp_path / FILE).read_bytes()
    with ProgressFile(tmp_path, job="md", unit="MD steps"):
        pass
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"seconds": 3}', '{"seconds": {"a": "x"}}', '{"seconds": {"a": NaN}}']
)
def test_a_damaged_file_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with ProgressFile(tmp_path, job="md", unit="MD steps") as file:
        file.whole(1, 2)
    assert set(read(tmp_path)["seconds"]) == {"other"}


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ProgressFile(tmp_path / "gone", job="md", unit="MD steps") as file:
        file.whole(1, 2)
        with file.stage("labels"):
            pass
    assert caplog.text.count("cannot write") == 1
