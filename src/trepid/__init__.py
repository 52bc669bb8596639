"""trepid: machine-learned interatomic potentials by active learning, for strongly anharmonic crystals.

The names below are the public interface; they are imported when first used, so that `import trepid` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trepid.anharmonicity.measure import sigma_a as sigma_a
    from trepid.potentials.base import Noise as Noise
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
    "Hyperparameters": "trepid.potentials.bayesian.terms",
    "Noise": "trepid.potentials.base",
    "Prediction": "trepid.potentials.base",
    "Uncertainty": "trepid.potentials.base",
    "sigma_a": "trepid.anharmonicity.measure",
}

__all__ = [
    "BayesianForceField",
    "Committee",
    "ExactGP",
    "Hyperparameters",
    "Noise",
    "Prediction",
    "Uncertainty",
    "sigma_a",
]

try:
    __version__ = version("trepid")
except PackageNotFoundError:  # imported from a source tree that is not installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'trepid' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
