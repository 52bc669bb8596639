"""Phonons against phonopy by hand, closed forms and thermodynamic identities; bars against their definition; wrong input."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import phonopy
import pytest
import scipy.linalg
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.units import GPa, _Nav
from hypothesis import given, settings
from hypothesis import strategies as st
from phonopy.structure.atoms import PhonopyAtoms
from scipy.stats import t as student

from springs import BondSprings, SiteSprings
from trepid.anharmonicity import harmonic_reference, harmonic_sample
from trepid.anharmonicity.ensemble import forces_of_frames
from trepid.anharmonicity.modes import SOFT_THz
from trepid.anharmonicity.phonopy_objects import make_phonon, phonopy_cell, run_mesh
from trepid.data.frames import Labels, attach_labels, read_frames, write_frames
from trepid.errors import ConfigError, DataError, NumericsError
from trepid.phonons.analysis import PhononSettings, analyse_phonons
from trepid.phonons.drawn import Drawn
from trepid.phonons.effective import effective_phonons
from trepid.phonons.relaxation import relaxed
from trepid.phonons.volume import quasi_harmonic
from trepid.potentials.bayesian import BayesianForceField
from trepid.runs.outcomes import read_outcome

COPPER = bulk("Cu", a=3.59, cubic=True)
SMALL = PhononSettings(supercell=(2, 2, 2), mesh=12.0, band_points=7, t_max_K=400, t_step_K=50, posterior=6)
A_CUI = 6.19


@pytest.fixture(scope="module")
def copper_emt():
    return analyse_phonons(EMT(), COPPER, SMALL)


@pytest.fixture(scope="module")
def springs() -> tuple[Atoms, BondSprings]:
    cell = bulk("CuI", "zincblende", a=A_CUI, cubic=True)
    return cell, BondSprings(cell.repeat(2), cutoff=A_CUI * np.sqrt(3) / 4 + 0.3)


# ---------------------------------------------------------------- bars


@given(st.integers(2, 40), st.floats(1e-3, 1e3))
@settings(max_examples=20)
def test_a_bar_is_students_t_times_the_standard_deviation_of_the_draws(n: int, width: float) -> None:
    draws = np.random.default_rng(n).normal(0, width, (n, 3))
    found = Drawn.of(np.zeros(3), list(draws))
    np.testing.assert_allclose(found.bar(), student.ppf(0.975, n - 1) * draws.std(axis=0, ddof=1))
    np.testing.assert_allclose(found.times(2.0).bar(), 2 * found.bar())


def test_draws_without_a_value_are_left_out_of_a_bar() -> None:
    found = Drawn(np.zeros(2), np.array([[1.0, np.nan], [2.0, 5.0], [4.0, np.nan]]))
    assert found.std[0] == pytest.approx(np.std([1.0, 2.0, 4.0], ddof=1))
    assert np.isnan(found.std[1])


def test_one_draw_is_no_bar() -> None:
    with pytest.raises(ConfigError, match="two draws"):
        Drawn.of(1.0, [1.0])


# ---------------------------------------------------------------- bands, density of states, thermal properties


def test_bands_are_those_of_phonopy_by_hand(copper_emt) -> None:
    cell = PhonopyAtoms(symbols=["Cu"] * 4, cell=COPPER.cell.array, scaled_positions=COPPER.get_scaled_positions())
    phonon = phonopy.Phonopy(cell, np.diag((2, 2, 2)), primitive_matrix="F")
    phonon.generate_displacements(distance=0.01)
    forces = []
    for displaced in phonon.supercells_with_displacements:
        atoms = Atoms(displaced.symbols, scaled_positions=displaced.scaled_positions, cell=displaced.cell, pbc=True)
        atoms.calc = EMT()
        forces.append(atoms.get_forces())
    phonon.forces = np.array(forces)
    phonon.produce_force_constants(show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    phonon.run_qpoints(copper_emt.bands.path.qpoints)
    np.testing.assert_allclose(copper_emt.bands.frequencies.value, phonon.qpoints.frequencies, atol=1e-5)
    assert copper_emt.stable
    assert copper_emt.bands.path.labels[0] == "Γ"
    assert any("no bar" in remark for remark in copper_emt.remarks)


def test_the_density_of_states_holds_every_branch_and_the_heat_capacity_goes_to_dulong_and_petit(copper_emt) -> None:
    dos = copper_emt.mesh.dos
    assert np.trapezoid(dos.density.value, dos.frequencies_THz) == pytest.approx(3, rel=0.02)
    thermal = copper_emt.mesh.thermal
    k = 1.380649e-23 * _Nav
    assert thermal.heat_capacity.value[0] == 0
    assert 0.9 * 3 * k < thermal.heat_capacity.value[-1] < 3 * k
    # S = -dF/dT
    slope = -np.gradient(thermal.free_energy.value * 1000, thermal.temperatures_K)
    np.testing.assert_allclose(slope[3:-1], thermal.entropy.value[3:-1], rtol=0.02)


def test_a_site_spring_has_one_frequency_for_all_wave_vectors(springs) -> None:
    sites = bulk("Cu", cubic=True).repeat(2)
    spring = SiteSprings(lambda atoms: atoms.positions - sites.positions, stiffness=2.0)
    found = analyse_phonons(spring, bulk("Cu", cubic=True), SMALL)
    # Phonopy enforces the acoustic sum rule: the on-site part couples to the mean of all atoms.
    omega = np.sqrt(2.0 / 63.546 * 1.602176634e-19 / 1e-20 / 1.66053906660e-27) / (2 * np.pi * 1e12)
    at_x = found.bands.frequencies.value[np.argmax(np.linalg.norm(found.bands.path.qpoints, axis=1))]
    np.testing.assert_allclose(at_x, omega * np.sqrt(32 / 31), rtol=0.04)


def test_imaginary_modes_are_said() -> None:
    found = analyse_phonons(
        EMT(), bulk("Cu", "sc", a=2.4), PhononSettings(supercell=(4, 4, 4), mesh=10.0, band_points=9)
    )
    assert not found.stable
    assert found.lowest_THz.value < -SOFT_THz
    assert found.mesh.imaginary_share > 0
    assert "imaginary modes down to" in found.remarks[0]


def test_draws_of_a_bayesian_model_are_its_phonons_computed_anew(copper_model) -> None:
    found = analyse_phonons(copper_model, COPPER, SMALL)
    bands = found.bands.frequencies
    assert bands.n_draws == SMALL.posterior
    assert np.median(bands.bar()) > 0
    draw = copper_model.sample(SMALL.posterior, SMALL.seed)[2]
    again = analyse_phonons(draw, COPPER, SMALL)
    np.testing.assert_allclose(again.bands.frequencies.value, bands.draws[2], atol=1e-6)
    np.testing.assert_allclose(again.mesh.thermal.free_energy.value, found.mesh.thermal.free_energy.draws[2], atol=1e-6)
    # The object that is handed out is that of the model, not that of a draw.
    np.testing.assert_allclose(np.concatenate(found.phonon.band_structure.frequencies), bands.value)


@pytest.fixture(scope="module")
def copper_model():
    from trepid import BayesianForceField

    reference = harmonic_reference(COPPER, (2, 2, 2), EMT())
    frames = harmonic_sample(reference, 600.0, 2, 0)
    for frame, forces in zip(frames, forces_of_frames(EMT(), frames), strict=True):
        frame.arrays["REF_forces"] = forces
    return BayesianForceField(species=["Cu"], pair_cutoff=5.0, triplet_cutoff=3.5, n_channels=0).fit(frames)


def test_the_correction_of_born_charges_is_phonopys(springs, tmp_path: Path) -> None:
    cell, calculator = springs
    born = tmp_path / "BORN"
    born.write_text("14.399652\n5 0 0 0 5 0 0 0 5\n1 0 0 0 1 0 0 0 1\n-1 0 0 0 -1 0 0 0 -1\n")
    plain = analyse_phonons(calculator, cell, SMALL)
    charged = analyse_phonons(calculator, cell, PhononSettings(**{**SMALL.__dict__, "born": born}))
    assert charged.bands.frequencies.value.max() > plain.bands.frequencies.value.max() + 0.05
    # Longitudinal above transverse at Gamma, by Z^2 / (eps0 eps V mu).
    charged.phonon.run_qpoints([[1e-4, 0, 0]], nac_q_direction=[1, 0, 0])
    transverse, longitudinal = charged.phonon.qpoints.frequencies[0][[3, 5]]
    e, amu, eps0 = 1.602176634e-19, 1.66053906660e-27, 8.8541878128e-12
    masses = cell.get_masses()[:2]
    mu, volume = masses[0] * masses[1] / masses.sum() * amu, cell.cell.volume / 4 * 1e-30
    expected = e**2 / (eps0 * 5 * volume * mu) / (2 * np.pi * 1e12) ** 2
    assert longitudinal**2 - transverse**2 == pytest.approx(expected, rel=0.02)
    born.write_text("nonsense")
    with pytest.raises(DataError, match="BORN of this crystal"):
        analyse_phonons(calculator, cell, PhononSettings(**{**SMALL.__dict__, "born": born}))


# ---------------------------------------------------------------- several volumes


def test_expansion_obeys_the_relation_of_grueneisen() -> None:
    crystal = relaxed(EMT(), bulk("Cu", a=3.65), cell=True)
    assert abs(np.linalg.norm(crystal.cell[0]) * np.sqrt(2) - 3.59) < 0.01
    few = PhononSettings(supercell=(2, 2, 2), mesh=12.0, t_max_K=300, t_step_K=25, posterior=0)
    found = quasi_harmonic(EMT(), crystal, few, n_volumes=5)
    k = int(np.argmin(np.abs(found.temperatures_K - 200)))
    heat = analyse_phonons(EMT(), crystal, few).mesh.thermal.heat_capacity.value[k]
    # alpha = gamma C_V / (B V)
    expected = found.gruneisen.value[k] * heat / (found.bulk_modulus_GPa.value[k] * 1e9)
    expected /= found.volume_A3.value[k] * 1e-30 * _Nav
    assert found.expansion_per_K.value[k] == pytest.approx(expected, rel=0.1)
    assert np.all(np.diff(found.volume_A3.value) > 0)
    with pytest.raises(NumericsError, match="equilibrium volume"):
        quasi_harmonic(EMT(), bulk("Cu", a=3.75), few, n_volumes=5)


# ---------------------------------------------------------------- effective force constants


def test_a_harmonic_crystal_gives_back_its_force_constants(springs) -> None:
    cell, calculator = springs
    reference = harmonic_reference(cell, (2, 2, 2), calculator)
    frames = harmonic_sample(reference, 300.0, 40, 0)
    rng = np.random.default_rng(1)
    for frame, forces in zip(frames, forces_of_frames(calculator, frames), strict=True):
        frame.arrays["forces"] = forces + rng.normal(0, 0.05, forces.shape)
        frame.positions += 0.3  # a drift
    found = effective_phonons(frames, cell, SMALL)
    exact = analyse_phonons(calculator, cell, SMALL).bands.frequencies.value
    bands = found.analysis.bands.frequencies
    assert found.converged
    assert np.abs(bands.value - exact).max() < 0.2
    assert np.mean(np.abs(bands.value - exact) <= bands.bar() + 1e-6) > 0.8
    assert found.explained == pytest.approx(1 - 0.05**2 / np.var([f.arrays["forces"] for f in frames]), abs=0.01)
    # Far too few frames for the tolerance asked.
    strict = effective_phonons(frames, cell, SMALL, tolerance=1e-4)
    assert not strict.converged
    assert "times as long" in strict.verdict
    with pytest.raises(DataError, match="frames after those left out"):
        effective_phonons(frames, cell, SMALL, skip=30)
    frames[20].positions[3] += [1.9, 0, 0]
    with pytest.raises(DataError, match="left their sites"):
        effective_phonons(frames, cell, SMALL)


# ---------------------------------------------------------------- command line


def test_the_verb_writes_what_phonopy_reads(trepid, tmp_path: Path, copper_model) -> None:
    copper_model.save(tmp_path / "cu.trepid")
    write_frames(tmp_path / "cu.extxyz", [COPPER])
    out = tmp_path / "out"
    arguments = ["--mesh", 10, "--points", 9, "--posterior", 4, "-o", out]
    outcome = trepid("phonons", tmp_path / "cu.trepid", tmp_path / "cu.extxyz", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["n_draws"] == 4
    again = phonopy.load(out / "phonopy_params.yaml", produce_fc=False)
    again.run_mesh(10.0)
    found = json.loads((out / "phonons.json").read_text())
    assert again.mesh.frequencies.max() == pytest.approx(found["highest_THz"]["value"], rel=1e-6)
    values = {(p.kind.value, p.name): p for p in read_outcome(out).properties}
    assert values["frequencies", "highest"].value == found["highest_THz"]["value"]
    assert values["frequencies", "X, branch 3"].high > values["frequencies", "X, branch 3"].value
    page = (out / "phonons.html").read_text()
    assert "Phonons of Cu" in page
    assert page.count("<svg") == 2
    assert "#01020" not in page
    for name in ("band.yaml", "total_dos.dat", "thermal_properties.yaml"):
        assert (out / name).stat().st_size > 1000
    refused = trepid("phonons", tmp_path / "cu.trepid", tmp_path / "cu.extxyz", *arguments)
    assert "exists" in refused.error


def test_the_relaxed_cell_is_told_beside_the_given_one(trepid, tmp_path: Path) -> None:
    (tmp_path / "emt.yaml").write_text("reference: {engine: ase, calculator: emt}\n")
    write_frames(tmp_path / "wide.extxyz", [bulk("Cu", a=3.65, cubic=True)])
    arguments = ["phonons", tmp_path / "emt.yaml", tmp_path / "wide.extxyz", "--mesh", 10, "--points", 9, "--relax"]
    arguments += ["--supercell", 1, 1, 1, "-o", tmp_path / "out", "--force"]
    told = trepid(*arguments).out
    found = read_frames(tmp_path / "out" / "relaxed.extxyz", require=())[0].cell.cellpar()
    assert found[0] == pytest.approx(3.59, abs=0.02)
    lengths = ", ".join(f"{x:.4f}" for x in found[:3])
    assert f"a, b, c, relaxed        {lengths} A; given 3.6500, 3.6500, 3.6500 A\n" in told
    assert told.count("J/K/mol of primitive cells") == 1
    facts = trepid(*arguments, "--json").json
    assert facts["cell_given"] == pytest.approx([3.65] * 3 + [90] * 3)
    assert facts["cell_relaxed"] == pytest.approx(found)


def strained_frames(a: float) -> list[Atoms]:
    """Labelled copper whose cells are within 0.3 % of one lattice constant."""
    frames = []
    for k, strain in enumerate((0.0, 0.003, -0.003, 0.0)):
        atoms = bulk("Cu", a=a * (1 + strain), cubic=True).repeat(2)
        atoms.rattle(0.05, seed=k)
        atoms.calc = EMT()
        frames.append(
            attach_labels(
                atoms,
                Labels(energy=atoms.get_potential_energy(), forces=atoms.get_forces(), stress=atoms.get_stress()),
            )
        )
    return frames


def test_a_crystal_that_relaxes_out_of_the_training_data_is_extrapolation(trepid, tmp_path: Path) -> None:
    """Labels at a lattice constant that the method does not have: as given it is pressed, relaxed it is unknown."""
    a = 3.40
    BayesianForceField(["Cu"], pair_cutoff=5.0, triplet_cutoff=4.0, n_threads=1).fit(strained_frames(a)).save(
        tmp_path / "cu.trepid"
    )
    write_frames(tmp_path / "cu.extxyz", [bulk("Cu", a=a, cubic=True)])
    arguments = [
        "phonons",
        tmp_path / "cu.trepid",
        tmp_path / "cu.extxyz",
        "--mesh",
        10,
        "--points",
        9,
        "--posterior",
        2,
    ]
    given = trepid(*arguments, "-o", tmp_path / "given", "--json")
    assert "extrapolation" not in given.err
    assert given.json["at_rest"]["extrapolates"] is False
    exact = bulk("Cu", a=a, cubic=True)
    exact.calc = EMT()
    pressure = -exact.get_stress()[:3].mean() / GPa
    assert given.json["at_rest"]["pressure_GPa"] == pytest.approx(pressure, rel=0.1)
    told = f"{given.json['at_rest']['pressure_GPa']:.1f} +- "
    assert f"warning: the pressure of the crystal on this model is {told}" in given.err
    assert "--relax' lets it go" in given.err

    relaxed_one = trepid(*arguments, "--relax", "-o", tmp_path / "relaxed")
    lines = [line for line in relaxed_one.err.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 1
    assert "extrapolation: in this crystal" in lines[0]
    assert "32 of 32 atoms are outside the training data" in lines[0]
    assert "training frames are strained by 1.0 % unless told otherwise" in lines[0]
    assert "Label frames of relaxed.extxyz" in lines[0]
    found = json.loads((tmp_path / "relaxed" / "phonons.json").read_text())
    assert found["at_rest"]["extrapolates"] is True
    change = found["cell"][0] / a - 1
    assert change > 0.03
    assert found["at_rest"]["cell_change"]["lengths"] == pytest.approx([change] * 3)
    assert f"cell against given      lengths {100 * change:+.2g} %, volume " in relaxed_one.out
    page = (tmp_path / "relaxed" / "phonons.html").read_text()
    assert "extrapolation: in this crystal" in page
    assert f"<td>{found['cell'][0]:.4f}</td>" in page
    assert f"<td>{a:.4f}</td>" in page


def _doubtful_logm(matrix: np.ndarray, _logm=scipy.linalg.logm) -> np.ndarray:
    warnings.warn("logm result may be inaccurate, approximate err = 4e-13", RuntimeWarning, stacklevel=2)
    return _logm(matrix)


def test_packages_do_not_warn_about_how_they_compute() -> None:
    """phonopy's other grid for a mesh that breaks the symmetry, scipy's logarithm of a strain near zero."""
    tetragonal = Atoms("Cu", cell=[[-1.5, 1.5, 2.2], [1.5, -1.5, 2.2], [1.5, 1.5, -2.2]], pbc=True)
    phonon = make_phonon(phonopy_cell(tetragonal), 2 * np.eye(3, dtype=int))
    phonon.force_constants = np.einsum("ij,ab->ijab", np.eye(8) - 1 / 8, np.eye(3))
    with pytest.warns(RuntimeWarning, match="generalized regular grid"):
        phonon.run_mesh(20.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_mesh(phonon, 20.0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("scipy.linalg.logm", _doubtful_logm)
            relaxed(EMT(), bulk("Cu", a=3.65), cell=True)


def test_the_empty_space_beside_a_sheet_is_not_relaxed(trepid, tmp_path: Path) -> None:
    slab = fcc100("Cu", (1, 1, 3), a=3.65, vacuum=3.0)
    slab.pbc = (True, True, False)
    found = relaxed(EMT(), slab, cell=True)
    assert found.cell[2] == pytest.approx(slab.cell[2], abs=1e-10)
    assert found.cell.lengths()[0] < 0.99 * slab.cell.lengths()[0]
    found.calc = EMT()
    assert np.abs(found.get_stress()[:2]).max() < 1e-3
    (tmp_path / "emt.yaml").write_text("reference: {engine: ase, calculator: emt}\n")
    write_frames(tmp_path / "slab.extxyz", [slab])
    arguments = ["phonons", tmp_path / "emt.yaml", tmp_path / "slab.extxyz", "--mesh", 10, "--points", 9, "--relax"]
    told = trepid(*arguments, "--supercell", 1, 1, 1, "-o", tmp_path / "out").out
    row = next(line for line in told.splitlines() if line.startswith("cell against given"))
    assert row.split()[3:] == ["lengths", row.split()[4], "%"]
    assert "; not periodic along c, which stays\n" in told


def test_wrong_input_is_one_line(trepid, tmp_path: Path) -> None:
    write_frames(tmp_path / "cu.extxyz", [COPPER])
    (tmp_path / "emt.yaml").write_text("reference: {engine: ase, calculator: emt}\n")
    engine, crystal = tmp_path / "emt.yaml", tmp_path / "cu.extxyz"
    assert "no such file" in trepid("phonons", engine, tmp_path / "missing.extxyz").error
    assert "--trajectory with forces" in trepid("phonons", "none", crystal).error
    assert "give 2 or more" in trepid("phonons", engine, crystal, "--posterior", 1).error
    assert "three whole numbers" in trepid("phonons", engine, crystal, "--supercell", 0, 1, 1).last_line
    two = COPPER.copy()
    two.positions[1] = two.positions[0] + 0.1
    write_frames(tmp_path / "two.extxyz", [two])
    assert "apart: not a crystal" in trepid("phonons", engine, tmp_path / "two.extxyz").last_line
