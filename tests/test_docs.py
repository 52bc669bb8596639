from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from documentation import FENCE, PAGES, ROOT
from trepid.cli.main import app
from trepid.config import Campaign, RoundsCampaign
from trepid.config.key_types import type_in_words

MOST_WORDS = 700
"""Of the README, outside code blocks; tables count."""
LINK = re.compile(r"(?:\]\(|\b(?:src|href)=\")([^)\s\"]+)")
CALL = re.compile(r"(?:^ *|`|&& |bin/)trepid ([a-z]+)\b", re.MULTILINE)
"""A command line: at the start of a line of code or of inline code, or after another command."""
INLINE = re.compile(r"`[^`\n]+`")


def without_code_blocks(text: str) -> str:
    """Text without fenced and indented code blocks."""
    prose: list[str] = []
    for line in FENCE.sub("", text).splitlines():
        previous = prose[-1] if prose else ""
        # Indented after an empty line, or after such code, is code; after a list item it is its continuation.
        if line.startswith("    ") and not previous:
            continue
        prose.append(line)
    return "\n".join(prose)


def code(text: str) -> str:
    """Code of a page: fenced and indented blocks, and inline code."""
    indented = [line for line in text.splitlines() if line.startswith("    ")]
    return "\n".join([*FENCE.findall(text), *indented, *INLINE.findall(text)])


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_pages_are_found() -> None:
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/extending.md"} <= {
        str(path.relative_to(ROOT)) for path in PAGES
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    verbs = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for verb in CALL.findall(code(page.read_text(encoding="utf-8"))):
        assert verb in verbs or verb == "myverb", f"{page.name} names `trepid {verb}`"


def test_every_command_is_documented() -> None:
    table = re.findall(r"^\| `([a-z]+)` \|", (ROOT / "docs/commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(table) >= set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_readme_is_short() -> None:
    assert len(without_code_blocks((ROOT / "README.md").read_text(encoding="utf-8")).split()) <= MOST_WORDS


# ---------------------------------------------------------------- keys of a campaign in rounds, from its schema

SECTIONS = {
    "potential": ("PotentialSettings", "CommitteeSettings"),
    "start": ("DisplacedStart", "HarmonicStart", "FramesStart"),
    "walkers": ("WalkerSettings",),
    "acquisition": ("AcquisitionSettings",),
    "rounds": ("RoundSettings",),
    "execution": ("ExecutionSettings",),
}


def row_of(name: str, value: dict[str, Any], schema: dict[str, Any], *, required: bool) -> str:
    default = value.get("default")
    shown = "required" if required else "" if default is None or default == {} else str(default)
    meaning = " ".join(value.get("description", "").split()).replace(" |", ";")
    shown = shown.lower() if isinstance(default, bool) else shown
    return f"| `{name}` | {type_in_words(value, schema['$defs'])} | {shown} | {meaning} |"


def table_of(model: str, schema: dict[str, Any]) -> str:
    definition = schema["$defs"][model]
    required = definition.get("required", [])
    rows = [row_of(name, value, schema, required=name in required) for name, value in definition["properties"].items()]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


SCHEMA = RoundsCampaign.model_json_schema()


@pytest.mark.parametrize(
    "model",
    [model for models in SECTIONS.values() for model in models] + ["BiasSettings", "PropertyStop", "RoundAudit"],
)
def test_the_keys_of_a_campaign_in_rounds_stand_with_type_default_and_meaning(model: str) -> None:
    text = (ROOT / "docs" / "rounds.md").read_text(encoding="utf-8")
    table = table_of(model, SCHEMA)
    assert table in text, f"docs/rounds.md lacks this table of {model}:\n{table}"


@pytest.mark.parametrize(
    "model", ["StructureSettings", "DynamicsSettings", "Stage", "LearningSettings", "OutputSettings"]
)
def test_the_keys_of_a_campaign_on_the_fly_stand_with_type_default_and_meaning(model: str) -> None:
    text = (ROOT / "docs" / "on-the-fly.md").read_text(encoding="utf-8")
    table = table_of(model, Campaign.model_json_schema())
    assert table in text, f"docs/on-the-fly.md lacks this table of {model}:\n{table}"
