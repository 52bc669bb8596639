"""trepid: machine-learned interatomic potentials by active learning, for strongly anharmonic crystals.

The names below are the public interface; they are imported when first used, so that `import trepid` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__: str

if TYPE_CHECKING:
    from trepid.anharmonicity.harmonic import HarmonicReference as HarmonicReference
    from trepid.anharmonicity.measure import sigma_a as sigma_a
    from trepid.api import evaluate as evaluate
    from trepid.api import find_events as find_events
    from trepid.api import fit as fit
    from trepid.api import learn as learn
    from trepid.api import load as load
    from trepid.api import md as md
    from trepid.potentials.base import Noise as Noise
    from trepid.potentials.base import Potential as Potential
    from trepid.potentials.base import Prediction as Prediction
    from trepid.potentials.base import Uncertainty as Uncertainty
    from trepid.potentials.bayesian.force_field import BayesianForceField as BayesianForceField
    from trepid.potentials.bayesian.terms import Hyperparameters as Hyperparameters
    from trepid.potentials.committee import Committee as Committee
    from trepid.testing import ExactGP as ExactGP

_PUBLIC = {
    "BayesianForceField": "trepid.potentials.bayesian.force_field",
    "Committee": "trepid.potentials.committee",
    "ExactGP": "trepid.testing",
    "HarmonicReference": "trepid.anharmonicity.harmonic",
    "Hyperparameters": "trepid.potentials.bayesian.terms",
    "Noise": "trepid.potentials.base",
    "Potential": "trepid.potentials.base",
    "Prediction": "trepid.potentials.base",
    "Uncertainty": "trepid.potentials.base",
    "evaluate": "trepid.api",
    "find_events": "trepid.api",
    "fit": "trepid.api",
    "learn": "trepid.api",
    "load": "trepid.api",
    "md": "trepid.api",
    "sigma_a": "trepid.anharmonicity.measure",
}

__all__ = [
    "BayesianForceField",
    "Committee",
    "ExactGP",
    "HarmonicReference",
    "Hyperparameters",
    "Noise",
    "Potential",
    "Prediction",
    "Uncertainty",
    "evaluate",
    "find_events",
    "fit",
    "learn",
    "load",
    "md",
    "sigma_a",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _PUBLIC:
        raise AttributeError(f"module 'trepid' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # deferred: a tenth of a second

    try:
        return version("trepid")
    except PackageNotFoundError:  # imported from a source tree that is not installed
        return "unknown"


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
