"""Looking for a class or function in a module without importing it: importing runs the module."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.machinery import ModuleSpec

from trepid.errors import ConfigError


def refuse_standard_library(calculator: str) -> None:
    """Raise ConfigError where 'module:Class' names a module of Python itself: it has no calculators, and much that runs others."""
    package = calculator.partition(":")[0].partition(".")[0]
    if package in sys.stdlib_module_names:
        raise ConfigError(f"calculator {calculator}: {package} is a module of Python itself and has no ASE calculators")


def look_up(calculator: str, module: str, attribute: str) -> None:
    """Test whether a module is installed and seems to define a name, by reading its source.

    Raises
    ------
    ConfigError
        There is no such module, or its source defines no such name.
    """
    refuse_standard_library(calculator)
    spec = _spec_of(module)
    if spec is None:
        raise ConfigError(f"calculator {calculator}: cannot import {module}: there is no such module")
    if spec.origin is None or not spec.origin.endswith(".py"):
        return  # compiled: what it defines shows when it is imported
    try:
        with open(spec.origin, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"calculator {calculator}: cannot import {module}: {error}") from error
    names = _names_in(tree)
    if attribute not in names and not {"*", "__getattr__"} & names:
        close = get_close_matches(attribute, names, n=1)
        hint = f"; did you mean {module}:{close[0]}?" if close else ""
        raise ConfigError(f"calculator {calculator}: {module} has no class or function {attribute!r}{hint}")


def _spec_of(module: str) -> ModuleSpec | None:
    """Where a module is; `importlib.util.find_spec` would import the packages around it."""
    spec: ModuleSpec | None = None
    path: Sequence[str] | None = None
    parts = module.split(".")
    for k in range(len(parts)):
        name = ".".join(parts[: k + 1])
        if not parts[k].isidentifier() or (k and path is None):
            return None
        found = (finder.find_spec(name, path, None) for finder in sys.meta_path)
        spec = next((each for each in found if each is not None), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _names_in(tree: ast.Module) -> set[str]:
    """Names that a module defines or imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names
