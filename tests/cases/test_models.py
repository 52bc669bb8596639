"""Model files: damage is found everywhere, and nothing that a file names runs unless the user says so."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from model_files import read_model, with_right_sum, write_without_sum
from trepid import __version__, _native, load
from trepid.errors import BackendError, DamagedModelError, ModelFileError, UntrustedFileError
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.committee import Committee, CommitteeSettings, NequipSettings, ScriptSettings

CASES = Path(__file__).parent
TOY = CASES.parent / "potentials" / "committee" / "toy_worker.py"


def labelled(n: int, *, repeat: tuple[int, int, int] = (1, 1, 1), seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True).repeat(repeat)
        atoms.positions += rng.normal(0.0, 0.08, atoms.positions.shape)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, forces
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def copper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with cu.trepid, committee.trepid (Bayesian), frames test.extxyz and the crystal POSCAR; to be read only."""
    folder = tmp_path_factory.mktemp("copper")
    frames = labelled(6, repeat=(2, 1, 1))
    sizes = {"pair_cutoff": 4.5, "triplet_cutoff": 3.5, "n_pair": 8, "n_radial": 4, "l_max": 2}
    model = BayesianForceField(["Cu"], **sizes, n_threads=1)
    model.update(frames).save(folder / "cu.trepid")
    write(folder / "test.extxyz", labelled(2, repeat=(2, 1, 1), seed=1))
    write(folder / "POSCAR", bulk("Cu", cubic=True).repeat((2, 2, 2)))
    return folder


@pytest.fixture(scope="module")
def script_committee(copper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committee whose members a script of the user evaluates."""
    path = tmp_path_factory.mktemp("script") / "script.trepid"
    settings = CommitteeSettings(
        backend="script",
        n_members=2,
        subset_fraction=0.7,
        validation_fraction=0.1,
        model=ScriptSettings(script=str(TOY)),
    )
    with Committee(["Cu"], settings=settings) as committee:
        committee.fit(labelled(8)).save(path)
    return path


# ---- check sums


def test_the_sum_of_the_plugin_is_sha256() -> None:
    rng = np.random.default_rng(0)
    for size in (*range(130), 1000, 65537):
        data = rng.bytes(size)
        assert _native.sha256(data) == hashlib.sha256(data).hexdigest()


def test_every_changed_bit_is_found(copper: Path, tmp_path: Path) -> None:
    data = (copper / "cu.trepid").read_bytes()
    rng = np.random.default_rng(1)
    header = int.from_bytes(data[:8], "little")
    places = {*range(8), *rng.integers(8, 8 + header, 60).tolist(), *rng.integers(8 + header, len(data), 100).tolist()}
    for place in sorted(places):
        for bit in rng.choice(8, 2, replace=False):
            damaged = bytearray(data)
            damaged[place] ^= 1 << int(bit)
            with pytest.raises(ModelFileError) as caught:
                BayesianForceField.from_bytes(bytes(damaged), name="m.trepid")
            assert str(caught.value).startswith("m.trepid"), (place, bit)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", ["table.triplet", "table.offset", "table.pair_live", "statistics.forces.gram"])
def test_a_changed_number_of_any_tensor_is_found(copper: Path, table: str) -> None:
    data = (copper / "cu.trepid").read_bytes()
    size = int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8 : 8 + size])[table]["data_offsets"]
    damaged = bytearray(data)
    damaged[8 + size + (first + last) // 2] ^= 0x40
    with pytest.raises(DamagedModelError, match="damaged: its content does not have its check sum"):
        BayesianForceField.from_bytes(bytes(damaged), name="m.trepid")


def test_cut_and_longer_files_are_found(copper: Path) -> None:
    data = (copper / "cu.trepid").read_bytes()
    for damaged in (data[:-1], data[: len(data) // 2], data + b"\0", data + data, data[:9]):
        with pytest.raises(DamagedModelError, match=r"^m\.trepid"):
            BayesianForceField.from_bytes(damaged, name="m.trepid")


def test_a_file_that_lost_its_check_sum_is_no_file_of_the_version_before(copper: Path) -> None:
    data = (copper / "cu.trepid").read_bytes()
    assert data.count(b'"sha256"') == 1
    with pytest.raises(DamagedModelError, match="it has no check sum"):
        BayesianForceField.from_bytes(data.replace(b'"sha256"', b'"sha257"'), name="m.trepid")
    older = data.replace(rb"\"version\": 2}", rb"\"version\": 1}")
    assert older != data
    with pytest.raises(DamagedModelError, match="does not have its check sum"):
        BayesianForceField.from_bytes(older, name="m.trepid")


@pytest.mark.parametrize(
    "verb",
    [
        ("check", "{model}"),
        ("evaluate", "{model}", "{copper}/test.extxyz"),
        ("md", "{model}", "{copper}/POSCAR", "--temperature", 300, "--steps", 5, "-o", "{out}"),
        ("md", "{model}", "{copper}/POSCAR", "--temperature", 300, "--steps", 5, "-o", "{out}", "--engine", "lammps"),
        ("export", "{model}", "--format", "uf3", "-o", "{out}"),
        ("anharmonicity", "{model}", "--structure", "{copper}/POSCAR", "--temperature", 300, "-o", "{out}"),
    ],
    ids=lambda verb: " ".join(map(str, verb[:1])),
)
def test_every_verb_refuses_a_damaged_file_by_name(trepid, copper: Path, tmp_path: Path, verb: tuple) -> None:
    data = bytearray((copper / "cu.trepid").read_bytes())
    data[-100] ^= 1
    (tmp_path / "m.trepid").write_bytes(data)
    out = tmp_path / "out"
    told = trepid(*(str(word).format(model=tmp_path / "m.trepid", copper=copper, out=out) for word in verb))
    assert f"{tmp_path}/m.trepid: damaged: its content does not have its check sum" in told.error
    assert not out.exists()


def test_check_tells_where_a_model_comes_from(trepid, copper: Path) -> None:
    told = trepid("check", copper / "cu.trepid", "--json")
    facts = json.loads(told.out)["facts"]
    assert told.code == 0
    assert facts["written by"] == f"trepid {__version__}"
    assert facts["check sum"].startswith("right (SHA-256 ")
    assert facts["tables"] == "those of the coefficients"
    assert facts["coefficients"].startswith("those of the statistics")
    assert (facts["trained on"], facts["labels"]) == ("6 frames", "6 energy, 144 forces")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("table.triplet", "table.triplet differs from what the coefficients give"),
        ("coefficients", "the coefficients are not the posterior mean of the statistics"),
        ("statistics.forces.projection", "the coefficients are not the posterior mean of the statistics"),
    ],
)
def test_check_computes_again_what_a_right_sum_cannot_show(
    trepid, copper: Path, tmp_path: Path, name: str, problem: str
) -> None:
    data = (copper / "cu.trepid").read_bytes()
    size = int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8 : 8 + size])[name]["data_offsets"]
    changed = bytearray(data)
    numbers = np.frombuffer(changed, dtype="<f8", count=(last - first) // 8, offset=8 + size + first)
    numbers *= 1.1
    (tmp_path / "m.trepid").write_bytes(with_right_sum(bytes(changed)))
    told = trepid("check", tmp_path / "m.trepid")
    assert told.code == 1
    assert problem in told.err


def test_files_of_the_version_before_load_with_a_warning(trepid, tmp_path: Path, caplog) -> None:
    old = CASES / "model_without_check_sum" / "si.trepid"
    model = load(old)
    assert "has no check sum" in caplog.text
    told = trepid("check", old)
    assert told.code == 0
    assert "check sum: none" in told.out
    assert "written by: an earlier version" in told.out
    caplog.clear()
    model.save(tmp_path / "new.trepid")
    assert load(tmp_path / "new.trepid").n_frames == model.n_frames
    assert "check sum" not in caplog.text


def test_a_changed_table_of_the_version_before_is_found(tmp_path: Path) -> None:
    tensors, settings = read_model(CASES / "model_without_check_sum" / "si.trepid")
    path = write_without_sum(tmp_path / "old.trepid", tensors, settings)
    assert load(path).n_frames == 16
    for table in ("table.offset", "table.pair", "table.triplet", "table.zbl"):
        changed = {name: array.copy() for name, array in tensors.items()}
        flat = changed[table].reshape(-1)
        flat[np.abs(flat).argmax()] *= 1.001
        with pytest.raises(DamagedModelError, match=f"{table} differs from what its coefficients give"):
            load(write_without_sum(tmp_path / "old.trepid", changed, settings))


# ---- what a file names


def marker_script(folder: Path) -> tuple[Path, Path]:
    """A program that writes a file when it is run by a shell or by Python, and that file."""
    marker = folder / "ran"
    script = folder / "tool.sh"
    script.write_text(f"#!/bin/sh\ntouch {marker}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script, marker


def renamed(path: Path, out: Path, **model: object) -> Path:
    """A committee file with other settings of its members, its check sums right."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(entries["manifest.json"])
    manifest["settings"]["model"] |= model
    entries["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out


@pytest.fixture
def hostile(script_committee: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A committee file that names a script which leaves a marker, and the marker."""
    marker = tmp_path / "ran"
    script = tmp_path / "plot.py"
    script.write_text(f"open({str(marker)!r}, 'w').close()\n")
    return renamed(script_committee, tmp_path / "shared.trepid", script=str(script)), marker


@pytest.mark.parametrize(
    "verb",
    [
        ("evaluate", "{model}", "{copper}/test.extxyz"),
        ("md", "{model}", "{copper}/POSCAR", "--temperature", 300, "--steps", 5, "-o", "{out}"),
        ("anharmonicity", "{model}", "--structure", "{copper}/POSCAR", "--temperature", 300, "-o", "{out}"),
    ],
    ids=lambda verb: verb[0],
)
def test_a_script_in_a_file_is_named_and_not_run(trepid, hostile, copper: Path, tmp_path: Path, verb: tuple) -> None:
    file, marker = hostile
    words = [str(word).format(model=file, copper=copper, out=tmp_path / "out") for word in verb]
    refusal = trepid(*words).error
    assert str(tmp_path / "plot.py") in refusal
    assert "--trust" in refusal
    assert not marker.exists()
    trepid(*words, "--trust")  # a plot is no worker, but it ran
    assert marker.exists()


def test_check_shows_what_a_file_names_and_runs_nothing(trepid, hostile, tmp_path: Path) -> None:
    file, marker = hostile
    for trust in ([], ["--trust"]):
        told = trepid("check", file, *trust)
        assert told.code == 0
        assert f"names to run: script {tmp_path / 'plot.py'}" in told.out
        assert ("--trust only" in told.err) is (not trust)
        assert not marker.exists()


def test_a_trusted_script_evaluates(trepid, script_committee: Path, copper: Path) -> None:
    told = trepid("evaluate", script_committee, copper / "test.extxyz", "--trust", "--json")
    assert told.code == 0
    assert json.loads(told.out)["n_frames"] == 2
    with pytest.raises(UntrustedFileError, match=r"script .*toy_worker\.py"):
        load(script_committee)
    assert load(script_committee, trust=True).n_frames == 8


def test_an_interpreter_in_a_file_is_not_used(
    script_committee: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """The environment of the user is, which here is another marker."""
    theirs, ran = marker_script(tmp_path)
    with zipfile.ZipFile(script_committee) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(entries["manifest.json"])
    manifest["settings"] |= {"backend": "nequip", "model": {"python": str(theirs)}}
    file = tmp_path / "nequip.trepid"
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in {**entries, "manifest.json": json.dumps(manifest).encode()}.items():
            archive.writestr(name, data)
    (tmp_path / "mine").mkdir()
    mine, my_marker = marker_script(tmp_path / "mine")
    monkeypatch.setenv("TREPID_NEQUIP_PYTHON", str(mine))
    with load(file) as committee, pytest.raises(BackendError):
        committee.predict(labelled(1)[0])
    assert my_marker.exists()
    assert not ran.exists()
    assert f"names the interpreter {theirs}, which is not used without --trust" in caplog.text
    with load(file, trust=True) as committee, pytest.raises(BackendError):
        committee.predict(labelled(1)[0])
    assert ran.exists()


def test_a_foundation_model_in_a_file_is_not_read(script_committee: Path, tmp_path: Path) -> None:
    file = renamed(script_committee, tmp_path / "f.trepid", foundation_model=str(tmp_path / "evil.model"))
    with pytest.raises(UntrustedFileError, match=r"foundation model \(a pickle\) .*evil\.model"):
        load(file)


def test_a_worker_reads_no_foundation_model_that_only_a_member_names(tmp_path: Path, monkeypatch) -> None:
    from trepid.potentials.committee.environments import environment_of
    from trepid.workers.scripts.worker_foundation import FOUNDATION_VARIABLE, foundation_of

    theirs, mine = tmp_path / "theirs.model", tmp_path / "mine.model"
    theirs.write_bytes(b"theirs")
    mine.write_bytes(b"mine")
    header = {"foundation": str(theirs), "foundation_sha256": hashlib.sha256(b"theirs").hexdigest()}
    monkeypatch.setenv(FOUNDATION_VARIABLE, "")
    with pytest.raises(ValueError, match=r"theirs\.model, which the settings of its committee do not name"):
        foundation_of(header)
    monkeypatch.setenv(FOUNDATION_VARIABLE, str(mine))
    with pytest.raises(ValueError, match="is not the file that this member started from"):
        foundation_of(header)
    assert foundation_of({**header, "foundation_sha256": hashlib.sha256(b"mine").hexdigest()}) == str(mine)
    assert foundation_of({"foundation": None}) is None
    settings = NequipSettings(python=shutil.which("true"), foundation_model=str(mine))
    assert environment_of(settings.backend, settings).foundation_model == str(mine)


# ---- what a campaign names

CAMPAIGN = """\
structure: {{file: POSCAR, supercell: [1, 1, 1]}}
reference:
{reference}
dynamics:
  stages: [{{temperature_K: 300, duration_ps: 0.01}}]
output: {{directory: run}}
"""


@pytest.fixture
def campaign(copper: Path, tmp_path: Path):
    def make(reference: str) -> Path:
        shutil.copy(copper / "POSCAR", tmp_path / "POSCAR")
        file = tmp_path / "campaign.yaml"
        file.write_text(CAMPAIGN.format(reference="\n".join(f"  {line}" for line in reference.splitlines())))
        return file

    return make


COMMANDS = {
    "class": "engine: ase\ncalculator: subprocess:Popen\nparameters: {{args: [touch, {marker}]}}",
    "function": "engine: ase\ncalculator: os:system\nparameters: {{command: touch {marker}}}",
    "module": "engine: ase\ncalculator: touching:Calculator",
    "cp2k": "engine: ase\ncalculator: cp2k\nparameters: {{command: 'touch {marker};'}}",
    "castep": "engine: ase\ncalculator: castep\nparameters: {{castep_command: {tool}}}",
    "shell": 'engine: lammps\ncommands:\n- if "1 == 1" then "shell touch {marker}"\n- pair_style zero 5\n- pair_coeff * *',
    "variable": "engine: lammps\ncommands:\n- variable s string shell\n- ${{s}} touch {marker}\n- pair_style zero 5",
    "python": "engine: lammps\ncommands:\n- pair_style python 5\n- pair_coeff * * touching.Potential Cu",
}


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("verb", [("check",), ("learn", "--dry-run")], ids=lambda verb: verb[0])
def test_checking_a_campaign_runs_nothing_of_it(
    trepid, campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, verb: tuple
) -> None:
    tool, marker = marker_script(tmp_path)
    (tmp_path / "touching.py").write_text(
        f"open({str(marker)!r}, 'w').close()\nclass Calculator: ...\nclass Potential: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    told = trepid(verb[0], campaign(COMMANDS[kind].format(marker=marker, tool=tool)), *verb[1:])
    assert not marker.exists()
    if kind in ("class", "function"):
        assert "is a module of Python itself and has no ASE calculators" in told.err
    else:
        assert told.code == 0
        assert "--trust" in told.out + told.err


def test_a_class_that_is_no_calculator_is_not_called(trepid, campaign, tmp_path: Path) -> None:
    told = trepid("learn", campaign(COMMANDS["class"].format(marker=tmp_path / "ran")))
    assert "is a module of Python itself" in told.error
    told = trepid("learn", campaign("engine: ase\ncalculator: ase.atoms:Atoms"))
    assert "ase.atoms:Atoms: Atoms is not an ASE calculator" in told.error
    assert not (tmp_path / "ran").exists()


def test_a_calculator_of_the_user_is_tested_with_trust(trepid, campaign, tmp_path: Path, monkeypatch) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "mine.py").write_text(
        f"from ase.calculators.emt import EMT\nopen({str(marker)!r}, 'w').close()\ndef make(): return EMT()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    file = campaign("engine: ase\ncalculator: mine:make")
    told = trepid("check", file)
    assert told.code == 0
    assert "not tested: mine:make, which is imported and called: --trust runs it" in told.out
    assert not marker.exists()
    assert trepid("check", file, "--trust").code == 0
    assert marker.exists()


@pytest.mark.parametrize(
    ("calculator", "problem"),
    [
        ("nowhere:make", "cannot import nowhere: there is no such module"),
        ("ase.nowhere:make", "cannot import ase.nowhere"),
        ("present:mke", "present has no class or function 'mke'; did you mean present:make?"),
    ],
)
def test_misspelt_calculators_are_found_without_importing(
    trepid, campaign, tmp_path: Path, monkeypatch, calculator: str, problem: str
) -> None:
    (tmp_path / "present.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef make(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    told = trepid("check", campaign(f"engine: ase\ncalculator: {calculator}"))
    assert told.code == 1
    assert problem in told.err
    assert not (tmp_path / "ran").exists()


def test_plain_references_are_still_tested(trepid, campaign) -> None:
    told = trepid("check", campaign("engine: lammps\ncommands: ['pair_style lj/cut 5', 'pair_coeff * * 0.1 2.3']"))
    assert "not tested" not in told.out
    told = trepid("check", campaign("engine: ase\ncalculator: emt\nparameters: {asap_cutof: 1}"))
    assert told.code == 1
    assert "has no parameter 'asap_cutof'" in told.err


def test_a_phonopy_file_with_code_is_refused(trepid, copper: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    file = tmp_path / "phonopy_params.yaml"
    file.write_text(f"phonopy: {{version: 2}}\nprimitive_cell: !!python/object/apply:os.system ['touch {marker}']\n")
    told = trepid(
        "anharmonicity", copper / "cu.trepid", "--phonopy", file, "--temperature", 300, "-o", tmp_path / "out"
    )
    assert "python/object/apply:os.system stands for code to run" in told.error
    assert not marker.exists()
