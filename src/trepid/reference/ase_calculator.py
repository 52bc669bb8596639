"""Any ASE calculator, by name and parameters: FHI-aims, VASP, Quantum ESPRESSO, CP2K, EMT, ..."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import (
    BadConfiguration,
    Calculator,
    FileIOCalculator,
    external_calculators,
    get_calculator_class,
    names,
)
from ase.config import ASE_CONFIG_FILE, cfg

from trepid.data.frames import Labels
from trepid.errors import ConfigError
from trepid.reference.calculator import CalculatorReference, claim_folder, flat_parameters
from trepid.reference.engine import Engine
from trepid.reference.loaded import LoadedEngine
from trepid.reference.lookup import look_up, refuse_standard_library

_SECTIONS = {
    "aims": "command = mpirun -np 16 aims.x; default_species_directory = FOLDER",
    "espresso": "command = mpirun -np 16 pw.x; pseudo_dir = FOLDER",
}
"""Lines of the configuration of ASE without which these calculators cannot be made."""
_PURE = ("emt", "lj", "morse", "tip3p", "tip4p")
"""Calculators of ASE that compute in this process and read, write and start nothing."""


@dataclass(frozen=True)
class _Kept:
    """A calculator that stays loaded, what tests it, and the process that it belongs to: a fork must not use it."""

    calculator: Any
    engine: LoadedEngine
    process: int


class ASECalculatorReference(CalculatorReference):
    """A reference that computes with an ASE calculator.

    Parameters
    ----------
    calculator : str
        Name in ASE, such as "emt", "lj", "aims", "vasp", "espresso", "cp2k"; or "module:Class" for any other class or
        function that makes a calculator, such as "mace.calculators:mace_mp".
    parameters : mapping, optional
        Arguments of the calculator. How to start an external code (command, pseudopotential folder) belongs into the
        configuration file of ASE, not here.
    stress : bool
        Compute the stress of frames that have a volume. False for calculators where it is expensive or not
        implemented.
    keep_loaded : bool
        Keep the calculator from one label to the next instead of making a new one for each: for neural networks, which are
        slow to load and remember nothing. The first frame of every composition is computed twice, with another frame in
        between; labels that differ by more than round-off are a ConfigError. A calculator that failed is not used again.
    directory : path, optional
        Folder for the files of the engine: every label gets `label-0001` and so on in it. None: where the calculator
        puts them by itself, usually the current folder.

    Raises
    ------
    ConfigError
        There is no such calculator, it cannot be set up with these parameters, or it computes no forces.
    """

    def __init__(
        self,
        calculator: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        stress: bool = True,
        keep_loaded: bool = False,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(calculator, str) or not calculator:
            raise ConfigError(
                f"calculator is {calculator!r}; the name of an ASE calculator or 'module:Class' is expected"
            )
        if parameters is not None and not isinstance(parameters, Mapping):
            raise ConfigError(f"calculator {calculator}: parameters is {parameters!r}; a mapping is expected")
        self.calculator = calculator
        self.name = calculator
        self.parameters: dict[str, Any] = dict(parameters or {})
        self.directory = None if directory is None else Path(directory)
        _refuse_unknown(calculator, self.parameters)
        # Made once now, so that a wrong parameter is reported before the first label.
        trial = self._made()
        known = getattr(trial, "implemented_properties", None)
        if not _is_calculator(trial) or known is None:
            raise ConfigError(f"{calculator}: {type(trial).__name__} is not an ASE calculator (no calculate method)")
        if "forces" not in known:
            raise ConfigError(
                f"{calculator}: this calculator computes no forces (it has: {', '.join(known) or 'nothing'})"
            )
        self.stress = stress and "stress" in known
        self.keep_loaded = keep_loaded
        self._kept = self._keep(trial) if keep_loaded else None
        self._folder: Path | None = None
        """Of the present label."""
        self._version = _version_of(type(trial))

    def describe(self) -> dict[str, str | float | int]:
        """Engine, version and parameters."""
        return {
            "engine": "ase",
            "calculator": self.calculator,
            "version": self._version,
            **{f"parameters.{key}": value for key, value in flat_parameters(self.parameters).items()},
        }

    def close(self) -> None:
        """Forget the calculator, and remove the folder of the engine's files if there are none."""
        self._kept = None
        if self.directory is not None:
            _remove_empty(self.directory)

    def _compute(self, atoms: Atoms) -> Labels:
        if not self.keep_loaded:
            return self._computed(atoms)
        kept, self._kept = self._kept, None  # until it has given a label: one that failed is not used again
        if kept is None or kept.process != os.getpid():
            kept = self._keep(self._made())
        self._kept = kept
        try:
            labels = kept.engine.labels(atoms)
        except BaseException:
            self._kept = None
            raise
        return labels

    def _computed(self, atoms: Atoms) -> Labels:
        try:
            return super()._compute(atoms)
        finally:
            if self._folder is not None:
                _remove_empty(self._folder)

    def _keep(self, calculator: Any) -> _Kept:
        remedy = f"without `keep_loaded` every label gets a new {self.calculator}"
        return _Kept(calculator, LoadedEngine(self.name, self._computed, remedy=remedy), os.getpid())

    def _calculator(self) -> Any:
        if self._kept is None:
            calculator = self._made()
        else:
            calculator = self._kept.calculator
            calculator.results = {}  # those of the frame before are no results of this one
        self._folder = None
        if self.directory is not None and isinstance(getattr(calculator, "directory", None), (str, os.PathLike)):
            self._folder = claim_folder(self.directory, "label-{:04d}")
            calculator.directory = str(self._folder)
        return calculator

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process loads a calculator of its own."""
        return {**self.__dict__, "_kept": None}

    def _made(self) -> Any:
        """A calculator with the parameters."""
        make = _resolve(self.calculator)
        try:
            return make(**self.parameters)
        except Exception as error:  # BadConfiguration, TypeError, KeyError, ...: each calculator has its own
            told = " ".join(str(error).split())[:300]
            told = (
                told or f"{type(error).__name__} (is the code installed, and its command in the configuration of ASE?)"
            )
            if (
                isinstance(error, BadConfiguration)
                and self.calculator in _SECTIONS
                and self.calculator not in cfg.parser
            ):
                told += (
                    f"; write into {ASE_CONFIG_FILE}, a line each: [{self.calculator}]; {_SECTIONS[self.calculator]}"
                )
            raise ConfigError(f"calculator {self.calculator} cannot be set up with these parameters: {told}") from error


def _remove_empty(folder: Path) -> None:
    """Remove a folder that holds no file: calculators without files have a directory, too, and never use it."""
    with suppress(OSError):  # not empty, or gone
        folder.rmdir()


def _resolve(calculator: str) -> Callable[..., Any]:
    """Class or function that makes the calculator; a class that is no calculator is refused before it is called."""
    if ":" in calculator:
        module_name, _, attribute = calculator.partition(":")
        refuse_standard_library(calculator)
        try:
            module = import_module(module_name)
        except ImportError as error:
            raise ConfigError(f"calculator {calculator}: cannot import {module_name}: {error}") from error
        except ValueError as error:  # empty or relative name
            raise ConfigError(
                f"calculator {calculator}: {module_name!r} is not the name of a module: {error}"
            ) from error
        made = getattr(module, attribute, None)
        if not callable(made):
            close = get_close_matches(attribute, dir(module), n=1)
            hint = f"; did you mean {module_name}:{close[0]}?" if close else ""
            raise ConfigError(f"calculator {calculator}: {module_name} has no class or function {attribute!r}{hint}")
        if inspect.isclass(made) and not _is_calculator(made):
            raise ConfigError(f"{calculator}: {attribute} is not an ASE calculator (no calculate method)")
        return made

    known = {name.lower(): name for name in [*names, *external_calculators]}
    name = known.get(calculator.lower())
    if name is None:
        close = get_close_matches(calculator.lower(), known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(
            f"ASE has no calculator {calculator!r}{hint} (any other class can be given as 'module:Class')"
        )
    try:
        return get_calculator_class(name)
    except ImportError as error:
        raise ConfigError(f"calculator {calculator}: its package is not installed: {error}") from error
    except AttributeError as error:
        raise ConfigError(f"calculator {calculator}: ASE names it but has no class for it: {error}") from error


def _is_calculator(made: Any) -> bool:
    """Whether a class or an object has what an ASE calculator has."""
    return callable(getattr(made, "calculate", None)) and hasattr(made, "implemented_properties")


def _code_in(parameters: Mapping[str, Any]) -> str | None:
    """What the settings name that would run; see `Engine.code_in`."""
    calculator = parameters["calculator"]
    if ":" not in calculator:
        _refuse_unknown(calculator, parameters["parameters"])  # imports a module of ASE
        # Some of the others start a program as soon as they are made.
        return None if calculator.lower() in _PURE else f"the calculator {calculator} of ASE with its parameters"
    module, _, attribute = calculator.partition(":")
    if module.removeprefix("ase.calculators.") in _PURE:
        return None
    look_up(calculator, module, attribute)
    return f"{calculator}, which is imported and called"


def _refuse_unknown(calculator: str, parameters: Mapping[str, Any]) -> None:
    """Tell a misspelt parameter of the simple calculators of ASE (emt, lj, morse, ...), which they would ignore.

    Their constructor is (self, **kwargs) and everything they know is in `default_parameters`; the others look after
    their parameters themselves.
    """
    kind = _resolve(calculator)
    if not inspect.isclass(kind) or not issubclass(kind, Calculator) or issubclass(kind, FileIOCalculator):
        return
    arguments = list(inspect.signature(kind).parameters.values())
    simple = len(arguments) == 1 and arguments[0].kind is inspect.Parameter.VAR_KEYWORD
    known = list(getattr(kind, "default_parameters", ()))
    if not simple or not known:
        return
    for key in parameters:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"calculator {calculator} has no parameter {key!r}; known are {', '.join(known)}{hint}")


def _version_of(kind: type) -> str:
    """Version of the package that a calculator comes from."""
    package = kind.__module__.partition(".")[0]
    return f"{package} {getattr(import_module(package), '__version__', 'of unknown version')}"


ENGINE = Engine("ase", ASECalculatorReference, package="ase", code_in=_code_in)
