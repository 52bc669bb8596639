from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from trepid.cli.main import app
from trepid.errors import BackendError, NumericsError, TrepidError, UntrustedError
from trepid.execution import TaskCrashed

VERBS = (
    "init",
    "check",
    "learn",
    "fit",
    "evaluate",
    "md",
    "analyse",
    "anharmonicity",
    "phonons",
    "lifetimes",
    "compare",
    "audit",
    "events",
    "conductivity",
    "export",
    "status",
    "plan",
    "report",
    "distil",
    "screen",
    "schema",
    "doctor",
)
HEAVY = ("numpy", "scipy", "ase", "matplotlib", "tblite", "jinja2", "yaml", "trepid._native", "trepid.config")


def test_help_lists_every_verb(trepid) -> None:
    outcome = trepid("--help")
    assert outcome.code == 0
    for verb in VERBS:
        assert f" {verb} " in outcome.out
    assert trepid().out == outcome.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(trepid, verb: str) -> None:
    outcome = trepid(verb, "--help")
    assert outcome.code == 0
    assert "Usage: trepid " + verb in outcome.out


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from trepid.cli.main import run; assert run(['--help']) == 0\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(*heavy, file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stderr.split() == []


def test_version(trepid) -> None:
    assert trepid("--version").out.startswith("trepid ")


def test_the_command_line_of_an_interpreter(trepid) -> None:
    told = subprocess.run([sys.executable, "-m", "trepid", "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == trepid("--version").out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("learm",), "No such command 'learm'; did you mean 'learn'?; try 'trepid --help'"),
        (("fit", "a.extxyz"), "Missing option"),
        (("fit", "a.extxyz", "-o", "m", "--pair-cutof", "5"), "--pair-cutof; did you mean '--pair-cutoff'?"),
        (("fit", "a.extxyz", "-o", "m", "--xyzzy", "5"), "No such option: --xyzzy; try 'trepid fit --help'"),
        (("md", "m", "s", "--engine", "lamps"), "'lamps' is not one of 'ase', 'lammps'; did you mean 'lammps'?"),
        (("fit", "a.extxyz", "-o", "m", "--pair-cutoff", "five"), "five"),
        (("md", "m", "s", "--temp", "300"), "No such option: --temp; did you mean '--temperature'?"),
        (("fit", "a.extxyz", "-o", "m", "--trip", "5"), "No such option: --trip; did you mean '--triplets'?"),
        (
            ("init", "POSCAR", "--supercell", "2", "2", "-o", "x.yaml"),
            "'--supercell': give 3 whole numbers, such as --supercell 2 2 2, not '2 2'; try 'trepid init --help'",
        ),
        (
            ("phonons", "m", "s", "--supercell", "2", "-o", "x"),
            "give 3 whole numbers, such as --supercell 2 2 2, not '2';",
        ),
        (("md", "m", "s", "--repeat", "2x2x2", "--temperature", "300"), "such as --repeat 2 2 2, not '2x2x2'"),
        (("phonons", "--supercell", "2"), "requires 3 arguments; try 'trepid phonons --help'"),
        (("md", "m", "s", "--temperature", "300", "--thermostat", "andersen"), "andersen"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(trepid, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in trepid(*arguments).error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TrepidError, 2),
        (NumericsError, 3),
        (UntrustedError, 4),
        (BackendError, 6),
        (TaskCrashed, 6),
    ],
)
def test_errors_of_the_user_set_the_exit_code(trepid, monkeypatch, error: type[TrepidError], code: int) -> None:
    def fail() -> None:
        raise error("first half\n  second half")

    monkeypatch.setattr(_command("schema"), "callback", fail)
    outcome = trepid("schema")
    assert (outcome.code, outcome.err) == (code, "error: first half second half\n")


def test_a_flag_takes_no_value_in_the_help(trepid) -> None:
    told = trepid("init", "--help").out
    line = next(line for line in told.splitlines() if "--slab" in line)
    assert "bool" not in line.lower()


def test_control_c_is_130(trepid, monkeypatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_command("schema"), "callback", interrupt)
    assert trepid("schema").code == 130


def test_a_defect_keeps_its_traceback(trepid, monkeypatch) -> None:
    def defect() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(_command("schema"), "callback", defect)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        trepid("schema")


@pytest.mark.parametrize("arguments", ["schema", "audit --help"])
def test_a_closed_output_pipe_is_no_error(arguments: str) -> None:
    command = f"{sys.executable} -m trepid.cli.main {arguments} | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() in ("{", "")  # the help begins with an empty line
    assert done.stderr == ""


def test_warnings_of_the_library_reach_stderr_only(trepid) -> None:
    trepid("schema")
    logger = logging.getLogger("trepid")
    assert len(logger.handlers) == 1
    assert logger.level == logging.WARNING
    trepid("--verbose", "schema")
    assert logger.level == logging.INFO


def _command(name: str):
    return next(command for command in app.registered_commands if command.name == name)
