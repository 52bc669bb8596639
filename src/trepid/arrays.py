"""Names for the types of arrays, used in signatures (docstrings give shapes and units), and their root mean square."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
"""Array of double precision numbers."""
IntArray: TypeAlias = NDArray[np.int64]
"""Array of whole numbers: counts, cell vectors in units of others."""
IndexArray: TypeAlias = NDArray[np.intp]
"""Array of indices into another array."""


def rms(values: FloatArray) -> float:
    """Root mean square of all elements."""
    return float(np.sqrt(np.mean(values**2)))
