"""An engine in a process of its own may hang, crash or be orphaned: the worst of it is a failed label."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from other_processes import alive, wait_until
from trepid.data import labels_of
from trepid.errors import ConfigError
from trepid.reference import FailureReason, IsolatedReference, LabelError, TBLiteReference, make_reference

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs process groups")


@pytest.fixture
def engine(misbehaving: str, tmp_path: Path) -> Iterator[Callable[..., IsolatedReference]]:
    """Make an isolated reference that fails as asked, closed at the end."""
    made: list[IsolatedReference] = []

    def make(how: str, *, timeout_s: float = 60.0) -> IsolatedReference:
        reference = make_reference(
            "ase",
            calculator=f"{misbehaving}:Misbehaving",
            parameters={"how": how, "path": str(tmp_path / "pid")},
            timeout_s=timeout_s,
        )
        assert isinstance(reference, IsolatedReference)
        made.append(reference)
        return reference

    yield make
    for reference in made:
        reference.close()


def test_labels_are_the_same_as_without(cui: Atoms) -> None:
    isolated = make_reference("tblite", timeout_s=60.0)
    with_process, without = labels_of(isolated.label(cui)), labels_of(TBLiteReference().label(cui))
    isolated.close()
    assert with_process.energy == without.energy
    np.testing.assert_array_equal(with_process.forces, without.forces)
    np.testing.assert_array_equal(with_process.stress, without.stress)
    assert isolated.describe() == {**TBLiteReference().describe(), "timeout_s": 60.0}


@pytest.mark.parametrize(
    ("how", "reason", "message"),
    [
        ("die", FailureReason.CRASHED, "its process was ended by SIGABRT"),
        ("exit", FailureReason.CRASHED, "its process ended with exit code 3"),
        ("error", FailureReason.CRASHED, "cannot open the basis set file"),
        ("scf_error", FailureReason.NOT_CONVERGED, "not converged: cycle 100"),
        ("nan_force", FailureReason.NOT_FINITE, "the force on atom 2"),
    ],
)
def test_crashes_and_errors(
    engine: Callable[..., IsolatedReference], copper: Atoms, how: str, reason: FailureReason, message: str
) -> None:
    reference = engine(how)
    for _ in range(2):  # the second time in a new process where the first one died
        with pytest.raises(LabelError, match=message) as caught:
            reference.label(copper)
        assert caught.value.reason is reason


def test_a_label_that_takes_too_long_is_stopped_and_the_next_one_works(
    engine: Callable[..., IsolatedReference], copper: Atoms, tmp_path: Path
) -> None:
    for limit in (8.0, 40.0):  # on a busy machine the process may take longer than the first limit to start
        reference = engine("second_time", timeout_s=limit)
        begin = time.monotonic()
        with pytest.raises(LabelError, match=f"took longer than {limit:g} s and was stopped") as caught:
            reference.label(copper)
        assert caught.value.reason is FailureReason.TIMEOUT
        assert limit <= time.monotonic() - begin < limit + 12.0
        if (tmp_path / "pid").exists():
            break
    assert not alive(int((tmp_path / "pid").read_text()))
    assert labels_of(reference.label(copper)).kinds == ("energy", "forces", "stress")


def test_what_an_engine_prints_does_not_reach_standard_output(
    engine: Callable[..., IsolatedReference], copper: Atoms, capfd: pytest.CaptureFixture[str]
) -> None:
    reference = engine("print")
    reference.label(copper)
    reference.label(copper)
    assert capfd.readouterr().out == ""


def test_systems_are_refused_without_a_process() -> None:
    from ase.build import bulk

    reference = IsolatedReference(TBLiteReference(), timeout_s=1.0)
    with pytest.raises(ConfigError, match="has 2 atoms"):
        reference.label(bulk("CuI", "zincblende", a=6.19))


def test_closing_or_forgetting_ends_the_process(engine: Callable[..., IsolatedReference], copper: Atoms) -> None:
    reference = engine("print")
    reference.label(copper)
    process = reference._process
    assert process is not None
    assert alive(process.pid)
    reference.close()
    assert not alive(process.pid)
    reference.label(copper)  # may be used again

    forgotten = pickle.loads(pickle.dumps(reference))
    forgotten.label(copper)
    process = forgotten._process
    assert process.pid != reference._process.pid
    del forgotten
    gc.collect()
    assert not alive(process.pid)


def test_a_killed_campaign_leaves_no_engine_behind(misbehaving: str, tmp_path: Path) -> None:
    script = (
        "from ase.build import bulk\n"
        "from trepid.reference import make_reference\n"
        f"parameters = {{'how': 'sleep', 'path': {str(tmp_path / 'pid')!r}}}\n"
        "name = 'misbehaving:Misbehaving'\n"
        "make_reference('ase', calculator=name, parameters=parameters, timeout_s=500).label(bulk('Cu'))\n"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary)}
    campaign = subprocess.Popen([sys.executable, "-c", script], env=environment)
    pid_file = tmp_path / "pid"
    assert wait_until(lambda: pid_file.exists() and pid_file.read_text().isdigit())
    pid = int(pid_file.read_text())
    assert alive(pid)
    assert list(temporary.glob("trepid-reference-*"))
    campaign.send_signal(signal.SIGKILL)
    campaign.wait()
    assert wait_until(lambda: not alive(pid))
    assert not list(temporary.iterdir())
