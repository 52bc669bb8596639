"""One self-contained HTML file with the results of a learning run: accuracy, calibration, labels, physics."""

from __future__ import annotations

from trepid.report.html import write_report

__all__ = ["write_report"]
