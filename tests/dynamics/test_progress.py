from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from trepid.dynamics.progress import BarProgress, PlainProgress, Progress, Speedometer, make_progress

NOW = Progress(
    step=500,
    n_steps=1000,
    time_ps=1.0,
    temperature_K=301.2,
    forces_uncertainty=0.05,
    threshold=0.12,
    steps_per_second=1000.0,
    timestep_fs=2.0,
    n_labels=7,
    max_labels=40,
)


def test_speed_in_ns_per_day() -> None:
    assert NOW.ns_per_day == pytest.approx(172.8)


def test_line_has_labels_uncertainty_and_speed() -> None:
    line = NOW.to_line()
    for part in (
        "1.000 ps",
        "301 K",
        "labels 7/40",
        "uncertainty 50.0 meV/A, threshold 120 meV/A",
        "1000 steps/s",
        "1.7e+02 ns/day",
    ):
        assert part in line


def test_plain_lines_are_rare_but_messages_come_at_once() -> None:
    time, lines = [0.0], []
    view = PlainProgress(lines.append, interval_s=10.0, clock=lambda: time[0])
    for second in range(25):
        time[0] = float(second)
        view.update(NOW)
    view.message("label 8")
    assert len(lines) == 3
    assert lines[0].startswith("step 500/1000")
    assert lines[-1] == "label 8"


def test_view_follows_the_kind_of_stream() -> None:
    stream = StringIO()
    plain = make_progress(console=Console(file=stream, width=200), interval_s=0.0)
    assert isinstance(plain, PlainProgress)
    with plain:
        plain.update(NOW)
        plain.message("[not markup] 1/2")
    assert "labels 7/40" in stream.getvalue()
    assert "[not markup] 1/2" in stream.getvalue()
    terminal = StringIO()
    bar = make_progress(console=Console(file=terminal, force_terminal=True, width=200))
    assert isinstance(bar, BarProgress)
    with bar:
        bar.update(NOW)
        bar.message("[not markup]")
    assert "50%" in terminal.getvalue()
    assert "[not markup]" in terminal.getvalue()


def test_speed_is_that_of_recent_pieces() -> None:
    time = [0.0]
    speed = Speedometer(memory_s=5.0, clock=lambda: time[0])
    assert speed.steps_per_second == 0.0

    def piece(steps: int, seconds: float) -> None:
        speed.start()
        time[0] += seconds
        speed.stop(steps)

    piece(100, 1.0)
    assert speed.steps_per_second == pytest.approx(100)
    time[0] += 1000.0  # a label: not part of the speed
    for _ in range(60):
        piece(10, 1.0)
    assert speed.steps_per_second == pytest.approx(10, rel=1e-3)
