"""Density functional theory with plane waves through GPAW: an optional extra (GPL, built by a compiler)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ase import Atoms

from trepid.errors import ConfigError
from trepid.reference.calculator import CalculatorReference, claim_file, flat_parameters, positive
from trepid.reference.engine import Availability, Engine

_INSTALL = "CC=g++ pip install 'trepid[gpaw]'"
INSTALL_HINT = (
    f"GPAW is not installed: {_INSTALL} (needs a C++ compiler, by that name); where that does not find MPI, BLAS or"
    " libxc, write a file siteconfig.py with the lines: compiler = 'g++'; mpi = False; libraries = []; noblas = True; "
    "nolibxc = True, set GPAW_CONFIG to its path and repeat"
)

_OWN = ("mode", "xc", "kpts", "convergence", "txt")


class GPAWReference(CalculatorReference):
    """Kohn-Sham DFT with plane waves and PAW datasets.

    Every label is an independent calculation from scratch. Point-group symmetry is switched off: MD frames have none,
    and a frame that almost has some must not jump when it is found.

    Parameters
    ----------
    mode_cutoff_eV : float
        Plane-wave cutoff, eV.
    xc : str
        Exchange-correlation functional. Without libxc GPAW has LDA, PBE, revPBE, RPBE and PW91.
    kpts : sequence of 3 int, or mapping
        Gamma-centred k-point grid, or the dictionary that GPAW takes, such as {"density": 3.0, "gamma": True} (density
        in points per 1/A).
    convergence : mapping, optional
        As GPAW takes it, such as {"energy": 1e-6} (eV per valence electron); None: its defaults.
    parameters : mapping, optional
        Further arguments of GPAW, such as {"occupations": {"name": "fermi-dirac", "width": 0.05}}.
    stress : bool
        Compute the stress of frames that have a volume. It is that of a fixed number of plane waves, the energies are those
        of a fixed cutoff: at a low cutoff they contradict each other (Pulay stress).
    directory : path, optional
        Folder for the logs, `gpaw-0001.txt` and so on, one for every label; None: no log.

    Raises
    ------
    ConfigError
        GPAW is not installed (the message says how to), or a value is out of range.
    """

    name = "gpaw"

    def __init__(
        self,
        *,
        mode_cutoff_eV: float = 340.0,
        xc: str = "PBE",
        kpts: Sequence[int] | Mapping[str, Any] = (1, 1, 1),
        convergence: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        stress: bool = True,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        try:
            version("gpaw")
        except PackageNotFoundError:
            raise ConfigError(INSTALL_HINT) from None
        self.mode_cutoff_eV = positive(self.name, "mode_cutoff_eV", mode_cutoff_eV)
        if not isinstance(xc, str) or not xc:
            raise ConfigError(f"gpaw: xc is {xc!r}; the name of a functional is expected, such as PBE")
        self.xc = xc
        self.kpts = _k_points(kpts)
        self.convergence = dict(convergence or {})
        self.parameters = dict(parameters or {})
        self.stress = stress
        for key in self.parameters:
            if key in _OWN:
                own = "mode_cutoff_eV" if key == "mode" else "directory" if key == "txt" else key
                raise ConfigError(f"gpaw: {key!r} in parameters; set it as {own}")
        self.directory = None if directory is None else Path(directory)
        self._log: Path | None = None
        # Made once now, so that a wrong parameter is reported before the first label.
        try:
            self._made(txt=None)
        except Exception as error:  # TypeError, KeyError, ValueError: depending on the parameter
            told = " ".join(str(error).split())[:300] or type(error).__name__
            raise ConfigError(f"gpaw: cannot be set up with these parameters: {told}") from error

    def describe(self) -> dict[str, str | float | int]:
        """Engine, version and parameters."""
        return {
            "engine": self.name,
            "version": version("gpaw"),
            "mode_cutoff_eV": self.mode_cutoff_eV,
            "xc": self.xc,
            **flat_parameters({"kpts": self.kpts, "convergence": self.convergence}),
            **{f"parameters.{key}": value for key, value in flat_parameters(self.parameters).items()},
        }

    def _check(self, atoms: Atoms) -> None:
        if atoms.cell.rank < 3:
            raise ConfigError(
                "gpaw: plane waves need a cell with three vectors; put a molecule into a box (atoms.center(vacuum=5.0))"
            )

    def _calculator(self) -> Any:
        self._log = None if self.directory is None else claim_file(self.directory, "gpaw-{:04d}.txt")
        return self._made(txt=self._log)

    def _made(self, *, txt: Path | None) -> Any:
        arguments: dict[str, Any] = {"symmetry": {"point_group": False}, **self.parameters}
        if self.convergence:
            arguments["convergence"] = dict(self.convergence)
        return import_module("gpaw").GPAW(
            mode={"name": "pw", "ecut": self.mode_cutoff_eV},
            xc=self.xc,
            kpts=self.kpts,
            txt=txt,
            **arguments,
        )

    def _log_hint(self) -> str:
        return "" if self._log is None or not self._log.exists() else f" (see {self._log})"


def _k_points(kpts: Sequence[int] | Mapping[str, Any]) -> dict[str, Any]:
    """K points as GPAW takes them."""
    if isinstance(kpts, Mapping):
        return dict(kpts)
    valid = isinstance(kpts, Sequence) and not isinstance(kpts, str) and len(kpts) == 3
    if not valid or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in kpts):
        raise ConfigError(f"gpaw: kpts is {kpts!r}; three whole numbers of 1 or more are expected, such as [2, 2, 1]")
    return {"size": tuple(kpts), "gamma": True}


def _probe() -> str:
    """Version of GPAW, once its data sets are found."""
    if not import_module("gpaw").setup_paths:
        raise RuntimeError("no PAW data sets found; install them with: pip install gpaw-data")
    return version("gpaw")


ENGINE = Engine(
    "gpaw",
    GPAWReference,
    package="gpaw",
    availability=Availability(
        "density functional reference", _probe, False, f"{_INSTALL} (needs a C++ compiler, BLAS and libxc)"
    ),
)
