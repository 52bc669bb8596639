"""EMT that takes its time and notes what it computes; importable by workers. Not a test file."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from ase import Atoms
from ase.calculators.emt import EMT

SECONDS = "TREPID_TEST_SECONDS"
"""Variable of the environment: time of an evaluation, s."""
NOTES = "TREPID_TEST_NOTES"
"""Variable of the environment: a folder for the notes; without it none are made."""


class CountedEMT(EMT):  # type: ignore[misc]
    """EMT; at the beginning and at the end of an evaluation it appends the digest of the positions to a file."""

    def calculate(self, atoms: Atoms | None = None, *args: object, **kwargs: object) -> None:
        """Note, wait, compute, note."""
        assert atoms is not None
        digest = hashlib.sha256(atoms.positions.tobytes()).hexdigest()[:16]
        note("begun", digest)
        time.sleep(float(os.environ.get(SECONDS, "0")))
        super().calculate(atoms, *args, **kwargs)
        note("ended", digest)


def note(what: str, digest: str) -> None:
    """One line, written at once."""
    folder = os.environ.get(NOTES)
    if folder is None:
        return
    line = os.open(Path(folder) / what, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(line, f"{digest}\n".encode())
    os.close(line)


def noted(folder: Path, what: str) -> list[str]:
    """Digests of the evaluations so far."""
    path = folder / what
    return path.read_text().split() if path.exists() else []
