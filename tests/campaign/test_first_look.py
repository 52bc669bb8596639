"""What the first model says of the crystal as given."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa

from trepid.campaign.first_look import look_at
from trepid.campaign.start import initial_frames
from trepid.data import Labels, attach_labels
from trepid.potentials.bayesian import BayesianForceField
from trepid.runs.first_look import crystal_findings
from trepid.runs.ledger_events import FirstLook


def labelled(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = EMT()
    energy, forces, stress = copy.get_potential_energy(), copy.get_forces(), copy.get_stress()
    copy.calc = None
    return attach_labels(copy, Labels(energy, forces, stress))


def texts(look: FirstLook) -> list[str]:
    return [finding.text for finding in crystal_findings(look, "emt")]


def model_of(crystal: Atoms) -> BayesianForceField:
    frames = initial_frames(crystal, 4, displacement_A=0.05, strain=0.01, seed=0)
    model = BayesianForceField(
        ["Cu"], pair_cutoff=5.0, triplet_cutoff=3.5, n_pair=12, n_radial=5, l_max=2, n_channels=0
    )
    return model.fit([labelled(frame) for frame in frames])


def test_a_crystal_at_rest_needs_no_word() -> None:
    crystal = bulk("Cu", a=3.59, cubic=True).repeat(2)  # of EMT
    look = look_at(model_of(crystal), crystal, seed=0)
    assert texts(look) == []
    assert (look.n_imaginary, look.n_modes, look.n_draws) == (0, 93, 4)
    assert look.lowest_THz > 1.0
    assert abs(look.pressure_GPa) < 1.0


@pytest.mark.parametrize(("a", "cell"), [(3.50, "larger"), (3.70, "smaller")])
def test_the_pressure_of_another_lattice_constant_is_told(a: float, cell: str) -> None:
    crystal = bulk("Cu", a=a, cubic=True).repeat(2)
    look = look_at(model_of(crystal), crystal, seed=0)
    truth = -labelled(crystal).info["REF_stress"][:3].mean() / GPa
    assert look.pressure_GPa == pytest.approx(truth, abs=0.5)
    assert any(f"emt wants a {cell} cell" in line for line in texts(look))


def test_imaginary_modes_and_forces_at_rest_are_told() -> None:
    crystal = bulk("Cu", "bcc", a=2.80, cubic=True).repeat((2, 2, 2))  # no minimum of EMT
    look = look_at(model_of(crystal), crystal, seed=0)
    assert look.n_imaginary > 0
    assert look.lowest_THz < 0
    assert look.n_draws_imaginary == look.n_draws == 4
    (line,) = [line for line in texts(look) if "imaginary" in line]
    assert "for emt the given structure is no minimum" in line
    moved = crystal.copy()
    moved.positions[0] += [0.3, 0.0, 0.0]
    look = look_at(model_of(crystal), moved, seed=0)
    assert any("forces on the crystal at rest" in line for line in texts(look))


def test_a_large_cell_is_not_searched() -> None:
    model = model_of(bulk("Cu", a=3.59, cubic=True).repeat(2))
    look = look_at(model, bulk("Cu", a=3.59, cubic=True).repeat(4), seed=0)
    assert look.lowest_THz is None
    assert look.pressure_GPa is not None
    assert np.isfinite(look.largest_force)
