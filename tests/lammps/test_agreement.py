"""Python and LAMMPS compute the same potential."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from lammps_inputs import Model
from model_files import read_model, write_model
from trepid.data import read_frames
from trepid.errors import NumericsError
from trepid.lammps.installation import Installation
from trepid.lammps.session import NEIGHBOR, SETUP, Session, pair_commands
from trepid.lammps.system import System
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.statistics import LabelKind


@dataclass(frozen=True)
class Outcome:
    energy: float
    forces: FloatArray
    stress: FloatArray
    atom_energies: FloatArray
    summed_atom_stress: FloatArray
    atom_uncertainty: FloatArray
    support_distance: FloatArray


def evaluate(installation: Installation, model: Model, atoms: Atoms, *, pair: str | None = None) -> Outcome:
    """Everything LAMMPS computes of one frame."""
    system, n = System.of(atoms), len(atoms)
    session = Session(installation)
    try:
        session.commands(SETUP)
        session.create_atoms(atoms, system, velocities=False)
        session.commands(pair or pair_commands(model.file, system))
        session.commands(f"""{NEIGHBOR}
            compute energies all pe/atom
            compute stresses all stress/atom NULL
            compute sums all reduce sum c_energies c_stresses[*]
            fix u all pair 1 trepid uncertainty 1
            fix s all pair 1 trepid support 1
            thermo_style custom step pe press c_sums[*]
            run 0 post no""")
        per_atom = session.compute_per_atom("stresses", n, columns=6)
        volume = session.thermo("vol")
        return Outcome(
            energy=session.thermo("pe"),
            forces=session.forces(system),
            stress=session.stress(system),
            atom_energies=session.compute_per_atom("energies", n),
            # stress/atom is minus the virial in the order xx yy zz xy xz yz; pressures are its sum over volume.
            summed_atom_stress=system.box.stress_from_lammps(-per_atom.sum(axis=0)[[0, 1, 2, 5, 4, 3]] / volume),
            atom_uncertainty=session.fix_per_atom("u", n),
            support_distance=session.fix_per_atom("s", n),
        )
    finally:
        session.close()


def check(outcome: Outcome, model: Model, atoms: Atoms) -> None:
    prediction = model.field.mean.evaluate(atoms, live=True, support=True)
    assert outcome.energy == pytest.approx(prediction.energy, rel=1e-9)
    assert np.abs(outcome.forces - prediction.forces).max() < 1e-8
    assert np.abs(prediction.forces).max() > 0.05  # something was compared
    assert outcome.atom_energies == pytest.approx(prediction.atom_energies, rel=1e-9)
    assert outcome.atom_energies.sum() == pytest.approx(outcome.energy, rel=1e-10)
    if prediction.stress is not None and all(atoms.pbc):
        # LAMMPS converts eV/A^3 to bar with a constant of its own, a few 1e-9 off.
        scale = np.abs(prediction.stress).max()
        assert np.abs(outcome.stress - prediction.stress).max() < 1e-6 * scale
        assert np.abs(outcome.summed_atom_stress - outcome.stress).max() < 1e-9 * scale
    uncertainty = prediction.atom_uncertainty
    large = uncertainty > 1e-2 * uncertainty.max()
    assert outcome.atom_uncertainty[large] == pytest.approx(uncertainty[large], rel=1e-4)
    assert np.abs(outcome.atom_uncertainty - uncertainty).max() < 1e-4 * uncertainty.max()
    assert uncertainty.max() > 1e-4
    assert outcome.support_distance == pytest.approx(prediction.support_distance, rel=1e-7)
    assert outcome.support_distance.min() > 0.01


def rattled(atoms: Atoms, amplitude: float = 0.1, seed: int = 0) -> Atoms:
    out = atoms.copy()
    out.positions += np.random.default_rng(seed).normal(scale=amplitude, size=out.positions.shape)
    return out


def sheared(atoms: Atoms) -> Atoms:
    """A general triclinic cell, turned into a general direction, with atoms outside of it."""
    out = atoms.copy()
    out.set_cell(
        out.cell[:] @ np.array([[1.0, 0.05, 0.02], [-0.04, 1.01, 0.06], [0.03, -0.02, 0.98]]), scale_atoms=True
    )
    out.rotate(33, (1, 2, 3), rotate_cell=True)
    out.positions[::3] += 2 * out.cell[0] - out.cell[2]
    return out


def test_one_species(installation: Installation, silicon: Model, silicon_crystal: Atoms) -> None:
    atoms = rattled(silicon_crystal)
    check(evaluate(installation, silicon, atoms), silicon, atoms)


def test_two_species(installation: Installation, cui: Model, cui_frame: Atoms) -> None:
    check(evaluate(installation, cui, cui_frame), cui, cui_frame)


def test_quadruplets(installation: Installation, cui_quadruplets: Model, cui_frame: Atoms) -> None:
    for atoms in (cui_frame, sheared(cui_frame), rattled(bulk("CuI", "zincblende", a=6.1))):
        check(evaluate(installation, cui_quadruplets, atoms), cui_quadruplets, atoms)
    assert np.abs(cui_quadruplets.field.mean.tables.quadruplet).max() > 0


def test_mixed_triplets(installation: Installation, cui_mixed: Model, cui_frame: Atoms) -> None:
    for atoms in (cui_frame, sheared(cui_frame), rattled(bulk("CuI", "zincblende", a=6.1))):
        check(evaluate(installation, cui_mixed, atoms), cui_mixed, atoms)
    tables = cui_mixed.field.mean.tables
    assert np.abs(tables.mixed_triplet).max() > 0
    assert np.abs(tables.quadruplet).max() > 0
    assert tables.triplet.size == 0


def test_three_species(installation: Installation, three_species: Model, data_dir) -> None:  # type: ignore[no-untyped-def]
    frame = read_frames(data_dir / "aggase2_gfn1_16.extxyz")[5]
    atoms = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)
    assert three_species.field.basis.triplet_channels is not None
    check(evaluate(installation, three_species, atoms), three_species, atoms)


@pytest.mark.parametrize("left_handed", [False, True])
def test_triclinic(installation: Installation, cui: Model, cui_frame: Atoms, left_handed: bool) -> None:
    atoms = sheared(cui_frame)
    if left_handed:
        atoms.set_cell(atoms.cell[[1, 0, 2]])
    check(evaluate(installation, cui, atoms), cui, atoms)


def test_cell_smaller_than_the_cutoff(installation: Installation, cui: Model) -> None:
    atoms = rattled(bulk("CuI", "zincblende", a=6.1))
    assert min(atoms.cell.lengths()) < 5.5
    check(evaluate(installation, cui, atoms), cui, atoms)


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, True), (True, False, False), (False, False, False)])
def test_open_directions(
    installation: Installation, cui: Model, cui_frame: Atoms, pbc: tuple[bool, bool, bool]
) -> None:
    atoms = sheared(cui_frame)
    atoms.pbc = pbc
    check(evaluate(installation, cui, atoms), cui, atoms)


def test_under_hybrid_overlay(installation: Installation, cui: Model, cui_frame: Atoms) -> None:
    pair = f"pair_style hybrid/overlay trepid zero 6.0\npair_coeff * * trepid {cui.file} Cu I\npair_coeff * * zero\n"
    check(evaluate(installation, cui, cui_frame, pair=pair), cui, cui_frame)


def test_without_live_directions_there_is_no_uncertainty(
    installation: Installation, cui: Model, cui_frame: Atoms
) -> None:
    # Rank 0 switches it off: computing it is then an error.
    pair = pair_commands(cui.file, System.of(cui_frame), rank=0)
    with pytest.raises(Exception, match="no live directions"):
        evaluate(installation, cui, cui_frame, pair=pair)


def test_a_model_without_support_data_says_so(
    installation: Installation, cui: Model, cui_frame: Atoms, tmp_path: Path
) -> None:
    tensors, settings = read_model(cui.file)
    old = tmp_path / "old.trepid"
    write_model(old, {name: a for name, a in tensors.items() if not name.startswith("support.")}, settings)
    with pytest.raises(NumericsError, match="no support data"):
        evaluate(installation, cui, cui_frame, pair=pair_commands(old, System.of(cui_frame)))


@pytest.mark.parametrize("name", ["support.centre", "support.whitening", "support.offset", "support.around"])
def test_support_data_of_another_size_are_refused(
    installation: Installation, cui: Model, cui_frame: Atoms, tmp_path: Path, name: str
) -> None:
    tensors, settings = read_model(cui.file)
    odd = tmp_path / "odd.trepid"
    write_model(odd, tensors | {name: np.ascontiguousarray(tensors[name].ravel()[:-1])}, settings)
    with pytest.raises(NumericsError, match="support"):
        evaluate(installation, cui, cui_frame, pair=pair_commands(odd, System.of(cui_frame)))


def test_types_without_an_element_do_not_interact(installation: Installation, cui: Model, cui_frame: Atoms) -> None:
    # NULL leaves the iodine to another style; what is left is the copper alone.
    pair = f"pair_style hybrid/overlay trepid zero 6.0\npair_coeff * * trepid {cui.file} Cu NULL\npair_coeff * * zero\n"
    outcome = evaluate(installation, cui, cui_frame, pair=pair)
    copper = np.flatnonzero(cui_frame.numbers == 29)
    alone = cui.field.mean.evaluate(cui_frame[copper])
    assert np.abs(outcome.forces[copper] - alone.forces).max() < 1e-8
    assert np.abs(np.delete(outcome.forces, copper, axis=0)).max() == 0


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with np.errstate(all="raise", under="ignore"):
        yield


def test_a_calibrated_model_shows_its_bars_in_lammps(
    installation: Installation, cui: Model, data_dir: Path, cui_frame: Atoms, tmp_path: Path
) -> None:
    hops = [a for a in read_frames(data_dir / "cui_gfn1_64.extxyz") if a.info.get("displaced_cu", 0)]
    before = evaluate(installation, cui, cui_frame)
    field = BayesianForceField.load(cui.file, n_threads=1)
    factor = field.calibrate(hops[1:4]).factors[LabelKind.FORCES]
    field.save(tmp_path / "hops.trepid")
    after = evaluate(installation, Model(field, tmp_path / "hops.trepid"), cui_frame)
    assert abs(factor - 1) > 0.1
    np.testing.assert_array_equal(after.forces, before.forces)
    np.testing.assert_allclose(after.atom_uncertainty, factor * before.atom_uncertainty, rtol=1e-4)
