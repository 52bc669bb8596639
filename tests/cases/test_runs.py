"""Runs that are interrupted, damaged, or out of room: what the command line says, and that nothing is lost."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from command_line import Outcome, Trepid
from other_processes import alive
from trepid.cli.main import run
from trepid.data import read_frames
from trepid.data.lock import RunLock, holder_of
from trepid.potentials import load_potential
from trepid.potentials.bayesian import BayesianForceField
from trepid.reference import FailureReason, IsolatedReference, LabelError, isolation, make_reference

HERE = Path(__file__).parent


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
    trepid: Trepid, silicon: Path, tmp_path: Path, limit: int
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
    trepid: Trepid, silicon: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    trepid: Trepid, silicon: Path, tmp_path: Path, engine: str
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


# ---------------------------------------------------------------------- files of a run that were changed or lost

CAMPAIGN = """\
structure: {file: copper.extxyz, supercell: [1, 1, 2]}
reference: {engine: ase, calculator: emt}
potential: {pair_cutoff_A: 4.0, triplet_cutoff_A: 3.2, n_pair: 8, n_radial: 4, l_max: 2}
"""
ON_THE_FLY = """\
dynamics:
  timestep_fs: 2.0
  stages: [{temperature_K: 300, duration_ps: 0.1}, {temperature_K: [300, 900], duration_ps: 0.4}]
learning: {initial_frames: 2, max_labels: 5, threshold_eV_per_A: 0.004}
output: {checkpoint_every: 50}
"""
ROUNDS = """\
mode: rounds
start: {kind: displaced, n: 2}
walkers: {temperatures_K: [300], per_temperature: 2, duration_ps: 0.2, timestep_fs: 4.0, check_every: 4, equilibrate_ps: 0.05}
acquisition: {labels_per_round: 2, events: false}
rounds: {max_rounds: 1}
"""


def campaign_file(folder: Path, mode: str) -> Path:
    write(folder / "copper.extxyz", bulk("Cu", cubic=True))
    path = folder / "campaign.yaml"
    path.write_text(CAMPAIGN + mode)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of both modes."""
    found = {}
    for name, mode in (("on the fly", ON_THE_FLY), ("rounds", ROUNDS)):
        folder = tmp_path_factory.mktemp("run")
        assert run(["learn", str(campaign_file(folder, mode)), "--quiet"]) == 0
        found[name] = folder
    return found


@pytest.fixture(params=["on the fly", "rounds"])
def finished(request: pytest.FixtureRequest, runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished run; its folder holds campaign.yaml and run."""
    shutil.copytree(runs[request.param], tmp_path, dirs_exist_ok=True)
    return tmp_path


def change_label(folder: Path) -> Path:
    path = folder / "run" / "labels" / "label-0002.extxyz"
    lines = path.read_text().splitlines()
    lines[3] = re.sub(r"\d\.\d+", lambda number: f"{float(number[0]) + 0.01}", lines[3], count=1)
    path.write_text("\n".join(lines) + "\n")
    return path


def lose_label(folder: Path) -> Path:
    path = folder / "run" / "labels" / "label-0001.extxyz"
    path.unlink()
    return path


def empty_ledger(folder: Path) -> Path:
    path = folder / "run" / "ledger.jsonl"
    path.write_bytes(b"")
    return path


def lose_ledger(folder: Path) -> Path:
    path = folder / "run" / "ledger.jsonl"
    path.unlink()
    return path


def cut_ledger(folder: Path) -> Path:
    path = folder / "run" / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    return path


def change_ledger(folder: Path) -> Path:
    path = folder / "run" / "ledger.jsonl"
    path.write_text(re.sub(r'"label": 2, "step": 0', '"label": 2, "step": 7', path.read_text(), count=1))
    return path


def lose_settings(folder: Path) -> Path:
    path = folder / "run" / "campaign.yaml"
    path.unlink()
    return path


def empty_settings(folder: Path) -> Path:
    path = folder / "run" / "campaign.yaml"
    path.write_bytes(b"")
    return path


def cut_settings(folder: Path) -> Path:
    path = folder / "run" / "campaign.yaml"
    path.write_bytes(path.read_bytes()[:150])
    return path


@pytest.mark.parametrize(
    "damage",
    [
        change_label,
        lose_label,
        empty_ledger,
        lose_ledger,
        cut_ledger,
        change_ledger,
        lose_settings,
        empty_settings,
        cut_settings,
    ],
)
def test_a_changed_or_lost_file_of_a_run_is_named_and_can_be_accepted(
    trepid: Trepid, finished: Path, damage: Callable[[Path], Path]
) -> None:
    before = {path: path.read_bytes() for path in (finished / "run").rglob("*") if path.is_file()}
    changed = damage(finished)
    after = {path: path.read_bytes() for path in (finished / "run").rglob("*") if path.is_file()}
    line = one_line(trepid("learn", finished / "campaign.yaml"), 2)
    assert str(changed) in line
    assert "--accept-changes" in line
    left = {path: path.read_bytes() for path in (finished / "run").rglob("*") if path.is_file()}
    # Refused without a trace, but for an empty ledger and the lock.
    assert {k: v for k, v in left.items() if k.name not in (".lock", "ledger.jsonl")} == {
        k: v for k, v in after.items() if k.name not in (".lock", "ledger.jsonl")
    }
    status = trepid("status", finished / "run")
    assert status.code == 2 or changed.name in status.err

    accepted = trepid("learn", finished / "campaign.yaml", "--accept-changes")
    assert accepted.code == 0, accepted.err
    assert changed.name in accepted.err
    assert trepid("learn", finished / "campaign.yaml").code == 0
    assert len(list((finished / "run" / "labels").glob("label-????.extxyz"))) >= 3

    for path, content in before.items():  # as it was: nothing is said
        path.write_bytes(content)
    assert trepid("learn", finished / "campaign.yaml").code == 0


@pytest.mark.parametrize("line", [-1, 3])
def test_entries_of_the_wrong_type_are_named(trepid: Trepid, finished: Path, line: int) -> None:
    path = finished / "run" / "ledger.jsonl"
    whole = path.read_text().splitlines()
    for change in ({"reason": "x"}, {"label": -1}, {"n_labels": -1}, {"step": "x"}, {"time": 1e308}, {"seconds": None}):
        record = json.loads(whole[line])
        if set(change) - set(record):
            continue
        del record["sum"]  # as in a ledger of an earlier version
        lines = [re.sub(r', "sum": "\w+"', "", text) for text in whole]
        lines[line] = json.dumps(record | change)
        path.write_text("\n".join([*lines, lines[-1].replace('"seq": ', '"seq": 1')]) + "\n")
        for verb in (("status", finished / "run"), ("learn", finished / "campaign.yaml")):
            assert "not a ledger entry" in one_line(trepid(*verb), 2)


@pytest.mark.parametrize(
    "name", ["trace.csv", "ledger.jsonl", "versions.json", "campaign.yaml", "labels/label-0001.extxyz"]
)
def test_bytes_that_are_no_text_are_one_line(trepid: Trepid, finished: Path, name: str) -> None:
    path = finished / "run" / name
    if not path.exists():
        pytest.skip("not a file of this mode")
    data = path.read_bytes()
    path.write_bytes(data[:40] + b"\xff\xfe\x80" + data[43:])
    for verb in ("status", "report", "plan"):
        arguments = [verb, finished / "campaign.yaml" if verb == "plan" else finished / "run"]
        outcome = trepid(*arguments)
        assert outcome.code in (0, 2), outcome
    assert trepid("learn", finished / "campaign.yaml").code in (0, 2)


ROUND_FILES = ("walk-00.npz", "walk-01.extxyz", "selection.json", "selected.extxyz", "round.json", "model.trepid")


@pytest.mark.parametrize(
    "name", [*(f"rounds/01/{name}" for name in ROUND_FILES), "rounds/00/selected.extxyz", "model.trepid"]
)
@pytest.mark.parametrize("complete", [True, False])
def test_damaged_files_of_rounds_are_made_again(
    trepid: Trepid, runs: dict[str, Path], tmp_path: Path, name: str, complete: bool
) -> None:
    shutil.copytree(runs["rounds"], tmp_path, dirs_exist_ok=True)
    if not complete:
        (tmp_path / "run" / name).with_name("round.json").unlink(missing_ok=True)
    path = tmp_path / "run" / name
    if not path.exists():
        pytest.skip("that is what is unfinished")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    labels = {entry.name: entry.read_bytes() for entry in (tmp_path / "run" / "labels").iterdir()}
    outcome = trepid("learn", tmp_path / "campaign.yaml")
    assert outcome.code == 0, outcome
    assert {entry.name: entry.read_bytes() for entry in (tmp_path / "run" / "labels").iterdir()} == labels
    model = (tmp_path / "run" / "model.trepid").read_bytes()
    assert load_potential(tmp_path / "run" / "model.trepid").n_frames == len(labels)
    if path.suffix != ".trepid" and not (complete and path.name.startswith("walk")):
        assert path.read_bytes() == whole
        assert path.with_name(f"{path.name}.damaged").exists()
    assert model == (runs["rounds"] / "run" / "model.trepid").read_bytes()


# ---------------------------------------------------------------------- settings that no machine can run


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("supercell: [1, 1, 2]", "supercell: [60, 60, 60]", "makes 864000 atoms"),
        ("supercell: [1, 1, 2]", "supercell: [1000, 1000, 1000]", "makes 4000000000 atoms"),
        ("supercell: [1, 1, 2]", "supercell: [[1, 1000000, 0], [0, 1, 1000000], [0, 0, 1]]", "equivalent matrix"),
        ("supercell: [1, 1, 2]", f"supercell: [{10**30}, 1, 1]", "atoms"),
        ("pair_cutoff_A: 4.0", "pair_cutoff_A: 45", "45"),
        ("n_pair: 8", "n_pair: 100000", "100000"),
        ("temperature_K: 300,", "temperature_K: 9.0e+9,", "9e+09 K is not a temperature"),
        ("temperatures_K: [300]", "temperatures_K: [9.0e+9]", "9000000000.0"),
        ("duration_ps: 0.1}", "duration_ps: 1.0e+300}", "1e+300"),
        ("seed: 1", "seed: 1\noutput: {directory: .}", "holds files"),
        ("seed: 1", "seed: 1\noutput: {directory: /proc/run}", "/proc"),
        ("seed: 1", "seed: " + 2000 * "[" + 2000 * "]", "nested"),
        ("seed: 1", "seed: &a [*a]", "seed"),
    ],
)
def test_settings_that_no_machine_can_run_are_refused_by_check_and_learn_alike(
    trepid: Trepid, tmp_path: Path, old: str, new: str, named: str
) -> None:
    mode = ROUNDS if "temperatures_K" in old else ON_THE_FLY.replace("output: {checkpoint_every: 50}\n", "")
    path = campaign_file(tmp_path, mode + "seed: 1\n")
    assert trepid("check", path).code == 0
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    before = path.read_bytes()
    for command in (("check", path), ("learn", path), ("learn", path, "--dry-run")):
        outcome = trepid(*command)
        lines = [line for line in outcome.err.splitlines() if line.startswith(("error: ", "problem: "))]
        assert (outcome.code in (1, 2), len(lines)) == (True, 1), outcome
        assert named in lines[0]
    assert path.read_bytes() == before
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------- signals


def misbehaving(folder: Path, mode: str, how: str) -> Path:
    """A campaign whose reference fails as asked; it notes its process in the file "begun"."""
    path = campaign_file(folder, mode)
    reference = (
        f"{{engine: ase, calculator: 'misbehaving:Misbehaving', parameters: {{how: {how}, path: {folder}/begun}}}}"
    )
    path.write_text(path.read_text().replace("{engine: ase, calculator: emt}", reference))
    return path


def noted(path: Path) -> bool:
    """Whether a reference has noted its process."""
    return path.exists() and path.read_text() != ""


def until_line(process: subprocess.Popen[str], text: str, seconds: float) -> bool:
    """Whether a text comes on standard error within some seconds."""
    assert process.stderr is not None
    deadline, found = time.monotonic() + seconds, b""
    while time.monotonic() < deadline and text.encode() not in found:
        ready, _, _ = select.select([process.stderr], [], [], 0.1)
        if ready:
            more = os.read(process.stderr.fileno(), 4096)
            if not more:
                break
            found += more
    return text.encode() in found


@pytest.mark.parametrize(
    ("mode", "number", "how"),
    [
        (ON_THE_FLY, signal.SIGINT, "hold"),
        (ROUNDS, signal.SIGTERM, "compute_in_c"),
        (ROUNDS + "execution: {workers: 2}\n", signal.SIGINT, "hold"),
    ],
)
def test_the_first_signal_is_answered_and_the_second_ends_a_run_whose_reference_hangs(
    trepid: Trepid, tmp_path: Path, mode: str, number: int, how: str
) -> None:
    path, begun = misbehaving(tmp_path, mode, how), tmp_path / "begun"
    process = start("learn", path)
    wait_for(lambda: noted(begun), process)
    process.send_signal(number)
    assert until_line(process, f"{signal.Signals(number).name}: ending after the present step or label", 10)
    process.send_signal(number)
    process.communicate(timeout=20)  # a hang is what is tested
    assert process.returncode == 130
    engine = int(begun.read_text())
    wait_for(lambda: not alive(engine))
    assert trepid("status", tmp_path / "run").code == 0
    assert holder_of(tmp_path / "run") is None


def test_signals_are_answered_while_a_library_computes_in_the_main_thread(tmp_path: Path) -> None:
    path, begun = campaign_file(tmp_path, ON_THE_FLY), tmp_path / "begun"
    script = (
        "import trepid; from trepid.reference import make_reference\n"
        f"r = make_reference('ase', calculator='misbehaving:Misbehaving', "
        f"parameters={{'how': 'compute_in_c', 'path': {str(begun)!r}}})\n"
        "from trepid.campaign.learn import learn; from trepid.config import load_campaign\n"
        f"learn(load_campaign({str(path)!r}), reference=r)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(lambda: noted(begun), process)
    process.send_signal(signal.SIGINT)
    assert until_line(process, "SIGINT: ending after the present step or label; the same command resumes", 10)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_a_signal_ends_a_fit_in_a_library(tmp_path: Path, data_dir: Path) -> None:
    process = start("fit", data_dir / "cui_gfn1_64.extxyz", "-o", tmp_path / "m.trepid", "--l-max", 8, "--n-radial", 16)
    assert until_line(process, "species Cu I", 60)
    process.send_signal(signal.SIGINT)
    assert until_line(process, "SIGINT: ending", 10)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert not (tmp_path / "m.trepid").exists()


@pytest.mark.parametrize("mode", [ON_THE_FLY, ROUNDS, ROUNDS + "execution: {workers: 2}\n"])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("sys_exit", "the calculator called sys.exit(0)"),
        ("keyboard_interrupt", "the calculator raised KeyboardInterrupt"),
    ],
)
def test_a_calculator_that_exits_is_a_failed_label(
    trepid: Trepid, tmp_path: Path, mode: str, how: str, message: str
) -> None:
    outcome = trepid("learn", misbehaving(tmp_path, mode, how))
    assert outcome.code == 5, outcome
    assert message in (tmp_path / "run" / "ledger.jsonl").read_text()
    assert "failed" in outcome.out + outcome.err


def test_a_reference_that_hangs_is_a_failed_label_without_any_setting(
    monkeypatch: pytest.MonkeyPatch, copper: Atoms
) -> None:
    monkeypatch.setattr(isolation, "FIRST_LIMIT_S", 3.0)
    parameters = {"how": "hold", "path": os.devnull}
    reference = make_reference("ase", calculator="misbehaving:Misbehaving", parameters=parameters, isolated=True)
    with pytest.raises(LabelError, match="took longer than 3 s") as caught:
        reference.label(copper)
    assert caught.value.reason is FailureReason.TIMEOUT
    reference.close()


def test_the_limit_follows_the_labels(copper: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = IsolatedReference(make_reference("ase", calculator="emt"))
    assert reference.limit_s == isolation.FIRST_LIMIT_S
    reference.label(copper)
    assert reference.limit_s == isolation.LEAST_LIMIT_S
    monkeypatch.setattr(isolation, "LIMIT_FACTOR", 1e9)
    assert reference.limit_s > isolation.LEAST_LIMIT_S
    reference.close()


@pytest.fixture
def copper() -> Atoms:
    return bulk("Cu", cubic=True)


# ---------------------------------------------------------------------- the state of a run


def test_status_knows_whether_the_run_lives(trepid: Trepid, tmp_path: Path) -> None:
    path, begun, folder = misbehaving(tmp_path, ON_THE_FLY, "sleep"), tmp_path / "begun", tmp_path / "run"
    process = start("learn", path)
    wait_for(lambda: noted(begun), process)
    assert f"running (pid {process.pid} on " in trepid("status", folder).out
    facts = json.loads(trepid("status", folder, "--json").out)
    assert (facts["running"], facts["pid"]) == (True, process.pid)
    assert f"in use by another trepid process (pid {process.pid} on " in one_line(trepid("learn", path), 2)
    process.kill()
    process.communicate(timeout=20)
    wait_for(lambda: not alive(int(begun.read_text())))
    assert "killed, or ended by an error; the same command resumes it" in trepid("status", folder).out

    begun.unlink()
    process = start("learn", path)
    wait_for(lambda: noted(begun), process)
    process.send_signal(signal.SIGTERM)
    assert until_line(process, "SIGTERM: ending", 10)
    os.kill(int(begun.read_text()), signal.SIGKILL)  # the label that it waits for
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; the same command resumes it" in trepid("status", folder).out
