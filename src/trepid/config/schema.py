"""The campaign file as a JSON schema, for editors and validators."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from trepid.config.campaign import MODES


def campaign_schema() -> dict[str, Any]:
    """JSON schema of the campaign file: every key with its description, type, range and default.

    The keys of both modes stand side by side; `if mode is rounds` then only those of rounds may be given, else only
    those of on-the-fly.
    """
    both, schema = models_json_schema([(model, "validation") for model in MODES.values()])
    # Choices are listed in place (`OneOf`); what pydantic defines of their enums nothing refers to.
    definitions = {name: definition for name, definition in schema["$defs"].items() if "properties" in definition}
    modes = {
        name: definitions.pop(both[model, "validation"]["$ref"].rsplit("/", 1)[1]) for name, model in MODES.items()
    }
    properties: dict[str, Any] = {}
    for mode in modes.values():
        for key, value in mode["properties"].items():
            known = properties.get(key)
            description = value.get("description", "")
            properties[key] = value if known in (None, value) else {"description": description}
    properties["mode"] = {
        "description": modes["rounds"]["properties"]["mode"]["description"],
        "enum": list(MODES),
        "default": "on-the-fly",
    }
    branches = {}
    for name, mode in modes.items():
        own = {key: value for key, value in mode["properties"].items() if key != "mode"}
        foreign = {key: False for key in properties if key not in mode["properties"]}
        branches[name] = {"properties": {**own, **foreign}, "required": mode.get("required", [])}
    return {
        "title": "Campaign",
        "description": "One learning campaign: all settings of `trepid learn`.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": ["structure"],
        "if": {"properties": {"mode": {"const": "rounds"}}, "required": ["mode"]},
        "then": branches["rounds"],
        "else": branches["on-the-fly"],
        "$defs": definitions,
    }
