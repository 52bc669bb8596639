"""Checks of labelled frames that need a quick fit: what kinds of labels say about each other."""

from __future__ import annotations

from trepid.inspection.inspect import inspect_frames

__all__ = ["inspect_frames"]
