"""One self-contained HTML file that shows what a learning run did and how far its model can be believed."""

from __future__ import annotations

from trepid.report.html import write_report

__all__ = ["write_report"]
