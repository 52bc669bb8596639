"""The pages of the documentation, and their blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/*/README.md", "benchmarks/README.md", "install/README.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes
    ----------
    page : str
        Path of the page in the repository.
    line : int
        Number of its first line.
    language : str
        Of the fence; "shell" for an indented block.
    text : str
    """

    page: str
    line: int
    language: str
    text: str

    def commands(self) -> list[str]:
        """Lines of a shell, without comments; a backslash continues one."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def blocks_of(page: Path) -> list[Block]:
    """Blocks of code of a page, in order: fenced ones, and indented ones after an empty line."""
    lines, found, k = page.read_text(encoding="utf-8").splitlines(), [], 0
    name = str(page.relative_to(ROOT))
    while k < len(lines):
        end = k + 1
        if lines[k].startswith("```"):
            while lines[end] != "```":
                end += 1
            found.append(Block(name, k + 1, lines[k][3:].strip(), "\n".join(lines[k + 1 : end])))
            end += 1
        elif lines[k].startswith("    ") and (k == 0 or not lines[k - 1].strip()):
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            found.append(Block(name, k + 1, "shell", "\n".join(line[4:] for line in lines[k:end]).rstrip()))
        k = end
    return found
