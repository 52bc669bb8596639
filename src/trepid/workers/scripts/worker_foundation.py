"""The foundation model that a worker may read.

Such a file is a pickle: reading it runs what it contains. The path comes from trepid, which has it from the user, never from
the weights file of a member. That names one too, for the reader of messages, and keeps its check sum.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOUNDATION_VARIABLE = "TREPID_FOUNDATION_MODEL"
"""Environment variable of the worker; empty where there is none."""


def foundation_of(saved: Mapping[str, Any]) -> str | None:
    """Path of the foundation model that the header of a weights file asks for; None where it asks for none.

    Raises
    ------
    ValueError
        The user named none, or it is another file.
    """
    if saved["foundation"] is None:
        return None
    allowed = os.environ.get(FOUNDATION_VARIABLE, "")
    if not allowed:
        raise ValueError(
            f"this member starts from the foundation model {saved['foundation']}, which the settings of its committee do "
            "not name; it was not read"
        )
    if check_sum(allowed) != saved["foundation_sha256"]:
        raise ValueError(f"foundation model {allowed} is not the file that this member started from")
    return allowed


def check_sum(path: str) -> str:
    """Of a foundation model's file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
