"""What to cite for results of trepid: the content of CITATION.cff, which the tests compare with this file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

TITLE = "trepid: machine-learned interatomic potentials by active learning, for strongly anharmonic crystals"
AUTHORS = "the trepid developers"


@dataclass(frozen=True)
class Citation:
    """A sentence for a methods section, and the same for BibTeX."""

    text: str
    bibtex: str


def citation() -> Citation:
    """The citation of this version of trepid."""
    number = version("trepid")
    text = (
        f"{AUTHORS[0].upper()}{AUTHORS[1:]}, {TITLE}, version {number}. Cite the reference method that made the labels and its "
        "code too; CITATION.cff of trepid names the papers of its methods."
    )
    bibtex = f"@software{{trepid,\n  title = {{{TITLE}}},\n  author = {{{{{AUTHORS}}}}},\n  version = {{{number}}}\n}}"
    return Citation(text, bibtex)
