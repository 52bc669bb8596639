from __future__ import annotations

import logging

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from springs import BondSprings
from trepid.anharmonicity import HarmonicReference, Imaginary, harmonic_reference, harmonic_sample
from trepid.errors import ConfigError, DataError, NumericsError


def test_what_a_session_prints(reference: HarmonicReference) -> None:
    assert repr(reference) == "HarmonicReference(Cu32I32, 64 atoms, force constants up to 6.67 eV/A^2)"
    assert repr(reference.following("I")).endswith("eV/A^2, drift of I)")


def test_finite_displacements_find_the_springs(reference: HarmonicReference, spring_crystal: BondSprings) -> None:
    np.testing.assert_allclose(reference.force_constants, spring_crystal.exact, atol=1e-10)
    assert reference.residual_force_eV_per_A == pytest.approx(0.0, abs=1e-12)
    assert reference.acoustic_sum_eV_per_A2 < 1e-12


def test_forces_and_energy_are_those_of_the_springs(reference: HarmonicReference, spring_crystal: BondSprings) -> None:
    rng = np.random.default_rng(0)
    atoms = reference.displaced(rng.normal(scale=0.3, size=(64, 3)))
    spring_crystal.calculate(atoms)
    np.testing.assert_allclose(reference.forces(atoms), spring_crystal.results["forces"], atol=1e-9)
    assert reference.energy(atoms) == pytest.approx(spring_crystal.results["energy"], rel=1e-10)


def test_a_supercell_matrix_that_is_not_diagonal(spring_crystal: BondSprings) -> None:
    primitive = bulk("CuI", "zincblende", a=6.19)
    rows = [[-2, 2, 2], [2, -2, 2], [2, 2, -2]]
    skewed = harmonic_reference(primitive, rows, _Matched(spring_crystal))
    straight = harmonic_reference(bulk("CuI", "zincblende", a=6.19, cubic=True), (2, 2, 2), spring_crystal)
    np.testing.assert_allclose(skewed.supercell.cell.array, straight.supercell.cell.array, atol=1e-9)
    ordered = skewed.in_order_of(straight.supercell)
    np.testing.assert_allclose(ordered.force_constants, straight.force_constants, atol=1e-10)


class _Matched:
    """The springs for a supercell whose atoms come in another order."""

    def __init__(self, springs: BondSprings) -> None:
        self.springs = springs

    def get_forces(self, atoms: Atoms) -> np.ndarray:
        order = [int(np.argmin(_distances(atoms, site))) for site in self.springs.sites.positions]
        self.springs.calculate(atoms[order])
        forces = np.empty((len(atoms), 3))
        forces[order] = self.springs.results["forces"]
        return forces


def _distances(atoms: Atoms, site: np.ndarray) -> np.ndarray:
    difference = atoms.positions - site
    scaled = np.linalg.solve(atoms.cell.array.T, difference.T).T
    return np.linalg.norm((scaled - np.round(scaled)) @ atoms.cell.array, axis=1)


def test_drift_and_wrapping_do_not_matter(reference: HarmonicReference) -> None:
    rng = np.random.default_rng(1)
    u = rng.normal(scale=0.1, size=(64, 3))
    masses = reference.supercell.get_masses()
    expected = u - masses @ u / masses.sum()
    for shift in ([0, 0, 0], [0.3, -0.2, 5.9], [6.19 / 2, 6.19 / 2, 0], [40.0, -13.0, 6.2]):
        atoms = reference.displaced(u + np.array(shift))
        np.testing.assert_allclose(reference.displacements(atoms), expected, atol=1e-9)
        atoms.wrap()
        np.testing.assert_allclose(reference.displacements(atoms), expected, atol=1e-9)


def test_the_drift_can_follow_one_sublattice(reference: HarmonicReference) -> None:
    iodine = reference.supercell.symbols == "I"
    u = np.zeros((64, 3))
    u[~iodine] = [0.4, 0.0, 0.0]
    atoms = reference.displaced(u + 0.7)
    np.testing.assert_allclose(reference.following("I").displacements(atoms), u, atol=1e-9)
    assert np.abs(reference.displacements(atoms) - u).max() > 0.05
    with pytest.raises(ConfigError, match="cannot follow Ag"):
        reference.following("Ag")


def test_another_order_is_found_by_position(reference: HarmonicReference) -> None:
    rng = np.random.default_rng(2)
    order = rng.permutation(64)
    shuffled = reference.supercell[order]
    found = reference.in_order_of(shuffled)
    u = rng.normal(scale=0.1, size=(64, 3))
    moved, same = shuffled.copy(), reference.supercell.copy()
    moved.positions += u[order]
    same.positions += u
    np.testing.assert_allclose(found.forces(moved), reference.forces(same)[order], atol=1e-10)
    assert reference.in_order_of(same) is reference
    moved.wrap()
    hot = reference.in_order_of(moved)
    np.testing.assert_allclose(hot.forces(moved), reference.forces(same)[order], atol=1e-10)


def test_two_atoms_swapped_in_a_crystal_at_rest(reference: HarmonicReference) -> None:
    copper = np.flatnonzero(reference.supercell.symbols == "Cu")[:2]
    order = np.arange(64)
    order[copper] = copper[::-1]
    swapped = reference.supercell[order]
    assert np.abs(reference.in_order_of(swapped).displacements(swapped)).max() < 1e-9


@pytest.mark.parametrize("a", np.linspace(3.4, 4.2, 9))
def test_exchanged_axes_of_a_crystal_of_one_species_are_another_order(a: float) -> None:
    """Two repetitions of one atom: without its drift, every atom is half way between two sites in the other order."""
    sites = bulk("Ni", "fcc", a=a).repeat(2)
    rng = np.random.default_rng(3)
    constants = rng.normal(size=(8, 8, 3, 3))
    constants = constants + constants.transpose(1, 0, 2, 3)
    constants += constants.transpose(0, 1, 3, 2)
    constants[np.arange(8), np.arange(8)] -= constants.sum(axis=1)
    reference = HarmonicReference(sites, constants)
    order = np.arange(8).reshape(2, 2, 2).transpose(2, 1, 0).reshape(-1)
    u = rng.normal(scale=0.02, size=(8, 3))
    moved = sites.copy()
    moved.positions += u
    theirs = moved[order]
    found = reference.in_order_of(sites[order])
    np.testing.assert_allclose(found.forces(theirs), reference.forces(moved)[order], atol=1e-9)


def test_an_event_is_not_taken_for_another_order(reference: HarmonicReference) -> None:
    atoms = reference.supercell.copy()
    atoms.positions[0] += [3.095, 0.0, 0.0]  # a Cu in the empty tetrahedron beside its site
    assert reference.in_order_of(atoms) is reference


def test_wrong_structures_are_named(reference: HarmonicReference) -> None:
    crystal = reference.supercell
    off = crystal[np.random.default_rng(0).permutation(64)]
    wrong = off.copy()
    wrong.positions[7] += 1.55
    with pytest.raises(DataError, match=r"atom 7 \(.*\) at .* has no partner"):
        reference.in_order_of(wrong)
    with pytest.raises(DataError, match="62 atoms.*64"):
        reference.displacements(crystal[2:])
    strained = crystal.copy()
    strained.set_cell(crystal.cell * 1.01, scale_atoms=True)
    with pytest.raises(DataError, match="cell"):
        reference.forces(strained)
    other = crystal.copy()
    other.symbols[3] = "Ag"
    with pytest.raises(DataError, match="atom 3 .* is Ag, in the harmonic reference it is I"):
        reference.displacements(other)
    copper = np.flatnonzero(crystal.symbols == "Cu")
    iodine = np.flatnonzero(crystal.symbols == "I")
    order = np.arange(64)
    order[copper], order[iodine] = (
        np.random.default_rng(3).permutation(copper),
        np.random.default_rng(4).permutation(iodine),
    )
    with pytest.raises(DataError, match="order differs"):
        reference.displacements(crystal[order])


def test_force_constants_are_checked(reference: HarmonicReference, caplog: pytest.LogCaptureFixture) -> None:
    crystal, phi = reference.supercell, reference.force_constants
    with pytest.raises(DataError, match="shape"):
        HarmonicReference(crystal, phi[:8])
    with pytest.raises(DataError, match="zero"):
        HarmonicReference(crystal, np.zeros_like(phi))
    broken = phi.copy()
    broken[0, 0] += np.eye(3)
    with caplog.at_level(logging.WARNING, logger="trepid"):
        assert HarmonicReference(crystal, broken).acoustic_sum_eV_per_A2 == pytest.approx(1.0)
    assert "acoustic sum rule" in caplog.text
    broken[0, 1] += np.eye(3)
    with caplog.at_level(logging.WARNING, logger="trepid"):
        HarmonicReference(crystal, broken)
    assert "transpose" in caplog.text


def test_the_sum_rule_makes_forces_blind_to_drift(reference: HarmonicReference) -> None:
    u = np.random.default_rng(0).normal(scale=0.1, size=(3, 64, 3))
    np.testing.assert_allclose(reference.forces_at(u), reference.forces_at(u + np.array([3.0, -1.0, 2.0])), atol=1e-10)
    assert np.abs(reference.forces_at(u).sum(axis=1)).max() < 1e-10


def test_frequencies_of_a_chain_of_two_atoms() -> None:
    """One spring of 2 eV/A^2 between masses 1 and 3, on a site each that is free: omega^2 = k (1/m1 + 1/m2)."""
    atoms = Atoms("HH", positions=[[0, 0, 0], [1, 0, 0]], cell=[10, 10, 10], pbc=True, masses=[1.0, 3.0])
    k = np.diag([2.0, 1.0, 0.5])
    phi = np.array([[k, -k], [-k, k]])
    frequencies = HarmonicReference(atoms, phi).frequencies_THz
    # 1 eV/(A^2 amu) is (98.2269 rad/ps)^2, from CODATA values of e and amu.
    expected = 98.22694750253277 * np.sqrt(np.array([0.5, 1.0, 2.0]) * (1 + 1 / 3)) / (2 * np.pi)
    np.testing.assert_allclose(frequencies, expected, rtol=1e-6)


def test_imaginary_modes(zincblende: Atoms) -> None:
    sites = zincblende.repeat((2, 2, 2))
    unstable = BondSprings(sites, cutoff=3.0, along=4.0, across=-0.6)
    reference = harmonic_reference(zincblende, (2, 2, 2), unstable)
    lowest = reference.frequencies_THz.min()
    assert lowest < -0.1
    assert reference.modes.n_imaginary == int(np.sum(reference.frequencies_THz < -0.05))
    with pytest.raises(NumericsError, match="imaginary"):
        harmonic_sample(reference, 300.0, 1, 0)
    spreads = {
        policy: reference.modes.spreads(300.0, imaginary=policy) for policy in (Imaginary.MIRROR, Imaginary.SKIP)
    }
    bad = reference.frequencies_THz < -0.05
    assert (spreads[Imaginary.MIRROR][bad] > 0).all()
    assert (spreads[Imaginary.SKIP][bad] == 0).all()
    np.testing.assert_array_equal(spreads[Imaginary.MIRROR][~bad], spreads[Imaginary.SKIP][~bad])
    mirrored = spreads[Imaginary.MIRROR][bad] * np.sqrt(-reference.modes.omega2[bad])
    np.testing.assert_allclose(mirrored, np.sqrt(300 * 8.617333e-5), rtol=1e-5)


def test_a_crystal_that_is_not_relaxed(caplog: pytest.LogCaptureFixture) -> None:
    """A one-sided displacement would read the forces at rest as force constants; they are taken off, and told."""
    relaxed = bulk("Cu", cubic=True)
    off = relaxed.copy()
    off.positions[0] += [0.01, 0.02, -0.01]
    with caplog.at_level(logging.WARNING, logger="trepid"):
        reference = harmonic_reference(off, (2, 2, 2), EMT())
    assert "not relaxed" in caplog.text
    assert reference.residual_force_eV_per_A is not None
    assert reference.residual_force_eV_per_A > 0.01
    at_rest = harmonic_reference(relaxed, (2, 2, 2), EMT())
    difference = np.abs(reference.force_constants - at_rest.force_constants).max()
    assert difference < 0.1 * np.abs(at_rest.force_constants).max()


def test_forces_at_rest_go_with_their_atoms() -> None:
    off = bulk("Cu", cubic=True)
    off.positions[0] += [0.01, 0.02, -0.01]
    reference = harmonic_reference(off, (2, 2, 2), EMT(), warn=False)
    order = np.random.default_rng(0).permutation(32)
    shuffled = reference.in_order_of(reference.supercell[order])
    at_rest = reference.supercell.copy()
    at_rest.calc = EMT()
    none = np.zeros((32, 3))
    np.testing.assert_allclose(reference.expansion_at(none), at_rest.get_forces(), atol=1e-10)
    np.testing.assert_allclose(shuffled.expansion_at(none), at_rest.get_forces()[order], atol=1e-10)
    with pytest.raises(DataError, match="forces at rest"):
        HarmonicReference(reference.supercell, reference.force_constants, rest_forces=none[1:])


def test_wrong_requests(zincblende: Atoms, spring_crystal: BondSprings) -> None:
    for cells in ((2, 2), (0, 1, 1), [[1, 0, 0], [0, 1, 0], [0, 0, -1]], (1.5, 1, 1)):
        with pytest.raises(ConfigError, match="supercell"):
            harmonic_reference(zincblende, cells, spring_crystal)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="displacement"):
        harmonic_reference(zincblende, (2, 2, 2), spring_crystal, displacement_A=0.0)
    with pytest.raises(ConfigError, match="computes no forces"):
        harmonic_reference(zincblende, (2, 2, 2), "emt")  # type: ignore[arg-type]
    sheet = zincblende.copy()
    sheet.cell[2] = 0
    sheet.pbc = (True, True, False)
    with pytest.raises(DataError, match="three cell vectors"):
        harmonic_reference(sheet, (2, 2, 1), spring_crystal)
