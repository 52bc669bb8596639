"""The order of the atoms, looked at in every frame."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from trepid.anharmonicity import HarmonicReference
from trepid.anharmonicity.ensemble import ensemble_sigma_a
from trepid.anharmonicity.order import in_order
from trepid.errors import DataError


def thermal(reference: HarmonicReference, n: int, *, spread: float = 0.1, drift: float = 0.0) -> list[Atoms]:
    """Frames near the crystal, drifting as a whole, each with a number on every atom."""
    rng = np.random.default_rng(0)
    frames = []
    for k in range(n):
        frame = reference.displaced(rng.normal(0.0, spread, (len(reference.supercell), 3)))
        frame.positions += drift * k
        frame.arrays["name"] = np.arange(len(frame))
        frame.wrap()
        frames.append(frame)
    return frames


def shuffled(frame: Atoms, seed: int, *, only: str | None = None) -> Atoms:
    """Another order; of one species alone the numbers stay those of the file."""
    rng = np.random.default_rng(seed)
    order = np.arange(len(frame))
    chosen = order if only is None else np.flatnonzero(np.array(frame.get_chemical_symbols()) == only)
    order[chosen] = rng.permutation(chosen)
    return frame[order]


@pytest.mark.parametrize("drift", [0.0, 0.3])
@pytest.mark.parametrize("only", [None, "first"])
def test_any_permutation_after_the_first_frame_is_undone(
    reference: HarmonicReference, drift: float, only: str | None
) -> None:
    species = None if only is None else reference.supercell.symbols[0]
    frames = thermal(reference, 6, drift=drift)
    mixed = [shuffled(frame, k, only=species) if k in (1, 2, 5) else frame for k, frame in enumerate(frames)]
    ordered = in_order(reference, mixed)
    assert ordered.reordered == (1, 2, 5)
    assert ordered.exchanged == ()
    for found, frame in zip(ordered.frames, frames, strict=True):
        np.testing.assert_array_equal(found.arrays["name"], frame.arrays["name"])
    assert "1, 2, 5" in ordered.remarks()[0]


def test_frames_in_order_are_returned_as_they_are(reference: HarmonicReference) -> None:
    frames = thermal(reference, 4, drift=0.7)
    ordered = in_order(reference, frames)
    assert all(found is frame for found, frame in zip(ordered.frames, frames, strict=True))
    assert ordered.remarks() == []


def test_two_atoms_that_change_places_are_named_and_left(reference: HarmonicReference) -> None:
    frames = thermal(reference, 4)
    a, b = np.flatnonzero(reference.supercell.numbers == reference.supercell.numbers[0])[:2]
    for frame in frames[2:]:
        frame.positions[[a, b]] = frame.positions[[b, a]]
    ordered = in_order(reference, frames)
    assert ordered.reordered == ()
    assert ordered.exchanged == ((2, (int(a), int(b))),)
    assert "frame 2: atoms" in ordered.remarks()[0]


def test_atoms_that_wander_are_no_other_order(reference: HarmonicReference) -> None:
    """All atoms go round a cycle of sites, a third of the way in each frame: far from their sites, near their last places."""
    start = reference.supercell
    same = np.flatnonzero(start.numbers == start.numbers[0])
    goal = start.positions.copy()
    goal[same] = start.positions[np.roll(same, 1)]
    steps = []
    for share in np.linspace(0.0, 1.0, 13):
        frame = start.copy()
        vectors = start.cell.scaled_positions(goal - start.positions)
        frame.positions += share * (vectors - np.round(vectors)) @ start.cell.array
        steps.append(frame)
    ordered = in_order(reference, steps)
    assert ordered.reordered == ()


def test_other_atoms_are_refused(reference: HarmonicReference) -> None:
    frames = thermal(reference, 2)
    frames[1].numbers[0] = 79
    with pytest.raises(DataError, match="frame 1 has the atoms"):
        in_order(reference, frames)


def test_sigma_a_of_an_ensemble_does_not_depend_on_the_order(
    reference: HarmonicReference, spring_crystal: object
) -> None:
    frames = thermal(reference, 4)
    mixed = [frames[0], *(shuffled(frame, k) for k, frame in enumerate(frames[1:]))]
    ensemble = [spring_crystal, spring_crystal]
    straight = ensemble_sigma_a(ensemble, reference, frames, own_harmonic=False)
    np.testing.assert_allclose(ensemble_sigma_a(ensemble, reference, mixed, own_harmonic=False), straight, rtol=1e-9)
