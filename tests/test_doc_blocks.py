"""Every block of code of the documentation: commands parse with their options, campaign files fit the schema, Python compiles and
imports what exists."""

from __future__ import annotations

import ast
import builtins
import re
import shlex
import symtable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import TypeAdapter, ValidationError

from documentation import FENCE, PAGES, ROOT
from trepid.cli.main import app
from trepid.config import Campaign, RoundsCampaign

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
EXTRAS = {"trepid.torch": "torch", "trepid.torch.simulation": "torch_sim", "trepid.torch.metatomic": "metatomic"}
"""Modules, and the package of an extra without which they cannot be imported."""
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def fenced(text: str, language: str) -> list[str]:
    """Contents of the fenced blocks of one language."""
    return [
        block.split("\n", 1)[1].rsplit("\n", 1)[0]
        for block in FENCE.findall(text)
        if block.split("\n", 1)[0][3:].strip() == language
    ]


def command_lines(text: str) -> list[str]:
    """Complete command lines of indented and shell blocks; a backslash continues one."""
    blocks = [*fenced(text, "bash"), *fenced(text, "")]
    indented = [line[4:] for line in FENCE.sub("", text).splitlines() if line.startswith("    ")]
    lines = "\n".join([*blocks, *indented]).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        for part in re.split(r"&&|;", line):
            words = part.strip()
            if words.startswith("trepid "):
                found.append(words.split(" #")[0].rstrip())
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_options_of_commands_exist(page: Path) -> None:
    for line in command_lines(page.read_text(encoding="utf-8")):
        words = shlex.split(line, comments=True)
        if len(words) < 2 or words[1] not in COMMANDS:
            continue  # that the command exists is tested in test_docs.py
        known = {name for p in COMMANDS[words[1]].params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
        options = {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-zA-Z]", word)}
        assert options <= known, f"{page.name}: {line}: {sorted(options - known)}"


def sections_of(value: dict[str, Any]) -> list[str]:
    """What is wrong with the sections that a part of a campaign file shows; missing ones are not."""
    model = RoundsCampaign if value.get("mode") == "rounds" or set(value) - set(Campaign.model_fields) else Campaign
    try:
        TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}"
            for e in error.errors()
            if not (e["type"] == "missing" and len(e["loc"]) == 1)
        ]
    return []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_parts_of_campaign_files_fit_the_schema(page: Path) -> None:
    known = set(Campaign.model_fields) | set(RoundsCampaign.model_fields)
    for block in fenced(page.read_text(encoding="utf-8"), "yaml"):
        value = yaml.safe_load(block)
        # The keys of an engine at the top of a file are refused.
        assert not (isinstance(value, dict) and "engine" in value), f"{page.name}: no section `reference`:\n{block}"
        if isinstance(value, dict) and set(value) <= known:
            problems = [p for p in sections_of(value) if "there is no such file" not in p]
            assert not problems, f"{page.name}:\n{block}\n{problems}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_compiles_and_imports_what_exists(page: Path) -> None:
    for block in fenced(page.read_text(encoding="utf-8"), "python"):
        for node in ast.walk(ast.parse(block)):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("trepid"):
                continue
            assert node.module is not None
            if any(node.module.startswith(name) and find_spec(extra) is None for name, extra in EXTRAS.items()):
                continue
            module = import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{page.name}: {node.module} has no {alias.name}"


def names_in(text: str) -> tuple[set[str], set[str]]:
    """Names that a block of Python takes as given, and those that it defines at its top level."""
    module = symtable.symtable(text, "block", "exec")
    own = {s.get_name() for s in module.get_symbols() if s.is_assigned() or s.is_imported()}
    tables, free = [module], set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        free |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return free - own - set(dir(builtins)) - {"__name__"}, own


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_uses_names_that_the_page_has_defined(page: Path) -> None:
    known: set[str] = set()
    for block in fenced(page.read_text(encoding="utf-8"), "python"):
        given, own = names_in(block)
        assert given <= known, f"{page.name}: {sorted(given - known)} come from nowhere:\n{block}"
        known |= own


def test_names_from_nowhere_are_found() -> None:
    assert names_in("import a\nb = a.c(d)\ndef f(x):\n    return x + e\nprint(b)") == ({"d", "e"}, {"a", "b", "f"})


def test_blocks_are_found() -> None:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    assert sum(len(command_lines(text)) for text in texts) > 60
    assert sum(len(fenced(text, "yaml")) for text in texts) > 10
    assert sum(len(fenced(text, "python")) for text in texts) > 8
    assert sections_of({"reference": {"engine": "gpaw", "cutoff": 300}})
