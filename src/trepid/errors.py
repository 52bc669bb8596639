"""User errors: one line each, with the input, the value found and what would be right.

The command line catches `TrepidError`, prints its message and exits with its code; anything else is a defect of trepid
and keeps its traceback.
"""

from __future__ import annotations


class TrepidError(Exception):
    """Base of every user error. `exit_code` is what the command line returns for it."""

    exit_code = 2


class ConfigError(TrepidError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(TrepidError):
    """A structure or label file is missing, unreadable, incomplete or not finite."""


class ModelFileError(TrepidError):
    """A model file is missing, truncated, of another format or of an unknown version."""


class NumericsError(TrepidError):
    """A computation failed numerically (singular matrix, overflow); its result would be meaningless."""

    exit_code = 3


class UntrustedError(TrepidError):
    """A simulation was stopped because its force uncertainty exceeded the threshold, or it became unstable."""

    exit_code = 4


class BackendError(TrepidError):
    """A program that trepid runs (the package of a committee's members, ...) is missing, failed or ended unexpectedly."""

    exit_code = 5
