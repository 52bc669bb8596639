"""pair_style trepid in runs of the `lmp` program: MPI, fix pair, fix halt, minimize, and what goes wrong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from lammps_inputs import Model, read_dump, run, thermal, write_input
from trepid.lammps.installation import Installation

DYNAMICS = """
timestep 0.001
fix motion all nve
fix u all pair {every} trepid uncertainty 1
compute u_max all reduce max f_u
variable u_max equal c_u_max
"""


@pytest.fixture
def hot(silicon_crystal: Atoms) -> Atoms:
    return thermal(silicon_crystal, 1200.0)


@pytest.mark.parametrize("name", ["cui", "cui_mixed"])
def test_any_number_of_ranks_gives_the_same_trajectory(
    installation: Installation, name: str, request: pytest.FixtureRequest, cui_frame: Atoms, tmp_path: Path
) -> None:
    model: Model = request.getfixturevalue(name)
    final = {}
    for ranks in (1, 2, 4):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        commands = (
            DYNAMICS.format(every=10)
            + """
        thermo 10
        thermo_style custom step pe etotal press c_u_max
        thermo_modify format float %.15g
        fix s all pair 10 trepid support 1
        dump all all custom 100 all.dump id x y z vx vy vz f_u f_s
        dump_modify all format float %.17g
        run 100"""
        )
        write_input(folder, thermal(cui_frame, 300.0), model.file, commands)
        code, text = run(installation, folder, ranks=ranks)
        assert code == 0, text
        assert re.search(rf"on {ranks} procs for 100 steps", text), text
        table = text.split("Step ", 1)[1].split("\n", 1)[1].split("Loop time")[0]
        thermo = np.array([[float(word) for word in line.split()] for line in table.strip().splitlines()])
        final[ranks] = thermo, read_dump(folder / "all.dump")[-1][1]
    thermo, atoms = final[1]
    assert thermo[-1, 0] == 100
    assert np.ptp(thermo[:, 1]) > 0.1  # it moved
    assert np.ptp(atoms[:, 8]) > 0.1
    for ranks in (2, 4):
        other_thermo, other = final[ranks]
        assert other_thermo[:, 1:3] == pytest.approx(thermo[:, 1:3], rel=1e-10)
        assert other_thermo[:, 3] == pytest.approx(thermo[:, 3], rel=1e-7)
        assert other_thermo[:, 4] == pytest.approx(thermo[:, 4], rel=1e-4)
        # Single precision sums the ghosts' shares in another order.
        assert other[:, 7] == pytest.approx(atoms[:, 7], rel=1e-4)
        assert other[:, 8] == pytest.approx(atoms[:, 8], rel=1e-6)
        assert np.abs(other[:, 1:7] - atoms[:, 1:7]).max() < 1e-8


def test_energy_is_conserved(installation: Installation, silicon: Model, hot: Atoms, tmp_path: Path) -> None:
    commands = (
        DYNAMICS.format(every=10) + "thermo 50\nthermo_style custom etotal\nthermo_modify format float %.12g\nrun 1000"
    )
    write_input(tmp_path, hot, silicon.file, commands)
    code, text = run(installation, tmp_path)
    assert code == 0, text
    energies = np.array(text.split("TotEng", 1)[1].split("Loop")[0].split(), dtype=float)
    assert len(energies) == 21
    assert np.ptp(energies[1:]) < 5e-4 * len(hot)
    assert abs(np.polyfit(np.arange(20), energies[1:], 1)[0]) < 2e-4


def test_mixed_triplets_conserve_the_energy(installation: Installation, cui_mixed: Model, tmp_path: Path) -> None:
    atoms = thermal(bulk("CuI", "zincblende", a=6.1, cubic=True).repeat(2), 300.0)
    commands = (
        DYNAMICS.format(every=10) + "thermo 50\nthermo_style custom etotal\nthermo_modify format float %.12g\nrun 1000"
    )
    write_input(tmp_path, atoms, cui_mixed.file, commands)
    code, text = run(installation, tmp_path)
    assert code == 0, text
    energies = np.array(text.split("TotEng", 1)[1].split("Loop")[0].split(), dtype=float)
    assert np.ptp(energies[1:]) < 5e-4 * len(atoms)
    assert abs(np.polyfit(np.arange(20), energies[1:], 1)[0]) < 2e-4


def test_uncertainty_is_computed_on_the_requested_steps(
    installation: Installation, silicon: Model, hot: Atoms, tmp_path: Path
) -> None:
    commands = (
        DYNAMICS.format(every=5)
        + """
    fix now all pair 1 trepid uncertainty 1
    dump all all custom 1 all.dump id f_now
    dump some all custom 5 some.dump id f_u
    dump_modify all format float %.9g
    dump_modify some format float %.9g
    run 20"""
    )
    write_input(tmp_path, hot, silicon.file, commands)
    code, text = run(installation, tmp_path)
    assert code == 0, text
    every, some = dict(read_dump(tmp_path / "all.dump")), read_dump(tmp_path / "some.dump")
    assert [step for step, _ in some] == [0, 5, 10, 15, 20]
    for step, rows in some:
        assert np.array_equal(rows, every[step])
    assert every[20][:, 1].max() > every[0][:, 1].max()


def test_asking_seldom_changes_no_step(installation: Installation, silicon: Model, hot: Atoms, tmp_path: Path) -> None:
    ends = []
    for every in (1, 10):
        folder = tmp_path / str(every)
        folder.mkdir()
        commands = (
            DYNAMICS.format(every=every) + "dump d all custom 50 d id x y z\ndump_modify d format float %.17g\nrun 50"
        )
        write_input(folder, hot, silicon.file, commands)
        assert run(installation, folder)[0] == 0
        ends.append(read_dump(folder / "d")[-1][1])
    assert np.array_equal(*ends)


def test_fix_halt_stops_at_the_right_step(
    installation: Installation, silicon: Model, hot: Atoms, tmp_path: Path
) -> None:
    common = DYNAMICS.format(every=5) + "thermo 5\nthermo_style custom step c_u_max\nthermo_modify format float %.12g\n"
    write_input(tmp_path, hot, silicon.file, common + "run 60")
    _, text = run(installation, tmp_path)
    table = text.split("c_u_max", 1)[1].split("Loop")[0].split()
    trace = np.array(table, dtype=float).reshape(-1, 2)
    # Just below its largest value, so that only the one step can be meant.
    threshold, expected = 0.9999 * trace[:, 1].max(), trace[trace[:, 1].argmax(), 0]
    assert 5 <= expected <= 60
    write_input(
        tmp_path,
        hot,
        silicon.file,
        common
        + f"fix guard all halt 5 v_u_max > {float(threshold)!r} error continue\nrun 60\nwrite_restart halted.restart",
    )
    code, text = run(installation, tmp_path)
    assert code == 0, text
    assert f"halt condition for fix-id guard met on step {expected:.0f}" in text
    assert (tmp_path / "halted.restart").stat().st_size > 0


def test_minimize_finds_the_crystal(
    installation: Installation, silicon: Model, silicon_crystal: Atoms, tmp_path: Path
) -> None:
    atoms = silicon_crystal.copy()
    atoms.positions += np.random.default_rng(1).normal(scale=0.1, size=atoms.positions.shape)
    commands = """
    fix u all pair 1 trepid uncertainty 1
    minimize 0 1e-6 1000 10000
    print "force $(fnorm:%.3g) energy $(pe:%.12g)"
    """
    write_input(tmp_path, atoms, silicon.file, commands)
    code, text = run(installation, tmp_path)
    assert code == 0, text
    force, energy = re.search(r"^force (\S+) energy (\S+)$", text, re.M).groups()  # type: ignore[union-attr]
    assert float(force) < 1e-5
    assert float(energy) == pytest.approx(silicon.field.mean.evaluate(silicon_crystal).energy, rel=1e-9)


@pytest.mark.parametrize("ranks", [1, 2])
def test_hybrid_overlay_runs_in_parallel(
    installation: Installation, cui: Model, cui_frame: Atoms, tmp_path: Path, ranks: int
) -> None:
    commands = (
        DYNAMICS.format(every=1) + "thermo_style custom step pe c_u_max\nthermo_modify format float %.12g\nrun 10"
    )
    found = []
    for pair in (
        None,
        f"pair_style hybrid/overlay trepid zero 6.0\npair_coeff * * trepid {cui.file} Cu I\npair_coeff * * zero\n",
    ):
        write_input(tmp_path, thermal(cui_frame, 300.0), cui.file, commands, pair=pair)
        code, text = run(installation, tmp_path, ranks=ranks)
        assert code == 0, text
        found.append([float(word) for word in text.split("c_u_max", 1)[1].split("Loop")[0].split()])
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_leaving_the_trusted_region_halts_with_the_reason(
    installation: Installation, silicon: Model, silicon_crystal: Atoms, tmp_path: Path
) -> None:
    squeezed = silicon_crystal.copy()
    squeezed.set_cell(squeezed.cell[:] * 0.7 ** (1 / 3), scale_atoms=True)  # to 70 % of its volume
    threshold = 4 * silicon.field.noise.forces
    commands = (
        DYNAMICS.format(every=1)
        + f"""
    fix heat all langevin 3000 3000 0.05 17
    fix guard all halt 1 v_u_max > {threshold!r} error continue
    dump d all custom 1 d id x y z fx fy fz f_u
    run 500
    print "ended at $(step)"
    """
    )
    write_input(tmp_path, thermal(squeezed, 3000.0), silicon.file, commands)
    code, text = run(installation, tmp_path)
    assert code == 0, text
    assert "Fix halt condition for fix-id guard met" in text
    assert "nan" not in text.lower()
    step = int(re.search(r"^ended at (\d+)$", text, re.M)[1])  # type: ignore[index]
    assert step < 500
    frames = read_dump(tmp_path / "d")
    assert all(np.isfinite(rows).all() for _, rows in frames)
    assert frames[-1][1][:, 7].max() > threshold


def test_a_collapse_without_guard_gives_no_nan(
    installation: Installation, silicon: Model, silicon_crystal: Atoms, tmp_path: Path
) -> None:
    # 30 % off every edge, no guard: the result is finite or an error.
    squeezed = silicon_crystal.copy()
    squeezed.set_cell(squeezed.cell[:] * 0.7, scale_atoms=True)
    commands = DYNAMICS.format(every=1) + "thermo 1\nthermo_style custom step temp pe press c_u_max\nrun 100"
    write_input(tmp_path, thermal(squeezed, 3000.0), silicon.file, commands)
    code, text = run(installation, tmp_path)
    assert "nan" not in text.lower()
    assert code == 0 or "ERROR" in text


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("pair_style trepid\npair_coeff * * {model} Cu Au\n", "element Au is unknown to model {model}, which knows Cu I"),
        ("pair_style trepid\npair_coeff * * {model} Cu\n", "one element per atom type (2) are needed, 4 arguments were given"),
        ("pair_style trepid\npair_coeff 1 2 {model} Cu I\n", "Pair_coeff must start with * * for pair style trepid"),
        ("pair_style trepid\npair_coeff * * {damaged} Cu I\n", "model file {damaged}: it is not a model file of trepid"),
        ("pair_style trepid\npair_coeff * * {cut} Cu I\n", "model file {cut}: it is cut off"),
        ("pair_style trepid\npair_coeff * * {missing} Cu I\n", "model file {missing}: it cannot be opened"),
        ("pair_style trepid\npair_coeff * * {model} NULL NULL\n", "sets no atom type"),
        ("pair_style trepid order 3\npair_coeff * * {model} Cu I\n", "unknown keyword order; known is rank"),
        ("pair_style trepid rank 5\npair_coeff * * {model} Cu I\n", "rank 5 is not a multiple of 16"),
    ],
)  # fmt: skip
def test_user_errors_are_one_line(
    installation: Installation, cui: Model, cui_frame: Atoms, tmp_path: Path, pair: str, message: str
) -> None:
    names = {
        "model": cui.file,
        "damaged": tmp_path / "damaged.trepid",
        "cut": tmp_path / "cut.trepid",
        "missing": tmp_path / "missing.trepid",
    }
    names["damaged"].write_text("not a model")
    names["cut"].write_bytes(cui.file.read_bytes()[:-100])
    write_input(tmp_path, cui_frame, cui.file, "run 1", pair=pair.format(**names))
    code, text = run(installation, tmp_path)
    assert code != 0
    errors = [line for line in text.splitlines() if "ERROR" in line]
    assert len(errors) == 1, text
    assert message.format(**names) in errors[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("newton on", "newton off", "pair_style trepid needs newton on"),
        ("units metal", "units real", "pair_style trepid needs units metal"),
    ],
)
def test_settings_it_cannot_work_with(
    installation: Installation, cui: Model, cui_frame: Atoms, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write_input(tmp_path, cui_frame, cui.file, "run 1")
    path.write_text(path.read_text().replace(old, new))
    code, text = run(installation, tmp_path)
    assert code != 0
    assert message in text
