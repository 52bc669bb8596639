"""Structures and labels in and out: extended XYZ, label keys, atomic writes, data checks."""

from __future__ import annotations

from trepid.data.atomic import atomic_write, remove_stale_temporaries, write_bytes_atomic, write_text_atomic
from trepid.data.checks import CheckLimits, Finding, Level, check_frames
from trepid.data.frames import (
    LabelKeys,
    Labels,
    attach_labels,
    labels_of,
    read_frames,
    read_structure,
    write_frames,
)

__all__ = [
    "CheckLimits",
    "Finding",
    "LabelKeys",
    "Labels",
    "Level",
    "atomic_write",
    "attach_labels",
    "check_frames",
    "labels_of",
    "read_frames",
    "read_structure",
    "remove_stale_temporaries",
    "write_bytes_atomic",
    "write_frames",
    "write_text_atomic",
]
