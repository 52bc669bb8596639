"""The public functions: objects and files give the same, wrong input is a user error, campaigns run from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read, write

import trepid
from campaign_fakes import LoggedReference, campaign, crystal
from rounds_fakes import SMALL, rounds_campaign
from trepid.config import AnyCampaign
from trepid.dynamics.settings import MDEnd, MDResult
from trepid.errors import ConfigError, DataError, ModelFileError, TrepidError, UntrustedError
from trepid.potentials.base import Potential
from trepid.potentials.committee import BayesianSettings, Committee, CommitteeSettings
from trepid.runs.ledger_events import StopReason

CUTOFFS = {"pair_cutoff": 4.0, "triplet_cutoff": 3.2}


def copper(n_frames: int, seed: int) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n_frames):
        atoms = crystal()
        atoms.positions += rng.normal(0.0, 0.06, atoms.positions.shape)
        frames.append(LoggedReference().label(atoms))
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files train.extxyz, test.extxyz, crystal.extxyz, cu.trepid (a force field), committee.trepid; to be read only."""
    folder = tmp_path_factory.mktemp("copper")
    train = copper(8, seed=1)
    write(folder / "train.extxyz", train)
    write(folder / "test.extxyz", copper(3, seed=2))
    write(folder / "crystal.extxyz", crystal())
    trepid.fit(train, **CUTOFFS).save(folder / "cu.trepid")
    settings = CommitteeSettings(
        n_members=2, subset_fraction=0.6, validation_fraction=0.0, model=BayesianSettings(**SMALL)
    )
    Committee(["Cu"], settings=settings).fit(train).save(folder / "committee.trepid")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Potential:
    return trepid.load(folder / "cu.trepid")


def forces(model: Potential, folder: Path) -> np.ndarray:
    return model.predict(read(folder / "test.extxyz"), uncertainty="none").forces


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize("name", trepid.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(trepid, name).__doc__
    assert name in dir(trepid)


def test_unknown_names_are_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'trepid' has no attribute 'train'"):
        trepid.train  # noqa: B018


def test_what_a_session_prints_is_one_line(model: Potential, folder: Path, tmp_path: Path) -> None:
    committee = trepid.load(folder / "committee.trepid")
    atoms = read(folder / "test.extxyz")
    held = [
        (model, "<BayesianForceField of Cu: "),
        (committee, "<Committee of Cu: 2 members (bayesian), 8 frames, noise "),
        (model.predict(atoms), "<Prediction of 8 atoms: "),
        (model.noise, "Noise("),
        (trepid.evaluate(model, folder / "test.extxyz"), "Evaluation("),
        (run(model, crystal(), tmp_path / "md"), "MDResult("),
    ]
    for thing, start in held:
        assert repr(thing).startswith(start)
        assert "\n" not in repr(thing)
        assert " at 0x" not in repr(thing)
    assert "force uncertainty up to" in repr(model.predict(atoms))
    assert "uncertainty" not in repr(model.predict(atoms, uncertainty="none"))
    assert repr(Committee(["Cu"])) == "<Committee of Cu: 4 members (bayesian), untrained>"


# ---------------------------------------------------------------------- fit, load, evaluate


def test_fit_takes_frames_or_their_file(model: Potential, folder: Path) -> None:
    fitted = trepid.fit(folder / "train.extxyz", **CUTOFFS)
    np.testing.assert_allclose(forces(fitted, folder), forces(model, folder), atol=1e-6)
    assert fitted.n_frames == 8


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: trepid.fit([]), DataError, "fit needs at least one labelled frame"),
        (lambda f: trepid.fit(f / "no.extxyz"), DataError, "no.extxyz"),
        (lambda f: trepid.fit([crystal()], **CUTOFFS), DataError, "a frame has no label: none of REF_energy"),
        (lambda f: trepid.fit(f / "train.extxyz", species=["Au"], **CUTOFFS), DataError, "Cu"),
        (lambda f: trepid.fit(f / "train.extxyz", pair_cutoff=-1.0), ConfigError, "pair_cutoff"),
        (lambda f: trepid.load(f / "no.trepid"), ModelFileError, "no.trepid"),
        (lambda f: trepid.load(f / "train.extxyz"), ModelFileError, "train.extxyz"),
        (lambda f: trepid.evaluate(f / "no.trepid", f / "test.extxyz"), ModelFileError, "no.trepid"),
        (lambda f: trepid.evaluate(f / "cu.trepid", []), DataError, "at least one labelled frame"),
        (lambda f: trepid.evaluate(f / "cu.trepid", f / "crystal.extxyz"), DataError, "force"),
        (lambda f: trepid.learn(f / "no.yaml"), ConfigError, "no.yaml"),
    ],
)
def test_wrong_input_is_a_user_error(
    folder: Path, call: Callable[[Path], object], error: type[TrepidError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        call(folder)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind"), [("cu.trepid", trepid.BayesianForceField), ("committee.trepid", trepid.Committee)]
)
def test_load_opens_models_of_every_kind(folder: Path, name: str, kind: type[Potential]) -> None:
    for path in (folder / name, str(folder / name)):
        found = trepid.load(path)
        assert type(found) is kind
        assert found.n_frames == 8
        truth = read(folder / "test.extxyz").arrays["REF_forces"]
        assert np.abs(forces(found, folder) - truth).mean() < 0.15 * np.abs(truth).mean()


@pytest.mark.parametrize("name", ["cu.trepid", "committee.trepid"])
def test_evaluate_takes_objects_or_files(folder: Path, name: str) -> None:
    of_files = trepid.evaluate(folder / name, folder / "test.extxyz")
    of_objects = trepid.evaluate(trepid.load(folder / name), read(folder / "test.extxyz", ":"))
    assert of_files == of_objects
    assert of_files.n_frames == 3
    assert 0 < of_files.forces_rmse < 0.2 * of_files.forces_rms
    assert of_files.forces_coverage_95 is not None
    assert trepid.evaluate(folder / name, folder / "test.extxyz", uncertainty="none").forces_coverage_95 is None


# ---------------------------------------------------------------------- md


def run(model: Potential | Path, atoms: Atoms | Path, directory: Path, **settings: object) -> MDResult:
    values = {"temperature_K": 300, "duration_ps": 0.05, "sample_every": 10, **settings}
    return trepid.md(model, atoms, directory=directory, **values)  # type: ignore[arg-type]


def test_md_takes_objects_or_files(model: Potential, folder: Path, tmp_path: Path) -> None:
    atoms = read(folder / "crystal.extxyz")
    before = atoms.get_positions()
    of_objects = run(model, atoms, tmp_path / "objects")
    of_files = run(folder / "cu.trepid", folder / "crystal.extxyz", tmp_path / "files")
    assert (of_objects.end, of_objects.n_steps) == (MDEnd.FINISHED, 50)
    assert of_files.time_ps == of_objects.time_ps == 0.05
    for name in ("trace.csv", "trajectory.extxyz"):
        assert (tmp_path / "objects" / name).read_bytes() == (tmp_path / "files" / name).read_bytes()
    assert np.array_equal(atoms.positions, before)
    assert atoms.calc is None
    # The same call continues the run: here, it is complete.
    assert run(model, atoms, tmp_path / "objects").n_steps == 50


def test_md_that_the_guard_stops(model: Potential, tmp_path: Path) -> None:
    with pytest.raises(UntrustedError) as caught:
        run(model, crystal(), tmp_path / "md", guard="stop", threshold_eV_per_A=1e-6)
    assert caught.value.exit_code == 4
    assert (tmp_path / "md" / "untrusted.extxyz").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature_K": -1.0}, "temperature_K must be above 0 K"),
        ({"duration_ps": 0.0}, "duration_ps must be a positive time"),
        ({"uncertainty": "none"}, "the guard needs an uncertainty"),
    ],
)
def test_md_with_settings_out_of_range(
    model: Potential, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(model, crystal(), tmp_path / "md", **change)


def test_md_in_the_directory_of_another_run(model: Potential, tmp_path: Path) -> None:
    run(model, crystal(), tmp_path / "md")
    with pytest.raises(ConfigError, match="holds another run: its temperature_K is 300, not 400"):
        run(model, crystal(), tmp_path / "md", temperature_K=400)


def test_md_of_an_element_without_a_model(model: Potential, tmp_path: Path) -> None:
    foreign = crystal()
    foreign.symbols[0] = "Au"
    with pytest.raises(DataError, match="Au"):
        run(model, foreign, tmp_path / "md")


# ---------------------------------------------------------------------- learn


def on_the_fly(folder: Path) -> AnyCampaign:
    return campaign(
        folder,
        dynamics={"stages": [{"temperature_K": 300, "duration_ps": 0.1}]},
        potential=SMALL,
        learning={"initial_frames": 2, "max_labels": 4},
    )


def in_rounds(folder: Path) -> AnyCampaign:
    return rounds_campaign(
        folder,
        walkers={"duration_ps": 0.2, "temperatures_K": [200]},
        acquisition={"labels_per_round": 1},
        rounds={"max_rounds": 1},
    )


@pytest.mark.parametrize("settings", [on_the_fly, in_rounds])
def test_learn_runs_a_campaign_and_its_result_gives_the_model(
    tmp_path: Path, settings: Callable[[Path], AnyCampaign]
) -> None:
    made = settings(tmp_path)
    result = trepid.learn(made)
    assert result.exit_code == 0
    assert result.model_file == tmp_path / "run" / "model.trepid"
    found = result.load()
    assert type(found) is trepid.BayesianForceField
    assert found.n_frames == result.n_labels >= 2
    assert result.n_rounds == (1 if settings is in_rounds else None)
    assert "\n" not in result.summary() + repr(result)
    atoms = crystal()
    atoms.positions[0, 0] += 0.05
    atoms.calc = EMT()
    truth = atoms.get_forces()
    assert np.abs(found.predict(atoms).forces - truth).max() < 0.2 * np.abs(truth).max()
    # The settings as written into the run are a campaign file of the same campaign: it is complete.
    again = trepid.learn(tmp_path / "run" / "campaign.yaml")
    assert (again.reason, again.n_labels) == (result.reason, result.n_labels)
    assert again.reason in (StopReason.FINISHED, StopReason.LABELS)
