"""A model with charges in LAMMPS: the same energy, forces and stress as in Python, and no run without its Coulomb energy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from campaign_fakes import LoggedReference, assert_same_run, calls, campaign
from kills import Killed, kill_at
from lammps_inputs import Model, read_dump, run, thermal
from trepid.campaign.learn import learn
from trepid.choices import Engine, GuardAction, Thermostat
from trepid.data import Labels, read_frames
from trepid.dynamics.driver import MDParameters
from trepid.dynamics.engine import start_driver
from trepid.dynamics.lammps_engine import LammpsDriver
from trepid.dynamics.run import run_md
from trepid.dynamics.settings import MDEnd, MDSettings
from trepid.errors import DataError, NumericsError
from trepid.lammps.installation import Installation
from trepid.lammps.session import CHARGED_SETUP, NEIGHBOR, Session, pair_commands
from trepid.lammps.system import System, write_data_file
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.ewald import coulomb_sum

pytestmark = pytest.mark.usefixtures("installation")
PRECISE = "1e-11"
"""Accuracy asked of the Ewald sum where it is compared; MD asks for less."""


def sheared(atoms: Atoms) -> Atoms:
    """A general triclinic cell in a general direction, with atoms outside of it."""
    out = atoms.copy()
    out.set_cell(
        out.cell[:] @ np.array([[1.0, 0.05, 0.02], [-0.04, 1.01, 0.06], [0.03, -0.02, 0.98]]), scale_atoms=True
    )
    out.rotate(33, (1, 2, 3), rotate_cell=True)
    out.positions[::3] += 2 * out.cell[0] - out.cell[2]
    return out


def commands(model: Model, system: System) -> str:
    return pair_commands(model.file, system, electrostatics=model.field.electrostatics)


def evaluated(
    installation: Installation, atoms: Atoms, text: str, *, setup: str = CHARGED_SETUP
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Energy, forces, stress, energies of the atoms and uncertainty."""
    system, n = System.of(atoms), len(atoms)
    session = Session(installation)
    try:
        session.commands(setup)
        session.create_atoms(atoms, system, velocities=False)
        session.commands(text)
        session.commands(f"""{NEIGHBOR}
            compute energies all pe/atom
            compute sum all reduce sum c_energies
            fix u all pair 1 trepid uncertainty 1
            thermo_style custom step pe press c_sum
            run 0 post no""")
        return (
            session.thermo("pe"),
            session.forces(system),
            session.stress(system),
            session.compute_per_atom("energies", n),
            session.fix_per_atom("u", n),
        )
    finally:
        session.close()


def with_vacancy(atoms: Atoms) -> Atoms:
    """A charged cell: one Cu is missing."""
    out = atoms.copy()
    del out[int(np.flatnonzero(out.numbers == 29)[0])]
    return out


@pytest.mark.parametrize("change", [lambda a: a, sheared, with_vacancy, lambda a: sheared(with_vacancy(a))])
def test_python_and_lammps_agree(installation, cui_charges: Model, cui_frame: Atoms, change) -> None:  # type: ignore[no-untyped-def]
    atoms = change(cui_frame)
    text = commands(cui_charges, System.of(atoms)).replace("ewald 3e-05", f"ewald {PRECISE}")
    assert PRECISE in text
    energy, forces, stress, energies, uncertainty = evaluated(installation, atoms, text)
    expected = cui_charges.field.mean.evaluate(atoms, live=True)
    assert energy == pytest.approx(expected.energy, rel=1e-9)
    assert np.abs(forces - expected.forces).max() < 1e-8
    assert energies == pytest.approx(expected.atom_energies, rel=1e-8)
    assert expected.stress is not None
    assert np.abs(stress - expected.stress).max() < 1e-6 * np.abs(expected.stress).max()
    assert uncertainty == pytest.approx(expected.atom_uncertainty, rel=1e-3)
    bare = cui_charges.field.mean
    assert np.abs(bare.evaluate(atoms).forces - without_coulomb(cui_charges, atoms)).max() > 0.05


def without_coulomb(model: Model, atoms: Atoms) -> np.ndarray:
    rows = np.concatenate([rows for _, rows in model.field.features.force_rows(atoms)])
    coulomb = rows[:, -1] * model.field.mean.tables.charge_product[0]
    return model.field.mean.evaluate(atoms).forces - coulomb.reshape(-1, 3)


@pytest.mark.parametrize(("repeat", "style"), [(1, "ewald"), (2, "pppm")])
def test_the_accuracy_of_md(
    installation: Installation, cui_charges: Model, cui_frame: Atoms, repeat: int, style: str
) -> None:
    atoms = sheared(cui_frame.repeat(repeat))
    text = commands(cui_charges, System.of(atoms))
    assert f"kspace_style {style} 3e-05" in text
    energy, forces, *_ = evaluated(installation, atoms, text)
    expected = cui_charges.field.mean.evaluate(atoms)
    assert np.sqrt(np.mean((forces - expected.forces) ** 2)) < 2e-4
    assert energy == pytest.approx(expected.energy, rel=1e-6)


def test_under_hybrid_overlay(installation: Installation, cui_charges: Model, cui_frame: Atoms) -> None:
    electrostatics = cui_charges.field.electrostatics
    assert electrostatics is not None
    kspace = electrostatics.commands(System.of(cui_frame)).replace("ewald 3e-05", f"ewald {PRECISE}")
    text = f"pair_style hybrid/overlay trepid zero 6.0\npair_coeff * * trepid {cui_charges.file} Cu I\n"
    energy, forces, _, _, uncertainty = evaluated(installation, cui_frame, f"{text}pair_coeff * * zero\n{kspace}")
    expected = cui_charges.field.mean.evaluate(cui_frame, live=True)
    assert energy == pytest.approx(expected.energy, rel=1e-9)
    assert np.abs(forces - expected.forces).max() < 1e-8
    assert uncertainty == pytest.approx(expected.atom_uncertainty, rel=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("atom_style charge", "atom_style atomic", "the atom style has none"),
        ("kspace_style ewald 3e-05\nkspace_modify gewald GEWALD\n", "", "no kspace style ewald or pppm computes"),
        ("kspace_modify gewald GEWALD\n", "", "needs: .*gewald 0.545"),
        ("kspace_modify gewald GEWALD\n", "kspace_modify gewald 0.4\n", "gewald 0.4"),
        (
            "kspace_modify gewald GEWALD\n",
            "kspace_modify gewald GEWALD compute no\n",
            "no kspace style ewald or pppm computes",
        ),
        ("set type 1 charge 0", "set type 1 charge 0.01 # 0", "does not have the charge.*set type 1 charge 0"),
        ("kspace_style", "dielectric 2\nkspace_style", "dielectric is 2"),
    ],
)
def test_no_run_without_the_coulomb_energy_of_the_model(
    installation: Installation, cui_charges: Model, cui_frame: Atoms, old: str, new: str, message: str
) -> None:
    electrostatics = cui_charges.field.electrostatics
    assert electrostatics is not None
    old, new = (part.replace("GEWALD", f"{electrostatics.ewald_parameter:.17g}") for part in (old, new))
    text = CHARGED_SETUP + "\0" + commands(cui_charges, System.of(cui_frame))
    assert old in text
    setup, pair = text.replace(old, new).split("\0")
    if "atomic" in new:
        pair = "\n".join(line for line in pair.splitlines() if not line.startswith(("set", "kspace")))
    with pytest.raises(NumericsError, match=message):
        evaluated(installation, cui_frame, pair, setup=setup)


def test_a_model_without_charges_has_no_kspace(installation: Installation, cui: Model, cui_frame: Atoms) -> None:
    text = pair_commands(cui.file, System.of(cui_frame)) + "kspace_style ewald 1e-5\nset type 1 charge 0.5\n"
    with pytest.raises(NumericsError, match=r"(?i)kspace style is incompatible"):
        evaluated(installation, cui_frame, text)


def test_a_slab_without_vacuum_is_refused(installation: Installation, cui_charges: Model, cui_frame: Atoms) -> None:
    slab = cui_frame.copy()
    slab.pbc = (True, True, False)
    with pytest.raises(DataError, match="pbc T T T"):
        commands(cui_charges, System.of(slab))


@pytest.mark.parametrize("ranks", [1, 2])
def test_processes(
    installation: Installation, cui_charges: Model, cui_frame: Atoms, tmp_path: Path, ranks: int
) -> None:
    atoms = thermal(cui_frame.repeat((2, 2, 2)), 300)
    system, electrostatics = System.of(atoms), cui_charges.field.electrostatics
    assert electrostatics is not None
    write_data_file(tmp_path / "start.data", atoms, system, charges=electrostatics.charges)
    kspace = commands(cui_charges, system)
    (tmp_path / "in.lammps").write_text(f"""{CHARGED_SETUP}boundary p p p
read_data start.data
{kspace}{NEIGHBOR}
timestep 0.001
fix u all pair 10 trepid uncertainty 1
fix motion all nve
dump d all custom 10 d.dump id fx fy fz f_u
dump_modify d sort id format float %.12g
run 10
""")
    code, screen = run(installation, tmp_path, ranks=ranks)
    assert code == 0, screen
    first = read_dump(tmp_path / "d.dump")[0][1]
    expected = cui_charges.field.mean.evaluate(atoms, live=True)
    assert np.abs(system.box.from_lammps(first[:, 1:4]) - expected.forces).max() < 2e-3
    assert first[:, 4] == pytest.approx(expected.atom_uncertainty, rel=2e-3)


# ---- molecular dynamics


def settings(**change: object) -> MDSettings:
    base = {
        "engine": Engine.LAMMPS,
        "temperature_K": 300.0,
        "duration_ps": 0.1,
        "thermostat": Thermostat.NVE,
        "sample_every": 50,
        "checkpoint_every": 50,
        "guard": GuardAction.WARN,
    }
    return MDSettings(**(base | change))  # type: ignore[arg-type]


def test_trepid_md_writes_the_charges_and_resumes_exactly(cui_charges: Model, tmp_path: Path) -> None:
    atoms = bulk("CuI", "zincblende", a=6.15, cubic=True).repeat(2)

    def go(name: str, **change: object):  # type: ignore[no-untyped-def]
        return run_md(
            cui_charges.field,
            atoms,
            settings(**change),
            directory=tmp_path / name,
            model_file=cui_charges.file,
        )

    assert go("whole").end is MDEnd.FINISHED
    text = (tmp_path / "whole" / "in.lammps").read_text()
    assert "kspace_modify gewald 0.5454545454" in text
    assert "atom_style charge" in text
    go("cut")
    (tmp_path / "cut" / "checkpoint.100.restart").unlink()
    go("cut")
    for name in ("trace.csv", "trajectory.lammpstrj"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    ase = go("ase", engine=Engine.ASE)
    assert ase.end is MDEnd.FINISHED
    rows = [
        np.genfromtxt(tmp_path / name / "trace.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
        for name in ("whole", "ase")
    ]
    assert rows[0]["total_energy_eV"] == pytest.approx(rows[1]["total_energy_eV"], abs=0.02)
    assert np.ptp(rows[0]["total_energy_eV"][1:]) < 0.02


def test_the_engine_of_campaigns_takes_new_charges_of_an_updated_model(cui_charges: Model, data_dir: Path) -> None:
    atoms = bulk("CuI", "zincblende", a=6.15, cubic=True).repeat(2)
    parameters = MDParameters(
        temperature_K=300.0,
        timestep_fs=1.0,
        thermostat=Thermostat.NVE,
        relaxation_time_fs=100.0,
        engine=Engine.LAMMPS,
    )
    model = BayesianForceField.from_bytes(cui_charges.file.read_bytes(), name="model", n_threads=1)
    driver = start_driver(atoms, model, parameters, rng=np.random.default_rng(0))
    try:
        driver.step(5)
        frames = [a for a in read_frames(data_dir / "cui_gfn1_64.extxyz") if not a.info.get("displaced_cu", 0)]
        model.update(frames[6:9])
        driver.set_potential(model)
        driver.step(5)
        saved = driver.get_state()
        driver.step(10)
        reached = driver.atoms.positions.copy()
        driver.set_state(saved)
        driver.step(10)
        assert driver.atoms.positions == pytest.approx(reached, abs=1e-9)
        driver.forget_neighbors()
        driver.step(1)
    finally:
        driver.close()


class IonicReference(LoggedReference):
    """EMT, and charges of 0.6 e."""

    def _compute(self, atoms: Atoms) -> Labels:
        labels = super()._compute(atoms)
        charges = np.where(atoms.symbols == "Cu", 0.6, -0.6)
        coulomb = coulomb_sum(atoms, charges, width=1.0)
        assert labels.energy is not None
        assert labels.forces is not None
        assert labels.stress is not None
        return Labels(
            labels.energy + coulomb.energy,
            labels.forces + coulomb.forces,
            labels.stress + coulomb.strain / atoms.get_volume(),
        )


def test_a_killed_campaign_with_charges_resumes_exactly(tmp_path: Path) -> None:
    def learned(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        structure = folder / "cuau.extxyz"
        bulk("CuAu", "cesiumchloride", a=3.1, cubic=True).repeat((2, 2, 1)).write(structure)
        sizes = {"pair_cutoff_A": 4.0, "triplet_cutoff_A": 3.2, "n_pair": 8, "n_radial": 4, "l_max": 2}
        stages = [{"temperature_K": 200, "duration_ps": 0.2}]
        settings = campaign(
            folder,
            structure={"file": str(structure)},
            potential={**sizes, "charges": {"Cu": 1, "Au": -1}},
            learning={"threshold_eV_per_A": 0.02, "max_labels": 6},
            dynamics={"engine": "lammps", "stages": stages},
        )
        learn(settings, reference=IonicReference(folder / "calls.jsonl"))

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    learned(whole)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, LammpsDriver, "step", 6, after=True)
        with pytest.raises(Killed):
            learned(cut)
    learned(cut)
    assert_same_run(whole, cut)
    assert sorted(calls(whole)) == sorted(calls(cut))
    charges = BayesianForceField.load(whole / "run" / "model.trepid").electrostatics
    assert charges is not None
    assert charges.charges["Cu"] == pytest.approx(0.6, rel=0.3)
