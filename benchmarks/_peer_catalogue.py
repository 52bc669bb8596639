"""The peers of `peers.py`: packages, settings and workers.

Settings are those that each project documents for a first fit; none was chosen on a test frame. Networks are as small as
a few minutes on one core allow.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _common import HERE

from trepid.potentials.committee.settings import PACKAGES, Backend, MaceSettings, NequipSettings
from trepid.workers.environments import WORKERS

FOLDER = HERE / "peers"
ENVIRONMENTS = FOLDER / ".venvs"
TORCH = "torch==2.13.0"
"""Installed before anything that needs it: from an index that has CPU wheels, so that no GPU libraries come with it."""
NETWORK_EPOCHS = 400


@dataclass(frozen=True)
class Peer:
    """One row of every table.

    Attributes
    ----------
    name : str
    package : str
        Distribution whose version is shown.
    worker : str
        Script in `peers/`.
    words : str
        Its settings, for the reader.
    interval : str
        What its uncertainty is; empty if it has none.
    settings : mapping
        For the worker, plain types.
    environment : str or None
        Virtual environment in `peers/.venvs`; None: the Python that runs the benchmark.
    requirements : tuple of tuple of str
        Arguments of successive calls of pip.
    """

    name: str
    package: str
    worker: str
    words: str
    interval: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: str | None = None
    requirements: tuple[tuple[str, ...], ...] = ()

    @property
    def python(self) -> Path:
        """Interpreter."""
        return Path(sys.executable) if self.environment is None else ENVIRONMENTS / self.environment / "bin" / "python"

    @property
    def installed(self) -> bool:
        """Whether its environment is complete: pip has ended without an error."""
        return self.environment is None or (ENVIRONMENTS / self.environment / ".complete").is_file()

    def version(self) -> str:
        """Of its package, as its own environment tells."""
        code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
        return subprocess.run(
            [str(self.python), "-c", code, self.package], check=True, capture_output=True, text=True
        ).stdout.strip()


def _network(name: str, model: NequipSettings | MaceSettings, words: str) -> Peer:
    package = PACKAGES[Backend(model.backend)]
    return Peer(
        name=name,
        package=package.distribution,
        worker="network_worker.py",
        words=words,
        settings={"backend": model.backend.value, "workers": str(WORKERS), "model": asdict(model)},
        environment=model.backend.value,
        requirements=((TORCH,), (f"{package.distribution}=={package.version}", "vesin", "pandas")),
    )


_ACE = {"order": 3, "max_degree": 10}
PEERS: tuple[Peer, ...] = (
    Peer(
        name="ace-jax",
        package="ace-jax",
        worker="ace_worker.py",
        words="its quickstart: order 3, degree 10, `--e0 lsq --opt lbfgs`",
        settings={**_ACE, "uq": "blr"},
        environment="ace",
        requirements=(("ace-jax",),),
    ),
    Peer(
        name="ace-jax ard",
        package="ace-jax",
        worker="ace_worker.py",
        words="the same with `--uq ard`, which holds 20 % of the training frames out to calibrate",
        interval="1.96 standard deviations of each component, from its calibrated covariance of the force on an atom",
        settings={**_ACE, "uq": "ard"},
        environment="ace",
        requirements=(("ace-jax",),),
    ),
    Peer(
        name="GAP",
        package="quippy-ase",
        worker="gap_worker.py",
        words="pairs to 6 A (20 sparse points) and SOAP to 5 A (l 6, n 8, zeta 4, 300 sparse points a species), regularised with 1 "
        "meV/atom and 0.03 eV/A",
        interval="none; the local variance of the site energy is ranked",
        settings={
            "pair_cutoff_A": 6.0,
            "pair_delta": 1.0,
            "n_sparse_pair": 20,
            "soap_cutoff_A": 5.0,
            "soap_delta": 0.2,
            "l_max": 6,
            "n_max": 8,
            "n_sparse": 300,
            "sigma_energy": 0.001,
            "sigma_force": 0.03,
        },
        environment="gap",
        requirements=(("quippy-ase",),),
    ),
    Peer(
        name="UF3",
        package="uf3",
        worker="uf3_worker.py",
        words="pairs to 6 A (20 intervals), triplets to 4 A (6, 6, 12 intervals); strengths of ridge and curvature by 5-fold "
        "cross-validation on the training frames",
        settings={
            "r_min_A": 1.5,
            "pair_cutoff_A": 6.0,
            "triplet_cutoff_A": 4.0,
            "n_pair": 20,
            "n_triplet": 6,
            "energy_weight": 0.5,
            "ridge": [1e-8, 1e-6, 1e-4, 1e-2],
            "curvature": [1e-8, 1e-6, 1e-4, 1e-2, 1.0],
            "n_folds": 5,
        },
        environment="uf3",
        # Of its sources; its release does not say so, and its calculator fails with numpy 2.
        requirements=(("uf3", "numpy<=1.26.4"),),
    ),
    _network(
        "NequIP",
        NequipSettings(max_epochs=NETWORK_EPOCHS),
        f"2 layers, 16 features, l 1, cutoff 5 A, from scratch, {NETWORK_EPOCHS} epochs of trepid's training loop",
    ),
    _network(
        "MACE",
        MaceSettings(max_epochs=NETWORK_EPOCHS),
        f"2 layers, 16 channels, l 2, scalar messages, correlation 2, cutoff 5 A, from scratch, {NETWORK_EPOCHS} epochs of "
        "trepid's training loop",
    ),
    # Last, so that a machine that grows busier does not make it look faster.
    Peer(
        name="trepid",
        package="trepid",
        worker="trepid_worker.py",
        words="default settings: pairs to 6 A, triplets to 5 A",
        interval="that of `trepid evaluate`: exact uncertainty and residual noise",
    ),
)


def peers_named(names: list[str]) -> list[Peer]:
    """Peers by name, in the order of the catalogue; all for no name."""
    known = {peer.name.lower(): peer for peer in PEERS}
    if unknown := [name for name in names if name.lower() not in known]:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(peer.name for peer in PEERS)}")
    return [peer for peer in PEERS if not names or peer.name.lower() in {name.lower() for name in names}]


def install(peer: Peer) -> None:
    """Make the environment of a peer, unless it is complete."""
    if peer.environment is None or peer.installed:
        return
    folder = ENVIRONMENTS / peer.environment
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for requirements in peer.requirements:
        subprocess.run([str(peer.python), "-m", "pip", "install", "--quiet", *requirements], check=True)
    (folder / ".complete").touch()
