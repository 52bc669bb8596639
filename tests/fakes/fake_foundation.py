"""A foundation potential whose worker is `foundation_worker`: EMT in place of a network. Not a test file."""

from __future__ import annotations

from pathlib import Path

from trepid.reference.foundation import Foundation, FoundationModel, FoundationReference
from trepid.workers.environments import Package


class FakeFoundation(FoundationReference):
    """Runs under this Python, where ase is its package."""

    name = "fake"
    foundation = Foundation(
        title="Fake",
        package=Package("fake", "ase", "ase", "3", str(Path(__file__).parent / "foundation_worker.py")),
        licence="MIT",
        models=tuple(FoundationModel(how, "EMT") for how in ("plain", "density", "die", "fail", "no_load", "hang")),
        seconds_per_label=0.01,
        seconds_to_load=1,
    )
