"""Probes: images on the paths of atoms to empty sites, relaxed with a model trained without any of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import kB

from trepid import BayesianForceField
from trepid.acquisition.viability import Horizon
from trepid.campaign.probes import N_IMAGES, probe_frames
from trepid.campaign.selection import EventFrame
from trepid.data import read_frames
from trepid.potentials.base import Prediction
from trepid.runs.ledger_events import Reason


@pytest.fixture(scope="module")
def crystal() -> Atoms:
    return bulk("CuI", "zincblende", a=6.19, cubic=True).repeat(2)


@pytest.fixture(scope="module")
def model(data_dir: Path) -> BayesianForceField:
    frames = [a for a in read_frames(data_dir / "cui_gfn1_64.extxyz") if not a.info.get("displaced_cu", 0)]
    calm = [a for a in frames if np.linalg.norm(a.arrays["REF_forces"], axis=1).max() < 4.0]
    return BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=12, n_radial=5, l_max=2, n_threads=1
    ).update(calm[:6])


def probes(model: BayesianForceField, crystal: Atoms, n: int, **changed: object) -> list:
    settings = {"horizon": None, "floor_eV_per_A": model.noise.forces, "max_force_eV_per_A": 15.0} | changed
    return probe_frames(model, crystal, n, **settings)


def place_of(frame: EventFrame) -> int:
    return int(frame.note.split("image ")[1].split()[0])


def test_every_path_has_a_probe_before_one_has_two(model: BayesianForceField, crystal: Atoms) -> None:
    found = probes(model, crystal, 6)
    paths = [frame.note.split(" | ")[0] for frame in found]
    assert len(found) == 6
    n_paths = len(set(paths))
    assert len(set(paths[:n_paths])) == n_paths >= 4  # Cu and I, two kinds of empty sites around each
    assert all(frame.reason is Reason.PROBE for frame in found)
    assert len({frame.note for frame in found}) == 6


def test_an_image_has_one_atom_off_its_site_and_a_larger_uncertainty_than_the_noise(
    model: BayesianForceField, crystal: Atoms
) -> None:
    for frame in probes(model, crystal, 4):
        moved = np.linalg.norm(frame.atoms.positions - crystal.positions, axis=1)
        order = np.argsort(moved)
        place = place_of(frame)
        assert moved[order[-1]] > 0.25 * place
        assert moved[order[-2]] < moved[order[-1]] or place == 1
        assert 1 <= place < N_IMAGES
        assert not frame.atoms.constraints
        assert model.predict(frame.atoms).frame_uncertainty > model.noise.forces


def test_images_below_the_floor_of_uncertainty_are_no_probes(model: BayesianForceField, crystal: Atoms) -> None:
    assert probes(model, crystal, 4, floor_eV_per_A=np.inf) == []
    assert probes(model, crystal, 0) == []


def test_an_image_whose_energy_is_known_too_badly_is_a_probe_whatever_its_forces(
    model: BayesianForceField, crystal: Atoms
) -> None:
    found = probes(model, crystal, 4, floor_eV_per_A=np.inf, bar_eV=0.05)
    bars = [1.96 * model.energy_difference_uncertainty(frame.atoms, crystal) for frame in found]
    assert min(bars) > 0.05
    assert probes(model, crystal, 4, floor_eV_per_A=np.inf, bar_eV=100.0) == []


def test_images_beyond_the_horizon_are_left_out(model: BayesianForceField, crystal: Atoms) -> None:
    shorter = Horizon(30.0, 1e-3)
    assert shorter.budget < 0.05
    assert probes(model, crystal, 4, horizon=shorter) == []


def test_the_horizon_of_a_path_counts_its_equivalent_ways(model: BayesianForceField, crystal: Atoms) -> None:
    """A path that 128 atoms and holes share is within reach where one alone would not be."""
    name = "Cu from Cu to empty 4Cu6I"
    images = [f for f in probes(model, crystal, 100, floor_eV_per_A=0.0) if f.event_class == name]
    images.sort(key=place_of)
    first = images[0]
    energy = model.predict(first.atoms).energy - model.predict(crystal).energy
    # Energies rise up to here, so that this image is what the way to it costs at least.
    cost = energy - 1.96 * model.energy_difference_uncertainty(first.atoms, crystal)
    temperature = 300.0
    assert cost > 0.1
    kT = kB * temperature
    for part, within in ((0.5, True), (1.5, False)):
        time_ns = 1e-4 * np.exp((cost - part * kT * np.log(128)) / kT)
        horizon = Horizon(temperature, time_ns)
        assert horizon.budget < cost
        frames = probes(model, crystal, 100, floor_eV_per_A=0.0, horizon=horizon)
        farthest = max((place_of(frame) for frame in frames if frame.event_class == name), default=0)
        assert (farthest >= place_of(first)) is within


def test_images_with_large_forces_are_left_out(model: BayesianForceField, crystal: Atoms) -> None:
    for frame in probes(model, crystal, 8, max_force_eV_per_A=1.0):
        assert np.linalg.norm(model.predict(frame.atoms).forces, axis=1).max() <= 1.0


def test_nothing_is_predicted_twice(model: BayesianForceField, crystal: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    predict, frames = model.predict, []

    def predicting(atoms: Atoms, **how: object) -> Prediction:
        frames.append(atoms.positions.tobytes())
        return predict(atoms, **how)

    monkeypatch.setattr(model, "predict", predicting)
    found = probes(model, crystal, 30, floor_eV_per_A=0.0)
    n_paths = len({frame.note.split(" | ")[0] for frame in found})
    assert frames.count(crystal.positions.tobytes()) == n_paths  # once for a path
    images = [positions for positions in frames if positions != crystal.positions.tobytes()]
    assert len(images) == len(set(images)) > n_paths


def test_the_crystal_is_not_changed(model: BayesianForceField, crystal: Atoms) -> None:
    before = crystal.copy()
    probes(model, crystal, 2)
    assert crystal == before


def test_ways_whose_energies_are_known_too_badly_come_first_and_tell_how_badly(
    model: BayesianForceField, crystal: Atoms
) -> None:
    """One probe alone: where forces alone are compared, it is on another way than where an energy is beyond the bar."""
    everything = probes(model, crystal, 8)
    bars = {frame.event_class: frame.way_bar_eV for frame in everything}
    assert all(bar is not None and bar > 0 for bar in bars.values())
    widest = max(bars, key=lambda way: bars[way] or 0.0)
    second = sorted(bar or 0.0 for bar in bars.values())[-2]
    (first,) = probes(model, crystal, 1, bar_eV=0.5 * (second + (bars[widest] or 0.0)))
    assert first.event_class == widest
    assert first.pick(3, gain=None).way_bar_eV == bars[widest]
