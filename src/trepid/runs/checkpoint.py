"""The checkpoint of a campaign on the fly: the state of its MD, and the label it waits for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from trepid.data.arrays import load_arrays, save_arrays
from trepid.dynamics.driver import MDState
from trepid.dynamics.record import RecordLengths
from trepid.errors import DataError
from trepid.potentials.base import FloatArray
from trepid.runs.ledger_events import Reason


@dataclass(frozen=True)
class Pending:
    """A label that the MD waits for.

    Attributes
    ----------
    label : int
        Its number, from 1.
    step : int
        MD step.
    reason : Reason
    forces_uncertainty, threshold : float or None
        eV/A, as the ledger has them; None for initial frames.
    """

    label: int
    step: int
    reason: Reason
    forces_uncertainty: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class WalkerState:
    """Everything a resumed campaign needs, but for the model and the labels.

    Attributes
    ----------
    md : MDState
    anchor : (n_atoms, 3) array
        Positions of the last trusted frame, A.
    anchor_cell : (3, 3) array or None
        Its cell, A; None in checkpoints of runs that began before cells could change.
    pending : Pending or None
        The label requested at this step.
    last_call_step : int
        MD step of the last label.
    careful_until : int
        Up to this MD step every step is checked.
    n_rewinds : int
        Restarts of unstable MD.
    rewinds_in_row : int
        Those without a stable stretch in between.
    calm_after : int
        MD step from which on the next restart counts as the first.
    lengths : RecordLengths
        Of trace and trajectory.
    """

    md: MDState
    anchor: FloatArray
    anchor_cell: FloatArray | None = None
    pending: Pending | None = None
    last_call_step: int = 0
    careful_until: int = 0
    n_rewinds: int = 0
    rewinds_in_row: int = 0
    calm_after: int = 0
    lengths: RecordLengths = field(default_factory=RecordLengths)


_COUNTS = ("last_call_step", "careful_until", "n_rewinds", "rewinds_in_row", "calm_after")


def save_checkpoint(path: Path, state: WalkerState) -> None:
    """Replace the checkpoint atomically."""
    arrays = state.md.to_arrays() | {
        "anchor_A": state.anchor,
        **({} if state.anchor_cell is None else {"anchor_cell_A": state.anchor_cell}),
        "pending": np.array(json.dumps(None if state.pending is None else asdict(state.pending))),
        "record_bytes": np.array([state.lengths.trace, state.lengths.trajectory]),
    }
    save_arrays(path, arrays | {name: np.array(getattr(state, name)) for name in _COUNTS})


def load_checkpoint(path: Path) -> WalkerState | None:
    """Read the checkpoint; None where there is none yet.

    Raises
    ------
    DataError
        It is damaged.
    """
    if not path.exists():
        return None
    arrays = load_arrays(path)
    try:
        pending = json.loads(str(arrays["pending"]))
        if pending is not None:
            pending = Pending(**{**pending, "reason": Reason(pending["reason"])})
        trace, trajectory = (int(n) for n in arrays["record_bytes"])
        return WalkerState(
            md=MDState.from_arrays(arrays),
            anchor=np.array(arrays["anchor_A"], dtype=np.float64),
            anchor_cell=np.array(arrays["anchor_cell_A"], dtype=np.float64) if "anchor_cell_A" in arrays else None,
            pending=pending,
            lengths=RecordLengths(trace=trace, trajectory=trajectory),
            **{name: int(arrays[name]) for name in _COUNTS},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a checkpoint of a learning run ({error})") from error
