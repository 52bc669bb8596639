"""`trepid schema`: the JSON schema of the campaign file."""

from __future__ import annotations

from trepid.cli.output import emit_json


def command() -> None:
    """Print the JSON schema of the campaign file, for editors and validators."""
    from trepid.config import campaign_schema

    emit_json(campaign_schema())
