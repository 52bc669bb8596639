"""Error bars of the forces by other rules, beside those of trepid, on the strata of known truths.

Trained on the calm crystal of every truth of `strata.py` (whose frames `strata.py make` makes), default settings. Share of force
components inside the 95 % interval, in per cent / mean half width in multiples of that of trepid, by

trepid     noise and scale of the posterior by leaving frames out, with the share of the neighbours
student    the same with Student-t residuals, their degrees of freedom by maximum likelihood too
jackknife  posterior variance, plus the spread of the models that leave one frame out, plus the noise of maximum evidence
pops       posterior variance, plus the box of the smallest steps that fit single labels exactly (Swinburne and Perez, Mach.
           Learn.: Sci. Technol. 6, 015008 (2025)), plus the noise of maximum evidence
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from _common import Report  # first: it sets one thread, before BLAS is loaded

# isort: split

import numpy as np
from _strata_frames import load
from _strata_truths import HELD_OUT, Group, Stratum, chosen_truths
from ase import Atoms
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm, t

from trepid.evaluation import compare
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.leave_one_out import LeftOut
from trepid.potentials.bayesian.statistics import LabelKind, LabelRows, merged_rows
from trepid.potentials.bayesian.training import FrameErrors

FloatArray = NDArray[np.float64]
N_TRAIN = 20
EVERY = 3
"""Every n-th frame of a stratum is judged."""
NORMAL = float(norm.ppf(0.975))


@dataclass(frozen=True)
class StudentBar:
    """Residuals of scale sqrt((noise m)^2 + scale^2 v) and `freedom` degrees of freedom."""

    noise: float
    scale: float
    freedom: float

    @classmethod
    def fit(cls, left_out: LeftOut, noise: float) -> StudentBar:
        """By maximum likelihood."""
        r, v, m = left_out.residual, left_out.variance, left_out.multiplier

        def objective(x: FloatArray) -> float:
            width = np.sqrt((np.exp(x[0]) * m) ** 2 + np.exp(2 * x[1]) * v)
            return -float(np.mean(t.logpdf(r / width, 2 + np.exp(x[2])) - np.log(width)))

        starts = [[np.log(noise), scale, 1.0] for scale in (0.1, 1.0)]
        found = [minimize(objective, start, method="Nelder-Mead", options={"maxiter": 300}) for start in starts]
        x = min(found, key=lambda each: each.fun).x
        return cls(float(np.exp(x[0])), float(np.exp(x[1])), float(2 + np.exp(x[2])))

    def half(self, variance: FloatArray, multiplier: FloatArray) -> FloatArray:
        """Half width of the 95 % interval."""
        return np.asarray(
            t.ppf(0.975, self.freedom) * np.sqrt((self.noise * multiplier) ** 2 + self.scale**2 * variance)
        )


@dataclass(frozen=True, eq=False)
class Spreads:
    """Second moments of the posterior mean, in the coordinates of the posterior that the labels see, by rule."""

    jackknife: FloatArray
    pops: FloatArray

    @classmethod
    def of(cls, model: BayesianForceField, frames: Sequence[Atoms]) -> Spreads:
        """Of the training frames."""
        posterior, steps, shifts = model.posterior, [], []
        for atoms in frames:
            labels = rows_of(model, atoms)
            sigma = np.concatenate([part.kind.noise(posterior.hyper.noise) * part.multipliers for part in labels])
            rows = np.concatenate([part.rows for part in labels])
            residual = np.concatenate([part.residuals for part in labels]) - rows @ posterior.mean
            rotated = posterior.rotated_labels(rows).T
            psi = rotated / sigma[:, None]
            inner = np.linalg.solve(np.eye(psi.shape[1]) - psi.T @ psi, psi.T @ (residual / sigma))
            shifts.append(inner)  # Psi^T (1 - Psi Psi^T)^-1 rho = (1 - Psi^T Psi)^-1 Psi^T rho
            leverage = np.einsum("ij,ij->i", rotated, rotated)
            kept = leverage >= np.median(leverage)
            steps.append(rotated[kept] * (residual[kept] / leverage[kept])[:, None])
        away = np.array(shifts) - np.mean(shifts, axis=0)
        all_steps = np.concatenate(steps)
        axes = np.linalg.eigh(all_steps.T @ all_steps)[1]
        along = all_steps @ axes
        low, high = along.min(axis=0), along.max(axis=0)
        middle = axes @ ((low + high) / 2)
        return cls(away.T @ away, axes * ((high - low) ** 2 / 12) @ axes.T + np.outer(middle, middle))


def rows_of(model: BayesianForceField, atoms: Atoms) -> list[LabelRows]:
    """Labels of one frame."""
    noise, zero = model.hyperparameters.noise, model.reference_energies
    return merged_rows(model.features.label_rows(atoms, keys=model.keys, reference_energies=zero, noise=noise))


def judged(
    model: BayesianForceField, spreads: Spreads, student: StudentBar, frames: Sequence[Atoms]
) -> dict[str, tuple[float, float]]:
    """Share inside, per cent, and mean half width, eV/A, by rule."""
    comparison = compare(model, frames)
    if comparison.forces_std is None:
        raise SystemExit("the model gives no uncertainty")
    error, seen, noise = np.abs(comparison.forces_error).ravel(), model.posterior.n_seen, model.hyperparameters.noise
    errors = FrameErrors(model.features, model.keys, model.reference_energies, noise)
    halves: dict[str, list[FloatArray]] = {"student": [], "jackknife": [], "pops": []}
    for atoms in frames:
        rotated = np.concatenate([model.posterior.rotated(rows).T for _, rows in model.features.force_rows(atoms)])
        variance = np.einsum("ij,ij->i", rotated, rotated)
        multiplier = np.repeat(noise.multiplier(model.mean.evaluate(atoms).forces), 3)
        shared = errors.with_neighbours(variance.reshape(-1, 3), atoms).ravel()
        halves["student"].append(student.half(shared, multiplier))
        for name, spread in (("jackknife", spreads.jackknife), ("pops", spreads.pops)):
            more = np.einsum("ij,jk,ik->i", rotated[:, :seen], spread, rotated[:, :seen], optimize=True)
            halves[name].append(NORMAL * np.sqrt(variance + more + (noise.forces * multiplier) ** 2))
    widths = {"trepid": NORMAL * comparison.forces_std.ravel()}
    widths |= {name: np.concatenate(parts) for name, parts in halves.items()}
    return {name: (100 * float(np.mean(error <= half)), float(half.mean())) for name, half in widths.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--group", type=Group, choices=list(Group), help="the truths of one group")
    options = parser.parse_args()
    report = Report("bars")
    for truth in chosen_truths(options.names, options.group):
        frames = load(truth)
        train = frames[Stratum.TRAIN][:N_TRAIN]
        model = BayesianForceField(truth.species, n_threads=1).fit(train)
        student = StudentBar.fit(model.left_out[LabelKind.FORCES], model.hyperparameters.noise.forces)
        spreads = Spreads.of(model, train)
        rows = []
        for stratum in (Stratum.FRESH, *HELD_OUT):
            found = judged(model, spreads, student, frames[stratum][::EVERY])
            width = found["trepid"][1]
            cells = {name: f"{share:.0f} / {half / width:.2f}" for name, (share, half) in found.items()}
            rows.append({"stratum": stratum.value, **cells})
        report.table(f"{truth.name}: inside, % / width; Student-t with {student.freedom:.1f} degrees of freedom", rows)
    report.write()


if __name__ == "__main__":
    main()
