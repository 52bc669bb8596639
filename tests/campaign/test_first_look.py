"""What the first model says of the crystal as given."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from ase.units import GPa

from trepid.campaign.first_look import look_at
from trepid.campaign.learn import learn
from trepid.campaign.start import initial_frames
from trepid.config import load_campaign
from trepid.config.dynamics import DynamicsSettings
from trepid.data import Labels, attach_labels
from trepid.potentials.bayesian import BayesianForceField
from trepid.runs.first_look import crystal_findings
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import Event, FirstLook
from trepid.runs.reading import read_run


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
    line = next(line for line in texts(look) if "pressure" in line)
    assert f"with emt its lattice constant is {cell} than yours" in line
    far = FirstLook(n_labels=4, pressure_GPa=21.7, pressure_bar_GPa=0.4, largest_force=0.0, force_bar=0.0)
    assert "the supercell is too narrow" in crystal_findings(far, "tblite")[0].text
    # The advice is accepted as it stands.
    advised = re.search(r"(pressure_GPa: 0) in a stage, with (thermostat: \S+) in dynamics", line)
    assert advised is not None
    stages = f"stages: [{{temperature_K: 300, duration_ps: 1, {advised[1]}}}]"
    DynamicsSettings.model_validate(yaml.safe_load(f"{{{advised[2]}, {stages}}}"))


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


CAMPAIGN = """\
structure: copper.extxyz
reference: {engine: ase, calculator: emt}
potential: {pair_cutoff_A: 5.0, triplet_cutoff_A: 4.0, n_pair: 8, n_radial: 4, l_max: 2}
dynamics:
  timestep_fs: 2.0
  stages: [{temperature_K: 300, duration_ps: 0.02}]
learning: {initial_frames: 3}
output: {directory: run}
"""


def test_a_kill_right_after_the_look_leaves_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "copper.extxyz", bulk("Cu", a=3.50, cubic=True).repeat(2))
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    monkeypatch.chdir(tmp_path)
    append = Ledger.append

    def dying(ledger: Ledger, event: Event) -> object:
        entry = append(ledger, event)
        if isinstance(event, FirstLook):
            raise RuntimeError("killed")
        return entry

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", dying)
        with pytest.raises(RuntimeError, match="killed"):
            learn(load_campaign("campaign.yaml"))
    (look,) = read_run("run").events(FirstLook)
    result = learn(load_campaign("campaign.yaml"))
    assert read_run("run").events(FirstLook) == (look,)
    assert look.n_labels == 3
    assert look.pressure_GPa > 1.0
    assert "with ase the lattice constant is larger than the given one" in result.verdict().text()
