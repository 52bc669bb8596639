"""The heat flux: the virial of every atom in Python and in LAMMPS, against the energy that moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from lammps_inputs import Model, run, thermal, write_input
from trepid.errors import ConfigError
from trepid.lammps.installation import Installation
from trepid.lammps.session import NEIGHBOR, SETUP, Session, pair_commands
from trepid.lammps.system import VELOCITY, System
from trepid.potentials.bayesian.spline_potential import SplinePotential

PER_ATOM = """
compute ke all ke/atom
compute pe all pe/atom
compute centroid all centroid/stress/atom NULL virial
compute plain all stress/atom NULL virial
compute flux all heat/flux ke pe centroid
compute plainflux all heat/flux ke pe plain
thermo_style custom step pe etotal vol c_flux[*] c_plainflux[*]
variable fluxx equal c_flux[1]
variable fluxy equal c_flux[2]
variable fluxz equal c_flux[3]
variable plainfluxx equal c_plainflux[1]
variable plainfluxy equal c_plainflux[2]
variable plainfluxz equal c_plainflux[3]
"""
NINE = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1))
"""Entries of the tensor in the order of compute centroid/stress/atom."""
BAR = 1e-4 * units.GPa


def in_lammps(installation: Installation, pair: str, atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Virials (n, 3, 3) as `SplinePotential.atom_virials`, and the potential part of the flux, exact and with stress/atom."""
    system, n = System.of(atoms), len(atoms)
    session = Session(installation)
    try:
        session.commands(SETUP)
        session.create_atoms(atoms, system)
        session.commands(f"{pair}{NEIGHBOR}{PER_ATOM}run 0 post no")
        nine = session.compute_per_atom("centroid", n, columns=9)
        w = np.empty((n, 3, 3))
        for k, (a, b) in enumerate(NINE):
            w[:, a, b] = nine[:, k] * BAR
        turn = system.box.rotation
        fluxes = [
            system.box.from_lammps(np.array([session.variable(f"{name}{axis}") for axis in "xyz"])) / VELOCITY
            for name in ("flux", "plainflux")
        ]
    finally:
        session.close()
    return np.einsum("ca,icd,db->iab", turn, w, turn), fluxes[0], fluxes[1]


def kinetic_flux(atoms: Atoms) -> np.ndarray:
    v = atoms.get_velocities()
    return (0.5 * atoms.get_masses() * (v**2).sum(axis=1)) @ v


def unfolded(atoms: Atoms, reach: float) -> tuple[Atoms, np.ndarray]:
    """A cluster of the cell and all images within reach of one of its atoms, the cell first; and whose image each atom is."""
    cell, n = np.array(atoms.cell), len(atoms)
    positions, owner = [atoms.positions], [np.arange(n)]
    most = np.ceil(reach * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int) + 1
    for shift in np.ndindex(*(2 * most + 1)):
        vector = (np.array(shift) - most) @ cell
        if not vector.any():
            continue
        moved = atoms.positions + vector
        near = np.linalg.norm(moved[:, None] - atoms.positions[None], axis=-1).min(axis=1) < reach
        positions.append(moved[near])
        owner.append(np.flatnonzero(near))
    who = np.concatenate(owner)
    return Atoms(atoms.numbers[who], positions=np.concatenate(positions)), who


def flux_by_differences(potential: SplinePotential, atoms: Atoms) -> np.ndarray:
    """Potential part of the flux without a virial: sum_i (r_i - r_j) de_i/dr_j . v_j over all images j, by finite differences."""
    n, v = len(atoms), atoms.get_velocities()
    cluster, who = unfolded(atoms, potential.basis.cutoff + 0.01)

    def energies(displacement: np.ndarray) -> np.ndarray:
        moved = cluster.copy()
        moved.positions += displacement
        return potential.evaluate(moved).atom_energies[:n]

    def slope(direction: np.ndarray) -> np.ndarray:
        step = 1e-4 / np.abs(direction).max()
        # Fourth order, so that the curvature of the splines does not show.
        near = energies(step * direction) - energies(-step * direction)
        far = energies(2 * step * direction) - energies(-2 * step * direction)
        return (8 * near - far) / (12 * step)

    at_rest = atoms.positions.T @ slope(v[who])
    carried = np.array([slope(cluster.positions[:, [a]] * v[who]).sum() for a in range(3)])
    return at_rest - carried + potential.evaluate(atoms).atom_energies @ v


@pytest.fixture(scope="module")
def moving_cui(cui_frame: Atoms) -> Atoms:
    """With velocities, and one pair so close that the repulsion acts too."""
    atoms = thermal(cui_frame, 600.0)
    distances = atoms.get_all_distances(mic=True) + 100 * np.eye(len(atoms))
    i, j = np.unravel_index(np.argmin(distances), distances.shape)
    towards = atoms.get_distance(i, j, mic=True, vector=True)
    atoms.positions[i] += towards * (1 - 1.9 / np.linalg.norm(towards))
    return atoms


@pytest.mark.parametrize("which", ["cui", "cui_mixed"])
def test_the_flux_is_the_rate_at_which_energy_moves(
    which: str, moving_cui: Atoms, request: pytest.FixtureRequest
) -> None:
    """Full triplets, and mixed triplets with quadruplets; repulsion and pairs in both."""
    potential = request.getfixturevalue(which).field.mean
    closest = (moving_cui.get_all_distances(mic=True) + 100 * np.eye(len(moving_cui))).min()
    assert closest < potential.tables.zbl[..., 3].min()
    found = potential.potential_flux(moving_cui, moving_cui.get_velocities())
    wanted = flux_by_differences(potential, moving_cui)
    convective = potential.evaluate(moving_cui).atom_energies @ moving_cui.get_velocities()
    assert found - convective == pytest.approx(wanted - convective, abs=2e-6 * np.abs(wanted - convective).max())
    assert np.abs(wanted - convective).max() > 0.05


def test_the_virials_of_the_atoms_add_up_to_the_stress(cui_mixed: Model, cui_frame: Atoms) -> None:
    potential = cui_mixed.field.mean
    energies, virials = potential.atom_virials(cui_frame)
    prediction = potential.evaluate(cui_frame)
    total = virials.sum(axis=0)
    assert total == pytest.approx(total.T, abs=1e-10)
    assert total[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] == pytest.approx(
        prediction.stress * cui_frame.get_volume(), abs=1e-9
    )
    assert np.abs(virials - virials.transpose(0, 2, 1)).max() > 1e-3  # the virial of one atom is not symmetric
    assert energies == pytest.approx(prediction.atom_energies, rel=1e-12)


@pytest.mark.parametrize("sheared", [False, True])
def test_lammps_has_the_same_virials_and_flux(
    installation: Installation, cui_mixed: Model, moving_cui: Atoms, sheared: bool
) -> None:
    atoms = moving_cui.copy()
    if sheared:
        cell = np.array(atoms.cell) @ (np.eye(3) + np.array([[0, 0.1, 0.05], [0.02, 0, -0.04], [0, 0.03, 0]]))
        atoms.set_cell(cell, scale_atoms=True)
    w, exact, plain = in_lammps(installation, pair_commands(cui_mixed.file, System.of(atoms)), atoms)
    potential = cui_mixed.field.mean
    # LAMMPS converts to bar and to A/ps with constants of its own, a few 1e-8 off.
    own = potential.atom_virials(atoms)[1]
    assert w == pytest.approx(own, abs=3e-7 * np.abs(own).max())
    wanted = potential.potential_flux(atoms, atoms.get_velocities()) + kinetic_flux(atoms)
    assert exact == pytest.approx(wanted, rel=1e-6)
    # The other form is wrong by a quarter of the virial part of the flux here.
    energies = potential.evaluate(atoms).atom_energies
    virial_part = wanted - kinetic_flux(atoms) - energies @ atoms.get_velocities()
    assert np.linalg.norm(plain - exact) > 0.1 * np.linalg.norm(virial_part)


def test_pairs_alone_have_the_virial_of_a_stock_pair_style(
    installation: Installation, silicon: Model, silicon_crystal: Atoms, tmp_path: Path
) -> None:
    """The pair energy of the model as a table of LAMMPS; of pairs stress/atom and centroid/stress/atom are the same."""
    from dataclasses import replace

    mean = silicon.field.mean
    tables = replace(mean.tables, triplet=np.zeros_like(mean.tables.triplet), offset=np.zeros_like(mean.tables.offset))
    pairs = SplinePotential(mean.basis, tables, n_threads=1)
    r = np.linspace(1.5, mean.basis.pair_cutoff, 1500)
    energy, force = np.empty_like(r), np.empty_like(r)
    for k, distance in enumerate(r):
        found = pairs.evaluate(Atoms("Si2", positions=[[0, 0, 0], [distance, 0, 0]]))
        energy[k], force[k] = found.energy, found.forces[1, 0]
    rows = "\n".join(
        f"{k + 1} {a:.17g} {e:.17g} {f:.17g}" for k, (a, e, f) in enumerate(zip(r, energy, force, strict=True))
    )
    (tmp_path / "pair.table").write_text(f"# pairs\n\nPAIRS\nN {len(r)} R {r[0]:.17g} {r[-1]:.17g}\n\n{rows}\n")
    atoms = thermal(silicon_crystal, 1500.0)
    atoms.rattle(0.15, seed=3)
    pair = f"pair_style table spline 20000\npair_coeff * * {tmp_path / 'pair.table'} PAIRS\n"
    stock, _, _ = in_lammps(installation, pair, atoms)
    own = pairs.atom_virials(atoms)[1]
    assert own == pytest.approx(stock, abs=2e-5 * np.abs(own).max())
    assert own == pytest.approx(own.transpose(0, 2, 1), abs=1e-12)


def test_the_flux_is_the_same_on_one_two_and_four_processes(
    installation: Installation, cui_mixed: Model, moving_cui: Atoms, tmp_path: Path
) -> None:
    if installation.mpiexec is None:
        pytest.skip("mpiexec is not installed")
    lines = []
    for ranks in (1, 2, 4):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        commands = f'{PER_ATOM}run 0\nprint "FLUX $(c_flux[1]:%.15g) $(c_flux[2]:%.15g) $(c_flux[3]:%.15g)"'
        write_input(folder, moving_cui, cui_mixed.file, commands)
        code, text = run(installation, folder, ranks=ranks)
        assert code == 0, text
        line = next(line for line in text.splitlines() if line.startswith("FLUX "))
        lines.append(np.array(line.split()[1:], dtype=float))
    assert np.abs(lines[0]).min() > 1
    assert lines[1] == pytest.approx(lines[0], rel=1e-11)
    assert lines[2] == pytest.approx(lines[0], rel=1e-11)


def test_under_hybrid_overlay(installation: Installation, silicon: Model, silicon_crystal: Atoms) -> None:
    """The centroid virial is that of the sum of the styles."""
    atoms = thermal(silicon_crystal, 900.0)
    atoms.rattle(0.1, seed=1)
    system = System.of(atoms)
    lj = "lj/cut 5.0", "0.02 2.1"
    both = f"pair_style hybrid/overlay trepid {lj[0]}\npair_coeff * * trepid {silicon.file} Si\npair_coeff 1 1 lj/cut {lj[1]}\n"
    sum_, _, _ = in_lammps(installation, both, atoms)
    one, _, _ = in_lammps(installation, pair_commands(silicon.file, system), atoms)
    two, _, _ = in_lammps(installation, f"pair_style {lj[0]}\npair_coeff 1 1 {lj[1]}\n", atoms)
    assert np.abs(two).max() > 0.01
    assert sum_ == pytest.approx(one + two, abs=1e-8)


@pytest.mark.parametrize("axis", [0, 2])
def test_the_integral_of_the_flux_is_the_energy_that_has_moved(
    installation: Installation, silicon: Model, axis: int
) -> None:
    """A slab, periodic along its faces: sum_i x_i E_i changes by the integral of the flux.

    The trajectory and the trapezoidal rule have errors of even orders in the time step: three time steps give the limit.
    """
    slab = bulk("Si", "diamond", a=5.431, cubic=True).repeat((2, 2, 2))
    slab.rattle(0.1, seed=5)
    pbc = [True] * 3
    pbc[axis] = False
    slab.pbc = pbc
    moving = thermal(slab, 800.0, seed=2)
    duration_ps = 0.02

    def difference(n_steps: int) -> tuple[float, float]:
        session, system = Session(installation), System.of(moving)
        try:
            session.commands(SETUP)
            session.create_atoms(moving, system)
            session.commands(f"""{pair_commands(silicon.file, system, rank=0)}{NEIGHBOR}{PER_ATOM}
                fix motion all nve
                timestep {duration_ps / n_steps:.17g}
                compute unwrapped all property/atom {"xyz"[axis]}u
                variable place atom (c_ke+c_pe)*c_unwrapped
                compute place all reduce sum v_place
                variable where equal c_place
                thermo_style custom step c_place c_flux[*]
                run 0 post no""")
            name = f"flux{'xyz'[axis]}"
            begun, values = session.variable("where"), [session.variable(name)]
            for _ in range(n_steps):
                session.commands("run 1 post no")
                values.append(session.variable(name))
            moved = session.variable("where") - begun
        finally:
            session.close()
        integral = (sum(values) - 0.5 * (values[0] + values[-1])) * duration_ps / n_steps
        return moved, integral

    coarse, fine, finest = (np.array(difference(n)) for n in (40, 80, 160))
    # Errors of the second and of the fourth order are taken out.
    second = (4 * fine - coarse) / 3, (4 * finest - fine) / 3
    moved, integral = (16 * second[1] - second[0]) / 15
    assert abs(moved) > 0.05  # eV A
    assert integral == pytest.approx(moved, rel=1e-6)


def test_charges_are_refused(cui_charges: Model, moving_cui: Atoms) -> None:
    with pytest.raises(ConfigError, match="charges"):
        cui_charges.field.mean.potential_flux(moving_cui, moving_cui.get_velocities())
