"""What a campaign will cost, measured before it runs: the time of one label, and of an MD step on a model of that label."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from trepid.campaign.context import crystal_of, potentials_of, reference_of
from trepid.campaign.start import initial_frames
from trepid.config import AnyCampaign, RoundsCampaign
from trepid.potentials.base import Uncertainty

MD_STEPS = 10
"""Predictions that the time of a step is averaged over."""
_DISPLACEMENT_A = 0.05


@dataclass(frozen=True)
class MeasuredCost:
    """Times measured on one displaced crystal.

    Attributes
    ----------
    n_atoms : int
    label_s : float
        Time of the label, s.
    md_s : float or None
        Time of all MD steps of the campaign (of a round, in rounds), with their uncertainty checks, s, without labels and
        training; None for a committee, whose members are not trained here.
    """

    n_atoms: int
    label_s: float
    md_s: float | None


def measure_cost(campaign: AnyCampaign) -> MeasuredCost:
    """Label one displaced crystal of a campaign, and predict it with a model of this label alone. Nothing is written.

    Raises
    ------
    ConfigError
        The system cannot be labelled by this reference.
    LabelError
        The label failed.
    """
    crystal = crystal_of(campaign)
    (frame,) = initial_frames(crystal, 1, displacement_A=_DISPLACEMENT_A, strain=0.0, seed=campaign.seed)
    with closing(reference_of(campaign)) as reference:
        began = time.perf_counter()
        labelled = reference.label(frame)
        label_s = time.perf_counter() - began
    md_s = None
    if campaign.potential.kind == "bayesian":
        potential = potentials_of(campaign, crystal).create()
        potential.fit([labelled])
        calculator = potential.calculator(uncertainty=Uncertainty.NONE)
        potential.predict(frame)  # builds what later calls use
        check_s = _time(lambda: potential.predict(frame))
        moved = frame.copy()

        def step() -> None:
            moved.positions += 1e-4
            calculator.calculate(moved, ["forces"], ["positions"])

        step()
        step_s = _time(step)
        if isinstance(campaign, RoundsCampaign):
            walkers = campaign.walkers
            n_steps, every = walkers.n_steps * walkers.n_walkers, walkers.check_every
        else:
            n_steps, every = campaign.dynamics.n_steps, campaign.learning.check_every
        md_s = n_steps * (step_s + check_s / every)
    return MeasuredCost(len(frame), label_s, md_s)


def _time(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(MD_STEPS):
        call()
    return (time.perf_counter() - began) / MD_STEPS
