"""References that compute through an ASE calculator: evaluation, and classification of failures."""

from __future__ import annotations

import json
import logging
import re
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import SCFError, all_changes

from trepid.arrays import FloatArray
from trepid.data.frames import Labels
from trepid.errors import ConfigError
from trepid.reference.base import FailureReason, LabelError, Reference, has_stress

logger = logging.getLogger(__name__)

# "SCF not converged in 250 cycles", "did not converge", "Convergence not achieved", "failed to converge", "unconverged"
_NOT_CONVERGED = re.compile(
    r"(\b(not|never|n't|fail\w*|un|no)[\s-]*(to\s+|reach\w*\s+|achiev\w*\s+)?converge)"
    r"|(convergence[\w\s]{0,30}\b(not|fail\w*))|(unconverged)|(convergence error)",
    re.IGNORECASE,
)


class CalculatorReference(Reference):
    """A reference whose labels come from a fresh ASE calculator for every frame.

    Fresh: calculators start the self-consistency cycle from the last density, and what they give then depends on the
    frames before (for GFN1-xTB at its default accuracy by 3e-4 eV/A), so that a campaign could not be resumed exactly.
    """

    stress = True
    """Whether to compute the stress of frames that have a volume."""

    def _compute(self, atoms: Atoms) -> Labels:
        properties = ["energy", "forces"]
        if self.stress and has_stress(atoms):
            properties.append("stress")
        try:
            calculator = self._calculator()
            # All in one call: otherwise a file-based engine may run once for each.
            calculator.calculate(atoms, properties, all_changes)
            results = dict(calculator.results)
            converged = getattr(calculator, "converged", None)
        except NotImplementedError as error:
            raise LabelError(
                FailureReason.CRASHED,
                f"{self.name}: {_one_line(error)}; the engine lacks one of {', '.join(properties)}"
                + (" (`stress: false` does without stress)" if "stress" in properties else ""),
            ) from error
        except ConfigError:
            raise
        except Exception as error:  # engines raise any exception; the campaign must continue and report it
            reason = _reason(error)
            said = "not converged" if reason is FailureReason.NOT_CONVERGED else "failed"
            raise LabelError(reason, f"{self.name}: {said}: {_one_line(error)}{self._log_hint()}") from error
        # Vasp and some others end normally without convergence, and only note it.
        if converged is False:
            raise LabelError(
                FailureReason.NOT_CONVERGED, f"{self.name}: not converged, as the engine reports{self._log_hint()}"
            )
        return self._labels(results, wants_stress="stress" in properties)

    def _labels(self, results: dict[str, Any], *, wants_stress: bool) -> Labels:
        """Labels from the results of a calculator.

        The energy is the one whose gradient the forces are: where electrons are smeared that is the free energy, not
        the energy extrapolated to zero width which ASE reports as 'energy'.
        """
        energies = {name: _real(results.get(name), name, self.name) for name in ("free_energy", "energy")}
        for name, value in energies.items():
            # The energy that is not used must be a number too: beside NaN or text nothing can be believed.
            if value is not None and not (value.size == 1 and np.isfinite(value).all()):
                raise LabelError(FailureReason.NOT_FINITE, f"{self.name}: {name} is {results[name]!r}, not one number")
        found = energies["energy"] if energies["free_energy"] is None else energies["free_energy"]
        energy = None if found is None else float(found.reshape(()))
        forces, stress = (_real(results.get(name), name, self.name) for name in ("forces", "stress"))
        if wants_stress and stress is None:
            logger.info("%s gave no stress for this frame; it is labelled with energy and forces", self.name)
        return Labels(
            energy=energy,
            forces=forces,
            stress=voigt(stress) if wants_stress and stress is not None else None,
        )

    def _log_hint(self) -> str:
        """Where to read more about a failure, to be added to its message."""
        return ""

    @abstractmethod
    def _calculator(self) -> Any:
        """A new calculator."""


def _reason(error: Exception) -> FailureReason:
    """Distinguish a cycle that did not converge from every other failure."""
    by_class = isinstance(error, SCFError) or "Convergence" in type(error).__name__
    if by_class or _NOT_CONVERGED.search(str(error)):
        return FailureReason.NOT_CONVERGED
    return FailureReason.CRASHED


def _real(value: Any, name: str, engine: str) -> FloatArray | None:
    """A result as float64 array; None where there is none.

    Raises
    ------
    LabelError
        It is text, or complex with an imaginary part.
    """
    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype.kind == "c" and not array.imag.any():
        array = array.real
    if array.dtype.kind not in "fiu":
        what = "has an imaginary part" if array.dtype.kind == "c" else f"is {str(value)[:40]!r}, not numbers"
        raise LabelError(FailureReason.NOT_FINITE, f"{engine}: {name} {what}")
    return np.array(array, dtype=np.float64)


def voigt(array: FloatArray) -> FloatArray:
    """Stress in Voigt order, whether it came as 6 components or as a tensor."""
    if array.shape == (3, 3):
        array = array.ravel()[[0, 4, 8, 5, 2, 1]]
    return array


def _one_line(error: BaseException) -> str:
    """First 300 characters of the message of an engine, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def flat_parameters(parameters: dict[str, Any]) -> dict[str, str | float | int]:
    """Parameters as plain values for the ledger; lists and dictionaries as JSON."""
    return {
        key: value if isinstance(value, (str, int, float)) else json.dumps(value, default=str, sort_keys=True)
        for key, value in parameters.items()
    }


def _claim(directory: Path, pattern: str, make: Callable[[Path], None]) -> Path:
    """Make the first of `directory / pattern.format(1, 2, ...)` that does not exist yet; `directory` where missing.

    Every label gets a place of its own: an engine that finds files of an earlier one may restart from them. Labels are
    computed side by side, so that looking first and making afterwards would give one place to two of them.

    Parameters
    ----------
    directory : Path
    pattern : str
    make : callable
        Makes the path or raises `FileExistsError`, in one step of the file system.

    Raises
    ------
    ConfigError
        The folder cannot be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {directory} for the files of the engine: {error.strerror}"
        ) from error
    numbers = count(1)
    while True:
        path = directory / pattern.format(next(numbers))
        try:
            make(path)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"cannot make {path} for the files of the engine: {error.strerror}") from error
        return path


def claim_folder(directory: Path, pattern: str) -> Path:
    """A new folder of its own for a label; see `_claim`."""
    return _claim(directory, pattern, Path.mkdir)


def claim_file(directory: Path, pattern: str) -> Path:
    """A new, empty file of its own for a label; see `_claim`."""
    return _claim(directory, pattern, partial(Path.touch, exist_ok=False))


def positive(engine: str, parameter: str, value: Any) -> float:
    """Refuse a parameter that is not a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value) or value <= 0:
        raise ConfigError(f"{engine}: {parameter} is {value!r}; a positive number is expected")
    return float(value)
