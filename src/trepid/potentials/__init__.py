"""Potentials: what predicts energies and forces, says how sure it is, and learns."""

from __future__ import annotations

from pathlib import Path

from trepid.potentials.base import Noise, Potential, Prediction, Uncertainty

__all__ = ["Noise", "Potential", "Prediction", "Uncertainty", "load_potential"]


def load_potential(path: str | Path, *, trust: bool = False) -> Potential:
    """Read a model file of any kind.

    Parameters
    ----------
    path : path
    trust : bool
        Run what a committee file names: a worker script, an interpreter, a foundation model.

    Raises
    ------
    UntrustedFileError
        The file names a worker script or a foundation model, and is not trusted.
    ModelFileError
        Missing, truncated, not a model of trepid, or of another version.
    """
    from trepid.potentials.committee.committee_file import is_committee_file

    if is_committee_file(path):
        from trepid.potentials.committee import Committee

        return Committee.load(path, trust=trust)
    from trepid.potentials.bayesian.force_field import BayesianForceField

    return BayesianForceField.load(path)
