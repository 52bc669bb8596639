"""Checks of labelled frames that need a quick fit: what kinds of labels say about each other, and outliers."""

from __future__ import annotations

from trepid.inspection.inspection import Inspection, inspect_frames, inspect_labels

__all__ = ["Inspection", "inspect_frames", "inspect_labels"]
