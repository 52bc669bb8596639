"""Every block of code of the documentation is run, in order, in a folder with the files that the page names, made small.

`make docs-run` runs these tests. A line that cannot run here is in `NOT_RUN` with its reason; every other line must succeed.
"""

from __future__ import annotations

import configparser
import fnmatch
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml

from command_line import Trepid
from documentation import PAGES, ROOT, Block, blocks_of
from documented_files import Prepared, shrunk
from trepid.config import Campaign, RoundsCampaign
from trepid.config.screening import ScreeningSettings
from trepid.errors import ExitCode


class Why(Enum):
    """Reasons why a line is not run."""

    INSTALLS = "installs software, or builds it for minutes"
    PROGRAM = "needs a program that is not here: a code under licence, another environment, a foundation potential, GPAW, PyTorch"
    CLUSTER = "needs a batch system or several nodes"
    MEASUREMENT = "a measurement of minutes to hours; its result is in the text"
    ITSELF = (
        "run elsewhere: a target of the Makefile (examples/cui: make demo), or a test of its own (examples/kesterite)"
    )
    PLACEHOLDER = "stands for what a user writes: a path, `...`"


@dataclass(frozen=True)
class Skipped:
    """Lines that are not run: on pages that match `pages`, those that contain `text`."""

    pages: str
    text: str
    why: Why

    def matches(self, page: str, line: str) -> bool:
        return fnmatch.fnmatch(page, self.pages) and self.text in line


NOT_RUN = [
    Skipped("*", "pip install", Why.INSTALLS),
    Skipped("docs/committees.md", "python3 -m venv", Why.INSTALLS),
    Skipped("docs/lammps.md", "cmake", Why.INSTALLS),
    Skipped("docs/tutorials/cluster.md", "apt install", Why.INSTALLS),
    Skipped("*", "make ", Why.ITSELF),
    Skipped("docs/measured.md", "", Why.MEASUREMENT),
    Skipped("examples/cui/*", "", Why.ITSELF),
    Skipped("examples/cui-rounds/*", "", Why.MEASUREMENT),
    Skipped("examples/stanene/*", "", Why.MEASUREMENT),
    Skipped("examples/stanene-large/*", "", Why.MEASUREMENT),
    Skipped("examples/toy-*", "", Why.MEASUREMENT),
    Skipped("examples/silicon-phonons/*", "", Why.MEASUREMENT),
    Skipped("examples/kesterite/*", "", Why.ITSELF),
    Skipped("examples/cui-committees/*", "", Why.PROGRAM),
    Skipped("examples/cui-events/*", "", Why.PROGRAM),
    Skipped("examples/aggase2-events/*", "", Why.PROGRAM),
    Skipped("examples/screening/*", "", Why.PROGRAM),
    Skipped("*", "trepid distil sevennet", Why.PROGRAM),
    Skipped("*", "trepid distil chgnet", Why.PROGRAM),
    Skipped("docs/tutorials/foundation.md", "--model chgnet.yaml", Why.PROGRAM),
    Skipped("docs/tutorials/foundation.md", "engine: gpaw", Why.PROGRAM),
    Skipped("docs/tutorials/my-crystal.md", "engine: gpaw", Why.PROGRAM),
    Skipped("docs/tutorials/my-crystal.md", "calculator: vasp", Why.PROGRAM),
    Skipped("docs/tutorials/my-crystal.md", "calculator: aims", Why.PROGRAM),
    Skipped("docs/tutorials/my-crystal.md", "calculator: espresso", Why.PROGRAM),
    Skipped("docs/tutorials/my-crystal.md", "calculator: cp2k", Why.PROGRAM),
    Skipped("docs/references.md", "calculator: mypackage", Why.PLACEHOLDER),
    Skipped("docs/references.md", "engine: sevennet", Why.PROGRAM),
    Skipped("docs/committees.md", "NequipSettings", Why.PROGRAM),
    Skipped("docs/torch.md", "", Why.PROGRAM),
    Skipped("docs/commands.md", "--format metatomic", Why.PROGRAM),
    Skipped("docs/tutorials/cluster.md", "#SBATCH", Why.CLUSTER),
    Skipped("docs/tutorials/cluster.md", "node.sh", Why.CLUSTER),
    Skipped("docs/tutorials/cluster.md", "sinfo", Why.CLUSTER),
    Skipped("docs/phonons.md", "...", Why.PLACEHOLDER),
]
"""The first entry that matches a line counts."""
MOST_NOT_RUN = 155
"""Lines that are not run; only a smaller number may take the place of this one."""

SILICON = (
    "README.md",
    "docs/conductivity.md",
    "docs/phonons.md",
    "docs/tutorials/first-model.md",
    "docs/measured.md",
    "examples/lammps/README.md",
)
"""Pages about silicon; all others are run with copper iodide."""

SHRUNK_EXAMPLES = ("examples/cui-pbe/README.md",)
"""Examples whose campaign needs a program that is not here, run with the labels of the small files instead."""

SMALLER: dict[str, list[tuple[str, str]]] = {
    "md": [
        (r"--duration \S+", ""),
        (r"--repeat \S+ \S+ \S+", ""),
        (r"--mpi \S+", ""),
        ("$", " --duration 0.5 --sample-every 10"),
    ],
    "phonons": [(r"--skip \S+", "--skip 5"), (r"$", " --posterior 3 --points 6 --mesh 20")],
    "conductivity": [
        (r"--(run|runs|draws|jobs) \S+", ""),
        (r"extxyz(.*?)( --repeat \S+)+", r"extxyz\1 --repeat 2"),
        (r"$", " --run 2 --runs 2 --equilibrate 0.1 --draws 0"),
    ],
    "audit": [(r"$", " --labels 3 --frames 0 --classes 1 --no-probes --images 3")],
    "anharmonicity": [(r"--index \S+", "--index 10::10"), (r"$", " --posterior 3")],
    "lifetimes": [(r"--resolution \S+", ""), ("$", " --resolution 0.5")],
    "events": [(r"--interval 2 ", "--interval 20 "), (r"--equilibrate \S+", "--equilibrate 0.02")],
    "analyse": [(r"--equilibrate \S+", "--equilibrate 0.5")],
    "fit": [(r"$", " --no-check --channels 0 --pair-cutoff 5 --triplet-cutoff 4")],
}
"""Changes of a command that make it short: patterns and what takes their place."""

SMALLER_IN_PYTHON = [
    (r"duration_ps=\d+", "duration_ps=0.1"),
    (r"repeats=\(\(3, 3, 3\), \(4, 4, 4\)\)", "repeats=((2, 2, 2),), run_ps=2, n_runs=2, equilibration_ps=0.1"),
    (r"jobs=4", "jobs=1"),
]

REPLACES = {"md", "analyse", "anharmonicity", "phonons", "lifetimes", "compare", "audit", "events", "conductivity"}
"""Verbs whose output folder is removed before: pages show several uses of one verb."""


def skipped(page: str, text: str) -> Skipped | None:
    """The entry of the table that keeps a line or block from running."""
    return next((entry for entry in NOT_RUN if entry.matches(page, text)), None)


class Page:
    """Runs the blocks of a page, one after the other, in a folder.

    Parameters
    ----------
    name : str
        Path of the page in the repository.
    folder : path
        With the files that the page names.
    prepared : Prepared
    trepid : Trepid
        Runs one command in this process.
    """

    def __init__(self, name: str, folder: Path, prepared: Prepared, trepid: Trepid) -> None:
        self.name, self.folder, self.prepared, self.trepid = name, folder, prepared, trepid
        self.names: dict[str, Any] = {}
        self.failures: list[str] = []

    def run(self, block: Block) -> None:
        """Run a block, and note what fails."""
        if block.language == "shell":
            for line in block.commands():
                if not skipped(self.name, line):
                    self._noting(block, line, lambda line=line: self._shell(line))
            return
        if block.language == "text" or skipped(self.name, block.text):
            return
        if block.language not in RUNNERS:
            self.failures.append(f"{self.name}:{block.line}: there is no way to run blocks of {block.language!r}")
            return
        self._noting(block, block.text, lambda: RUNNERS[block.language](self, block))

    def _noting(self, block: Block, text: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            told = str(error) if isinstance(error, RefusedError) else traceback.format_exc(limit=-3)
            self.failures.append(f"{self.name}:{block.line}: {text}\n    {told}")

    def _shell(self, line: str) -> None:
        for part in line.split(" && "):
            self._part(os.path.expandvars(part))

    def _part(self, line: str) -> None:
        if match := re.fullmatch(r"(?:export )?([A-Z_]+)=(\S+)", line):
            os.environ[match[1]] = match[2].replace("/folder/of/the/plugin", str(plugin_folder()))
        elif re.fullmatch(r"cd \S+", line):
            os.chdir(line.split()[1])
        elif line.startswith("trepid ") and not re.search(r"[|;<>]", line):
            self._command(line)
        else:
            environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line], env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RefusedError(done.returncode, done.stdout + done.stderr)

    def _command(self, line: str) -> None:
        verb = line.split()[1]
        for pattern, replacement in SMALLER.get(verb, []):
            if not (verb == "fit" and re.search("--(settings|speed|pair-cutoff|triplets)", line)):
                line = re.sub(pattern, replacement, line)
        words = [word for part in shlex.split(line)[1:] for word in expanded(part)]
        aside = self._moved_aside(verb, words)
        outcome = self.trepid(*words)
        for path, kept in aside.items():
            if path.exists():
                shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
            else:
                kept.rename(path)
        if outcome.code and not (outcome.code == ExitCode.UNTRUSTED and "--guard stop" in line):
            raise RefusedError(outcome.code, outcome.out + outcome.err)
        if verb == "init":
            shrunk(Path("campaign.yaml"), self.prepared.references)

    def _moved_aside(self, verb: str, words: list[str]) -> dict[Path, Path]:
        """Results of the same names, of earlier lines of the page: by where they were, where they are while the command runs."""
        if verb == "init":
            shutil.rmtree("run", ignore_errors=True)
            names = ["campaign.yaml", *(["cui.extxyz"] if "--example" in words else [])]
        else:
            output = next((b for a, b in itertools.pairwise(words) if a in ("-o", "--output")), None)
            output = output or ({"analyse": "analysis"}.get(verb, verb) if verb in REPLACES else "")
            names = [output, f"{output}.settings.yaml"] if output else []
        found = [Path(name) for name in names if Path(name).exists()]
        return {path: path.rename(f"{path}.aside") for path in found}


class RefusedError(Exception):
    """A command that ended with an exit code other than 0."""

    def __init__(self, code: int, told: str) -> None:
        super().__init__(f"exit code {code}: {told[-2000:]}")


def expanded(word: str) -> list[str]:
    """Files that a pattern of the shell names."""
    if not any(sign in word for sign in "*?"):
        return [word]
    return sorted(str(path) for path in Path().glob(word)) or [word]


def plugin_folder() -> Path:
    """Where the LAMMPS plugin lies."""
    from trepid.lammps import plugin_folder as folder

    return Path(folder())


# ---------------------------------------------------------------- blocks that are no shell


def run_python(page: Page, block: Block) -> None:
    """In one namespace for a page; a block that begins with the name of a file is that file."""
    if match := re.match(r"# (\w+\.py)\b", block.text):
        Path(match[1]).write_text(block.text, encoding="utf-8")
    if "worker_server" in block.text:
        worker_script(page, block)
        return
    if not page.names:
        page.names["__name__"] = "__docs__"
    text = block.text
    for folder in re.findall(r'directory=(?:Path\()?"(\w+)"', text):
        shutil.rmtree(folder, ignore_errors=True)
    for pattern, smaller in SMALLER_IN_PYTHON:
        text = re.sub(pattern, smaller, text)
    exec(compile(text, f"{page.name}:{block.line}", "exec"), page.names)


def worker_script(page: Page, block: Block) -> None:
    """A committee whose members are those of the script."""
    from trepid import Committee
    from trepid.data import read_frames
    from trepid.potentials.committee import CommitteeSettings, ScriptSettings

    Path("my_worker.py").write_text(block.text, encoding="utf-8")
    settings = CommitteeSettings(
        backend="script", n_members=2, model=ScriptSettings(script="my_worker.py", python=sys.executable)
    )
    frames = read_frames("train.extxyz")
    with Committee(page.prepared.species, settings=settings) as committee:
        committee.fit(frames)
        assert committee.predict(frames[0]).forces.shape == (len(frames[0]), 3)


def run_yaml(page: Page, block: Block) -> None:
    """Sections of a campaign or screening are put into one that is whole, which `trepid check` or `screen --plan` accepts."""
    value = yaml.safe_load(block.text)
    if set(value) - set(Campaign.model_fields) - set(RoundsCampaign.model_fields):
        assert set(value) <= set(ScreeningSettings.model_fields), sorted(value)
        base = yaml.safe_load((ROOT / "examples/screening/materials.yaml").read_text(encoding="utf-8"))
        file, command = Path("part-materials.yaml"), ["screen", "part-materials.yaml", "--plan"]
        base |= {"reference": page.prepared.reference, "materials": base["materials"][:2]}
    else:
        rounds = value.get("mode") == "rounds" or bool(set(value) - set(Campaign.model_fields))
        base = yaml.safe_load(Path("campaign.yaml").read_text(encoding="utf-8")) if not rounds else {}
        base |= {"structure": {"file": "POSCAR", "supercell": [2, 2, 2]}, "output": {"directory": "another-run"}}
        base |= {"mode": "rounds"} if rounds else {}
        base.setdefault("reference", page.prepared.reference)
        file, command = Path("part.yaml"), ["check", "part.yaml"]
    merged = {
        **base,
        **{k: {**base.get(k, {}), **v} if isinstance(v, dict) and k != "reference" else v for k, v in value.items()},
    }
    if "parsl" in merged.get("execution", {}):
        merged["execution"].pop("workers", None)
        Path(merged["execution"]["parsl"]).write_text(LOCAL_PARSL, encoding="utf-8")
    file.write_text(yaml.safe_dump(merged, sort_keys=False), encoding="utf-8")
    outcome = page.trepid(*command)
    if outcome.code:
        raise RefusedError(outcome.code, outcome.out + outcome.err)


LOCAL_PARSL = """\
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

config = Config(executors=[ThreadPoolExecutor()])
"""


def run_ini(page: Page, block: Block) -> None:
    """A configuration of ASE: every section is a calculator, every option one that ASE reads."""
    from ase.calculators.calculator import names

    parser = configparser.ConfigParser()
    parser.read_string(block.text)
    assert set(parser.sections()) <= set(names)


def run_lammps(page: Page, block: Block) -> None:
    """Lines of an input file, between those that read a crystal and a run of ten steps."""
    text = block.text.replace("/folder/of/the/plugin", str(plugin_folder()))
    charged = "charge" in text
    at = page.prepared.folder
    model = "charged.trepid" if charged else str(at / "cui.trepid")
    species = " ".join(page.prepared.species)
    if charged:
        outcome = page.trepid("fit", "train.extxyz", "-o", model, "--charges", "Cu=1,I=-1", "--no-check", "--force")
        assert outcome.code == 0, outcome
        text = text.replace("cui.trepid", model)
    shutil.rmtree("lammps-input", ignore_errors=True)
    where = ("--engine", "lammps", "--input-only", "-o", "lammps-input")
    made = page.trepid("md", model, at / "crystal.extxyz", "--temperature", 300, *where)
    assert made.code == 0, made
    own = Path("lammps-input/in.lammps").read_text(encoding="utf-8")
    for sign, value in zip(
        ("charge 0.4045...", "charge -0.4045..."), re.findall(r"^set type \d (charge \S+)", own, re.M), strict=False
    ):
        text = text.replace(sign, value)
    lines = text.splitlines()
    first = next((k for k, line in enumerate(lines) if re.match(r"pair_style|plugin|compute", line)), 0)
    lines.insert(first, "read_data lammps-input/start.data")
    if "units" not in text:
        lines.insert(0, "units metal\nnewton on\natom_modify map yes")
    if "pair_style" not in text:
        lines.insert(first + 2, f"pair_style trepid\npair_coeff * * {model} {species}")
    Path("in.block").write_text("\n".join([*lines, "run 10", ""]), encoding="utf-8")
    page._shell("lmp -in in.block -log none")


def run_script(page: Page, block: Block) -> None:
    """A script as a whole."""
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(done.returncode, done.stdout + done.stderr)


RUNNERS: dict[str, Callable[[Page, Block], None]] = {
    "python": run_python,
    "yaml": run_yaml,
    "ini": run_ini,
    "lammps": run_lammps,
    "bash": run_script,
}


# ---------------------------------------------------------------- tests


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    """The folder of files of CuI or of silicon, made when it is first asked for."""
    kept: dict[str, Prepared] = {}

    def get(name: str) -> Prepared:
        if name not in kept:
            kept[name] = Prepared(tmp_path_factory.mktemp("docs") / name, name)
        return kept[name]

    return get


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Folder and environment as before."""
    before = dict(os.environ)
    monkeypatch.chdir(Path.cwd())
    yield
    os.environ.clear()
    os.environ.update(before)


WITH_CODE = [page for page in PAGES if blocks_of(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_all_blocks_of_a_page_run(
    page: Path,
    prepared: Callable[[str], Prepared],
    tmp_path: Path,
    at_home: None,
    monkeypatch: pytest.MonkeyPatch,
    trepid: Trepid,
) -> None:
    name = str(page.relative_to(ROOT))
    files = prepared("si" if name in SILICON else "cui")
    folder = files.copy(tmp_path / "work")
    if name.startswith("examples/"):
        shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("run*"))
        folder = tmp_path / name.removesuffix("/README.md")
    if name in SHRUNK_EXAMPLES:
        shrunk(folder / "campaign.yaml", files.references)
        shutil.copy(files.folder / "test.extxyz", folder / "OTHER.extxyz")
    monkeypatch.chdir(folder)
    runner = Page(name, folder, files, trepid)
    for block in blocks_of(page):
        runner.run(block)
    assert not runner.failures, "\n\n".join(runner.failures)


def lines_of(page: Path) -> list[str]:
    """What is run or not, one by one: lines of a shell, and other blocks as a whole."""
    found = []
    for block in blocks_of(page):
        if block.language != "text":
            found += block.commands() if block.language == "shell" else [block.text]
    return found


def test_the_table_of_lines_that_are_not_run_has_no_entry_too_many() -> None:
    for entry in NOT_RUN:
        hits = [
            line for page in PAGES for line in lines_of(page) if skipped(str(page.relative_to(ROOT)), line) is entry
        ]
        assert hits, f"{entry} keeps nothing from running"


def test_the_lines_that_are_not_run_do_not_become_more() -> None:
    kept = [line for page in PAGES for line in lines_of(page) if skipped(str(page.relative_to(ROOT)), line) is not None]
    assert len(kept) <= MOST_NOT_RUN, "run the new lines, or make others run in their place"


def test_every_block_has_a_language() -> None:
    known = {"shell", "text", *RUNNERS}
    for page in PAGES:
        for block in blocks_of(page):
            assert block.language in known, f"{block.page}:{block.line}: {block.language!r}"
