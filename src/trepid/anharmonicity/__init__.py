"""Anharmonicity: the harmonic crystal of a material, how far its forces leave it (sigma^A), and frames drawn from it."""

from __future__ import annotations

from trepid.anharmonicity.blocking import BlockError, block_error
from trepid.anharmonicity.finite_displacements import harmonic_reference
from trepid.anharmonicity.harmonic import HarmonicReference
from trepid.anharmonicity.measure import (
    Anharmonicity,
    measure_anharmonicity,
    sigma_a,
    sigma_a_per_atom,
    sigma_a_per_frame,
    sigma_a_per_species,
)
from trepid.anharmonicity.modes import Imaginary, Modes
from trepid.anharmonicity.phonopy_files import read_phonopy, write_phonopy
from trepid.anharmonicity.phonopy_objects import from_phonopy, to_phonopy
from trepid.anharmonicity.sampling import harmonic_sample, one_shot_sample

__all__ = [
    "Anharmonicity",
    "BlockError",
    "HarmonicReference",
    "Imaginary",
    "Modes",
    "block_error",
    "from_phonopy",
    "harmonic_reference",
    "harmonic_sample",
    "measure_anharmonicity",
    "one_shot_sample",
    "read_phonopy",
    "sigma_a",
    "sigma_a_per_atom",
    "sigma_a_per_frame",
    "sigma_a_per_species",
    "to_phonopy",
    "write_phonopy",
]
