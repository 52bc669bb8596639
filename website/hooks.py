"""Pages of the site that are not in docs/: files of the repository, and references made from the code.

Links of all pages are written for the repository. A link to a file that is a page of the site leads there; one to any other file
of the repository becomes its name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from reference import api_page, campaign_page, command_line_page

ROOT = Path(__file__).resolve().parents[1]
COPIED = {
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
MADE = {
    "reference/command-line.md": command_line_page,
    "reference/campaign-file.md": campaign_page,
    "reference/api.md": api_page,
}
SEARCH = "iframe-worker.js"
FETCHED = re.compile(r"<(?:script|img|iframe)[^>]*\ssrc=[\"']?((?:https?:)?//[^\"'\s>]+)")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def examples() -> dict[str, str]:
    """Pages of the examples by their files."""
    return {
        str(file.relative_to(ROOT)): f"examples/{file.parent.name}.md"
        for file in sorted((ROOT / "examples").glob("*/README.md"))
    }


def pages() -> dict[str, str]:
    """Pages of the site by the files of the repository."""
    docs = {str(file.relative_to(ROOT)): str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.md")}
    return {**docs, **COPIED, **examples()}


def examples_page() -> str:
    """All examples with their first sentence."""
    lines = ["# Examples", "", "| example | what it is |", "|---|---|"]
    for source, page in examples().items():
        text = (ROOT / source).read_text(encoding="utf-8")
        title = text.splitlines()[0].lstrip("# ")
        lines.append(f"| [{Path(page).stem}]({Path(page).name}) | {title} |")
    return "\n".join(lines) + "\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for source, page in {**COPIED, **examples()}.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for page, make in {**MADE, "examples/index.md": examples_page}.items():
        files.append(File.generated(config, page, content=make()))
    script = Path(__file__).with_name(SEARCH)
    files.append(File.generated(config, SEARCH, content=script.read_text(encoding="utf-8")))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads anything from the network."""
    if match := FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} loads {match[1]} from the network")
    return output


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the repository become links of the site."""
    uri = page.file.src_uri
    sources = {target: source for source, target in pages().items()}
    if uri not in sources:
        return markdown
    known, here = pages(), Path(sources[uri]).parent
    parts = FENCE.split(markdown)
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda m: _link(m, uri, here, known), part) for part in parts
    )


def _link(match: re.Match[str], uri: str, here: Path, known: dict[str, str]) -> str:
    image, text, target = match.groups()
    if re.match(r"[a-z]+:|#", target):
        return match.group(0)
    name, _, anchor = target.partition("#")
    source = os.path.normpath(here / name)
    if (ROOT / source).is_dir():
        source = f"{source}/README.md"
    folder = Path(uri).parent
    if source in known:
        moved = os.path.relpath(known[source], folder)
        return f"{image}[{text}]({moved}{'#' + anchor if anchor else ''})"
    if source.startswith("docs/"):
        return f"{image}[{text}]({os.path.relpath(source.removeprefix('docs/'), folder)})"
    return text
