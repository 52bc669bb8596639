from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import bulk

from trepid.config import (
    CommitteeSettings,
    DisplacedStart,
    HarmonicStart,
    PotentialSettings,
    RoundsCampaign,
    campaign_schema,
    load_campaign,
)
from trepid.errors import ConfigError

MINIMAL = "structure: cu.extxyz\nmode: rounds\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bulk("Cu", cubic=True).write(tmp_path / "cu.extxyz")
    return tmp_path


def load(folder: Path, text: str) -> RoundsCampaign:
    (folder / "campaign.yaml").write_text(text)
    campaign = load_campaign(folder / "campaign.yaml")
    assert isinstance(campaign, RoundsCampaign)
    return campaign


def error(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(str(folder / "campaign.yaml"))


def test_everything_has_a_default(folder: Path) -> None:
    campaign = load(folder, MINIMAL)
    assert isinstance(campaign.potential, PotentialSettings)
    assert isinstance(campaign.start, DisplacedStart)
    assert campaign.acquisition.kind == "uncertainty"
    assert campaign.walkers.n_walkers == 1
    assert campaign.output.directory == folder / "run"


def test_written_settings_load_again_to_the_same(folder: Path) -> None:
    text = MINIMAL + (
        "potential: {kind: committee, backend: nequip, members: 3, settings: {max_epochs: 20}}\n"
        "start: {kind: harmonic, n: 9}\nwalkers: {temperatures_K: [300, 600], per_temperature: 2, walk_on: member}\n"
        "acquisition: {viability: gaussian, batch: bernoulli}\nexecution: {workers: 2}\n"
    )
    campaign = load(folder, text)
    assert load(folder, campaign.to_yaml()) == campaign
    assert isinstance(campaign.potential, CommitteeSettings)
    assert isinstance(campaign.start, HarmonicStart)
    assert campaign.walkers.n_walkers == 4


def test_kind_is_optional_or_a_bare_value(folder: Path) -> None:
    campaign = load(folder, MINIMAL + "potential: {pair_cutoff_A: 5.5}\nstart: {n: 9}\nacquisition: random\n")
    assert isinstance(campaign.potential, PotentialSettings)
    assert campaign.potential.pair_cutoff_A == 5.5
    assert isinstance(campaign.start, DisplacedStart)
    assert campaign.acquisition.kind == "random"


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("dynamics: {}", ["dynamics: belongs to mode on-the-fly, and the mode of this file is rounds"]),
        ("learning: {max_labels: 3}", ["learning: belongs to mode on-the-fly"]),
        ("output: {sample_every: 5}", ["output.sample_every: belongs to mode on-the-fly"]),
        ("walkers: {temperature_K: 300}", ["walkers.temperature_K: unknown key", "'temperatures_K'"]),
        ("walkers: {temperatures_K: []}", ["walkers.temperatures_K"]),
        ("walkers: {temperatures_K: [300, -5]}", ["walkers.temperatures_K[1]: -5"]),
        ("walkers: {duration_ps: 0.01}", ["shorter than four uncertainty checks"]),
        ("walkers: {duration_ps: 1, equilibrate_ps: 0.8}", ["equilibrate_ps 0.8 is more than half"]),
        ("walkers: {thermostat: nve}", ["walkers.thermostat: 'nve'"]),
        ("walkers: {walk_on: member}", ["walkers.walk_on: member needs a committee"]),
        (
            "walkers: {bias: {strength: 1}}",
            ["bias leaves the first trajectory", "per_temperature is 1: give 2 or more"],
        ),
        (
            "walkers: {bias: {strength: 1}, per_temperature: 2, engine: lammps}",
            ["walkers.bias is computed by the engine ase; walkers.engine is lammps"],
        ),
        ("potential: {kind: comittee}", ["potential.kind: 'comittee': give bayesian or committee"]),
        (
            "potential: {kind: committee, pair_cutoff_A: 5}",
            ["potential.pair_cutoff_A: belongs to kind bayesian, not committee"],
        ),
        ("potential: {kind: committee, members: 1}", ["potential.members: 1"]),
        (
            "potential: {kind: committee}\nwalkers: {engine: lammps}",
            ["walkers.engine lammps runs the Bayesian force field only"],
        ),
        (
            "potential: {kind: committee, settings: {foundation_model: none.model}}",
            ["potential.settings", "foundation_model: there is no such file"],
        ),
        ("start: {kind: harmonic, strain: 0.1}", ["start.strain: belongs to kind displaced, not harmonic"]),
        ("start: {kind: frames}", ["start.file: this key is missing"]),
        ("start: {kind: frames, file: none.extxyz}", ["start.file: 'none.extxyz': there is no such file"]),
        ("acquisition: uncertain", ["acquisition.kind: 'uncertain'", "did you mean 'uncertainty'?"]),
        ("acquisition: {events: 3}", ["acquisition.events"]),
        ("rounds: {max_labels: 3}", ["rounds.max_labels 3 does not cover start.n 6"]),
        ("rounds: {max_label: 30}", ["rounds.max_label: unknown key; did you mean 'max_labels'?"]),
        ("execution: {parsl: config.py}", ["execution.parsl: 'config.py': there is no such file"]),
        ("reference: {engine: lammps}", ["reference.commands: this key is missing"]),
    ],
)
def test_bad_settings_in_one_line(folder: Path, extra: str, expected: list[str]) -> None:
    message = error(folder, MINIMAL + extra + "\n")
    for part in expected:
        assert part in message


def test_a_lammps_reference_resolves_its_files(folder: Path) -> None:
    (folder / "Cu.eam").write_text("")
    campaign = load(
        folder,
        MINIMAL
        + "reference: {engine: lammps, commands: [pair_style eam, pair_coeff * * Cu.eam], files: [Cu.eam], "
        + "atom_types: {Cu: 1}}\n",
    )
    assert campaign.reference.arguments()["files"] == (folder / "Cu.eam",)


def test_the_schema_knows_both_modes(folder: Path) -> None:
    schema = campaign_schema()
    assert set(schema["properties"]) >= {"dynamics", "learning", "walkers", "acquisition", "rounds", "execution"}
    rounds, fly = schema["then"]["properties"], schema["else"]["properties"]
    assert rounds["dynamics"] is False
    assert fly["walkers"] is False
    assert set(rounds) == set(fly)
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema)
    good = {"structure": "cu.extxyz", "mode": "rounds", "walkers": {"temperatures_K": [300]}}
    assert validator.is_valid({**good, "structure": {"file": "cu.extxyz"}})
    assert not validator.is_valid({**good, "structure": {"file": "cu.extxyz"}, "dynamics": {}})
    assert not validator.is_valid({**good, "structure": {"file": "cu.extxyz"}, "walkers": {"temperature": 3}})
