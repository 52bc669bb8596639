"""References made from the code: commands and their options, keys of a campaign file, public names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import typer
from pydantic import TypeAdapter

import trepid
from trepid.cli.main import app
from trepid.config import Campaign, RoundsCampaign
from trepid.config.key_types import type_in_words


def command_line_page() -> str:
    """Every command with its arguments and options, as its --help prints them."""
    lines = [
        "# Command line",
        "",
        "What `trepid COMMAND --help` says. Examples and exit codes: [commands](../commands.md).",
        "",
    ]
    plain = {**os.environ, "COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1"}
    for name in sorted(typer.main.get_command(app).commands):  # type: ignore[attr-defined]
        call = [sys.executable, "-m", "trepid", name, "--help"]
        text = subprocess.run(call, env=plain, capture_output=True, text=True, check=True).stdout
        lines += [f"## {name}", "", "```text", *(line.rstrip() for line in text.strip().splitlines()), "```", ""]
    return "\n".join(lines)


def campaign_page() -> str:
    """Every key of a campaign file."""
    lines = [
        "# Campaign file",
        "",
        "Every key with its type, default and range. `trepid init` writes a file with all of them explained, `trepid schema` the "
        "JSON schema that editors check and complete with. Unknown keys are errors.",
        "",
    ]
    done: set[str] = set()
    for title, model in (("On the fly", Campaign), ("Rounds", RoundsCampaign)):
        schema = TypeAdapter(model).json_schema()
        lines += [f"## {title}", "", *_table(schema, schema)]
        for name, definition in schema.get("$defs", {}).items():
            if name in done or "properties" not in definition:
                continue
            done.add(name)
            about = definition.get("description", "").split("\n\n")[0]
            lines += [f"### {name}", "", _plain(about), "", *_table(definition, schema)]
    return "\n".join(lines)


def api_page() -> str:
    """The public names of trepid."""
    lines = [
        "# Python",
        "",
        "The public names, with shapes, units and errors. How to use them: [Python](../python.md).",
        "",
    ]
    for name in sorted(trepid.__all__, key=str.lower):
        if not name.startswith("_"):
            lines += [f"::: {_place(name)}", ""]
    return "\n".join(lines)


def _place(name: str) -> str:
    """Where a public name is defined, so that its source is found without running it."""
    value = getattr(trepid, name)
    return f"{value.__module__}.{value.__qualname__}"


def _table(definition: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    required = definition.get("required", [])
    rows = []
    for name, value in definition["properties"].items():
        default = value.get("default")
        shown = (
            "required"
            if name in required
            else ""
            if default is None or default in ({}, [])
            else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        )
        rows.append(
            f"| `{name}` | {_type(value, schema)} | {_range(value)} | {shown} | {_plain(value.get('description', ''))} |"
        )
    return ["| key | type | range | default | |", "|---|---|---|---|---|", *rows, ""]


def _type(value: dict[str, Any], schema: dict[str, Any]) -> str:
    """Type of a key; settings classes are links."""
    return type_in_words(
        value, schema["$defs"], choice="`{}`".format, keys_of=lambda name: f"[{name}](#{name.lower()})"
    )


def _range(value: dict[str, Any]) -> str:
    options = value.get("anyOf", [value])
    found = []
    for option in options:
        low, above = option.get("minimum"), option.get("exclusiveMinimum")
        high, below = option.get("maximum"), option.get("exclusiveMaximum")
        parts = [f">= {low:g}" if low is not None else "", f"> {above:g}" if above is not None else ""]
        parts += [f"<= {high:g}" if high is not None else "", f"< {below:g}" if below is not None else ""]
        found.append(", ".join(part for part in parts if part))
    return "; ".join(dict.fromkeys(part for part in found if part))


def _plain(text: str) -> str:
    """Text for a cell of a table: one line, without the markup of Markdown."""
    return re.sub(r"([|<>*_\[\]])", r"\\\1", " ".join(text.split()))
