"""How far a cell has gone from another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

_ALIKE = 5e-4
"""Changes of the lengths that differ by no more than this are told as one."""


@dataclass(frozen=True)
class CellChange:
    """A cell against the one it started from, as parts of that: 0.1 is 10 % longer.

    Attributes
    ----------
    volume : float
    lengths : tuple of three floats
        Of a, b and c.
    periodic : tuple of three bools
        Along which of them the structure repeats: the others are empty space, whose length says nothing.
    """

    volume: float
    lengths: tuple[float, float, float]
    periodic: tuple[bool, bool, bool] = (True, True, True)

    @classmethod
    def between(cls, given: Atoms, found: Atoms) -> CellChange:
        """From the cell of one structure to that of another."""
        a, b, c = (float(x) for x in found.cell.lengths() / given.cell.lengths() - 1)
        x, y, z = (bool(p) for p in given.pbc)
        return cls(float(found.cell.volume / given.cell.volume) - 1, (a, b, c), (x, y, z))

    @property
    def largest(self) -> float:
        """Largest change of a length along which the structure repeats, without sign; 0 where it repeats along none."""
        return max((abs(x) for x, repeats in zip(self.lengths, self.periodic, strict=True) if repeats), default=0.0)

    def __str__(self) -> str:
        told = [(name, x) for name, x, p in zip("abc", self.lengths, self.periodic, strict=True) if p]
        if not told:
            return "not periodic"
        percent = [f"{100 * change:+.2g} %" for _, change in told]
        one = float(np.ptp([change for _, change in told])) <= _ALIKE
        text = f"lengths {percent[0]}" if one else f"{', '.join(name for name, _ in told)} {', '.join(percent)}"
        return f"{text}, volume {100 * self.volume:+.2g} %" if all(self.periodic) else text

    def as_dict(self) -> dict[str, float | list[float | None] | None]:
        """Plain types, for JSON; None along directions without periodicity, and for the volume then."""
        lengths = [x if p else None for x, p in zip(self.lengths, self.periodic, strict=True)]
        return {"volume": self.volume if all(self.periodic) else None, "lengths": lengths}
