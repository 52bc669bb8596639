"""Bayesian force field: a Gaussian process of pairs and triplets on splines, and its exact counterpart."""

from __future__ import annotations

from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.terms import Hyperparameters

__all__ = ["BayesianForceField", "Hyperparameters"]
