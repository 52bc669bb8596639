"""Structures and labels in and out: extended XYZ, label keys, atomic writes, data checks."""

from __future__ import annotations

from trepid.data.atomic import atomic_write, remove_stale_temporaries, write_bytes_atomic, write_text_atomic
from trepid.data.checks import CheckLimits, check_frames
from trepid.data.findings import Finding, Level
from trepid.data.frames import (
    LabelKeys,
    Labels,
    attach_labels,
    labels_of,
    read_frames,
    read_structure,
    write_frames,
)
from trepid.data.labelled import LabelledFrames, LabelReport, labelled_frames, read_labelled

__all__ = [
    "CheckLimits",
    "Finding",
    "LabelKeys",
    "LabelReport",
    "LabelledFrames",
    "Labels",
    "Level",
    "atomic_write",
    "attach_labels",
    "check_frames",
    "labelled_frames",
    "labels_of",
    "read_frames",
    "read_labelled",
    "read_structure",
    "remove_stale_temporaries",
    "write_bytes_atomic",
    "write_frames",
    "write_text_atomic",
]
