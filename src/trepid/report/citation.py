"""What to cite for results of trepid: the content of CITATION.cff, which the tests compare with this file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

TITLE = "trepid: machine-learned interatomic potentials by active learning, for strongly anharmonic crystals"
AUTHORS = "the trepid developers"


@dataclass(frozen=True)
class Citation:
    """A sentence for a methods section, and the same for BibTeX."""

    text: str
    bibtex: str


def citation() -> Citation:
    """The citation of this version of trepid."""
    try:
        number = version("trepid")
    except PackageNotFoundError:
        number = "of unknown version"
    text = (
        f"Cite {AUTHORS[0].upper()}{AUTHORS[1:]}, {TITLE}, version {number}; and the reference method that made the labels, with "
        "its code. CITATION.cff of trepid names the papers of the methods."
    )
    bibtex = f"@software{{trepid,\n  title = {{{TITLE}}},\n  author = {{{{{AUTHORS}}}}},\n  version = {{{number}}}\n}}"
    return Citation(text, bibtex)
