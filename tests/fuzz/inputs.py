"""Damaged inputs: labelled frames, campaign files, models, run directories; and inputs that name code to run.

All follow from a seed. The whole inputs that are damaged (`Material`) are made by trepid itself: copper and gold, labelled by EMT.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from mutations import BINARY, TEXT, Rng, odd_array, odd_value
from worker import Told

from trepid.cli.main import run
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.committee import Committee, CommitteeSettings, ScriptSettings
from trepid.potentials.committee.settings import BayesianSettings

TOY = Path(__file__).parents[1] / "potentials" / "committee" / "toy_worker.py"
SIZES = {"n_pair": 5, "n_radial": 4, "l_max": 0}
POTENTIAL = {"pair_cutoff_A": 4.0, "triplet_cutoff_A": 3.5, **SIZES}
STRUCTURE = {"file": "crystal.extxyz", "supercell": [1, 1, 1]}
ON_THE_FLY = {
    "structure": STRUCTURE,
    "reference": {"engine": "ase", "calculator": "emt"},
    "potential": POTENTIAL,
    "dynamics": {"timestep_fs": 2.0, "stages": [{"temperature_K": 300, "duration_ps": 0.04}]},
    "learning": {"initial_frames": 2, "max_labels": 4},
    "output": {"directory": "run", "sample_every": 5, "checkpoint_every": 5},
    "seed": 1,
}
ROUNDS = {
    "structure": STRUCTURE,
    "mode": "rounds",
    "reference": {"engine": "ase", "calculator": "emt"},
    "potential": {"kind": "bayesian", **POTENTIAL},
    "start": {"kind": "displaced", "n": 2},
    "walkers": {
        "temperatures_K": [300],
        "per_temperature": 2,
        "duration_ps": 0.04,
        "equilibrate_ps": 0.01,
        "timestep_fs": 2.0,
        "check_every": 5,
    },
    "acquisition": {"kind": "random", "labels_per_round": 1},
    "rounds": {"max_rounds": 1},
    "output": {"directory": "run"},
    "seed": 1,
}
Judge = Callable[[list[Told], Path], str]
"""What was wrongly accepted, or an empty text; from the answers to all commands, and the folder."""


def nothing_accepted(told: list[Told], folder: Path) -> str:
    """Of inputs that may be accepted: their numbers are odd, but they are numbers."""
    return ""


@dataclass(frozen=True)
class Input:
    """One damaged input.

    Attributes
    ----------
    group, name : str
    prepare : callable
        Writes its files into an empty folder.
    commands : list of list of str
        Command lines of trepid, run in that folder one after the other.
    judge : callable
    """

    group: str
    name: str
    prepare: Callable[[Path], None]
    commands: list[list[str]]
    judge: Judge = nothing_accepted


@dataclass(frozen=True)
class Material:
    """Whole inputs.

    Attributes
    ----------
    folder : Path
        With frames.extxyz, crystal.extxyz, force-field.trepid, committee.trepid and script.trepid.
    runs : dict of str to Path
        Folders of campaigns that have ended, by their mode.
    """

    folder: Path
    runs: dict[str, Path] = field(default_factory=dict)


def crystal() -> Atoms:
    """Eight atoms of an alloy, periodic."""
    atoms = bulk("Cu", cubic=True, a=3.8).repeat((2, 1, 1))
    atoms.symbols[::4] = "Au"
    return atoms


def make_material(folder: Path) -> Material:
    """Make the whole inputs."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(4):
        atoms = crystal()
        atoms.positions += rng.normal(0.0, 0.06, atoms.positions.shape)
        atoms.calc = EMT()
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.calc = None
        atoms.info |= {"REF_energy": energy, "REF_stress": stress}
        atoms.arrays["REF_forces"] = forces
        frames.append(atoms)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "frames.extxyz", frames)
    write(folder / "crystal.extxyz", crystal())
    species = ["Cu", "Au"]
    BayesianForceField(species, pair_cutoff=4.0, triplet_cutoff=3.5, **SIZES, n_threads=1).fit(frames).save(
        folder / "force-field.trepid"
    )
    Committee(species, settings=CommitteeSettings(n_members=2, model=BayesianSettings(**POTENTIAL))).fit(frames).save(
        folder / "committee.trepid"
    )
    script = CommitteeSettings(backend="script", n_members=2, model=ScriptSettings(script=str(TOY)))
    with Committee(species, settings=script) as committee:
        committee.fit(frames).save(folder / "script.trepid")
    runs = {}
    for name, campaign in (("on-the-fly", ON_THE_FLY), ("rounds", ROUNDS)):
        runs[name] = folder / name
        runs[name].mkdir()
        shutil.copy(folder / "crystal.extxyz", runs[name])
        (runs[name] / "campaign.yaml").write_text(yaml.safe_dump(campaign))
        code = run(["learn", "-q", str(runs[name] / "campaign.yaml")])
        if code:
            raise RuntimeError(f"the campaign {name} ended with exit code {code}")
    return Material(folder, runs)


def _copy(sources: list[Path], changed: dict[str, bytes], folder: Path) -> None:
    """Copies of whole files, and the damaged ones."""
    for source in sources:
        shutil.copy(source, folder / source.name)
    for name, data in changed.items():
        (folder / name).write_bytes(data)


def _pick(rng: Rng, choices: list[list[str]], n: int) -> list[list[str]]:
    return [choices[int(k)] for k in rng.permutation(len(choices))[:n]]


# ---- frames


def frames(material: Material, rng: Rng, number: int) -> Input:
    """Labelled frames, through what reads them."""
    mutation = TEXT[int(rng.integers(len(TEXT)))]
    data = mutation((material.folder / "frames.extxyz").read_bytes(), rng)
    verbs = [
        ["check", "f.extxyz"],
        ["fit", "f.extxyz", "-o", "new.trepid", "--dry-run"],
        ["evaluate", "force-field.trepid", "f.extxyz"],
        ["md", "force-field.trepid", "f.extxyz", "--temperature", "300", "--steps", "2", "-o", "md"],
        ["init", "f.extxyz", "-o", "new.yaml"],
    ]
    prepare = partial(_copy, [material.folder / "force-field.trepid"], {"f.extxyz": data})
    return Input("frames", f"{mutation.__name__}-{number}", prepare, _pick(rng, verbs, 2))


# ---- campaigns


def campaigns(material: Material, rng: Rng, number: int) -> Input:
    """Campaign files, as text and as values."""
    whole = (ON_THE_FLY, ROUNDS)[int(rng.integers(2))]
    if rng.integers(2):
        tree = whole
        for _ in range(int(rng.integers(1, 4))):
            tree = odd_value(tree, rng)
        name, data = "odd_value", yaml.safe_dump(tree, sort_keys=False).encode()
    else:
        mutation = TEXT[int(rng.integers(len(TEXT)))]
        name, data = mutation.__name__, mutation(yaml.safe_dump(whole, sort_keys=False).encode(), rng)
    verbs = [["check", "c.yaml"], ["learn", "c.yaml", "--dry-run"], ["plan", "c.yaml", "--label-seconds", "1"]]
    prepare = partial(_copy, [material.folder / "crystal.extxyz"], {"c.yaml": data})
    return Input("campaigns", f"{name}-{number}", prepare, _pick(rng, verbs, 2))


# ---- models


def force_fields(material: Material, rng: Rng, number: int) -> Input:
    """Model files of the Bayesian force field, any byte changed."""
    whole = (material.folder / "force-field.trepid").read_bytes()
    mutation = BINARY[int(rng.integers(len(BINARY)))]
    # The header is small beside the numbers, and half of the inputs are to damage it.
    size = 8 + int.from_bytes(whole[:8], "little")
    data = mutation(whole[:size], rng) + whole[size:] if rng.integers(2) else mutation(whole, rng)
    if data == whole:
        data = whole[:-1]
    return _model("force fields", f"{mutation.__name__}-{number}", material, data, rng, _accepted_model)


def committees(material: Material, rng: Rng, number: int) -> Input:
    """Files of committees: bytes, or values of the manifest in a zip that is whole."""
    whole = (material.folder / "committee.trepid").read_bytes()
    if rng.integers(3):
        mutation = BINARY[int(rng.integers(len(BINARY)))]
        name, data, judge = mutation.__name__, mutation(whole, rng), partial(_accepted_committee, whole)
    else:
        entries = _entries(whole)
        manifest = odd_value(json.loads(entries["manifest.json"]), rng)
        name, judge = "odd_value", nothing_accepted
        data = _zipped({**entries, "manifest.json": json.dumps(manifest).encode()})
    return _model("committees", f"{name}-{number}", material, data, rng, judge)


def _model(group: str, name: str, material: Material, data: bytes, rng: Rng, judge: Judge) -> Input:
    verbs = [
        ["check", "m.trepid"],
        ["evaluate", "m.trepid", "frames.extxyz"],
        ["md", "m.trepid", "crystal.extxyz", "--temperature", "300", "--steps", "2", "-o", "md"],
        ["export", "m.trepid", "--format", "uf3", "-o", "m.uf3"],
    ]
    sources = [material.folder / "frames.extxyz", material.folder / "crystal.extxyz"]
    return Input(group, name, partial(_copy, sources, {"m.trepid": data}), _pick(rng, verbs, 2), judge)


def _accepted_model(told: list[Told], folder: Path) -> str:
    return "a damaged model" if any(answer.code == 0 for answer in told) else ""


def _accepted_committee(whole: bytes, told: list[Told], folder: Path) -> str:
    """Bytes outside the entries, such as time stamps, change nothing."""
    if not any(answer.code == 0 for answer in told):
        return ""
    return "" if _entries((folder / "m.trepid").read_bytes()) == _entries(whole) else "a damaged committee"


def _entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


# ---- run directories


def runs(material: Material, rng: Rng, number: int) -> Input:
    """Run directories with one damaged, missing or foreign file, in both modes."""
    mode = ("on-the-fly", "rounds")[int(rng.integers(2))]
    source = material.runs[mode]
    files = sorted(path.relative_to(source) for path in (source / "run").rglob("*") if path.is_file())
    # Folders have many files of a kind: first the kind, then the file.
    kinds = sorted({path.suffix for path in files})
    kind = kinds[int(rng.integers(len(kinds)))]
    of_kind = [path for path in files if path.suffix == kind]
    file = of_kind[int(rng.integers(len(of_kind)))]
    name, data = _damaged(source / file, rng)
    while data == (source / file).read_bytes():  # zeros over zeros
        name, data = _damaged(source / file, rng)
    longer = bool(rng.integers(2))
    verbs = [["status", "run"], ["plan", "run"], ["report", "run"] if number % 6 == 0 else ["status", "run", "--json"]]
    commands = [*_pick(rng, verbs, 1), ["learn", "-q", "campaign.yaml"], ["status", "run"]]
    judge = (
        partial(_accepted_run_model, file, data)
        if file.name == "model.trepid" and mode == "on-the-fly"
        else nothing_accepted
    )
    prepare = partial(_damage_run, source, file, data, longer)
    return Input("run directories", f"{mode}-{file.name}-{name}-{number}", prepare, commands, judge)


def _damaged(path: Path, rng: Rng) -> tuple[str, bytes | None]:
    """Name of the damage, and the content; None for a file that is gone."""
    whole = path.read_bytes()
    if not rng.integers(8):
        return "gone", None
    structured = bool(rng.integers(2))
    if path.suffix == ".npz" and structured:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        chosen = sorted(arrays)[int(rng.integers(len(arrays)))]
        arrays[chosen] = odd_array(arrays[chosen], rng)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return "odd_array", buffer.getvalue()
    if path.suffix == ".jsonl" and structured:
        lines = whole.splitlines()
        k = int(rng.integers(len(lines)))
        lines[k] = json.dumps(odd_value(json.loads(lines[k]), rng)).encode()
        return "odd_value", b"\n".join(lines) + b"\n"
    if path.suffix == ".json" and structured:
        return "odd_value", json.dumps(odd_value(json.loads(whole), rng)).encode()
    if path.suffix == ".yaml" and structured:
        return "odd_value", yaml.safe_dump(odd_value(yaml.safe_load(whole), rng)).encode()
    kinds = BINARY if path.suffix in (".npz", ".trepid") else TEXT
    mutation = kinds[int(rng.integers(len(kinds)))]
    return mutation.__name__, mutation(whole, rng)


def _damage_run(source: Path, file: Path, data: bytes | None, longer: bool, folder: Path) -> None:
    shutil.copytree(source, folder, dirs_exist_ok=True)
    if data is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(data)
    if longer:
        campaign = folder / "campaign.yaml"
        text = campaign.read_text()
        campaign.write_text(
            text.replace("duration_ps: 0.04", "duration_ps: 0.05").replace("max_rounds: 1", "max_rounds: 2")
        )


def _accepted_run_model(file: Path, data: bytes | None, told: list[Told], folder: Path) -> str:
    """The campaign ended well with the damaged model in its place."""
    if told[1].code != 0 or data is None:
        return ""
    return "a damaged model in a run directory" if (folder / file).read_bytes() == data else ""


# ---- code

REFERENCES = (
    "{{engine: ase, calculator: 'subprocess:Popen', parameters: {{args: [touch, {marker}]}}}}",
    "{{engine: ase, calculator: 'os:system', parameters: {{command: touch {marker}}}}}",
    "{{engine: ase, calculator: cp2k, parameters: {{command: 'touch {marker};'}}}}",
    "{{engine: ase, calculator: castep, parameters: {{castep_command: {tool}}}}}",
    "{{engine: ase, calculator: 'touching:Calculator'}}",
    "{{engine: ase, calculator: vasp, parameters: {{command: touch {marker}}}}}",
    "{{engine: lammps, commands: ['shell touch {marker}', 'pair_style zero 5', 'pair_coeff * *']}}",
    "{{engine: lammps, commands: ['variable s string shell', '${{s}} touch {marker}', 'pair_style zero 5', 'pair_coeff * *']}}",
    "{{engine: lammps, commands: ['pair_style python 5', 'pair_coeff * * touching.Calculator Cu Au']}}",
    "{{engine: gpaw, parameters: {{txt: {marker}}}}}",
    "!!python/object/apply:os.system ['touch {marker}']",
)


def code(material: Material, rng: Rng, number: int) -> Input:
    """Files that name code to run."""
    if number % 2:
        return Input("code", f"model-{number}", partial(_hostile_model, material, number // 2), _hostile_verbs(rng))
    reference = REFERENCES[number // 2 % len(REFERENCES)]
    verbs = [["check", "c.yaml"], ["learn", "c.yaml", "--dry-run"], ["plan", "c.yaml", "--label-seconds", "1"]]
    return Input("code", f"campaign-{number}", partial(_hostile_campaign, material, reference), verbs)


def _hostile_verbs(rng: Rng) -> list[list[str]]:
    verbs = [
        ["check", "m.trepid"],
        ["evaluate", "m.trepid", "frames.extxyz"],
        ["md", "m.trepid", "crystal.extxyz", "--temperature", "300", "--steps", "2", "-o", "md"],
        ["anharmonicity", "m.trepid", "--structure", "crystal.extxyz", "--temperature", "300", "-o", "a"],
        ["anharmonicity", "force-field.trepid", "--phonopy", "phonopy.yaml", "--temperature", "300", "-o", "b"],
    ]
    return _pick(rng, verbs, 3)


def _hostile(folder: Path) -> tuple[Path, Path]:
    """A program that leaves a marker in the folder, and the marker."""
    marker, tool = folder / "code-ran", folder / "tool.sh"
    tool.write_text(f"#!/bin/sh\ntouch {marker}\n")
    tool.chmod(0o755)
    (folder / "touching.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Calculator: ...\n")
    return tool, marker


def _hostile_campaign(material: Material, reference: str, folder: Path) -> None:
    tool, marker = _hostile(folder)
    campaign = yaml.safe_dump({key: value for key, value in ON_THE_FLY.items() if key != "reference"})
    text = f"reference: {reference.format(marker=marker, tool=tool)}\n{campaign}"
    _copy([material.folder / "crystal.extxyz"], {"c.yaml": text.encode()}, folder)


def _hostile_model(material: Material, number: int, folder: Path) -> None:
    tool, marker = _hostile(folder)
    entries = _entries((material.folder / "script.trepid").read_bytes())
    manifest = json.loads(entries["manifest.json"])
    settings = manifest["settings"]
    settings["model"] |= ({"script": "touching.py"}, {"python": str(tool)}, {"foundation_model": "touching.py"})[
        number % 3
    ]
    if number % 4 == 3:
        settings |= {"backend": "nequip", "model": {"python": str(tool), "foundation_model": str(tool)}}
    phonopy = f"phonopy: {{version: 2}}\nunit_cell: !!python/object/apply:os.system ['touch {marker}']\n"
    names = ("frames.extxyz", "crystal.extxyz", "force-field.trepid")
    _copy(
        [material.folder / name for name in names],
        {
            "m.trepid": _zipped({**entries, "manifest.json": json.dumps(manifest).encode()}),
            "phonopy.yaml": phonopy.encode(),
        },
        folder,
    )


SHARES: tuple[tuple[Callable[[Material, Rng, int], Input], float], ...] = (
    (frames, 0.28),
    (campaigns, 0.22),
    (force_fields, 0.14),
    (committees, 0.1),
    (runs, 0.2),
    (code, 0.06),
)


def inputs(material: Material, *, n: int, seed: int) -> Iterator[Input]:
    """About `n` inputs of all groups, each from a generator of its own."""
    for group, (make, share) in enumerate(SHARES):
        for number in range(round(share * n)):
            yield make(material, np.random.default_rng([seed, group, number]), number)
